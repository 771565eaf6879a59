// RUN: pullback-opt -p linalg --split-input-file %s | FileCheck %s

// Elementwise chains are one loop over the flattened buffer; the result goes where the caller wants.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[OUT:[a-z0-9]+]]: memref<4x3xf32> {llvm.noalias}) {
// CHECK: %[[FLAT:.*]] = memref.collapse_shape %[[OUT]]
// CHECK: %[[TO:.*]] = bufferization.to_tensor %[[FLAT]] restrict writable
// CHECK: linalg.generic
// CHECK-SAME: iterator_types = ["parallel"]
// CHECK-SAME: outs(%[[TO]] : tensor<12xf32>)
// CHECK: call @pb.sin.f32
// CHECK: arith.mulf
// CHECK-NOT: linalg.generic
// CHECK: return
// CHECK: func.func private @pb.sin.f32(f32) -> f32
func.func @main(%x: tensor<4x3xf32>) -> tensor<4x3xf32> {
  %s = pb.sin %x : tensor<4x3xf32>
  %r = pb.mul %s, %x : tensor<4x3xf32>
  return %r : tensor<4x3xf32>
}

// -----

// A reduction joins the loop that makes what it reduces; only its additions may be reordered.
// CHECK-LABEL: func.func @main
// CHECK: linalg.generic
// CHECK-SAME: iterator_types = ["parallel", "reduction"]
// CHECK: arith.mulf %{{.*}}, %{{.*}} : f64
// CHECK: arith.addf %{{.*}}, %{{.*}} fastmath<reassoc> : f64
// CHECK-NOT: linalg.generic
func.func @main(%x: tensor<4x3xf64>) -> (tensor<4x3xf64>, tensor<4xf64>) {
  %s = pb.mul %x, %x : tensor<4x3xf64>
  %r = pb.reduce_sum %s dims = [1] : tensor<4x3xf64>
  return %s, %r : tensor<4x3xf64>, tensor<4xf64>
}

// -----

// Truth values are bytes in memory.
// CHECK-LABEL: func.func @main
// CHECK-SAME: memref<5xi8> {llvm.noalias}, %{{.*}}: memref<5xi8>
// CHECK: arith.cmpi ne
// CHECK: arith.extui %{{.*}} : i1 to i8
func.func @main(%x: tensor<5xi1>, %y: tensor<5xi1>) -> tensor<5xi1> {
  %r = pb.mul %x, %y : tensor<5xi1>
  return %r : tensor<5xi1>
}

// -----

// A check makes the status of the call, even if nothing uses the index.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[STATUS:[a-z0-9]+]]: memref<i32> {llvm.noalias})
// CHECK: arith.minsi
// CHECK: bufferization.materialize_in_destination %{{.*}} in restrict writable %[[STATUS]]
func.func @main(%i: tensor<5xi64>) {
  %r = pb.check_index %i size = 5 message = "IndexError: out of range" : tensor<5xi64>
  return
}

// -----

// Large contractions are marked for the schedule, with the rows of their register tiles.
// CHECK-LABEL: func.func @main
// CHECK: linalg.contract
// CHECK-SAME: {pb.tile_rows = {{[0-9]+}} : i64}
func.func @main(%x: tensor<64x64xf32>, %y: tensor<64x64xf32>) -> tensor<64x64xf32> {
  %r = pb.dot_general %x, %y batch = [] x [] contract = [1] x [0] : tensor<64x64xf32>, tensor<64x64xf32>
  return %r : tensor<64x64xf32>
}
