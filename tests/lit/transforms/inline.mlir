// RUN: pullback-opt --pb-inline %s | FileCheck %s
// RUN: pullback-opt --pb-inline --mlir-print-debuginfo %s | FileCheck %s --check-prefix=LOC

// Calls become bodies, callees first; private functions that nobody names are gone.
// CHECK-NOT: @inner
// CHECK-LABEL: func @main(
// CHECK-SAME: %[[X:.*]]: tensor<f64>
// CHECK: %[[SIN:.*]] = pb.sin %[[X]]
// CHECK: %[[EXP:.*]] = pb.exp %[[SIN]]
// CHECK: %[[AGAIN:.*]] = pb.sin %[[EXP]]
// CHECK: return %[[AGAIN]]
// CHECK-NOT: @inner

// LOC-NOT: unknown
// LOC: pb.sin %{{.*}} loc(#[[SIN:.*]])
// LOC: #[[SIN]] = loc("-":[[#@LINE + 2]]:8)
func.func private @inner(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.sin %x : tensor<f64>
  return %0 : tensor<f64>
}
func.func private @outer(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.call @inner(%x) : (tensor<f64>) -> tensor<f64>
  %1 = pb.exp %0 : tensor<f64>
  return %1 : tensor<f64>
}
func.func @main(%x: tensor<f64>) -> tensor<f64> {
  %0 = pb.call @outer(%x) : (tensor<f64>) -> tensor<f64>
  %1 = pb.call @inner(%0) : (tensor<f64>) -> tensor<f64>
  return %1 : tensor<f64>
}
