//===- PbLinalg.td - factorisations and what is solved with them ------------===//
// The last two dimensions are a matrix, those before them a batch.
//===----------------------------------------------------------------------===//
#ifndef PB_LINALG_TD
#define PB_LINALG_TD

def Pb_CholeskyOp : Pb_Inferred<"cholesky"> {
  let summary = "the lower triangular L with L L^T = x";
  let description = [{
    Only the lower triangle of x is read. Where x is not positive definite, the diagonal of L is
    NaN from the row on where that shows. The derivative is that of (x + x^T) / 2.
  }];
  let arguments = (ins Pb_FloatTensor:$x);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Pb_TriangularSolveOp : Pb_Inferred<"triangular_solve"> {
  let summary = "the y with a y = b, or a^T y = b if `transposed`; a is triangular";
  let description = [{
    Only the lower triangle of a is read, with `upper` only the upper one; with `unit` its diagonal
    is one and not read. A zero on the diagonal gives infinities and NaN, as division does.
  }];
  let arguments = (ins Pb_FloatTensor:$a, Pb_FloatTensor:$b, UnitAttr:$upper, UnitAttr:$unit,
                       UnitAttr:$transposed);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = "$a `,` $b attr-dict `:` type($a) `,` type($b)";
}

def Pb_LuOp : Pb_Inferred<"lu"> {
  let summary = "L U with partial pivoting, packed in one matrix";
  let description = [{
    U is the upper triangle of `lu`, L what is below it, with ones on its diagonal. Row i was
    swapped with row pivots[i] - 1, i ascending, as in LAPACK; row i of L U is row
    permutation[i] of x. A column without a pivot leaves a zero on the diagonal of U.
  }];
  let arguments = (ins Pb_FloatTensor:$x);
  let results = (outs Pb_FloatTensor:$lu, Pb_IntTensor:$pivots, Pb_IntTensor:$permutation);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Pb_LuSolveOp : Pb_Inferred<"lu_solve"> {
  let summary = "the y with a y = b, or a^T y = b if `transposed`, by the factors of a";
  let description = [{
    `lu` and `permutation` are pb.lu of a. The value depends on them, the derivative on a and b:
    it needs no derivative of the factors.
  }];
  let arguments = (ins Pb_FloatTensor:$a, Pb_FloatTensor:$lu, Pb_IntTensor:$permutation,
                       Pb_FloatTensor:$b, UnitAttr:$transposed);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = [{
    $a `,` $lu `,` $permutation `,` $b attr-dict `:` type($a) `,` type($lu) `,`
    type($permutation) `,` type($b)
  }];
}

def Pb_DeterminantOp : Pb_Inferred<"determinant"> {
  let summary = "the determinant of a by its factors; with `log`, the logarithm of its magnitude";
  let description = [{
    `lu`, `pivots` and `permutation` are pb.lu of a. The value depends on them, the derivative
    on a. Where a is singular the derivative is that of a matrix nearby, so the adjugate.
  }];
  let arguments = (ins Pb_FloatTensor:$a, Pb_FloatTensor:$lu, Pb_IntTensor:$pivots,
                       Pb_IntTensor:$permutation, UnitAttr:$log);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = [{
    $a `,` $lu `,` $pivots `,` $permutation attr-dict `:` type($a) `,` type($lu) `,`
    type($pivots) `,` type($permutation)
  }];
}

def Pb_QrOp : Pb_Inferred<"qr"> {
  let summary = "q r = x with orthonormal columns q and upper triangular r, by reflections";
  let description = [{
    For x of n rows and m columns and k = min(n, m): q is n x k and r is k x m; with `complete`
    q is n x n and r is n x m, and there is a derivative only if n <= m.
  }];
  let arguments = (ins Pb_FloatTensor:$x, UnitAttr:$complete);
  let results = (outs Pb_FloatTensor:$q, Pb_FloatTensor:$r);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Pb_EighOp : Pb_Inferred<"eigh"> {
  let summary = "eigenvalues, ascending, and eigenvectors (columns) of symmetric matrices";
  let description = [{
    Only the lower triangle of x is read, with `upper` only the upper one. The first component of a vector that is not much smaller
    than its largest is positive. Infinities and NaN in a matrix make all its results NaN. The
    derivative is for symmetric tangents; that of vectors is infinite where values are equal.
  }];
  let arguments = (ins Pb_FloatTensor:$x, UnitAttr:$upper);
  let results = (outs Pb_FloatTensor:$eigenvalues, Pb_FloatTensor:$vectors);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Pb_SvdOp : Pb_Inferred<"svd"> {
  let summary = "u, s, vh with x = u diag(s) vh: orthonormal columns and rows, s descending";
  let description = [{
    For x of n rows and m columns and k = min(n, m): u is n x k and vh is k x m. Columns of u have
    signs as vectors of pb.eigh have. Infinities and NaN in a matrix make all its results NaN. The
    derivative of u and vh is infinite where singular values are equal.
  }];
  let arguments = (ins Pb_FloatTensor:$x);
  let results = (outs Pb_FloatTensor:$u, Pb_FloatTensor:$s, Pb_FloatTensor:$vh);
  let assemblyFormat = "$x attr-dict `:` type($x)";
}

def Pb_PinvOp : Pb_Inferred<"pinv"> {
  let summary = "p, which is the pseudoinverse of a";
  let description = [{
    The value is p, the derivative that of the pseudoinverse of a, whose rank is taken to stay as
    it is. It needs no derivative of the singular values that p was made of, so that some of them
    may be equal.
  }];
  let arguments = (ins Pb_FloatTensor:$a, Pb_FloatTensor:$p);
  let results = (outs Pb_FloatTensor:$result);
  let assemblyFormat = "$a `,` $p attr-dict `:` type($a) `,` type($p)";
}

#endif
