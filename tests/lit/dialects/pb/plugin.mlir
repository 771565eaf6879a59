// The plugin in plain mlir-opt: cse and dead code elimination understand the traits of pb ops.
// RUN: mlir-opt -cse -canonicalize %s | FileCheck %s

// CHECK-LABEL: func @merged(
// CHECK-SAME: %[[X:.*]]: tensor<3xf32>
// CHECK-NEXT: %[[SIN:.*]] = pb.sin %[[X]]
// CHECK-NEXT: %[[SUM:.*]] = pb.add %[[SIN]], %[[SIN]]
// CHECK-NEXT: return %[[SUM]]
func.func @merged(%x: tensor<3xf32>) -> tensor<3xf32> {
  %0 = pb.sin %x : tensor<3xf32>
  %1 = pb.sin %x : tensor<3xf32>
  %dead = pb.exp %x : tensor<3xf32>
  %2 = pb.add %0, %1 : tensor<3xf32>
  return %2 : tensor<3xf32>
}

// CHECK-LABEL: func @effects(
// CHECK: pb.check_index
// CHECK: return
func.func @effects(%i: tensor<3xi64>) {
  %0 = pb.check_index %i size = 4 message = "IndexError: too far" : tensor<3xi64>
  return
}

// A barrier is not looked through: what is behind it is computed again.
// CHECK-LABEL: func @barriers(
// CHECK-COUNT-2: pb.sin
func.func @barriers(%x: tensor<3xf32>) -> (tensor<3xf32>, tensor<3xf32>) {
  %0 = pb.barrier %x : tensor<3xf32> -> tensor<3xf32>
  %1 = pb.sin %x : tensor<3xf32>
  %2 = pb.sin %0 : tensor<3xf32>
  return %1, %2 : tensor<3xf32>, tensor<3xf32>
}
