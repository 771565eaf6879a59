// RUN: pullback-opt -p linalg,scheduled,bufferized %s | FileCheck %s

// The carried value is updated where the caller wants it, stacked results are written in place:
// a step is one loop nest, and copies nothing.
// CHECK-LABEL: func.func @main
// CHECK: call @main.0
// CHECK: scf.for %[[I:.*]] =
// CHECK-NEXT: func.call @main.1(%{{.*}}, %{{.*}}, %{{.*}}, %[[I]], %{{.*}})
// CHECK-NEXT: }
// CHECK-NEXT: return
func.func @main(%c: tensor<3xf64>, %x: tensor<3xf64>, %xs: tensor<4x3xf64>) -> (tensor<3xf64>, tensor<4x3xf64>) {
  %0:2 = pb.scan (%c) (%x) (%xs) length = 4 {reverse}
    : (tensor<3xf64>) (tensor<3xf64>) (tensor<4x3xf64>) -> (tensor<3xf64>, tensor<4x3xf64>) {
  ^bb0(%a: tensor<3xf64>, %k: tensor<3xf64>, %r: tensor<3xf64>):
    %1 = pb.mul %a, %k : tensor<3xf64>
    %2 = pb.add %1, %r : tensor<3xf64>
    %3 = pb.sin %2 : tensor<3xf64>
    pb.yield %2, %3 : tensor<3xf64>, tensor<3xf64>
  }
  return %0#0, %0#1 : tensor<3xf64>, tensor<4x3xf64>
}
