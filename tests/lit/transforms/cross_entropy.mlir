// The gradient and the Hessian of a linear layer with softmax cross-entropy, as on paper.
// RUN: pullback-opt --pb-expand-transforms %s | FileCheck %s

func.func private @loss(%w: tensor<4x3xf64>, %x: tensor<4xf64>, %label: tensor<i64>) -> tensor<f64> {
  %logits = pb.dot_general %x, %w batch = [] x [] contract = [0] x [0] : tensor<4xf64>, tensor<4x3xf64>
  %max = pb.reduce_max %logits dims = [0] : tensor<3xf64>
  %stopped = pb.stop_gradient %max : tensor<f64>
  %maxes = pb.broadcast %stopped dims = [] : tensor<f64> -> tensor<3xf64>
  %low = pb.sub %logits, %maxes : tensor<3xf64>
  %exp = pb.exp %low : tensor<3xf64>
  %sum = pb.reduce_sum %exp dims = [0] : tensor<3xf64>
  %norm = pb.log %sum : tensor<f64>
  %norms = pb.broadcast %norm dims = [] : tensor<f64> -> tensor<3xf64>
  %log_softmax = pb.sub %low, %norms : tensor<3xf64>
  %safe = pb.check_index %label size = 3 message = "IndexError: no such class" : tensor<i64>
  %classes = pb.iota dim = 0 : tensor<3xi64>
  %labels = pb.broadcast %safe dims = [] : tensor<i64> -> tensor<3xi64>
  %one_hot = pb.compare "eq" %classes, %labels : tensor<3xi64>
  %zeros = pb.constant dense<0.0> : tensor<3xf64>
  %chosen = pb.select %one_hot, %log_softmax, %zeros : tensor<3xi1>, tensor<3xf64>, tensor<3xf64>
  %picked = pb.reduce_sum %chosen dims = [0] : tensor<3xf64>
  %loss = pb.neg %picked : tensor<f64>
  return %loss : tensor<f64>
}
func.func private @grad(%w: tensor<4x3xf64>, %x: tensor<4xf64>, %label: tensor<i64>) -> tensor<4x3xf64> {
  %one = pb.constant dense<1.0> : tensor<f64>
  %l, %g = pb.vjp @loss(%w, %x, %label) cotangents(%one) wrt = [0]
    : (tensor<4x3xf64>, tensor<4xf64>, tensor<i64>) (tensor<f64>) -> (tensor<f64>, tensor<4x3xf64>)
  return %g : tensor<4x3xf64>
}

// With p = exp(low) / sum: the outer product of x and p - one_hot.
// CHECK-LABEL: func @gradient(
// CHECK-SAME: %[[W:.*]]: tensor<4x3xf64>, %[[X:.*]]: tensor<4xf64>, %[[LABEL:.*]]: tensor<i64>
// CHECK-NEXT: %[[LOGITS:.*]] = pb.dot_general %[[X]], %[[W]]
// CHECK-NEXT: pb.reduce_max
// CHECK-NEXT: pb.broadcast
// CHECK-NEXT: %[[LOW:.*]] = pb.sub %[[LOGITS]]
// CHECK-NEXT: %[[EXP:.*]] = pb.exp %[[LOW]]
// CHECK-NEXT: %[[SUM:.*]] = pb.reduce_sum %[[EXP]]
// CHECK-NEXT: pb.check_index %[[LABEL]]
// CHECK: %[[IS_LABEL:.*]] = pb.compare "eq"
// CHECK: %[[MINUS_ONE_HOT:.*]] = pb.select %[[IS_LABEL]]
// CHECK: %[[INVERSE:.*]] = pb.div %{{.*}}, %[[SUM]] : tensor<f64>
// CHECK-NEXT: %[[SPREAD:.*]] = pb.broadcast %[[INVERSE]]
// CHECK-NEXT: %[[P:.*]] = pb.mul %[[SPREAD]], %[[EXP]]
// CHECK-NEXT: %[[DIFFERENCE:.*]] = pb.add %[[MINUS_ONE_HOT]], %[[P]]
// CHECK-NEXT: %[[GRADIENT:.*]] = pb.dot_general %[[X]], %[[DIFFERENCE]] batch = [] x [] contract = [] x []
// CHECK-NEXT: return %[[GRADIENT]]
func.func @gradient(%w: tensor<4x3xf64>, %x: tensor<4xf64>, %label: tensor<i64>) -> tensor<4x3xf64> {
  %g = pb.call @grad(%w, %x, %label) : (tensor<4x3xf64>, tensor<4xf64>, tensor<i64>) -> tensor<4x3xf64>
  return %g : tensor<4x3xf64>
}

// For each V of the basis, with t = exp(low) * (x V): x times t / sum - exp(low) * sum(t) / sum^2.
// The label is checked, and changes nothing.
// CHECK-LABEL: func @hessian(
// CHECK-SAME: %[[W:.*]]: tensor<4x3xf64>, %[[X:.*]]: tensor<4xf64>, %[[LABEL:.*]]: tensor<i64>
// CHECK: %[[XV:.*]] = pb.dot_general %[[X]], %{{.*}} : tensor<4xf64>, tensor<12x4x3xf64>
// CHECK: %[[EXP:.*]] = pb.exp
// CHECK-NEXT: %[[EXPS:.*]] = pb.broadcast %[[EXP]]
// CHECK-NEXT: %[[T:.*]] = pb.mul %[[XV]], %[[EXPS]]
// CHECK-NEXT: %[[SUM:.*]] = pb.reduce_sum %[[EXP]]
// CHECK-NEXT: %[[SUM_T:.*]] = pb.reduce_sum %[[T]]
// CHECK-NEXT: pb.check_index
// CHECK-NEXT: pb.constant
// CHECK-NEXT: %[[INVERSE:.*]] = pb.div %{{.*}}, %[[SUM]] : tensor<f64>
// CHECK-NEXT: %[[SQUARE:.*]] = pb.div %[[INVERSE]], %[[SUM]] : tensor<f64>
// CHECK-NEXT: %[[SQUARES:.*]] = pb.broadcast %[[SQUARE]]
// CHECK-NEXT: %[[FACTOR:.*]] = pb.mul %[[SUM_T]], %[[SQUARES]] : tensor<12xf64>
// CHECK-NEXT: %[[INVERSES:.*]] = pb.broadcast %[[INVERSE]]
// CHECK-NEXT: %[[FIRST:.*]] = pb.mul %[[INVERSES]], %[[T]]
// CHECK-NEXT: %[[FACTORS:.*]] = pb.broadcast %[[FACTOR]]
// CHECK-NEXT: %[[SECOND:.*]] = pb.mul %[[FACTORS]], %[[EXPS]]
// CHECK-NEXT: %[[ROWS:.*]] = pb.sub %[[FIRST]], %[[SECOND]]
// CHECK-NEXT: %[[OUTER:.*]] = pb.dot_general %[[X]], %[[ROWS]] batch = [] x [] contract = [] x []
// CHECK-NEXT: pb.transpose %[[OUTER]]
// CHECK-NEXT: return
func.func private @column(%w: tensor<4x3xf64>, %v: tensor<4x3xf64>, %x: tensor<4xf64>, %label: tensor<i64>) -> tensor<4x3xf64> {
  %g, %h = pb.jvp @grad(%w, %x, %label) tangents(%v) wrt = [0]
    : (tensor<4x3xf64>, tensor<4xf64>, tensor<i64>) (tensor<4x3xf64>) -> (tensor<4x3xf64>, tensor<4x3xf64>)
  return %h : tensor<4x3xf64>
}
func.func @hessian(%w: tensor<4x3xf64>, %x: tensor<4xf64>, %label: tensor<i64>) -> tensor<12x4x3xf64> {
  %basis = pb.basis id = 0 : tensor<12x4x3xf64>
  %h = pb.vmap @column(%w, %basis, %x, %label) in_dims = [-1, 0, -1, -1] out_dims = [0] size = 12
    : (tensor<4x3xf64>, tensor<12x4x3xf64>, tensor<4xf64>, tensor<i64>) -> tensor<12x4x3xf64>
  return %h : tensor<12x4x3xf64>
}
