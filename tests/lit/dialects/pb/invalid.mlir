// One case for each message of inference and verification.
// RUN: pullback-opt --split-input-file --verify-diagnostics %s

func.func @f(%x: tensor<2xi32>) {
  // expected-error@+1 {{operand #0 must be statically shaped tensor of bfloat16 type or 16-bit float or 32-bit float or 64-bit float values}}
  %0 = pb.sin %x : tensor<2xi32>
}

// -----

func.func @f(%x: tensor<?xf32>) {
  // expected-error@+1 {{operand #0 must be statically shaped tensor}}
  %0 = pb.neg %x : tensor<?xf32>
}

// -----

func.func @f(%x: tensor<2xf32>, %y: tensor<3xf32>) {
  // expected-error@+1 {{requires the same type for all operands and results}}
  %0 = "pb.add"(%x, %y) : (tensor<2xf32>, tensor<3xf32>) -> tensor<2xf32>
}

// -----

func.func @f(%x: tensor<2xf32>) {
  // expected-error@+2 {{failed to infer returned types}}
  // expected-error@+1 {{inferred type(s) 'tensor<2xi1>' are incompatible with return type(s) of operation 'tensor<3xi1>'}}
  %0 = "pb.compare"(%x, %x) {predicate = "lt"} : (tensor<2xf32>, tensor<2xf32>) -> tensor<3xi1>
}

// -----

func.func @f(%x: tensor<2xf32>) {
  // expected-error@+1 {{unknown predicate "less"}}
  %0 = pb.compare "less" %x, %x : tensor<2xf32>
}

// -----

func.func @f(%p: tensor<2xi1>, %x: tensor<2xf32>, %y: tensor<2xf64>) {
  // expected-error@+1 {{branches differ: 'tensor<2xf32>' and 'tensor<2xf64>'}}
  %0 = pb.select %p, %x, %y : tensor<2xi1>, tensor<2xf32>, tensor<2xf64>
}

// -----

func.func @f(%p: tensor<i1>, %x: tensor<2xf32>) {
  // expected-error@+1 {{predicate 'tensor<i1>' has not the shape of the branches 'tensor<2xf32>'}}
  %0 = pb.select %p, %x, %x : tensor<i1>, tensor<2xf32>, tensor<2xf32>
}

// -----

func.func @f(%x: tensor<2xf32>) {
  // expected-error@+1 {{changes the shape: 'tensor<2xf32>' to 'tensor<3xi32>'}}
  %0 = pb.convert %x : tensor<2xf32> -> tensor<3xi32>
}

// -----

func.func @f() {
  // expected-error@+1 {{expected a tensor literal}}
  %0 = pb.constant dense<1.0> : vector<2xf32>
}

// -----

func.func @f() {
  // expected-error@+1 {{dimension 2 is out of range for rank 2}}
  %0 = pb.iota dim = 2 : tensor<2x3xi64>
}

// -----

func.func @f() {
  // expected-error@+1 {{needs one example for each element of the rest of its shape, has 'tensor<5x2x3xf64>'}}
  %0 = pb.basis id = 0 : tensor<5x2x3xf64>
}

// -----

func.func @f(%x: tensor<2xf32>) {
  // expected-error@+1 {{cannot broadcast 'tensor<2xf32>' to 'tensor<2x3xf32>' by 2 dimensions}}
  %0 = pb.broadcast %x dims = [0, 1] : tensor<2xf32> -> tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<2xf32>) {
  // expected-error@+1 {{dimension 2 is out of range for rank 2}}
  %0 = pb.broadcast %x dims = [2] : tensor<2xf32> -> tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<3x2xf32>) {
  // expected-error@+1 {{dimensions must ascend}}
  %0 = pb.broadcast %x dims = [1, 0] : tensor<3x2xf32> -> tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<1xf32>) {
  // expected-error@+1 {{dimension 0 of 'tensor<1xf32>' does not fit dimension 0 of 'tensor<2x3xf32>'}}
  %0 = pb.broadcast %x dims = [0] : tensor<1xf32> -> tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<5xf32>) {
  // expected-error@+1 {{cannot reshape 'tensor<5xf32>' to 'tensor<2x3xf32>'}}
  %0 = pb.reshape %x : tensor<5xf32> -> tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{permutation has 1 entries for rank 2}}
  %0 = pb.transpose %x permutation = [0] : tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{permutation entry 0 is given twice}}
  %0 = pb.transpose %x permutation = [0, 0] : tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<2x3xf32>) {
  // expected-error@+1 {{permutation entry -1 is out of range for rank 2}}
  %0 = pb.transpose %x permutation = [0, -1] : tensor<2x3xf32>
}

// -----

func.func @f(%x: tensor<5xf32>) {
  // expected-error@+1 {{ranks or element types differ: 'tensor<1x2xf32>' in 'tensor<5xf32>'}}
  %0 = pb.slice %x offsets = [0] strides = [1] : tensor<5xf32> -> tensor<1x2xf32>
}

// -----

func.func @f(%x: tensor<5xf32>) {
  // expected-error@+1 {{bad offset or stride in dimension 0}}
  %0 = pb.slice %x offsets = [0] strides = [0] : tensor<5xf32> -> tensor<2xf32>
}

// -----

func.func @f(%x: tensor<5xf32>) {
  // expected-error@+1 {{dimension 0 of 'tensor<3xf32>' leaves 'tensor<5xf32>'}}
  %0 = pb.slice %x offsets = [1] strides = [2] : tensor<5xf32> -> tensor<3xf32>
}

// -----

func.func @f(%x: tensor<5xf32>) {
  // expected-error@+1 {{dimension 0 of 'tensor<1xf32>' leaves 'tensor<5xf32>'}}
  %0 = pb.slice %x offsets = [5] strides = [1] : tensor<5xf32> -> tensor<1xf32>
}

// -----

func.func @f(%x: tensor<5xf32>, %value: tensor<1xf32>) {
  // expected-error@+1 {{padding value should be a scalar of the operand's element type, not 'tensor<1xf32>'}}
  %0 = pb.pad %x, %value offsets = [1] strides = [1] : tensor<5xf32>, tensor<1xf32> -> tensor<7xf32>
}

// -----

func.func @f(%x: tensor<5xf32>, %value: tensor<f32>) {
  // expected-error@+1 {{dimension 0 of 'tensor<5xf32>' leaves 'tensor<5xf32>'}}
  %0 = pb.pad %x, %value offsets = [1] strides = [1] : tensor<5xf32>, tensor<f32> -> tensor<5xf32>
}

// -----

func.func @f() {
  // expected-error@+2 {{failed to infer returned types}}
  // expected-error@+1 {{nothing to concatenate}}
  %0 = "pb.concatenate"() {dim = 0 : i64} : () -> tensor<0xf32>
}

// -----

func.func @f(%x: tensor<2xf32>) {
  // expected-error@+1 {{dimension 1 is out of range for rank 1}}
  %0 = pb.concatenate %x dim = 1 : tensor<2xf32>
}

// -----

func.func @f(%x: tensor<2x3xf32>, %y: tensor<2x4xf32>) {
  // expected-error@+1 {{cannot concatenate 'tensor<2x3xf32>' and 'tensor<2x4xf32>' along dimension 0}}
  %0 = pb.concatenate %x, %y dim = 0 : tensor<2x3xf32>, tensor<2x4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{1 index tensors for 2 axes}}
  %0 = pb.gather %x at(%i) axes = [0, 1] batch_dims = 0 : tensor<4xf32>, tensor<3xi64>
}

// -----

func.func @f(%x: tensor<4x4xf32>, %i: tensor<3xi64>, %j: tensor<2xi64>) {
  // expected-error@+1 {{index tensors differ in shape: 'tensor<3xi64>' and 'tensor<2xi64>'}}
  %0 = pb.gather %x at(%i, %j) axes = [0, 1] batch_dims = 0 : tensor<4x4xf32>, tensor<3xi64>, tensor<2xi64>
}

// -----

func.func @f(%x: tensor<4xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{axis 1 is out of range for rank 1}}
  %0 = pb.gather %x at(%i) axes = [1] batch_dims = 0 : tensor<4xf32>, tensor<3xi64>
}

// -----

func.func @f(%x: tensor<4x4xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{axes must ascend and come after the batch dimensions}}
  %0 = pb.gather %x at(%i, %i) axes = [1, 0] batch_dims = 0 : tensor<4x4xf32>, tensor<3xi64>, tensor<3xi64>
}

// -----

func.func @f(%x: tensor<4x4xf32>, %i: tensor<4xi64>) {
  // expected-error@+1 {{axes must ascend and come after the batch dimensions}}
  %0 = pb.gather %x at(%i) axes = [0] batch_dims = 1 : tensor<4x4xf32>, tensor<4xi64>
}

// -----

func.func @f(%x: tensor<4x4xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{batch dimensions of 'tensor<4x4xf32>' and 'tensor<3xi64>' differ}}
  %0 = pb.gather %x at(%i) axes = [1] batch_dims = 1 : tensor<4x4xf32>, tensor<3xi64>
}

// -----

func.func @f(%x: tensor<0xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{cannot index dimension 0 of size 0}}
  %0 = pb.gather %x at(%i) axes = [0] batch_dims = 0 : tensor<0xf32>, tensor<3xi64>
}

// -----

func.func @f(%x: tensor<4xf32>, %u: tensor<2xf32>, %i: tensor<3xi64>) {
  // expected-error@+1 {{updates should be 'tensor<3xf32>', not 'tensor<2xf32>'}}
  %0 = pb.scatter_add %x, %u at(%i) axes = [0] batch_dims = 0 : tensor<4xf32>, tensor<2xf32>, tensor<3xi64>
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error@+1 {{dimension 1 is out of range for rank 1}}
  %0 = pb.argsort %x dim = 1 : tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error@+1 {{dimension 1 is out of range for rank 1}}
  %0 = pb.cumulative_product %x dim = 1 : tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error@+1 {{dimension 1 is out of range for rank 1}}
  %0 = pb.cumulative_extremum %x dim = 1 : tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error@+1 {{dimension 2 is out of range for rank 1}}
  %0 = pb.linear_recurrence %x, %x dim = 2 : tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error@+1 {{dimension 1 is out of range for rank 1}}
  %0 = pb.reduce_sum %x dims = [1] : tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error@+1 {{dimension 0 is given twice}}
  %0 = pb.reduce_max %x dims = [0, 0] : tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>, %y: tensor<4xf64>) {
  // expected-error@+1 {{element types differ: 'tensor<4xf32>' and 'tensor<4xf64>'}}
  %0 = pb.dot_general %x, %y batch = [] x [] contract = [0] x [0] : tensor<4xf32>, tensor<4xf64>
}

// -----

func.func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) {
  // expected-error@+1 {{1 and 0 batch dimensions}}
  %0 = pb.dot_general %x, %y batch = [0] x [] contract = [] x [0] : tensor<4xf32>, tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>, %y: tensor<5xf32>) {
  // expected-error@+1 {{contracted dimensions differ: 4 of 'tensor<4xf32>' and 5 of 'tensor<5xf32>'}}
  %0 = pb.dot_general %x, %y batch = [] x [] contract = [0] x [0] : tensor<4xf32>, tensor<5xf32>
}

// -----

func.func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) {
  // expected-error@+1 {{dimension of x 0 is given twice}}
  %0 = pb.dot_general %x, %y batch = [0] x [0] contract = [0] x [0] : tensor<4xf32>, tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>, %y: tensor<4xf32>) {
  // expected-error@+1 {{dimension of y 3 is out of range for rank 1}}
  %0 = pb.dot_general %x, %y batch = [] x [] contract = [0] x [3] : tensor<4xf32>, tensor<4xf32>
}

// -----

func.func @f(%x: tensor<4xf32>) {
  // expected-error@+1 {{results must have the types of the operands}}
  %0 = pb.barrier %x : tensor<4xf32> -> tensor<5xf32>
}

// -----

func.func @f(%key: tensor<3xi64>) {
  // expected-error@+1 {{has 1 to 64 bits, not 65}}
  %0 = pb.random_bits 65 of %key, %key : tensor<3xi64>
}

// -----

func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{names no function: @g}}
  %0 = pb.call @g(%x) : (tensor<f32>) -> tensor<f32>
  return
}

// -----

func.func private @g(tensor<f64>) -> tensor<f64>
func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{operands should be ('tensor<f64>'), not ('tensor<f32>')}}
  %0 = pb.call @g(%x) : (tensor<f32>) -> tensor<f64>
  return
}

// -----

func.func private @g(tensor<f64>) -> tensor<f64>
func.func @f(%x: tensor<f64>) {
  // expected-error@+1 {{results should be ('tensor<f64>'), not ()}}
  pb.call @g(%x) : (tensor<f64>) -> ()
  return
}

// -----

func.func private @g(tensor<3xf64>, tensor<i64>) -> (tensor<f64>, tensor<i64>)
func.func @f(%x: tensor<3xf64>, %n: tensor<i64>) {
  // expected-error@+1 {{wrt should list operands in ascending order}}
  %0:3 = pb.jvp @g(%x, %n) tangents(%x) wrt = [2] : (tensor<3xf64>, tensor<i64>) (tensor<3xf64>) -> (tensor<f64>, tensor<i64>, tensor<f64>)
  return
}

// -----

func.func private @g(tensor<3xf64>, tensor<i64>) -> (tensor<f64>, tensor<i64>)
func.func @f(%x: tensor<3xf64>, %n: tensor<i64>) {
  // expected-error@+1 {{operand 1 of type 'tensor<i64>' has no derivative}}
  %0:3 = pb.jvp @g(%x, %n) tangents(%n) wrt = [1] : (tensor<3xf64>, tensor<i64>) (tensor<i64>) -> (tensor<f64>, tensor<i64>, tensor<f64>)
  return
}

// -----

func.func private @g(tensor<3xf64>, tensor<i64>) -> (tensor<f64>, tensor<i64>)
func.func @f(%x: tensor<3xf64>, %n: tensor<i64>) {
  // expected-error@+1 {{tangents should be ('tensor<3xf64>'), not ()}}
  %0:3 = pb.jvp @g(%x, %n) tangents() wrt = [0] : (tensor<3xf64>, tensor<i64>) () -> (tensor<f64>, tensor<i64>, tensor<f64>)
  return
}

// -----

func.func private @g(tensor<3xf64>, tensor<i64>) -> (tensor<f64>, tensor<i64>)
func.func @f(%x: tensor<3xf64>, %n: tensor<i64>) {
  // expected-error@+1 {{results should be ('tensor<f64>', 'tensor<i64>', 'tensor<f64>'), not ('tensor<f64>', 'tensor<i64>')}}
  %0:2 = pb.jvp @g(%x, %n) tangents(%x) wrt = [0] : (tensor<3xf64>, tensor<i64>) (tensor<3xf64>) -> (tensor<f64>, tensor<i64>)
  return
}

// -----

func.func private @g(tensor<3xf64>, tensor<i64>) -> (tensor<f64>, tensor<i64>)
func.func @f(%x: tensor<3xf64>, %n: tensor<i64>) {
  // expected-error@+1 {{cotangents should be ('tensor<f64>'), not ('tensor<3xf64>')}}
  %0:3 = pb.vjp @g(%x, %n) cotangents(%x) wrt = [0] : (tensor<3xf64>, tensor<i64>) (tensor<3xf64>) -> (tensor<f64>, tensor<i64>, tensor<3xf64>)
  return
}

// -----

func.func private @g(tensor<3xf64>) -> tensor<f64>
func.func @f(%x: tensor<5x3xf64>) {
  // expected-error@+1 {{2 dimensions for 1 operands}}
  %0 = pb.vmap @g(%x) in_dims = [0, 0] out_dims = [0] size = 5 : (tensor<5x3xf64>) -> tensor<5xf64>
  return
}

// -----

func.func private @g(tensor<3xf64>) -> tensor<f64>
func.func @f(%x: tensor<5x3xf64>) {
  // expected-error@+1 {{operands of type 'tensor<5x3xf64>' cannot be batched by 4 at dimension 0}}
  %0 = pb.vmap @g(%x) in_dims = [0] out_dims = [0] size = 4 : (tensor<5x3xf64>) -> tensor<4xf64>
  return
}

// -----

func.func private @g(tensor<3xf64>) -> tensor<f64>
func.func @f(%x: tensor<5x3xf64>) {
  // expected-error@+1 {{operands of one example should be ('tensor<3xf64>'), not ('tensor<5xf64>')}}
  %0 = pb.vmap @g(%x) in_dims = [1] out_dims = [0] size = 3 : (tensor<5x3xf64>) -> tensor<3xf64>
  return
}

// -----

func.func private @g(tensor<3xf64>) -> tensor<f64>
func.func @f(%x: tensor<5x3xf64>) {
  // expected-error@+1 {{results of type 'tensor<5xf64>' cannot be batched by 5 at dimension -1}}
  %0 = pb.vmap @g(%x) in_dims = [0] out_dims = [-1] size = 5 : (tensor<5x3xf64>) -> tensor<5xf64>
  return
}

// -----

func.func private @g(tensor<3xf64>) -> tensor<f64>
func.func @f(%x: tensor<3xf64>) {
  // expected-error@+1 {{size of the batch is negative: -2}}
  %0 = pb.vmap @g(%x) in_dims = [-1] out_dims = [0] size = -2 : (tensor<3xf64>) -> tensor<5xf64>
  return
}

// -----

func.func private @lin(tensor<f64>) -> tensor<f64>
func.func @f(%x: tensor<f64>) {
  // expected-error@+1 {{more residuals than the callee has arguments}}
  %0 = pb.linear_transpose @lin(%x, %x) cotangents(%x) : (tensor<f64>, tensor<f64>) (tensor<f64>) -> (tensor<f64>)
  return
}

// -----

func.func private @g(tensor<f64>) -> tensor<f64>
func.func @f(%x: tensor<f64>) {
  // expected-error@+1 {{forward goes with backward or linear}}
  %0 = pb.custom_call @g(%x) captured = 0 differentiable = [0] saved = [] {forward = @g} : (tensor<f64>) -> tensor<f64>
  return
}

// -----

func.func private @g(tensor<f64>) -> tensor<f64>
func.func @f(%x: tensor<f64>) {
  // expected-error@+1 {{jvp operands should be ('tensor<f64>', 'tensor<f64>'), not ('tensor<f64>')}}
  %0 = pb.custom_call @g(%x) captured = 0 differentiable = [0] saved = [] {jvp_rule = @g} : (tensor<f64>) -> tensor<f64>
  return
}

// -----

func.func private @g(tensor<f64>) -> tensor<f64>
func.func @f(%x: tensor<f64>) {
  // expected-error@+1 {{saves value 7 of 2}}
  %0 = pb.custom_call @g(%x) captured = 0 differentiable = [0] saved = [7] {forward = @g, backward = @g} : (tensor<f64>) -> tensor<f64>
  return
}

// -----

func.func @f(%x: tensor<f64>) {
  // expected-error@+1 {{names neither the function nor its transpose}}
  %0 = pb.linear_call "g"(%x) (%x) : (tensor<f64>) (tensor<f64>) -> (tensor<f64>)
  return
}

// -----

func.func @f(%p: tensor<2xi1>) {
  // expected-error@+1 {{needs a scalar predicate, not 'tensor<2xi1>'}}
  pb.cond %p() : tensor<2xi1>, () -> () {
    pb.yield
  } else {
    pb.yield
  }
  return
}

// -----

func.func @f(%p: tensor<i1>, %x: tensor<f32>) {
  // expected-error@+1 {{values of region on_false should be ('tensor<f32>'), not ()}}
  %0 = pb.cond %p(%x) : tensor<i1>, (tensor<f32>) -> tensor<f32> {
  ^bb0(%a: tensor<f32>):
    pb.yield %a : tensor<f32>
  } else {
  ^bb0(%a: tensor<f32>):
    pb.yield
  }
  return
}

// -----

func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{region condition does not end in pb.yield}}
  %0 = pb.while () (%x) : () (tensor<f32>) -> (tensor<f32>) {
  ^bb0(%a: tensor<f32>):
    ub.unreachable
  } do {
  ^bb0(%a: tensor<f32>):
    pb.yield %a : tensor<f32>
  }
  return
}

// -----

func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{arguments of region body should be ('tensor<f32>'), not ()}}
  %0 = pb.scan () (%x) () length = 4 : () (tensor<f32>) () -> (tensor<f32>) {
    pb.yield
  }
  return
}

// -----

func.func @f(%xs: tensor<3xf32>) {
  // expected-error@+1 {{cannot scan 'tensor<3xf32>' in 4 steps}}
  pb.scan () () (%xs) length = 4 : () () (tensor<3xf32>) -> () {
  ^bb0(%a: tensor<f32>):
    pb.yield
  }
  return
}

// -----

func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{has fewer results than carried values}}
  pb.scan () (%x) () length = 4 : () (tensor<f32>) () -> () {
  ^bb0(%a: tensor<f32>):
    pb.yield %a : tensor<f32>
  }
  return
}

// -----

func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{carried results should be ('tensor<f32>'), not ('tensor<4xf32>')}}
  %0 = pb.scan () (%x) () length = 4 : () (tensor<f32>) () -> (tensor<4xf32>) {
  ^bb0(%a: tensor<f32>):
    pb.yield %a : tensor<f32>
  }
  return
}

// -----

func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{cannot stack 'tensor<5xf32>' from 4 steps}}
  %0:2 = pb.scan () (%x) () length = 4 : () (tensor<f32>) () -> (tensor<f32>, tensor<5xf32>) {
  ^bb0(%a: tensor<f32>):
    pb.yield %a, %a : tensor<f32>, tensor<f32>
  }
  return
}

// -----

func.func @f(%x: tensor<f32>) {
  // expected-error@+1 {{expects parent op to be one of 'pb.checkpoint, pb.cond, pb.while, pb.scan'}}
  pb.yield %x : tensor<f32>
}
