//===- PbMath.td - elementwise functions of numbers and bits ---------------===//
// Included by PbOps.td. Functions of the first part have their bodies in the library of math
// functions (pipelines/math_library.py), under their own name.
//===----------------------------------------------------------------------===//
#ifndef PB_MATH_TD
#define PB_MATH_TD

class Pb_Function<string mnemonic, string text> : Pb_Unary<mnemonic, Pb_FloatTensor> {
  let summary = text;
}

def Pb_Exp2Op : Pb_Function<"exp2", "2 to the power x">;
def Pb_Expm1Op : Pb_Function<"expm1", "exp(x) - 1, exact near 0">;
def Pb_Log1pOp : Pb_Function<"log1p", "log(1 + x), exact near 0">;
def Pb_Log2Op : Pb_Function<"log2", "logarithm to base 2">;
def Pb_Log10Op : Pb_Function<"log10", "logarithm to base 10">;
def Pb_SinhOp : Pb_Function<"sinh", "hyperbolic sine">;
def Pb_CoshOp : Pb_Function<"cosh", "hyperbolic cosine">;
def Pb_AsinhOp : Pb_Function<"asinh", "inverse hyperbolic sine">;
def Pb_AcoshOp : Pb_Function<"acosh", "inverse hyperbolic cosine">;
def Pb_AtanhOp : Pb_Function<"atanh", "inverse hyperbolic tangent">;
def Pb_AsinOp : Pb_Function<"asin", "inverse sine">;
def Pb_AcosOp : Pb_Function<"acos", "inverse cosine">;
def Pb_AtanOp : Pb_Function<"atan", "inverse tangent">;
def Pb_Atan2Op : Pb_Binary<"atan2", Pb_FloatTensor> {
  let summary = "the angle of the point (y, x): operand x is its ordinate, y its abscissa";
  let description = "All special values as in C99; the derivative at the origin is 0.";
}
def Pb_ErfOp : Pb_Function<"erf", "error function">;
def Pb_ErfcOp : Pb_Function<"erfc", "1 - erf(x), exact where it is small">;
def Pb_ErfcxOp : Pb_Function<"erfcx", "exp(x^2) erfc(x)">;
def Pb_ErfinvOp : Pb_Function<"erfinv", "inverse of erf">;
def Pb_NdtriOp : Pb_Function<"ndtri", "quantile of the normal distribution">;
def Pb_LogNdtrOp : Pb_Function<"log_ndtr", "logarithm of the normal distribution function">;
def Pb_LgammaOp : Pb_Function<"lgamma", "logarithm of the absolute value of the gamma function">;
def Pb_DigammaOp : Pb_Function<"digamma", "derivative of lgamma">;
def Pb_PolygammaOp : Pb_Op<"polygamma", [Pure, SameOperandsAndResultType]> {
  let summary = "derivative number `order` of digamma, order > 0";
  let arguments = (ins Pb_FloatTensor:$x, ConfinedAttr<I64Attr, [IntPositive]>:$order);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = "$x `order` `=` $order attr-dict `:` type($x)";
}
def Pb_ZetaOp : Pb_Binary<"zeta", Pb_FloatTensor> {
  let summary = "the Hurwitz zeta function: the sum of (y + k)^-x over k >= 0";
  let description = "Differentiated in y only.";
}
def Pb_FmodOp : Pb_Binary<"fmod", Pb_FloatTensor> {
  let summary = "the exact remainder of x / y rounded towards zero (C99 fmod)";
}

// -- rounding ------------------------------------------------------------------

def Pb_FloorOp : Pb_Function<"floor", "the largest whole number that is not above x">;
def Pb_CeilOp : Pb_Function<"ceil", "the smallest whole number that is not below x">;
def Pb_TruncOp : Pb_Function<"trunc", "the whole part of x">;
def Pb_RoundOp : Pb_Function<"round", "the nearest whole number, the even one of two">;

// -- bits ------------------------------------------------------------------------

def Pb_AndOp : Pb_Binary<"and", Pb_IntTensor, [Commutative]> { let summary = "bitwise and"; }
def Pb_OrOp : Pb_Binary<"or", Pb_IntTensor, [Commutative]> { let summary = "bitwise or"; }
def Pb_XorOp : Pb_Binary<"xor", Pb_IntTensor, [Commutative]> { let summary = "bitwise exclusive or"; }
def Pb_ShiftLeftOp : Pb_Binary<"shift_left", Pb_IntTensor> {
  let summary = "x times 2^y, wrapping; 0 if y is negative or not below the width";
}
def Pb_ShiftRightOp : Pb_Binary<"shift_right", Pb_IntTensor> {
  let summary = "x / 2^y rounded down; the sign (0 or -1) if y is negative or not below the width";
}
def Pb_BitcastOp : Pb_Inferred<"bitcast"> {
  let summary = "the same bits: f32 as i32, f64 as i64, and back";
  let description = "No derivative goes through it.";
  let arguments = (ins Pb_NumberTensor:$x);
  let results = (outs Pb_NumberTensor:$result);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

// -- along a dimension, up to each element ------------------------------------------

class Pb_Cumulative<string mnemonic, Type type> : Pb_Op<mnemonic, [Pure, SameOperandsAndResultType]> {
  let arguments = (ins type:$x, I64Attr:$dim);
  let results = (outs type:$result);
  let assemblyFormat = "$x `dim` `=` $dim attr-dict `:` type($x)";
  let hasVerifier = 1;
}

def Pb_CumulativeSumOp : Pb_Cumulative<"cumulative_sum", Pb_NumberTensor> {
  let summary = "the sums of the elements along dim, up to each of them; from the end if `reverse`";
  let arguments = (ins Pb_NumberTensor:$x, I64Attr:$dim, UnitAttr:$reverse);
}
def Pb_CumulativeProductOp : Pb_Cumulative<"cumulative_product", Pb_NumberTensor> {
  let summary = "the products of the elements along dim, up to each of them";
}
def Pb_CumulativeLogsumexpOp : Pb_Cumulative<"cumulative_logsumexp", Pb_FloatTensor> {
  let summary = "log of the sums of exp(x) along dim, up to each element";
}
def Pb_CumulativeExtremumOp : Pb_Inferred<"cumulative_extremum"> {
  let summary = "the position of the largest element along dim, up to each; or of the `smallest`";
  let description = [{
    Of equal elements the last. NaN is the extremum from where it is on, the last one if there are
    several. The elements themselves are read by a gather, which has the derivative.
  }];
  let arguments = (ins Pb_NumberTensor:$x, I64Attr:$dim, UnitAttr:$smallest);
  let results = (outs Pb_IntTensor:$result);
  let assemblyFormat = "$x `dim` `=` $dim attr-dict `:` type($x)";
}
def Pb_LinearRecurrenceOp : Pb_Op<"linear_recurrence", [Pure, SameOperandsAndResultType]> {
  let summary = "h[k] = factors[k] h[k - 1] + terms[k] along dim; its transpose if `reverse`";
  let description = [{
    It starts with h[0] = terms[0]. The transpose goes from the end to the start:
    h[k] = factors[k + 1] h[k + 1] + terms[k]. Neither reads the first factor. Every derivative of
    what is multiplied along a dimension is one of the two.
  }];
  let arguments = (ins Pb_FloatTensor:$factors, Pb_FloatTensor:$terms, I64Attr:$dim,
                       UnitAttr:$reverse);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = "$factors `,` $terms `dim` `=` $dim attr-dict `:` type($terms)";
  let hasVerifier = 1;
}

#endif
