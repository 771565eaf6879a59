// RUN: pullback-opt -p linalg,scheduled %s | FileCheck %s
// RUN: pullback-opt -p linalg,scheduled,bufferized %s | FileCheck %s --check-prefix=MEMORY

// The accumulators stay in registers over the contracted dimension, and start there.
// CHECK-LABEL: func.func @main
// CHECK: scf.for
// CHECK: scf.for
// CHECK-NOT: linalg.fill
// CHECK: %[[START:.*]] = vector.broadcast %{{.*}} : f64
// CHECK: scf.for {{.*}} iter_args({{.*}} = %[[START]]) -> {{.*}}vector<
// CHECK: vector.contract
// CHECK: vector.transfer_write

// MEMORY-LABEL: func.func @main
// MEMORY: call @main.0
// MEMORY-LABEL: func.func private @main.0
// MEMORY-NOT: vector.contract
// MEMORY: vector.fma
func.func @main(%x: tensor<64x64xf64>, %y: tensor<64x64xf64>) -> tensor<64x64xf64> {
  %r = pb.dot_general %x, %y batch = [] x [] contract = [1] x [0] : tensor<64x64xf64>, tensor<64x64xf64>
  return %r : tensor<64x64xf64>
}
