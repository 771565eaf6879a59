// RUN: pullback-opt --split-input-file --pb-transpose %s | FileCheck %s
// RUN: pullback-opt --split-input-file --pb-transpose --mlir-print-debuginfo %s | FileCheck %s --check-prefix=LOC
// LOC-NOT: unknown

// Sums become broadcasts, a product with a residual stays one.
// CHECK-LABEL: func private @lin.transpose(
// CHECK-SAME: %[[R:.*]]: tensor<3xf64>, %[[CT:.*]]: tensor<f64>) -> tensor<3xf64>
// CHECK: %[[SPREAD:.*]] = pb.broadcast %[[CT]] dims = [] : tensor<f64> -> tensor<3xf64>
// CHECK: %[[BAR:.*]] = pb.mul %[[SPREAD]], %[[R]]
// CHECK: return %[[BAR]]
func.func private @lin(%r: tensor<3xf64>, %v: tensor<3xf64>) -> tensor<f64> {
  %0 = pb.mul %r, %v : tensor<3xf64>
  %1 = pb.reduce_sum %0 dims = [0] : tensor<3xf64>
  return %1 : tensor<f64>
}
func.func @main(%r: tensor<3xf64>, %ct: tensor<f64>) -> tensor<3xf64> {
  %0 = pb.linear_transpose @lin(%r) cotangents(%ct) : (tensor<3xf64>) (tensor<f64>) -> (tensor<3xf64>)
  return %0 : tensor<3xf64>
}

// -----

// A value used twice sums what comes back.
// CHECK-LABEL: func private @twice.transpose(
// CHECK-SAME: %[[A:.*]]: tensor<3xf64>, %[[B:.*]]: tensor<3xf64>) -> tensor<3xf64>
// CHECK: %[[NEG:.*]] = pb.sub %[[A]], %[[B]]
// CHECK: return %[[NEG]]
func.func private @twice(%v: tensor<3xf64>) -> (tensor<3xf64>, tensor<3xf64>) {
  %0 = pb.neg %v : tensor<3xf64>
  return %v, %0 : tensor<3xf64>, tensor<3xf64>
}
func.func @main(%a: tensor<3xf64>, %b: tensor<3xf64>) -> tensor<3xf64> {
  %0 = pb.linear_transpose @twice() cotangents(%a, %b) : () (tensor<3xf64>, tensor<3xf64>) -> (tensor<3xf64>)
  return %0 : tensor<3xf64>
}

// -----

// An argument that is not used has a zero cotangent.
// CHECK-LABEL: func private @unused.transpose(
// CHECK: %[[ZERO:.*]] = pb.constant dense<0.000000e+00> : tensor<2xf64>
// CHECK: return %{{.*}}, %[[ZERO]]
func.func private @unused(%v: tensor<f64>, %w: tensor<2xf64>) -> tensor<f64> {
  return %v : tensor<f64>
}
func.func @main(%ct: tensor<f64>) -> (tensor<f64>, tensor<2xf64>) {
  %0:2 = pb.linear_transpose @unused() cotangents(%ct) : () (tensor<f64>) -> (tensor<f64>, tensor<2xf64>)
  return %0#0, %0#1 : tensor<f64>, tensor<2xf64>
}
