"""Large matrices in halves: a factorisation or solve as smaller ones, with products between them.

(Toledo, Locality of Reference in LU Decomposition with Partial Pivoting, 1997.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlir import ir

from ..opdef import ZERO
from ..types import rank, shape

if TYPE_CHECKING:
    from ..builder import Builder

#: No more parts than this: each is several kernels, for whose compilation somebody waits.
_PARTS = 16
#: Halves start at multiples of this.
_ROUND = 16


def block(b: Builder, x: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """Matrices cut out of matrices."""
    if x is ZERO:
        return x
    outer = list(shape(x)[:-2])
    start = [0] * len(outer)
    sizes = [*outer, rows[1] - rows[0], columns[1] - columns[0]]
    if sizes == list(shape(x)):
        return x
    return b.slice(x, [*start, rows[0], columns[0]], sizes, [1] * len(sizes))


def permuted(b: Builder, x: Any, permutation: ir.Value) -> Any:
    """Row permutation[i] of x as row i."""
    n = rank(permutation) - 1
    return b.gather(x, [permutation], [n], batch_dims=n, in_bounds=True)


@dataclass
class Halves:
    """Up to `alone` rows or columns are not halved again."""

    b: Builder
    alone: int

    @staticmethod
    def of(b: Builder, size: int, alone: int) -> Halves | None:
        """None: the size is too small."""
        return Halves(b, max(alone, size // _PARTS)) if size > alone else None

    def cholesky(self, x: ir.Value) -> ir.Value:
        b, n = self.b, shape(x)[-1]
        if n <= self.alone:
            return b.cholesky(x)
        first, second = _halves(n)
        upper = self.cholesky(block(b, x, first, first))
        beside = block(b, x, second, first)
        left = b.matrix_transpose(self.solve(upper, b.matrix_transpose(beside)))
        rest = b.sub(block(b, x, second, second), b.matmul(left, left, y_transposed=True))
        zeros = b.matrix_transpose(b.zeros_like(beside))
        return self._assembled([[upper, zeros], [left, self.cholesky(rest)]])

    def solve(
        self,
        a: ir.Value,
        right: ir.Value,
        upper: bool = False,
        unit: bool = False,
        transposed: bool = False,
    ) -> ir.Value:
        b, (n, columns) = self.b, shape(right)[-2:]
        if n <= self.alone:
            return b.triangular_solve(a, right, upper, unit, transposed)
        head, tail = _halves(n)
        forward = upper == transposed
        first, second = (head, tail) if forward else (tail, head)
        beside = block(b, a, *((first, second) if transposed else (second, first)))

        def part(rows: tuple[int, int], right: ir.Value) -> ir.Value:
            return self.solve(block(b, a, rows, rows), right, upper, unit, transposed)

        y = part(first, block(b, right, first, (0, columns)))
        change = b.matmul(beside, y, x_transposed=transposed)
        z = part(second, b.sub(block(b, right, second, (0, columns)), change))
        return b.concatenate([y, z] if forward else [z, y], rank(right) - 2)

    def lu_solve(
        self, lu: ir.Value, order: ir.Value, right: ir.Value, transposed: bool
    ) -> ir.Value:
        if not transposed:
            y = self.solve(lu, permuted(self.b, right, order), unit=True)
            return self.solve(lu, y, upper=True)
        y = self.solve(lu, right, upper=True, transposed=True)
        y = self.solve(lu, y, unit=True, transposed=True)
        return permuted(self.b, y, self.b.argsort(order, rank(order) - 1))

    def lu(self, x: ir.Value) -> Sequence[ir.Value]:
        """Factors, pivots and permutation."""
        b, (rows, columns) = self.b, shape(x)[-2:]
        if min(rows, columns) <= self.alone:
            return b.lu(x)
        first, (start, _) = _halves(min(rows, columns))
        width = columns - start
        left, pivots, order = self.lu(block(b, x, (0, rows), first))
        right = permuted(b, block(b, x, (0, rows), (start, columns)), order)
        top = block(b, left, first, first)
        beside = self.solve(top, block(b, right, first, (0, width)), unit=True)
        under = block(b, left, (start, rows), first)
        rest = b.sub(block(b, right, (start, rows), (0, width)), b.matmul(under, beside))
        rest, more, moved = self.lu(rest)
        last = rank(order) - 1
        kept, others = (self._part(order, *places) for places in (first, (start, rows)))
        return (
            self._assembled([[top, beside], [permuted(b, under, moved), rest]]),
            b.concatenate([pivots, b.add(more, b.full_like(more, start))], last),
            b.concatenate([kept, permuted(b, others, moved)], last),
        )

    def _assembled(self, blocks: Sequence[Sequence[ir.Value]]) -> ir.Value:
        n = rank(blocks[0][0])
        rows = [self.b.concatenate(row, n - 1) for row in blocks]
        return self.b.concatenate(rows, n - 2)

    def _part(self, x: ir.Value, start: int, end: int) -> ir.Value:
        """Some of the last dimension."""
        outer = list(shape(x)[:-1])
        sizes = [*outer, end - start]
        return self.b.slice(x, [*(0 for _ in outer), start], sizes, [1] * len(sizes))


def _halves(n: int) -> tuple[tuple[int, int], tuple[int, int]]:
    half = -(-n // 2 // _ROUND) * _ROUND
    return (0, half), (half, n)
