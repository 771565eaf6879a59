// Every op in its pretty syntax: what is printed is parsed again, here and by plain mlir-opt.
// RUN: pullback-opt %s | pullback-opt | FileCheck %s
// RUN: mlir-opt %s | mlir-opt | FileCheck %s
// RUN: mlir-opt --mlir-print-op-generic %s | pullback-opt | FileCheck %s

// CHECK-LABEL: func @elementwise(
// CHECK-SAME: %[[X:.*]]: tensor<2x3xf32>, %[[Y:.*]]: tensor<2x3xf32>
func.func @elementwise(%x: tensor<2x3xf32>, %y: tensor<2x3xf32>) {
  // CHECK: pb.add %[[X]], %[[Y]] : tensor<2x3xf32>
  %add = pb.add %x, %y : tensor<2x3xf32>
  // CHECK: pb.sub %[[X]], %[[Y]] : tensor<2x3xf32>
  %sub = pb.sub %x, %y : tensor<2x3xf32>
  // CHECK: pb.mul %[[X]], %[[Y]] : tensor<2x3xf32>
  %mul = pb.mul %x, %y : tensor<2x3xf32>
  // CHECK: pb.div %[[X]], %[[Y]] : tensor<2x3xf32>
  %div = pb.div %x, %y : tensor<2x3xf32>
  // CHECK: pb.pow %[[X]], %[[Y]] : tensor<2x3xf32>
  %pow = pb.pow %x, %y : tensor<2x3xf32>
  // CHECK: pb.maximum %[[X]], %[[Y]] : tensor<2x3xf32>
  %maximum = pb.maximum %x, %y : tensor<2x3xf32>
  // CHECK: pb.neg %[[X]] : tensor<2x3xf32>
  %neg = pb.neg %x : tensor<2x3xf32>
  // CHECK: pb.exp %[[X]] : tensor<2x3xf32>
  %exp = pb.exp %x : tensor<2x3xf32>
  // CHECK: pb.log %[[X]] : tensor<2x3xf32>
  %log = pb.log %x : tensor<2x3xf32>
  // CHECK: pb.sin %[[X]] : tensor<2x3xf32>
  %sin = pb.sin %x : tensor<2x3xf32>
  // CHECK: pb.cos %[[X]] : tensor<2x3xf32>
  %cos = pb.cos %x : tensor<2x3xf32>
  // CHECK: pb.tanh %[[X]] : tensor<2x3xf32>
  %tanh = pb.tanh %x : tensor<2x3xf32>
  // CHECK: pb.sqrt %[[X]] : tensor<2x3xf32>
  %sqrt = pb.sqrt %x : tensor<2x3xf32>
  // CHECK: pb.logistic %[[X]] : tensor<2x3xf32>
  %logistic = pb.logistic %x : tensor<2x3xf32>
  // CHECK: %[[LT:.*]] = pb.compare "lt" %[[X]], %[[Y]] : tensor<2x3xf32>
  %lt = pb.compare "lt" %x, %y : tensor<2x3xf32>
  // CHECK: pb.select %[[LT]], %[[X]], %[[Y]] : tensor<2x3xi1>, tensor<2x3xf32>, tensor<2x3xf32>
  %select = pb.select %lt, %x, %y : tensor<2x3xi1>, tensor<2x3xf32>, tensor<2x3xf32>
  // CHECK: pb.convert %[[X]] : tensor<2x3xf32> -> tensor<2x3xi64>
  %convert = pb.convert %x : tensor<2x3xf32> -> tensor<2x3xi64>
  return
}

// CHECK-LABEL: func @creation
func.func @creation() {
  // CHECK: pb.constant dense<{{\[}}[1, 2], [3, 4]]> : tensor<2x2xi32>
  %constant = pb.constant dense<[[1, 2], [3, 4]]> : tensor<2x2xi32>
  // CHECK: pb.iota dim = 1 : tensor<2x3xi64>
  %iota = pb.iota dim = 1 : tensor<2x3xi64>
  // CHECK: pb.basis id = 7 : tensor<6x2x3xf64>
  %basis = pb.basis id = 7 : tensor<6x2x3xf64>
  return
}

// CHECK-LABEL: func @structure(
// CHECK-SAME: %[[X:.*]]: tensor<2x3xf32>, %[[ZERO:.*]]: tensor<f32>
func.func @structure(%x: tensor<2x3xf32>, %zero: tensor<f32>) {
  // CHECK: pb.broadcast %[[X]] dims = [0, 2] : tensor<2x3xf32> -> tensor<2x5x3xf32>
  %broadcast = pb.broadcast %x dims = [0, 2] : tensor<2x3xf32> -> tensor<2x5x3xf32>
  // CHECK: pb.reshape %[[X]] : tensor<2x3xf32> -> tensor<6xf32>
  %reshape = pb.reshape %x : tensor<2x3xf32> -> tensor<6xf32>
  // CHECK: pb.transpose %[[X]] permutation = [1, 0] : tensor<2x3xf32>
  %transpose = pb.transpose %x permutation = [1, 0] : tensor<2x3xf32>
  // CHECK: pb.slice %[[X]] offsets = [0, 0] strides = [1, 2] : tensor<2x3xf32> -> tensor<2x2xf32>
  %slice = pb.slice %x offsets = [0, 0] strides = [1, 2] : tensor<2x3xf32> -> tensor<2x2xf32>
  // CHECK: pb.pad %[[X]], %[[ZERO]] offsets = [1, 0] strides = [1, 2] : tensor<2x3xf32>, tensor<f32> -> tensor<4x5xf32>
  %pad = pb.pad %x, %zero offsets = [1, 0] strides = [1, 2] : tensor<2x3xf32>, tensor<f32> -> tensor<4x5xf32>
  // CHECK: pb.concatenate %[[X]], %[[X]] dim = 0 : tensor<2x3xf32>, tensor<2x3xf32>
  %concatenate = pb.concatenate %x, %x dim = 0 : tensor<2x3xf32>, tensor<2x3xf32>
  return
}

// CHECK-LABEL: func @indexing(
// CHECK-SAME: %[[X:.*]]: tensor<4x5xf32>, %[[I:.*]]: tensor<3xi64>, %[[U:.*]]: tensor<3x5xf32>
func.func @indexing(%x: tensor<4x5xf32>, %i: tensor<3xi64>, %updates: tensor<3x5xf32>) {
  // CHECK: %[[SAFE:.*]] = pb.check_index %[[I]] size = 4 message = "IndexError: too far" {wrap} : tensor<3xi64>
  %safe = pb.check_index %i size = 4 message = "IndexError: too far" {wrap} : tensor<3xi64>
  // CHECK: pb.gather %[[X]] at(%[[SAFE]]) axes = [0] batch_dims = 0 {in_bounds} : tensor<4x5xf32>, tensor<3xi64>
  %gather = pb.gather %x at(%safe) axes = [0] batch_dims = 0 {in_bounds} : tensor<4x5xf32>, tensor<3xi64>
  // CHECK: pb.gather %[[X]] at(%[[I]], %[[I]]) axes = [0, 1] batch_dims = 0 : tensor<4x5xf32>, tensor<3xi64>, tensor<3xi64>
  %points = pb.gather %x at(%i, %i) axes = [0, 1] batch_dims = 0 : tensor<4x5xf32>, tensor<3xi64>, tensor<3xi64>
  // CHECK: pb.scatter_add %[[X]], %[[U]] at(%[[I]]) axes = [0] batch_dims = 0 : tensor<4x5xf32>, tensor<3x5xf32>, tensor<3xi64>
  %scatter = pb.scatter_add %x, %updates at(%i) axes = [0] batch_dims = 0 : tensor<4x5xf32>, tensor<3x5xf32>, tensor<3xi64>
  // CHECK: pb.scatter %[[X]], %[[U]] at(%[[I]]) axes = [0] batch_dims = 0 : tensor<4x5xf32>, tensor<3x5xf32>, tensor<3xi64>
  %set = pb.scatter %x, %updates at(%i) axes = [0] batch_dims = 0 : tensor<4x5xf32>, tensor<3x5xf32>, tensor<3xi64>
  // CHECK: pb.scatter_max %[[X]], %[[U]] at(%[[I]]) axes = [0] batch_dims = 0 : tensor<4x5xf32>, tensor<3x5xf32>, tensor<3xi64>
  %max = pb.scatter_max %x, %updates at(%i) axes = [0] batch_dims = 0 : tensor<4x5xf32>, tensor<3x5xf32>, tensor<3xi64>
  // CHECK: pb.argsort %[[X]] dim = 1 {descending} : tensor<4x5xf32>
  %order = pb.argsort %x dim = 1 {descending} : tensor<4x5xf32>
  return
}

// CHECK-LABEL: func @cumulative(
// CHECK-SAME: %[[X:.*]]: tensor<4x5xf32>, %[[Y:.*]]: tensor<4x5xf32>
func.func @cumulative(%x: tensor<4x5xf32>, %y: tensor<4x5xf32>) {
  // CHECK: pb.cumulative_sum %[[X]] dim = 1 {reverse} : tensor<4x5xf32>
  %sum = pb.cumulative_sum %x dim = 1 {reverse} : tensor<4x5xf32>
  // CHECK: pb.cumulative_product %[[X]] dim = 0 : tensor<4x5xf32>
  %product = pb.cumulative_product %x dim = 0 : tensor<4x5xf32>
  // CHECK: pb.cumulative_logsumexp %[[X]] dim = 1 : tensor<4x5xf32>
  %log = pb.cumulative_logsumexp %x dim = 1 : tensor<4x5xf32>
  // CHECK: pb.cumulative_extremum %[[X]] dim = 1 {smallest} : tensor<4x5xf32>
  %least = pb.cumulative_extremum %x dim = 1 {smallest} : tensor<4x5xf32>
  // CHECK: pb.linear_recurrence %[[X]], %[[Y]] dim = 0 {reverse} : tensor<4x5xf32>
  %h = pb.linear_recurrence %x, %y dim = 0 {reverse} : tensor<4x5xf32>
  return
}

// CHECK-LABEL: func @contraction(
// CHECK-SAME: %[[X:.*]]: tensor<7x2x3xf64>, %[[Y:.*]]: tensor<3x4x7xf64>
func.func @contraction(%x: tensor<7x2x3xf64>, %y: tensor<3x4x7xf64>) {
  // CHECK: pb.reduce_sum %[[X]] dims = [0, 2] : tensor<7x2x3xf64>
  %sum = pb.reduce_sum %x dims = [0, 2] : tensor<7x2x3xf64>
  // CHECK: pb.reduce_max %[[X]] dims = [1] : tensor<7x2x3xf64>
  %max = pb.reduce_max %x dims = [1] : tensor<7x2x3xf64>
  // CHECK: pb.dot_general %[[X]], %[[Y]] batch = [0] x [2] contract = [2] x [0] : tensor<7x2x3xf64>, tensor<3x4x7xf64>
  %dot = pb.dot_general %x, %y batch = [0] x [2] contract = [2] x [0] : tensor<7x2x3xf64>, tensor<3x4x7xf64>
  return
}

// CHECK-LABEL: func @stops(
// CHECK-SAME: %[[X:.*]]: tensor<2xf32>
func.func @stops(%x: tensor<2xf32>) {
  // CHECK: pb.stop_gradient %[[X]] : tensor<2xf32>
  %detach = pb.stop_gradient %x : tensor<2xf32>
  // CHECK: pb.stop_gradient %[[X]] {reverse_only} : tensor<2xf32>
  %no_grad = pb.stop_gradient %x {reverse_only} : tensor<2xf32>
  // CHECK: pb.barrier %[[X]], %[[X]] : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>, tensor<2xf32>
  %barrier:2 = pb.barrier %x, %x : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>, tensor<2xf32>
  return
}

func.func private @f(tensor<3xf64>, tensor<2xi64>) -> (tensor<f64>, tensor<2xi64>)
func.func private @df(tensor<3xf64>, tensor<3xf64>) -> tensor<f64>
func.func private @dft(tensor<3xf64>, tensor<f64>) -> tensor<3xf64>

// CHECK-LABEL: func @functional(
// CHECK-SAME: %[[X:[^:]*]]: tensor<3xf64>, %[[N:[^:]*]]: tensor<2xi64>, %[[CT:[^:]*]]: tensor<f64>, %[[XS:[^:]*]]: tensor<3x8xf64>
func.func @functional(%x: tensor<3xf64>, %n: tensor<2xi64>, %ct: tensor<f64>, %xs: tensor<3x8xf64>) {
  // CHECK: pb.call @f(%[[X]], %[[N]]) : (tensor<3xf64>, tensor<2xi64>) -> (tensor<f64>, tensor<2xi64>)
  %call:2 = pb.call @f(%x, %n) : (tensor<3xf64>, tensor<2xi64>) -> (tensor<f64>, tensor<2xi64>)
  // CHECK: pb.vmap @f(%[[XS]], %[[N]]) in_dims = [1, -1] out_dims = [0, 1] size = 8 : (tensor<3x8xf64>, tensor<2xi64>) -> (tensor<8xf64>, tensor<2x8xi64>)
  %vmap:2 = pb.vmap @f(%xs, %n) in_dims = [1, -1] out_dims = [0, 1] size = 8
    : (tensor<3x8xf64>, tensor<2xi64>) -> (tensor<8xf64>, tensor<2x8xi64>)
  // CHECK: pb.jvp @f(%[[X]], %[[N]]) tangents(%[[X]]) wrt = [0] : (tensor<3xf64>, tensor<2xi64>) (tensor<3xf64>) -> (tensor<f64>, tensor<2xi64>, tensor<f64>)
  %jvp:3 = pb.jvp @f(%x, %n) tangents(%x) wrt = [0]
    : (tensor<3xf64>, tensor<2xi64>) (tensor<3xf64>) -> (tensor<f64>, tensor<2xi64>, tensor<f64>)
  // CHECK: pb.vjp @f(%[[X]], %[[N]]) cotangents(%[[CT]]) wrt = [0] : (tensor<3xf64>, tensor<2xi64>) (tensor<f64>) -> (tensor<f64>, tensor<2xi64>, tensor<3xf64>)
  %vjp:3 = pb.vjp @f(%x, %n) cotangents(%ct) wrt = [0]
    : (tensor<3xf64>, tensor<2xi64>) (tensor<f64>) -> (tensor<f64>, tensor<2xi64>, tensor<3xf64>)
  // CHECK: pb.linear_transpose @df(%[[X]]) cotangents(%[[CT]]) : (tensor<3xf64>) (tensor<f64>) -> (tensor<3xf64>)
  %transposed = pb.linear_transpose @df(%x) cotangents(%ct) : (tensor<3xf64>) (tensor<f64>) -> (tensor<3xf64>)
  // CHECK: pb.linear_call "f"(%[[X]]) (%[[X]]) {callee = @df, transposed = @dft} : (tensor<3xf64>) (tensor<3xf64>) -> (tensor<f64>)
  %linear = pb.linear_call "f"(%x) (%x) {callee = @df, transposed = @dft} : (tensor<3xf64>) (tensor<3xf64>) -> (tensor<f64>)
  // CHECK: pb.custom_call @f(%[[X]], %[[N]]) captured = 0 differentiable = [0] saved = [0] {backward = @dft, forward = @f} : (tensor<3xf64>, tensor<2xi64>) -> (tensor<f64>, tensor<2xi64>)
  %custom:2 = pb.custom_call @f(%x, %n) captured = 0 differentiable = [0] saved = [0] {forward = @f, backward = @dft} : (tensor<3xf64>, tensor<2xi64>) -> (tensor<f64>, tensor<2xi64>)
  return
}

// CHECK-LABEL: func @control(
// CHECK-SAME: %[[P:[^:]*]]: tensor<i1>, %[[X:[^:]*]]: tensor<f32>, %[[XS:[^:]*]]: tensor<4x2xf32>, %[[KEY:[^:]*]]: tensor<2xi64>
func.func @control(%pred: tensor<i1>, %x: tensor<f32>, %xs: tensor<4x2xf32>, %key: tensor<2xi64>) {
  // CHECK: pb.cond %[[P]](%[[X]]) : tensor<i1>, (tensor<f32>) -> tensor<f32> {
  // CHECK-NEXT: ^bb0(%[[A:.*]]: tensor<f32>):
  // CHECK-NEXT: pb.yield %[[A]] : tensor<f32>
  // CHECK: } else {
  %cond = pb.cond %pred(%x) : tensor<i1>, (tensor<f32>) -> tensor<f32> {
  ^bb0(%a: tensor<f32>):
    pb.yield %a : tensor<f32>
  } else {
  ^bb0(%a: tensor<f32>):
    %b = pb.neg %a : tensor<f32>
    pb.yield %b : tensor<f32>
  }
  // CHECK: pb.checkpoint(%[[X]]) {recompute} : (tensor<f32>) -> tensor<f32> {
  %checkpoint = pb.checkpoint (%x) {recompute} : (tensor<f32>) -> tensor<f32> {
  ^bb0(%a: tensor<f32>):
    pb.yield %a : tensor<f32>
  }
  // CHECK: pb.while(%[[P]]) (%[[X]]) {max_steps = 9 : i64} : (tensor<i1>) (tensor<f32>) -> (tensor<f32>) {
  // CHECK: } do {
  %while = pb.while (%pred) (%x) {max_steps = 9 : i64} : (tensor<i1>) (tensor<f32>) -> (tensor<f32>) {
  ^bb0(%p: tensor<i1>, %a: tensor<f32>):
    pb.yield %p : tensor<i1>
  } do {
  ^bb0(%p: tensor<i1>, %a: tensor<f32>):
    pb.yield %a : tensor<f32>
  }
  // CHECK: pb.scan() (%[[X]]) (%[[XS]]) length = 4 {reverse} : () (tensor<f32>) (tensor<4x2xf32>) -> (tensor<f32>, tensor<4x2xf32>) {
  %scan:2 = pb.scan () (%x) (%xs) length = 4 {reverse}
    : () (tensor<f32>) (tensor<4x2xf32>) -> (tensor<f32>, tensor<4x2xf32>) {
  ^bb0(%a: tensor<f32>, %row: tensor<2xf32>):
    pb.yield %a, %row : tensor<f32>, tensor<2xf32>
  }
  // CHECK: pb.random_bits 53 of %[[KEY]], %[[KEY]] : tensor<2xi64>
  %bits = pb.random_bits 53 of %key, %key : tensor<2xi64>
  return
}
