// RUN: pullback-opt --pb-expand-transforms --split-input-file %s | FileCheck %s

// Reverse: one loop stacks what the other needs, the other runs backward and sums the cotangent of
// the constant. What is known before the loop is not stacked.
// CHECK-LABEL: func.func @reverse(
// CHECK-SAME: %[[C:[^:]*]]: tensor<f64>, %[[X:[^:]*]]: tensor<f64>, %[[CT:[^:]*]]: tensor<f64>)
// CHECK: pb.scan(%[[C]]) (%[[X]]) () length = 4
// CHECK: pb.mul
// CHECK: pb.scan(%[[C]]) (%[[CT]], %{{.*}}) (%{{.*}}) length = 4 {reverse}
// CHECK-NOT: pb.scan
// CHECK: return
func.func private @power(%c: tensor<f64>, %x: tensor<f64>) -> tensor<f64> {
  %0 = pb.scan (%c) (%x) () length = 4 : (tensor<f64>) (tensor<f64>) () -> (tensor<f64>) {
  ^bb0(%a: tensor<f64>, %k: tensor<f64>):
    %1 = pb.mul %a, %k : tensor<f64>
    pb.yield %1 : tensor<f64>
  }
  return %0 : tensor<f64>
}
func.func @reverse(%c: tensor<f64>, %x: tensor<f64>, %ct: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %0:3 = pb.vjp @power(%c, %x) cotangents(%ct) wrt = [0, 1]
    : (tensor<f64>, tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>, tensor<f64>)
  return %0#1, %0#2 : tensor<f64>, tensor<f64>
}

// -----

// A predicate that differs among examples: both branches, a choice, and no cond.
// CHECK-LABEL: func.func @each(
// CHECK-NOT: pb.cond
// CHECK: pb.select
// CHECK: return
func.func private @branch(%p: tensor<i1>, %x: tensor<f64>) -> tensor<f64> {
  %0 = pb.cond %p(%x) : tensor<i1>, (tensor<f64>) -> tensor<f64> {
  ^bb0(%a: tensor<f64>):
    %1 = pb.sin %a : tensor<f64>
    pb.yield %1 : tensor<f64>
  } else {
  ^bb0(%a: tensor<f64>):
    pb.yield %a : tensor<f64>
  }
  return %0 : tensor<f64>
}
func.func @each(%p: tensor<3xi1>, %x: tensor<3xf64>) -> tensor<3xf64> {
  %0 = pb.vmap @branch(%p, %x) in_dims = [0, 0] out_dims = [0] size = 3
    : (tensor<3xi1>, tensor<3xf64>) -> tensor<3xf64>
  return %0 : tensor<3xf64>
}
// One for all examples stays a branch.
// CHECK-LABEL: func.func @shared(
// CHECK: pb.cond %{{.*}}(%{{.*}}) : tensor<i1>, (tensor<3xf64>) -> tensor<3xf64>
func.func @shared(%p: tensor<i1>, %x: tensor<3xf64>) -> tensor<3xf64> {
  %0 = pb.vmap @branch(%p, %x) in_dims = [-1, 0] out_dims = [0] size = 3
    : (tensor<i1>, tensor<3xf64>) -> tensor<3xf64>
  return %0 : tensor<3xf64>
}

// -----

// The loop runs while any example wants to; those that are finished keep what they have.
// CHECK-LABEL: func.func @until(
// CHECK: pb.while(%{{.*}}) (%{{.*}}, %{{.*}})
// CHECK: pb.reduce_sum %{{.*}} dims = [0] : tensor<3xi1>
// CHECK: } do {
// CHECK: pb.select %{{.*}} : tensor<3xi1>, tensor<3xf64>, tensor<3xf64>
func.func private @grow(%limit: tensor<f64>, %x: tensor<f64>) -> tensor<f64> {
  %0 = pb.while (%limit) (%x) : (tensor<f64>) (tensor<f64>) -> (tensor<f64>) {
  ^bb0(%l: tensor<f64>, %k: tensor<f64>):
    %1 = pb.compare "lt" %k, %l : tensor<f64>
    pb.yield %1 : tensor<i1>
  } do {
  ^bb0(%l: tensor<f64>, %k: tensor<f64>):
    %1 = pb.add %k, %k : tensor<f64>
    pb.yield %1 : tensor<f64>
  }
  return %0 : tensor<f64>
}
func.func @until(%limit: tensor<f64>, %x: tensor<3xf64>) -> tensor<3xf64> {
  %0 = pb.vmap @grow(%limit, %x) in_dims = [-1, 0] out_dims = [0] size = 3
    : (tensor<f64>, tensor<3xf64>) -> tensor<3xf64>
  return %0 : tensor<3xf64>
}

// -----

// Dead and invariant carried values leave the loop; so does what each step would compute again.
// CHECK-LABEL: func.func @tidied(
// CHECK-SAME: %[[C:[^:]*]]: tensor<f64>, %[[X:[^:]*]]: tensor<f64>)
// CHECK: %[[SIN:.*]] = pb.sin %[[C]]
// CHECK: pb.scan(%[[SIN]]) (%[[X]]) () length = 3
// CHECK-NOT: pb.sin
// CHECK: return
func.func @tidied(%c: tensor<f64>, %x: tensor<f64>) -> tensor<f64> {
  %0:3 = pb.scan () (%x, %c, %x) () length = 3
    : () (tensor<f64>, tensor<f64>, tensor<f64>) () -> (tensor<f64>, tensor<f64>, tensor<f64>) {
  ^bb0(%k: tensor<f64>, %a: tensor<f64>, %dead: tensor<f64>):
    %1 = pb.sin %a : tensor<f64>
    %2 = pb.mul %1, %k : tensor<f64>
    %3 = pb.exp %dead : tensor<f64>
    pb.yield %2, %a, %3 : tensor<f64>, tensor<f64>, tensor<f64>
  }
  return %0#0 : tensor<f64>
}

// -----

// The derivative computes the region again, behind a barrier.
// CHECK-LABEL: func.func @remade(
// CHECK-SAME: %[[X:[^:]*]]: tensor<f64>, %[[CT:[^:]*]]: tensor<f64>)
// CHECK: %[[EXP:.*]] = pb.exp %[[X]]
// CHECK: pb.sin %[[EXP]]
// CHECK: %[[AGAIN:.*]]:2 = pb.barrier %[[X]], %[[CT]]
// CHECK: pb.exp %[[AGAIN]]#0
func.func private @f(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.checkpoint (%x) : (tensor<f64>) -> tensor<f64> {
  ^bb0(%a: tensor<f64>):
    %1 = pb.exp %a : tensor<f64>
    %2 = pb.sin %1 : tensor<f64>
    pb.yield %2 : tensor<f64>
  }
  return %0 : tensor<f64>
}
func.func @remade(%x: tensor<f64>, %ct: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %0:2 = pb.vjp @f(%x) cotangents(%ct) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#0, %0#1 : tensor<f64>, tensor<f64>
}
