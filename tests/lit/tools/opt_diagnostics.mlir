// --verify-diagnostics fails for errors that were not announced and for announced ones that did not come.
// RUN: not pullback-opt --split-input-file --verify-diagnostics %s 2>&1 | FileCheck %s

// CHECK: opt_diagnostics.mlir:[[#@LINE + 2]]: error: {{.*}}operand #0 must be
func.func @surprise(%x: tensor<2xi32>) {
  %0 = pb.sin %x : tensor<2xi32>
}

// -----

// CHECK: opt_diagnostics.mlir:[[#@LINE + 1]]: error: expected error "never" was not produced
func.func @calm() {
  // expected-error@above {{never}}
  return
}
