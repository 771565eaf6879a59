"""Large matrices in halves, so that most of the work is products, which the whole grid shares.

A block for each matrix is enough where matrices are small, or many. What is left of a large one
when it is halved often enough (LU: by columns) is small beside the products and solves between
the halves. (Toledo, Locality of Reference in LU Decomposition with Partial Pivoting, 1997.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlir import ir

from ...dialects.pb.builder import Builder
from ...dialects.pb.ops.factorisation import block, permuted
from ...dialects.pb.transforms import functions
from ...dialects.pb.types import rank, shape

#: Rows and columns that a block does alone, and matrices that keep a GPU busy.
_ALONE, _ALONE_LU, _BUSY = 128, 64, 64
#: Each part is several kernels, which somebody waits for when they are compiled.
_PARTS = 16


def run(module: ir.Module) -> None:
    for function in functions.functions(module):
        for op in list(functions.all_ops(function)):
            if op.operation.name not in _SPLITS or _matrices(op) >= _BUSY:
                continue
            least, split = _SPLITS[op.operation.name]
            size = min(shape(op.operands[0])[-2:])
            if size <= least():
                continue
            halves = _Halves(Builder(ir.InsertionPoint(op), op.location), least(), size)
            for old, new in zip(op.results, split(halves, op), strict=True):
                old.replace_all_uses_with(new)
            op.operation.erase()


def _matrices(op: Any) -> int:
    return math.prod(shape(op.operands[0])[:-2])


@dataclass
class _Halves:
    """`least` rows or columns of `size` are not halved again."""

    b: Builder
    least: int
    size: int

    def alone(self, n: int) -> bool:
        return n <= max(self.least, self.size // _PARTS)

    def cholesky(self, x: ir.Value) -> ir.Value:
        b, n = self.b, shape(x)[-1]
        if self.alone(n):
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
        if self.alone(n):
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
        if self.alone(min(rows, columns)):
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
    half = -(-n // 2 // 32) * 32
    return (0, half), (half, n)


def _solve(h: _Halves, op: Any) -> Sequence[ir.Value]:
    return [h.solve(op.a, op.b, bool(op.upper), bool(op.unit), bool(op.transposed))]


def _lu_solve(h: _Halves, op: Any) -> Sequence[ir.Value]:
    return [h.lu_solve(op.lu, op.permutation, op.b, bool(op.transposed))]


_SPLITS: dict[str, tuple[Callable[[], int], Callable[[_Halves, Any], Sequence[ir.Value]]]] = {
    "pb.cholesky": (lambda: _ALONE, lambda h, op: [h.cholesky(op.x)]),
    "pb.triangular_solve": (lambda: _ALONE, _solve),
    "pb.lu": (lambda: _ALONE_LU, lambda h, op: h.lu(op.x)),
    "pb.lu_solve": (lambda: _ALONE, _lu_solve),
}
