//===- PbFunctional.td - calls, transforms and control flow ------------------===//
// Ops that name functions or hold regions. They carry their result types; what can only be
// checked beside the callee is checked in verifySymbolUses.
//===----------------------------------------------------------------------===//
#ifndef PB_FUNCTIONAL_TD
#define PB_FUNCTIONAL_TD

include "PbDialect.td"
include "mlir/IR/SymbolInterfaces.td"

// -- calls and transforms --------------------------------------------------------

class Pb_SymbolOp<string mnemonic, list<Trait> traits = []>
    : Pb_Op<mnemonic, !listconcat([DeclareOpInterfaceMethods<SymbolUserOpInterface>], traits)>;

def Pb_CallOp : Pb_SymbolOp<"call"> {
  let summary = "call of a pb function";
  let arguments = (ins FlatSymbolRefAttr:$callee, Variadic<Pb_Tensor>:$args);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let assemblyFormat = "$callee `(` $args `)` attr-dict `:` functional-type($args, $outs)";
}

def Pb_VmapOp : Pb_SymbolOp<"vmap"> {
  let summary = "the callee mapped over a batch dimension";
  let description = [{
    Operand i is batched at dimension in_dims[i] (-1: shared by all examples); result i is
    batched at dimension out_dims[i]. The callee sees one example.
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Variadic<Pb_Tensor>:$args,
                       DenseI64ArrayAttr:$in_dims, DenseI64ArrayAttr:$out_dims, I64Attr:$axis_size);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let assemblyFormat = [{
    $callee `(` $args `)` `in_dims` `=` $in_dims `out_dims` `=` $out_dims `size` `=` $axis_size
    attr-dict `:` functional-type($args, $outs)
  }];
}

def Pb_JvpOp : Pb_SymbolOp<"jvp", [AttrSizedOperandSegments]> {
  let summary = "value and directional derivative of the callee";
  let description = [{
    `wrt` lists the (floating-point) operands with a tangent. Results: those of the callee,
    then the tangents of its floating-point results.
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Variadic<Pb_Tensor>:$primals,
                       Variadic<Pb_Tensor>:$tangents, DenseI64ArrayAttr:$wrt);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let assemblyFormat = [{
    $callee `(` $primals `)` `tangents` `(` $tangents `)` `wrt` `=` $wrt attr-dict `:`
    custom<Types>(type($primals)) custom<Types>(type($tangents)) `->` custom<Types>(type($outs))
  }];
}

def Pb_VjpOp : Pb_SymbolOp<"vjp", [AttrSizedOperandSegments]> {
  let summary = "value of the callee and its pullback applied to cotangents";
  let description = [{
    One cotangent for each floating-point result of the callee. Results: those of the
    callee, then the cotangents of the operands that `wrt` lists.
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Variadic<Pb_Tensor>:$primals,
                       Variadic<Pb_Tensor>:$cotangents, DenseI64ArrayAttr:$wrt);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let assemblyFormat = [{
    $callee `(` $primals `)` `cotangents` `(` $cotangents `)` `wrt` `=` $wrt attr-dict `:`
    custom<Types>(type($primals)) custom<Types>(type($cotangents)) `->` custom<Types>(type($outs))
  }];
}

def Pb_LinearTransposeOp : Pb_SymbolOp<"linear_transpose", [AttrSizedOperandSegments]> {
  let summary = "the transpose of a linear function";
  let description = [{
    The callee takes residuals, then arguments in which it is linear. Takes the residuals
    and one cotangent for each result of the callee, gives one for each linear argument.
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Variadic<Pb_Tensor>:$residuals,
                       Variadic<Pb_Tensor>:$cotangents);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let assemblyFormat = [{
    $callee `(` $residuals `)` `cotangents` `(` $cotangents `)` attr-dict `:`
    custom<Types>(type($residuals)) custom<Types>(type($cotangents)) `->` custom<Types>(type($outs))
  }];
}

def Pb_CustomCallOp : Pb_SymbolOp<"custom_call"> {
  let summary = "a function that brings its own derivative";
  let description = [{
    The operands a are the arguments, then `captured` values that the rules close over; o are
    the results, of which `differentiable` lists those with a derivative. The rules:

        primal       a -> o
        jvp          a, tangents -> o, tangents
        forward      a -> o, r
        linear       s, tangents -> tangents
        backward     s, cotangents -> cotangents

    with tangents and cotangents for the floating-point arguments and the differentiable
    results only, and s what `saved` selects of (a, o, r). `jvp` stands alone; `forward` goes
    with one of `linear` and `backward` or both. Without any the function has no
    derivative. An `opaque` call (torch.autograd.Function) keeps its rule at higher orders and
    stops derivatives of what it closes over; otherwise (JAX) the rule's own results take the
    place of the call's, and closing over what is differentiated is an error.
  }];
  let arguments = (ins FlatSymbolRefAttr:$primal, Variadic<Pb_Tensor>:$args,
                       I64Attr:$captured, DenseI64ArrayAttr:$differentiable,
                       OptionalAttr<FlatSymbolRefAttr>:$jvp_rule,
                       OptionalAttr<FlatSymbolRefAttr>:$forward,
                       OptionalAttr<FlatSymbolRefAttr>:$linear,
                       OptionalAttr<FlatSymbolRefAttr>:$backward,
                       DenseI64ArrayAttr:$saved, UnitAttr:$opaque);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let assemblyFormat = [{
    $primal `(` $args `)` `captured` `=` $captured `differentiable` `=` $differentiable
    `saved` `=` $saved attr-dict `:` functional-type($args, $outs)
  }];
  let hasVerifier = 1;
}

def Pb_LinearCallOp : Pb_SymbolOp<"linear_call", [AttrSizedOperandSegments]> {
  let summary = "a linear function given by itself, by its transpose, or by both";
  let description = [{
    What linearizing a `custom_call` leaves: `callee` takes residuals and arguments,
    `transposed` residuals and one cotangent for each result. Transposition and `pb-jvp`
    consume it; a derivative that needs the one that is missing is an error.
  }];
  let arguments = (ins StrAttr:$function, OptionalAttr<FlatSymbolRefAttr>:$callee,
                       OptionalAttr<FlatSymbolRefAttr>:$transposed,
                       Variadic<Pb_Tensor>:$residuals, Variadic<Pb_Tensor>:$args);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let assemblyFormat = [{
    $function `(` $residuals `)` `(` $args `)` attr-dict `:`
    custom<Types>(type($residuals)) custom<Types>(type($args)) `->` custom<Types>(type($outs))
  }];
  let hasVerifier = 1;
}

// -- control flow ------------------------------------------------------------------

class Pb_RegionOp<string mnemonic, list<Trait> traits = []>
    : Pb_Op<mnemonic, !listconcat([IsolatedFromAbove, RecursiveMemoryEffects, SingleBlock],
                                  traits)> {
  let hasRegionVerifier = 1;
}

def Pb_YieldOp : Pb_Op<"yield", [Pure, Terminator,
                                 ParentOneOf<["CheckpointOp", "CondOp", "WhileOp", "ScanOp"]>]> {
  let summary = "the values of a region";
  let arguments = (ins Variadic<Pb_Tensor>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def Pb_CondOp : Pb_RegionOp<"cond"> {
  let summary = "one of two regions, by a scalar predicate";
  let description = "Both regions take the operands and yield the results.";
  let arguments = (ins Pb_BoolTensor:$pred, Variadic<Pb_Tensor>:$args);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let regions = (region SizedRegion<1>:$on_true, SizedRegion<1>:$on_false);
  let assemblyFormat = [{
    $pred `(` $args `)` attr-dict `:` type($pred) `,` functional-type($args, $outs)
    $on_true `else` $on_false
  }];
}

def Pb_WhileOp : Pb_RegionOp<"while", [AttrSizedOperandSegments]> {
  let summary = "repeat a region while a predicate holds";
  let description = [{
    Both regions take the constants, then the carried values. `condition` yields a scalar
    i1, `body` the next carried values. With `max_steps` the loop can be reversed, and one
    that is not finished by then is an error.
  }];
  let arguments = (ins Variadic<Pb_Tensor>:$consts, Variadic<Pb_Tensor>:$inits,
                       OptionalAttr<I64Attr>:$max_steps);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let regions = (region SizedRegion<1>:$condition, SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $consts `)` `(` $inits `)` attr-dict `:` custom<Types>(type($consts)) custom<Types>(type($inits)) `->`
    custom<Types>(type($outs)) $condition `do` $body
  }];
}

def Pb_ScanOp : Pb_RegionOp<"scan", [AttrSizedOperandSegments]> {
  let summary = "a loop over the leading dimension, with carried values";
  let description = [{
    The body takes the constants, the carried values and one slice of each of `xs`, and
    yields the next carried values, then one slice of each stacked result.
  }];
  let arguments = (ins Variadic<Pb_Tensor>:$consts, Variadic<Pb_Tensor>:$inits,
                       Variadic<Pb_Tensor>:$xs, I64Attr:$length, UnitAttr:$reverse);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `(` $consts `)` `(` $inits `)` `(` $xs `)` `length` `=` $length attr-dict `:`
    custom<Types>(type($consts)) custom<Types>(type($inits)) custom<Types>(type($xs)) `->` custom<Types>(type($outs)) $body
  }];
}

def Pb_CheckpointOp : Pb_RegionOp<"checkpoint"> {
  let summary = "a region whose values are computed again for the derivative";
  let description = [{
    The region takes the operands and yields the results. Its derivative keeps the operands
    only. With `recompute` it is such a second computation: once no transform is left it is
    inlined behind a barrier, so that nothing in it is taken from the first.
  }];
  let arguments = (ins Variadic<Pb_Tensor>:$args, UnitAttr:$recompute);
  let results = (outs Variadic<Pb_Tensor>:$outs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`(` $args `)` attr-dict `:` functional-type($args, $outs) $body";
}

// -- random numbers ----------------------------------------------------------------

def Pb_KeyTensor : StaticShapeTensorOf<[I64]>;

def Pb_RandomBitsOp : Pb_Op<"random_bits", [Pure, SameOperandsAndResultType]> {
  let summary = "counter-based random bits: those of a counter under a key";
  let description = [{
    Threefry-2x32 with 20 rounds (Salmon et al., 2011), elementwise. High and low word of `key`
    and of `counter` are the two words of each; the first word of the block is the high word of
    64 bits, of which the result has the highest `bits`, as a number that is not negative
    (unless all 64 are asked for). Equal operands give equal bits.
  }];
  let arguments = (ins Pb_KeyTensor:$key, Pb_KeyTensor:$counter, I64Attr:$bits);
  let results = (outs Pb_KeyTensor:$result);
  let assemblyFormat = "$bits `of` $counter `,` $key attr-dict `:` type($result)";
  let hasVerifier = 1;
}

#endif
