// RUN: pullback-opt --split-input-file --pb-expand-transforms %s | FileCheck %s
// RUN: pullback-opt --split-input-file --pb-expand-transforms --mlir-print-debuginfo %s | FileCheck %s --check-prefix=LOC
// LOC-NOT: unknown

// The gradient of sin is one cos and one mul.
// CHECK-LABEL: func @grad_sin(
// CHECK-SAME: %[[X:.*]]: tensor<f64>, %[[CT:.*]]: tensor<f64>) -> tensor<f64>
// CHECK-NEXT: %[[COS:.*]] = pb.cos %[[X]]
// CHECK-NEXT: %[[BAR:.*]] = pb.mul %[[CT]], %[[COS]]
// CHECK-NEXT: return %[[BAR]]
func.func private @sin(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.sin %x : tensor<f64>
  return %0 : tensor<f64>
}
func.func @grad_sin(%x: tensor<f64>, %ct: tensor<f64>) -> tensor<f64> {
  %0:2 = pb.vjp @sin(%x) cotangents(%ct) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1 : tensor<f64>
}

// -----

// With cotangent 1 the mul is gone too; and over a batch it is one cos of the batch.
// CHECK-LABEL: func @batched(
// CHECK-SAME: %[[XS:.*]]: tensor<8xf64>
// CHECK-NEXT: %[[COS:.*]] = pb.cos %[[XS]] : tensor<8xf64>
// CHECK-NEXT: return %[[COS]]
func.func private @sin(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.sin %x : tensor<f64>
  return %0 : tensor<f64>
}
func.func private @grad_sin(%x: tensor<f64>) -> tensor<f64> {
  %one = pb.constant dense<1.0> : tensor<f64>
  %0:2 = pb.vjp @sin(%x) cotangents(%one) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1 : tensor<f64>
}
func.func @batched(%xs: tensor<8xf64>) -> tensor<8xf64> {
  %0 = pb.vmap @grad_sin(%xs) in_dims = [0] out_dims = [0] size = 8 : (tensor<8xf64>) -> tensor<8xf64>
  return %0 : tensor<8xf64>
}

// -----

// The second derivative, innermost first: -sin x.
// CHECK-LABEL: func @second(
// CHECK-SAME: %[[X:.*]]: tensor<f64>
// CHECK-NEXT: %[[SIN:.*]] = pb.sin %[[X]]
// CHECK-NEXT: %[[NEG:.*]] = pb.neg %[[SIN]]
// CHECK-NEXT: return %[[NEG]]
func.func private @sin(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.sin %x : tensor<f64>
  return %0 : tensor<f64>
}
func.func private @first(%x: tensor<f64>) -> tensor<f64> {
  %one = pb.constant dense<1.0> : tensor<f64>
  %0:2 = pb.vjp @sin(%x) cotangents(%one) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1 : tensor<f64>
}
func.func @second(%x: tensor<f64>) -> tensor<f64> {
  %one = pb.constant dense<1.0> : tensor<f64>
  %0:2 = pb.jvp @first(%x) tangents(%one) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1 : tensor<f64>
}

// -----

// Derivative stops have done their work when no transform is left.
// CHECK-LABEL: func @stops(
// CHECK-SAME: %[[X:.*]]: tensor<f64>
// CHECK-NEXT: return %[[X]]
func.func @stops(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.stop_gradient %x : tensor<f64>
  return %0 : tensor<f64>
}

// -----

// A check survives a derivative that does not use its result.
// CHECK-LABEL: func @checked(
// CHECK: pb.check_index
// CHECK-NOT: pb.gather
// CHECK: return
func.func private @pick(%x: tensor<5xf64>, %i: tensor<i64>) -> tensor<f64> {
  %0 = pb.check_index %i size = 5 message = "IndexError: no" : tensor<i64>
  %1 = pb.gather %x at(%0) axes = [0] batch_dims = 0 {in_bounds} : tensor<5xf64>, tensor<i64>
  return %1 : tensor<f64>
}
func.func @checked(%x: tensor<5xf64>, %i: tensor<i64>, %ct: tensor<f64>) -> tensor<5xf64> {
  %0:2 = pb.vjp @pick(%x, %i) cotangents(%ct) wrt = [0] : (tensor<5xf64>, tensor<i64>) (tensor<f64>) -> (tensor<f64>, tensor<5xf64>)
  return %0#1 : tensor<5xf64>
}
