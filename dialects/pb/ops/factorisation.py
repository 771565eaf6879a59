"""LU and QR, and what is solved with LU. A matrix is the last two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import at_dim
from ..opdef import ZERO, Batched, Op, Tangent, register
from ..types import dtype, element_type, rank, shape, size
from .halves import Halves, block, permuted
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


def from_right(b: Builder, upper: ir.Value, x: Any, unit: bool = False) -> Any:
    """x upper^-1"""
    solved = b.triangular_solve(upper, b.matrix_transpose(x), upper=True, transposed=True)
    return b.matrix_transpose(solved)


@register(gen.LuOp)
class Lu(Op):
    def jvp(self, b: Builder, x_dot: Any) -> Sequence[Tangent]:
        """With M = L^-1 P x' U^-1: L' = L below(M), U' = above(M) U, for the square part."""
        rows, columns = shape(self.x)[-2:]
        k = min(rows, columns)
        lu, dot = self.lu, permuted(b, x_dot, self.permutation)
        square = block(b, lu, (0, k), (0, k))
        part = block(b, dot, (0, k), (0, k))
        inner = from_right(b, square, b.triangular_solve(square, part, unit=True))
        below, above = b.triangle(inner, True, -1), b.triangle(inner, False)
        lower = b.add(b.triangle(square, True, -1), self.ones(b, square))
        lower_dot = b.matmul(lower, below)
        upper_dot = b.matmul(above, b.triangle(square, False))
        out = b.add(b.triangle(lower_dot, True, -1), b.triangle(upper_dot, False))
        if rows > k:  # rows of L below the square part
            rest, rest_dot = (block(b, v, (k, rows), (0, k)) for v in (lu, dot))
            more = from_right(b, square, b.sub(rest_dot, b.matmul(rest, upper_dot)))
            out = b.concatenate([out, more], rank(out) - 2)
        if columns > k:  # columns of U right of it
            rest, rest_dot = (block(b, v, (0, k), (k, columns)) for v in (lu, dot))
            change = b.sub(rest_dot, b.matmul(lower_dot, rest))
            more = b.triangular_solve(square, change, unit=True)
            out = b.concatenate([out, more], rank(out) - 1)
        return out, ZERO, ZERO

    def ones(self, b: Builder, like: ir.Value) -> ir.Value:
        n = rank(like)
        one = b.identity_matrix(shape(like)[-1], element_type(like))
        return b.broadcast(one, shape(like), [n - 2, n - 1])

    def batch(self, b: Builder, size: int, x: Batched) -> Sequence[Batched]:
        return [Batched(value, 0) for value in b.lu(at_dim(b, x, 0, size))]

    def reference(self, x: Any) -> Any:
        rows, columns = x.shape[-2:]
        k = min(rows, columns)
        lu = x.copy().reshape(size(x.shape[:-2]), rows, columns)
        pivots = np.zeros((len(lu), k), np.int32)
        permutation = np.tile(np.arange(rows), (len(lu), 1))
        for a, swaps, order in zip(lu, pivots, permutation, strict=True):
            for j in range(k):
                p = j + int(np.argmax(np.nan_to_num(np.abs(a[j:, j]), nan=-1, posinf=np.inf)))
                swaps[j] = p + 1
                a[[j, p]], order[[j, p]] = a[[p, j]], order[[p, j]]
                if a[j, j] != 0:
                    a[j + 1 :, j] /= a[j, j]
                a[j + 1 :, j + 1 :] -= np.outer(a[j + 1 :, j], a[j, j + 1 :])
        outer = x.shape[:-2]
        return lu.reshape(x.shape), pivots.reshape(*outer, k), permutation.reshape(*outer, rows)

    def flops(self) -> int:
        rows, columns = shape(self.x)[-2:]
        return 2 * size(shape(self.x)) * min(rows, columns) // 3

    def halved(self, b: Builder, alone: int) -> Sequence[ir.Value] | None:
        """By columns: a part has all rows, so half as many are as much work."""
        halves = Halves.of(b, min(shape(self.x)[-2:]), alone // 2)
        return halves and halves.lu(self.x)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.lu(x)


@register(gen.LuSolveOp)
class LuSolve(Op):
    def again(self, b: Builder, right: Any, flip: bool = False) -> Any:
        transposed = bool(self.transposed) != flip
        return b.lu_solve(self.a, self.lu, self.permutation, right, transposed)

    def jvp(self, b: Builder, a_dot: Any, lu_dot: Any, _: Any, b_dot: Any) -> Tangent:
        """a y' = b' - a' y"""
        change = b.matmul(a_dot, self.result, x_transposed=bool(self.transposed))
        return self.again(b, b_dot if change is ZERO else b.sub(b_dot, change))

    def transpose(
        self, b: Builder, ct: ir.Value, a: Any, lu: Any, permutation: Any, right: Any
    ) -> Sequence[Tangent | None]:
        if a is None or lu is None:
            raise self.missing("transpose", " for its matrix")
        bar = b.lu_solve(a, lu, permutation, ct, not self.transposed)
        return None, None, None, bar

    def batch(self, b: Builder, size: int, *operands: Batched) -> Batched:
        *factors, right = operands
        transposed = bool(self.transposed)
        if any(factor.dim is not None for factor in factors):
            a, lu, order, y = (at_dim(b, operand, 0, size) for operand in operands)
            return Batched(b.lu_solve(a, lu, order, y, transposed), 0)
        # One matrix, and the right-hand sides of all examples side by side.
        last = rank(right.value) - 1
        moved = b.move_dim(right.value, batch_dim(right), last)
        *outer, columns, _ = shape(moved)
        a, lu, order = (factor.value for factor in factors)
        side = b.reshape(moved, (*outer, columns * size))
        made = b.lu_solve(a, lu, order, side, transposed)
        return Batched(b.reshape(made, shape(moved)), last)

    def reference(self, a: Any, lu: Any, permutation: Any, right: Any) -> Any:
        order = permutation[..., None]
        y = right.copy() if self.transposed else np.take_along_axis(right, order, -2)
        n = lu.shape[-1]

        def eliminate(matrix: Any, rows: Any, unit: bool, before: bool) -> None:
            for i in rows:
                done = slice(0, i) if before else slice(i + 1, n)
                y[..., i, :] -= (matrix[..., i, done, None] * y[..., done, :]).sum(-2)
                if not unit:
                    y[..., i, :] /= matrix[..., i, i, None]

        if not self.transposed:
            eliminate(lu, range(n), True, True)
            eliminate(lu, reversed(range(n)), False, False)
            return y
        flipped = np.swapaxes(lu, -1, -2)
        eliminate(flipped, range(n), False, True)
        eliminate(flipped, reversed(range(n)), True, False)
        out = np.zeros_like(y)
        np.put_along_axis(out, np.broadcast_to(order, y.shape), y, -2)
        return out

    def flops(self) -> int:
        return 2 * size(shape(self.b)) * shape(self.a)[-1]

    def halved(self, b: Builder, alone: int) -> Sequence[ir.Value] | None:
        halves = Halves.of(b, shape(self.a)[-1], alone)
        transposed = bool(self.transposed)
        return halves and [halves.lu_solve(self.lu, self.permutation, self.b, transposed)]

    def lower(self, loops: Any, a: Any, lu: Any, permutation: Any, right: Any) -> Any:
        return loops.lu_solve(lu, permutation, right, bool(self.transposed))


@register(gen.DeterminantOp)
class Determinant(Op):
    def jvp(self, b: Builder, a_dot: Any, *_: Any) -> Tangent:
        """det' = det trace(a^-1 a'); log|det|' = trace(a^-1 a')"""
        if a_dot is ZERO:
            return ZERO
        factors = self.lu
        if not self.log:
            factors = self.regular(b)
        solved = b.lu_solve(self.a, factors, self.permutation, a_dot)
        trace = b.reduce_sum(b.diagonal_of(solved), [rank(self.a) - 2])
        if self.log:
            return trace
        det = b.determinant(self.a, factors, self.pivots, self.permutation)
        return b.mul(trace, det)

    def regular(self, b: Builder) -> ir.Value:
        """The factors with zeros on the diagonal of U replaced by what is small beside it."""
        diagonal = b.diagonal_of(self.lu)
        zeros = b.zeros_like(diagonal)
        magnitude = b.maximum(diagonal, b.neg(diagonal))
        n = rank(diagonal)
        largest = b.reduce_max(magnitude, [n - 1]) if shape(diagonal)[-1] else None
        if largest is None:
            return self.lu
        none = b.compare("eq", largest, b.zeros_like(largest))
        largest = b.select(none, b.full_like(largest, 1), largest)
        tiny = b.mul(largest, b.full_like(largest, float(np.finfo(dtype(self.a)).eps)))
        spread = b.broadcast(tiny, shape(diagonal), list(range(n - 1)))
        missing = b.compare("eq", diagonal, zeros)
        return b.add(self.lu, b.as_diagonal(b.select(missing, spread, zeros)))

    def batch(self, b: Builder, size: int, *operands: Batched) -> Batched:
        a, lu, pivots, order = (at_dim(b, operand, 0, size) for operand in operands)
        return Batched(b.determinant(a, lu, pivots, order, bool(self.log)), 0)

    def reference(self, a: Any, lu: Any, pivots: Any, permutation: Any) -> Any:
        diagonal = np.diagonal(lu, axis1=-2, axis2=-1)
        if self.log:
            return np.log(np.abs(diagonal)).sum(-1)
        swapped = pivots != np.arange(1, pivots.shape[-1] + 1)
        return np.where(swapped, -diagonal, diagonal).prod(-1)

    def lower(self, loops: Any, a: Any, lu: Any, pivots: Any, permutation: Any) -> Any:
        return loops.determinant(lu, pivots, bool(self.log))


@register(gen.QrOp)
class Qr(Op):
    def jvp(self, b: Builder, x_dot: Any) -> Sequence[Tangent]:
        """With M = q^T x' r^-1: r' = above(M + M^T) r, half its diagonal; q' = (x' - q r') r^-1."""
        rows, columns = shape(self.x)[-2:]
        if self.complete and rows > columns:
            raise self.missing("jvp", " with complete=True and more rows than columns")
        k = min(rows, columns)
        q, square = self.q, block(b, self.r, (0, k), (0, k))
        dot = block(b, x_dot, (0, rows), (0, k))
        inner = from_right(b, square, b.matmul(q, dot, x_transposed=True))
        both = b.add(inner, b.matrix_transpose(inner))
        r_dot = b.matmul(b.matrix_transpose(b.half_diagonal(both)), square)
        q_dot = from_right(b, square, b.sub(dot, b.matmul(q, r_dot)))
        if columns > k:
            change = b.sub(x_dot, b.matmul(q_dot, self.r))
            r_dot = b.triangle(b.matmul(q, change, x_transposed=True), False)
        return q_dot, r_dot

    def batch(self, b: Builder, size: int, x: Batched) -> Sequence[Batched]:
        made = b.qr(at_dim(b, x, 0, size), bool(self.complete))
        return [Batched(value, 0) for value in made]

    def reference(self, x: Any) -> Any:
        rows, columns = x.shape[-2:]
        k = min(rows, columns)
        wide = rows if self.complete else k
        q, r = np.zeros((*x.shape[:-1], wide), x.dtype), x.copy()
        q[..., np.arange(wide), np.arange(wide)] = 1
        steps = []
        for j in range(k):
            head, tail = r[..., j, j].copy(), r[..., j + 1 :, j].copy()
            norm = np.sqrt(head * head + (tail * tail).sum(-1))
            some = (tail != 0).any(-1)
            beta = np.where(some, -np.copysign(norm, head), head)
            safe = np.where(some, head - beta, 1)
            tau = np.where(some, (beta - head) / np.where(some, beta, 1), 0)
            v = np.concatenate([np.ones_like(head)[..., None], tail / safe[..., None]], -1)
            self.reflect(r[..., j:, j + 1 :], v, tau)
            r[..., j, j], r[..., j + 1 :, j] = beta, 0
            steps.append((v, tau))
        for j, (v, tau) in reversed(list(enumerate(steps))):
            self.reflect(q[..., j:, :], v, tau)
        return q, r[..., :wide, :]

    @staticmethod
    def reflect(x: Any, v: Any, tau: Any) -> None:
        w = (v[..., None] * x).sum(-2)
        x -= tau[..., None, None] * v[..., None] * w[..., None, :]

    def flops(self) -> int:
        rows, columns = shape(self.x)[-2:]
        return 4 * size(shape(self.x)) * min(rows, columns)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.qr(x, bool(self.complete))
