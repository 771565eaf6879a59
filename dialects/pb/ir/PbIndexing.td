//===- PbIndexing.td - overwriting at computed positions, and sorting -------===//
#ifndef PB_INDEXING_TD
#define PB_INDEXING_TD

/// Operands and types as pb.scatter_add has them.
class Pb_Scatter<string mnemonic, Type type> : Pb_Inferred<mnemonic> {
  let arguments = (ins type:$x, type:$updates, Variadic<Pb_IntTensor>:$indices,
                       DenseI64ArrayAttr:$axes, I64Attr:$batch_dims, UnitAttr:$in_bounds);
  let results = (outs type:$result);
  let assemblyFormat = [{
    $x `,` $updates `at` `(` $indices `)` `axes` `=` $axes `batch_dims` `=` $batch_dims attr-dict `:` type($x) `,`
    type($updates) `,` type($indices)
  }];
}

def Pb_ScatterOp : Pb_Scatter<"scatter", Pb_Tensor> {
  let summary = "x with updates in place of what gather would read";
  let description = [{
    Of updates that meet, the last in row-major order wins; the others have no derivative.
  }];
}

def Pb_ScatterMaxOp : Pb_Scatter<"scatter_max", Pb_NumberTensor> {
  let summary = "the largest of x and the updates at each position; NaN wins";
  let description = "At ties the derivative is split evenly, as torch.scatter_reduce does.";
}

def Pb_ArgsortOp : Pb_Inferred<"argsort"> {
  let summary = "the positions along dim in the order of the elements there";
  let description = [{
    Stable: equal elements keep their order, also if `descending`. NaN counts as the largest.
    What is sorted is read by a gather, which has the derivative.
  }];
  let arguments = (ins Pb_Tensor:$x, I64Attr:$dim, UnitAttr:$descending);
  let results = (outs Pb_IntTensor:$result);
  let assemblyFormat = "$x `dim` `=` $dim attr-dict `:` type($x)";
}

#endif
