//===- PbConv.td - convolution ----------------------------------------------===//
// Included from PbOps.td. The op is one trilinear form seen from one of its three sides, so that
// its transposes are again convolutions.
//===----------------------------------------------------------------------===//
#ifndef PB_CONV_TD
#define PB_CONV_TD

def Pb_ConvOp : Pb_Shaped<"conv"> {
  let summary = "sum of products over the pairs of positions that an affine relation joins";
  let description = [{
    x is [N, G, C, i...], w is [G, O, C, k...], the result is [N, G, O, o...]:
    result[n, g, f, o] = sum of x[n, g, c, i] * w[g, f, c, k] over c and over all i and k with
    x_steps * i + w_steps * k + out_steps * o = offsets in each spatial dimension.
    The convolution of stride s, dilation d and padding p has the steps 1, -d, -s and the
    offset -p; G counts its groups. Positions that nothing joins are zero.
  }];
  let arguments = (ins Pb_NumberTensor:$x, Pb_NumberTensor:$w, DenseI64ArrayAttr:$x_steps,
                       DenseI64ArrayAttr:$w_steps, DenseI64ArrayAttr:$out_steps,
                       DenseI64ArrayAttr:$offsets);
  let results = (outs Pb_NumberTensor:$result);
  let assemblyFormat = [{
    $x `,` $w `steps` `=` $x_steps `x` $w_steps `x` $out_steps `offsets` `=` $offsets attr-dict
    `:` type($x) `,` type($w) `->` type($result)
  }];
}

#endif
