//===- PbDialect.td - the pb tensor dialect --------------------------------===//
// A small, purely functional tensor language that is closed under differentiation
// and batching. Shapes are part of the types and nothing is broadcast implicitly.
//===----------------------------------------------------------------------===//
#ifndef PB_DIALECT_TD
#define PB_DIALECT_TD

include "mlir/IR/OpBase.td"

def Pb_Dialect : Dialect {
  let name = "pb";
  let cppNamespace = "::pb";
  let summary = "tensor programs and their function transforms";
  let description = [{
    Values are ranked tensors of bf16, f16, f32, f64, i32, i64 or i1 with static shapes. Ops never
    broadcast implicitly. A function transform (vmap, jvp, vjp) is an op that names a
    function; `pb-expand-transforms` rewrites it into a call of a new function.
  }];
  let hasConstantMaterializer = 1;
}

#endif
