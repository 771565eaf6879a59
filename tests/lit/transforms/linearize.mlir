// RUN: pullback-opt --split-input-file --pb-linearize %s | FileCheck %s
// RUN: pullback-opt --split-input-file --pb-linearize --mlir-print-debuginfo %s | FileCheck %s --check-prefix=LOC
// LOC-NOT: unknown

// What depends on primals alone goes forward; the linear part gets it as a residual.
// CHECK-LABEL: func private @sin.fwd_0(
// CHECK-SAME: %[[X:.*]]: tensor<f64>) -> (tensor<f64>, tensor<f64>)
// CHECK-DAG: %[[SIN:.*]] = pb.sin %[[X]]
// CHECK-DAG: %[[COS:.*]] = pb.cos %[[X]]
// CHECK: return %[[SIN]], %[[COS]]
// CHECK-LABEL: func private @sin.lin_0(
// CHECK-SAME: %[[COS:.*]]: tensor<f64>, %[[X_DOT:.*]]: tensor<f64>) -> tensor<f64>
// CHECK: %[[DOT:.*]] = pb.mul %[[X_DOT]], %[[COS]]
// CHECK: return %[[DOT]]
// CHECK-LABEL: func @main(
// CHECK-SAME: %[[X:.*]]: tensor<f64>, %[[CT:.*]]: tensor<f64>
// CHECK: %[[OUT:.*]]:2 = pb.call @sin.fwd_0(%[[X]])
// CHECK: %[[BAR:.*]] = pb.linear_transpose @sin.lin_0(%[[OUT]]#1) cotangents(%[[CT]])
// CHECK: return %[[OUT]]#0, %[[BAR]]
func.func private @sin(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.sin %x : tensor<f64>
  return %0 : tensor<f64>
}
func.func @main(%x: tensor<f64>, %ct: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %0:2 = pb.vjp @sin(%x) cotangents(%ct) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#0, %0#1 : tensor<f64>, tensor<f64>
}

// -----

// A linear function leaves no residuals. Two uses share one pair of functions.
// CHECK-LABEL: func private @double.lin_0(
// CHECK-SAME: %[[X_DOT:[^:]*]]: tensor<f64>)
// CHECK-NOT: double.lin_0.2
// CHECK-LABEL: func @main
// CHECK: pb.linear_transpose @double.lin_0() cotangents(
// CHECK: pb.linear_transpose @double.lin_0() cotangents(
func.func private @double(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.add %x, %x : tensor<f64>
  return %0 : tensor<f64>
}
func.func @main(%x: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %0:2 = pb.vjp @double(%x) cotangents(%x) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  %1:2 = pb.vjp @double(%0#1) cotangents(%x) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1, %1#1 : tensor<f64>, tensor<f64>
}

// -----

// Constants and broadcasts cost nothing: they are made again instead of being kept.
// CHECK-LABEL: func private @scaled.fwd_0(
// CHECK-SAME: -> tensor<4xf64>
// CHECK-LABEL: func private @scaled.lin_0(
// CHECK: pb.constant
// CHECK: pb.mul
func.func private @scaled(%x: tensor<4xf64>) -> tensor<4xf64> {
  %0 = pb.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf64>
  %1 = pb.mul %x, %0 : tensor<4xf64>
  return %1 : tensor<4xf64>
}
func.func @main(%x: tensor<4xf64>) -> tensor<4xf64> {
  %0:2 = pb.vjp @scaled(%x) cotangents(%x) wrt = [0] : (tensor<4xf64>) (tensor<4xf64>) -> (tensor<4xf64>, tensor<4xf64>)
  return %0#1 : tensor<4xf64>
}
