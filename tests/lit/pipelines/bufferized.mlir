// RUN: pullback-opt -p linalg,scheduled,bufferized --split-input-file %s | FileCheck %s

// Temporaries are slices of the workspace, the last argument; equal loops are one function.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[WORKSPACE:[a-z0-9]+]]: memref<512xi8> {llvm.noalias})
// CHECK: %[[ONE:.*]] = memref.view %[[WORKSPACE]]
// CHECK: call @main.0(%[[ONE]], %{{.*}})
// CHECK: %[[TWO:.*]] = memref.view %[[WORKSPACE]]
// CHECK: call @main.0(%[[TWO]], %[[ONE]])
// CHECK: call @main.0(%{{.*}}, %[[TWO]])
// CHECK-NOT: memref.alloc
// CHECK-NOT: func.func private @main.1
func.func @main(%x: tensor<8x8xf32>) -> tensor<8x8xf32> {
  %0 = pb.dot_general %x, %x batch = [] x [] contract = [1] x [0] : tensor<8x8xf32>, tensor<8x8xf32>
  %1 = pb.dot_general %0, %0 batch = [] x [] contract = [1] x [0] : tensor<8x8xf32>, tensor<8x8xf32>
  %2 = pb.dot_general %1, %1 batch = [] x [] contract = [1] x [0] : tensor<8x8xf32>, tensor<8x8xf32>
  return %2 : tensor<8x8xf32>
}

// -----

// Results are built in place, without copies.
// CHECK-LABEL: func.func @main
// CHECK-NOT: memref.view
// CHECK-NOT: memref.copy
func.func @main(%x: tensor<4xf64>, %y: tensor<3xf64>) -> tensor<7xf64> {
  %a = pb.mul %x, %x : tensor<4xf64>
  %b = pb.neg %y : tensor<3xf64>
  %r = pb.concatenate %a, %b dim = 0 : tensor<4xf64>, tensor<3xf64>
  return %r : tensor<7xf64>
}
