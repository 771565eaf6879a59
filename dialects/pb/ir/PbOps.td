//===- PbOps.td - the ops of the pb dialect ---------------------------------===//
// Signature, documentation, traits and result types of every op. The rules of an op
// (derivative, transpose, batching, reference, lowering) stand in its Python class.
//===----------------------------------------------------------------------===//
#ifndef PB_OPS_TD
#define PB_OPS_TD

include "PbDialect.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

// -- types -------------------------------------------------------------------

def Pb_Float : AnyTypeOf<[BF16, F16, F32, F64]>;
def Pb_Int : AnyTypeOf<[I32, I64]>;
def Pb_Tensor : StaticShapeTensorOf<[BF16, F16, F32, F64, I32, I64, I1]>;
def Pb_FloatTensor : StaticShapeTensorOf<[BF16, F16, F32, F64]>;
def Pb_IntTensor : StaticShapeTensorOf<[I32, I64]>;
def Pb_NumberTensor : StaticShapeTensorOf<[BF16, F16, F32, F64, I32, I64]>;
def Pb_BoolTensor : StaticShapeTensorOf<[I1]>;
def Pb_ErrorStatus : Resource<"::pb::ErrorStatus">;

class Pb_Op<string mnemonic, list<Trait> traits = []> : Op<Pb_Dialect, mnemonic, traits>;

/// The result type follows from the operands and attributes; `inferReturnTypes` in
/// PbInfer.cpp is used by the builder and by the verifier.
class Pb_Inferred<string mnemonic, list<Trait> traits = []>
    : Pb_Op<mnemonic, !listconcat([Pure, InferTypeOpAdaptor], traits)>;

/// The result type is the shape argument of the op and is written out.
class Pb_Shaped<string mnemonic, list<Trait> traits = []>
    : Pb_Op<mnemonic, !listconcat([Pure], traits)> {
  let hasVerifier = 1;
}

// -- elementwise -------------------------------------------------------------

class Pb_Unary<string mnemonic, Type type> : Pb_Op<mnemonic, [Pure, SameOperandsAndResultType]> {
  let arguments = (ins type:$x);
  let results = (outs type:$result);
  let assemblyFormat = "$x attr-dict `:` type($result)";
}

class Pb_Binary<string mnemonic, Type type, list<Trait> traits = []>
    : Pb_Op<mnemonic, !listconcat([Pure, SameOperandsAndResultType], traits)> {
  let arguments = (ins type:$x, type:$y);
  let results = (outs type:$result);
  let assemblyFormat = "$x `,` $y attr-dict `:` type($result)";
}

def Pb_AddOp : Pb_Binary<"add", Pb_Tensor, [Commutative]> {
  let summary = "x + y; logical or on i1";
}
def Pb_SubOp : Pb_Binary<"sub", Pb_NumberTensor> { let summary = "x - y"; }
def Pb_MulOp : Pb_Binary<"mul", Pb_Tensor, [Commutative]> {
  let summary = "x * y; logical and on i1";
}
def Pb_DivOp : Pb_Binary<"div", Pb_NumberTensor> {
  let summary = "x / y; integers truncate towards zero, and x / 0 is 0";
}
def Pb_PowOp : Pb_Binary<"pow", Pb_FloatTensor> {
  let summary = "x raised to the power y (IEEE 754 pow)";
}
def Pb_MaximumOp : Pb_Binary<"maximum", Pb_Tensor, [Commutative]> {
  let summary = "the larger of x and y; NaN if either is NaN; logical or on i1";
  let description = "At a tie the derivative goes to both operands by half, as in torch.";
}
def Pb_NegOp : Pb_Unary<"neg", Pb_NumberTensor> { let summary = "-x"; }
def Pb_ExpOp : Pb_Unary<"exp", Pb_FloatTensor> { let summary = "e to the power x"; }
def Pb_LogOp : Pb_Unary<"log", Pb_FloatTensor> { let summary = "natural logarithm"; }
def Pb_SinOp : Pb_Unary<"sin", Pb_FloatTensor> { let summary = "sine, x in radians"; }
def Pb_CosOp : Pb_Unary<"cos", Pb_FloatTensor> { let summary = "cosine, x in radians"; }
def Pb_TanhOp : Pb_Unary<"tanh", Pb_FloatTensor> { let summary = "hyperbolic tangent"; }
def Pb_SqrtOp : Pb_Unary<"sqrt", Pb_FloatTensor> { let summary = "square root"; }
def Pb_LogisticOp : Pb_Unary<"logistic", Pb_FloatTensor> {
  let summary = "1 / (1 + exp(-x))";
}

def Pb_CompareOp : Pb_Inferred<"compare", [SameTypeOperands]> {
  let summary = "elementwise comparison";
  let description = [{
    `predicate` is one of "eq", "ne", "lt", "le", "gt", "ge". With a NaN all but "ne" are
    false, and "ne" is true.
  }];
  let arguments = (ins StrAttr:$predicate, Pb_Tensor:$x, Pb_Tensor:$y);
  let results = (outs Pb_BoolTensor:$result);
  let assemblyFormat = "$predicate $x `,` $y attr-dict `:` type($x)";
  let hasVerifier = 1;
}

def Pb_SelectOp : Pb_Inferred<"select"> {
  let summary = "on_true where pred, on_false elsewhere";
  let arguments = (ins Pb_BoolTensor:$pred, Pb_Tensor:$on_true, Pb_Tensor:$on_false);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = [{
    $pred `,` $on_true `,` $on_false attr-dict `:` type($pred) `,` type($on_true) `,` type($on_false)
  }];
}

def Pb_ConvertOp : Pb_Shaped<"convert"> {
  let summary = "another element type";
  let description = [{
    Floats become integers by truncation, numbers become i1 by `x != 0`, i1 becomes 0 or 1.
  }];
  let arguments = (ins Pb_Tensor:$x);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($result)";
}

// -- creation ----------------------------------------------------------------

def Pb_ConstantOp : Pb_Inferred<"constant", [ConstantLike]> {
  let summary = "a literal; larger data (weights) are arguments, never constants";
  let arguments = (ins ElementsAttr:$value);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$value attr-dict";
  let hasFolder = 1;
}

def Pb_IotaOp : Pb_Shaped<"iota"> {
  let summary = "0, 1, 2, ... along dimension dim";
  let arguments = (ins I64Attr:$dim);
  let results = (outs Pb_NumberTensor:$result);
  let assemblyFormat = "`dim` `=` $dim attr-dict `:` type($result)";
}

def Pb_BasisOp : Pb_Shaped<"basis"> {
  let summary = "the one-hot basis of a shape: the seed of a Jacobian";
  let description = [{
    The result has type tensor<n x S> with n the number of elements of shape S: example i is
    one at flat position i of S and zero elsewhere. `id` keeps the bases of several
    arguments apart.
  }];
  let arguments = (ins I64Attr:$id);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = "`id` `=` $id attr-dict `:` type($result)";
}

// -- structure ---------------------------------------------------------------

def Pb_BroadcastOp : Pb_Shaped<"broadcast"> {
  let summary = "repeat along new dimensions";
  let description = [{
    Operand dimension i becomes result dimension dims[i] (strictly increasing) and keeps its
    size; the other result dimensions are new.
  }];
  let arguments = (ins Pb_Tensor:$x, DenseI64ArrayAttr:$dims);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$x `dims` `=` $dims attr-dict `:` type($x) `->` type($result)";
}

def Pb_ReshapeOp : Pb_Shaped<"reshape"> {
  let summary = "the same elements in row-major order under another shape";
  let arguments = (ins Pb_Tensor:$x);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($result)";
}

def Pb_TransposeOp : Pb_Inferred<"transpose"> {
  let summary = "permute dimensions: result dimension i is operand dimension permutation[i]";
  let arguments = (ins Pb_Tensor:$x, DenseI64ArrayAttr:$permutation);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$x `permutation` `=` $permutation attr-dict `:` type($x)";
}

def Pb_SliceOp : Pb_Shaped<"slice"> {
  let summary = "out[i] = x[offsets + i * strides]; the result type gives the sizes";
  let arguments = (ins Pb_Tensor:$x, DenseI64ArrayAttr:$offsets, DenseI64ArrayAttr:$strides);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = [{
    $x `offsets` `=` $offsets `strides` `=` $strides attr-dict `:` type($x) `->` type($result)
  }];
}

def Pb_PadOp : Pb_Shaped<"pad"> {
  let summary = "value everywhere, and out[offsets + i * strides] = x[i]; the dual of slice";
  let arguments = (ins Pb_Tensor:$x, Pb_Tensor:$value, DenseI64ArrayAttr:$offsets,
                       DenseI64ArrayAttr:$strides);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = [{
    $x `,` $value `offsets` `=` $offsets `strides` `=` $strides attr-dict `:` type($x) `,`
    type($value) `->` type($result)
  }];
}

def Pb_ConcatenateOp : Pb_Inferred<"concatenate"> {
  let summary = "tensors one after the other along dimension dim";
  let arguments = (ins Variadic<Pb_Tensor>:$xs, I64Attr:$dim);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$xs `dim` `=` $dim attr-dict `:` type($xs)";
}

// -- indexing ----------------------------------------------------------------

def Pb_GatherOp : Pb_Inferred<"gather"> {
  let summary = "read at computed positions";
  let description = [{
    The k indices have one shape: `batch_dims` leading dimensions shared with x, then the
    index dimensions I. `axes` names the k dimensions of x that are indexed, ascending.
    The result has the batch dimensions, then I, then the other dimensions of x:
    out[b, i, r] = x[b, indices_k[b, i] at axes_k, r elsewhere].
    Without `in_bounds` indices are clamped into range; with it they are known to be good.
  }];
  let arguments = (ins Pb_Tensor:$x, Variadic<Pb_IntTensor>:$indices, DenseI64ArrayAttr:$axes,
                       I64Attr:$batch_dims, UnitAttr:$in_bounds);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = [{
    $x `at` `(` $indices `)` `axes` `=` $axes `batch_dims` `=` $batch_dims attr-dict `:` type($x) `,` type($indices)
  }];
}

def Pb_ScatterAddOp : Pb_Inferred<"scatter_add"> {
  let summary = "x with updates added at the positions that gather would read";
  let arguments = (ins Pb_NumberTensor:$x, Pb_NumberTensor:$updates,
                       Variadic<Pb_IntTensor>:$indices, DenseI64ArrayAttr:$axes,
                       I64Attr:$batch_dims, UnitAttr:$in_bounds);
  let results = (outs Pb_NumberTensor:$result);
  let assemblyFormat = [{
    $x `,` $updates `at` `(` $indices `)` `axes` `=` $axes `batch_dims` `=` $batch_dims attr-dict `:` type($x) `,`
    type($updates) `,` type($indices)
  }];
}

def Pb_CheckIndexOp : Pb_Op<"check_index", [SameOperandsAndResultType,
                                            MemoryEffects<[MemWrite<Pb_ErrorStatus>]>]> {
  let summary = "the user's indices, made safe";
  let description = [{
    Adds `size` to negative indices if `wrap`; what is then outside [0, size) records
    `message` as the error status of the call (the first error is kept) and is clamped. Not
    pure: the check outlives a dead result.
  }];
  let arguments = (ins Pb_IntTensor:$x, I64Attr:$size, StrAttr:$message, UnitAttr:$wrap);
  let results = (outs Pb_IntTensor:$result);
  let assemblyFormat = "$x `size` `=` $size `message` `=` $message attr-dict `:` type($x)";
}

def Pb_CheckOp : Pb_Op<"check", [MemoryEffects<[MemWrite<Pb_ErrorStatus>]>]> {
  let summary = "an error of the call unless all of `good` is true";
  let description = [{
    Where an element of `good` is false, `message` ("Kind: text", Kind a Python exception) becomes
    the error status of the call; the first error is kept. The call goes on, so what is computed
    from bad data must be safe, but nobody sees it.
  }];
  let arguments = (ins Pb_BoolTensor:$good, StrAttr:$message);
  let assemblyFormat = "$good `message` `=` $message attr-dict `:` type($good)";
}

// -- reduction and contraction -------------------------------------------------

class Pb_Reduction<string mnemonic> : Pb_Inferred<mnemonic> {
  let arguments = (ins Pb_Tensor:$x, DenseI64ArrayAttr:$dims);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$x `dims` `=` $dims attr-dict `:` type($x)";
}
def Pb_ReduceSumOp : Pb_Reduction<"reduce_sum"> {
  let summary = "sum over dims, which are removed; logical or on i1";
  let description = "In any order; the sign of a sum that is zero is not specified.";
}
def Pb_ReduceMaxOp : Pb_Reduction<"reduce_max"> {
  let summary = "largest element over dims; NaN wins; nothing gives the lowest value";
  let description = "At ties the derivative is split evenly, as torch.amax does.";
}

def Pb_DotGeneralOp : Pb_Inferred<"dot_general"> {
  let summary = "sum of products over the contracted dimensions";
  let description = [{
    Result dimensions: the batch dimensions in the order of x_batch, then the free
    dimensions of x, then those of y.
  }];
  let arguments = (ins Pb_NumberTensor:$x, Pb_NumberTensor:$y, DenseI64ArrayAttr:$x_batch,
                       DenseI64ArrayAttr:$y_batch, DenseI64ArrayAttr:$x_contract,
                       DenseI64ArrayAttr:$y_contract);
  let results = (outs Pb_NumberTensor:$result);
  let assemblyFormat = [{
    $x `,` $y `batch` `=` $x_batch `x` $y_batch `contract` `=` $x_contract `x` $y_contract
    attr-dict `:` type($x) `,` type($y)
  }];
}

// -- stops ---------------------------------------------------------------------

def Pb_StopGradientOp : Pb_Op<"stop_gradient", [Pure, SameOperandsAndResultType]> {
  let summary = "x, with no derivative";
  let description = [{
    Ends forward and reverse derivatives (`detach`); with `reverse_only` just reverse
    (`no_grad`). Kept until no transform op is left.
  }];
  let arguments = (ins Pb_Tensor:$x, UnitAttr:$reverse_only);
  let results = (outs Pb_Tensor:$result);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Pb_BarrierOp : Pb_Op<"barrier", [MemoryEffects<[]>]> {
  let summary = "its operands, hidden from simplification";
  let arguments = (ins Variadic<Pb_Tensor>:$xs);
  let results = (outs Variadic<Pb_Tensor>:$results);
  let assemblyFormat = "$xs attr-dict `:` type($xs) `->` type($results)";
  let hasVerifier = 1;
}

include "PbIndexing.td"
include "PbMath.td"
include "PbConv.td"
include "PbFunctional.td"
include "PbLinalg.td"

#endif
