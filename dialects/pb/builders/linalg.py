"""Builds factorisations, and the products and triangles that their derivatives are made of.

The last two dimensions are a matrix, those before them a batch.
"""

from __future__ import annotations

from typing import Any

from mlir import ir

from .. import _pb_ops_gen as gen
from ..opdef import ZERO, Tangent
from ..types import rank, shape
from .contraction import Contraction
from .elementwise import Elementwise
from .structure import Structure


class Linalg(Elementwise, Structure, Contraction):
    # Matrices.

    def matrix_transpose(self, x: Any) -> Any:
        if x is ZERO:
            return x
        n = rank(x)
        return self.transpose(x, [*range(n - 2), n - 1, n - 2])

    def matmul(
        self, x: Tangent, y: Tangent, x_transposed: bool = False, y_transposed: bool = False
    ) -> Any:
        """The product of matrices (each transposed first if asked for) in equal batches."""
        if x is ZERO or y is ZERO:
            return ZERO
        n = rank(x)
        batch = list(range(n - 2))
        rows, columns = (n - 2 if x_transposed else n - 1), (n - 1 if y_transposed else n - 2)
        return self.dot_general(x, y, batch, batch, [rows], [columns])

    def where_below(self, x: Any, on_true: Any, on_false: Any, diagonal: int = 0) -> Any:
        """on_true where column - row <= diagonal in matrices like x, else on_false."""
        if on_true is ZERO and on_false is ZERO:
            return ZERO
        dims = shape(x)[-2:]
        i64 = ir.IntegerType.get_signless(64, x.context)
        rows, columns = (self.iota(dims, d, i64) for d in (0, 1))
        below = self.compare("le", columns, self.add(rows, self.full_like(rows, diagonal)))
        n = rank(x)
        return self.select(self.broadcast(below, shape(x), [n - 2, n - 1]), on_true, on_false)

    def triangle(self, x: Any, lower: bool, diagonal: int = 0) -> Any:
        """x on and below (else: above) a diagonal, and zero elsewhere."""
        if x is ZERO:
            return x
        zeros = self.zeros_like(x)
        if lower:
            return self.where_below(x, x, zeros, diagonal)
        return self.where_below(x, zeros, x, diagonal - 1)

    def diagonal_of(self, x: Any) -> Any:
        """The main diagonals."""
        if x is ZERO:
            return x
        *outer, rows, columns = shape(x)
        n = min(rows, columns)
        if rows == columns == 0:
            return self.reshape(x, (*outer, 0))
        start, flat = [0] * len(outer), self.reshape(x, (*outer, rows * columns))
        strides = [1] * len(outer)
        return self.slice(flat, [*start, 0], [*outer, n], [*strides, columns + 1])

    def as_diagonal(self, x: Any) -> Any:
        """Square matrices with x on the diagonal, and zero elsewhere."""
        if x is ZERO:
            return x
        *outer, n = shape(x)
        if n == 0:
            return self.reshape(x, (*outer, 0, 0))
        start, strides = [0] * len(outer), [1] * len(outer)
        flat = self.pad(x, None, (*outer, n * n), [*start, 0], [*strides, n + 1])
        return self.reshape(flat, (*outer, n, n))

    def half_diagonal(self, x: Any) -> Any:
        """The lower triangle of x with half its diagonal."""
        if x is ZERO:
            return x
        half = self.mul(x, self.full_like(x, 0.5))
        return self.where_below(x, self.where_below(x, x, half, -1), self.zeros_like(x))

    def identity_matrix(self, n: int, element: ir.Type) -> ir.Value:
        return self.as_diagonal(self.full((n,), 1, element))

    # Factorisations.

    def cholesky(self, x: ir.Value) -> ir.Value:
        return self._make(gen.CholeskyOp, x)

    def triangular_solve(
        self,
        a: ir.Value,
        b: Tangent,
        upper: bool = False,
        unit: bool = False,
        transposed: bool = False,
    ) -> Any:
        """y with a y = b; a^T y = b if `transposed`."""
        if b is ZERO:
            return ZERO
        return self._make(
            gen.TriangularSolveOp,
            a,
            b,
            upper=upper or None,
            unit=unit or None,
            transposed=transposed or None,
        )

    def lu(self, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """The packed factors, the pivots of LAPACK, and the permutation of the rows."""
        lu, pivots, permutation = gen.LuOp(x, loc=self.location, ip=self.ip).results
        return lu, pivots, permutation

    def lu_solve(
        self, a: ir.Value, lu: ir.Value, permutation: ir.Value, b: Tangent, transposed: bool = False
    ) -> Any:
        """y with a y = b (a^T y = b if `transposed`), by the factors of a."""
        if b is ZERO:
            return ZERO
        return self._make(gen.LuSolveOp, a, lu, permutation, b, transposed=transposed or None)

    def determinant(
        self,
        a: ir.Value,
        lu: ir.Value,
        pivots: ir.Value,
        permutation: ir.Value,
        log: bool = False,
    ) -> ir.Value:
        return self._make(gen.DeterminantOp, a, lu, pivots, permutation, log=log or None)

    def qr(self, x: ir.Value, complete: bool = False) -> tuple[ir.Value, ir.Value]:
        made = gen.QrOp(x, complete=complete or None, loc=self.location, ip=self.ip)
        q, r = made.results
        return q, r

    def eigh(self, x: ir.Value, upper: bool = False) -> tuple[ir.Value, ir.Value]:
        """Eigenvalues, ascending, and eigenvectors as columns, of the lower (upper) triangle."""
        made = gen.EighOp(x, upper=upper or None, loc=self.location, ip=self.ip)
        values, vectors = made.results
        return values, vectors

    def svd(self, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """u, s, vh with x = u diag(s) vh, reduced; s descending."""
        u, s, vh = gen.SvdOp(x, loc=self.location, ip=self.ip).results
        return u, s, vh

    def pinv(self, a: ir.Value, p: ir.Value) -> ir.Value:
        """p, with the derivative of the pseudoinverse of a, which it is."""
        return self._make(gen.PinvOp, a, p)
