// RUN: pullback-opt --split-input-file --pb-jvp %s | FileCheck %s
// RUN: pullback-opt --split-input-file --pb-jvp --mlir-print-debuginfo %s | FileCheck %s --check-prefix=LOC

// The pushforward stands beside its function: f(x), then f'(x) x_dot.
// CHECK-LABEL: func private @sin.jvp_0(
// CHECK-SAME: %[[X:.*]]: tensor<f64>, %[[X_DOT:.*]]: tensor<f64>) -> (tensor<f64>, tensor<f64>)
// CHECK: %[[SIN:.*]] = pb.sin %[[X]]
// CHECK: %[[COS:.*]] = pb.cos %[[X]]
// CHECK: %[[DOT:.*]] = pb.mul %[[X_DOT]], %[[COS]]
// CHECK: return %[[SIN]], %[[DOT]]
// CHECK-LABEL: func @main
// CHECK: pb.call @sin.jvp_0

// Every op made is at the user's line, under the name of the transform.
// LOC-NOT: unknown
// LOC: pb.cos %{{.*}} loc(#[[COS:.*]])
// LOC-NOT: unknown
// LOC: #[[LINE:.*]] = loc("-":[[#@LINE + 3]]:8)
// LOC: #[[COS]] = loc("jvp"(#[[LINE]]))
func.func private @sin(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.sin %x : tensor<f64>
  return %0 : tensor<f64>
}
func.func @main(%x: tensor<f64>, %v: tensor<f64>) -> tensor<f64> {
  %0:2 = pb.jvp @sin(%x) tangents(%v) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>)
  return %0#1 : tensor<f64>
}

// -----

// What does not depend on a tangent has a structural zero, and no op.
// CHECK-LABEL: func private @scaled.jvp_0(
// CHECK-SAME: %[[X:.*]]: tensor<3xf64>, %[[S:.*]]: tensor<3xf64>, %[[X_DOT:.*]]: tensor<3xf64>
// CHECK-COUNT-2: pb.mul
// CHECK-NOT: pb.
// CHECK: return
func.func private @scaled(%x: tensor<3xf64>, %s: tensor<3xf64>) -> tensor<3xf64> {
  %0 = pb.mul %x, %s : tensor<3xf64>
  return %0 : tensor<3xf64>
}
func.func @main(%x: tensor<3xf64>, %s: tensor<3xf64>) -> tensor<3xf64> {
  %0:2 = pb.jvp @scaled(%x, %s) tangents(%x) wrt = [0] : (tensor<3xf64>, tensor<3xf64>) (tensor<3xf64>) -> (tensor<3xf64>, tensor<3xf64>)
  return %0#1 : tensor<3xf64>
}

// -----

// detach ends forward mode, no_grad does not.
// CHECK-LABEL: func private @stopped.jvp_0(
// CHECK-SAME: %[[X:.*]]: tensor<f64>, %[[X_DOT:.*]]: tensor<f64>
// CHECK-DAG: %[[ZERO:.*]] = pb.constant dense<0.000000e+00>
// CHECK-DAG: %[[DOT:.*]] = pb.stop_gradient %[[X_DOT]] {reverse_only}
// CHECK: return %{{.*}}, %{{.*}}, %[[ZERO]], %[[DOT]]
func.func private @stopped(%x: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %0 = pb.stop_gradient %x : tensor<f64>
  %1 = pb.stop_gradient %x {reverse_only} : tensor<f64>
  return %0, %1 : tensor<f64>, tensor<f64>
}
func.func @main(%x: tensor<f64>) -> (tensor<f64>, tensor<f64>) {
  %0:4 = pb.jvp @stopped(%x) tangents(%x) wrt = [0] : (tensor<f64>) (tensor<f64>) -> (tensor<f64>, tensor<f64>, tensor<f64>, tensor<f64>)
  return %0#2, %0#3 : tensor<f64>, tensor<f64>
}
