// The tool itself: passes in order, dumps, refusals.
// RUN: pullback-opt --print-ir-after-all --pb-inline -p 'pb-simplify,cse' %s 2>&1 >/dev/null | FileCheck %s --check-prefix=DUMP
// DUMP: IR dump after pb-inline
// DUMP: IR dump after pb-simplify
// DUMP: IR dump after cse

// RUN: pullback-opt -p 'pb-inline,canonicalize{max-iterations=3},symbol-dce' %s | FileCheck %s
// RUN: pullback-opt < %s | FileCheck %s
// CHECK-LABEL: func @main
// CHECK: pb.sin

// The stages of the pipeline are passes too.
// RUN: pullback-opt -p 'linalg' %s | FileCheck %s --check-prefix=LINALG
// LINALG: linalg.generic
// RUN: pullback-opt -p 'linalg,bufferized,llvm-dialect' %s | FileCheck %s --check-prefix=LLVM
// LLVM: llvm.func @f

// RUN: not pullback-opt -p 'pb-nonsense' %s 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// UNKNOWN: error: unknown pass: {{.*}}pb-nonsense
// RUN: not pullback-opt %s.missing 2>&1 | FileCheck %s --check-prefix=MISSING
// MISSING: pullback-opt: error: {{.*}}No such file
// RUN: not pullback-opt -p 'llvm-dialect' %s 2>&1 | FileCheck %s --check-prefix=ORDER
// ORDER: error: llvm-dialect needs the stage linalg before it in the same run
// RUN: echo 'func.func @f() { pb.nonsense }' | not pullback-opt 2>&1 | FileCheck %s --check-prefix=PARSE
// PARSE: <stdin>:1: error: custom op 'pb.nonsense' is unknown
// PARSE-NOT: Traceback

func.func @main(%x: tensor<3xf32>) -> tensor<3xf32> {
  %0 = pb.sin %x : tensor<3xf32>
  return %0 : tensor<3xf32>
}
