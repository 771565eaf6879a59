// RUN: pullback-opt -p linalg,scheduled,bufferized,llvm-dialect %s | FileCheck %s

// The math functions come in, with versions for vectors; the entry checks its arguments.
// CHECK: llvm.func internal @main.0
// CHECK: llvm.call @pb.exp.f32
// CHECK: llvm.func internal @pb.exp.f32
// CHECK-SAME: "vector-function-abi-variant"
// CHECK: llvm.func internal @pb.exp.f32.v
// CHECK-LABEL: llvm.func @f
// CHECK: llvm.call @main
// CHECK-NOT: llvm.func @{{malloc|free|expf}}
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  %r = pb.exp %x : tensor<4xf32>
  return %r : tensor<4xf32>
}
