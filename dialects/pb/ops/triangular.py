"""Cholesky and triangular solves. A matrix is the last two dimensions; those before it a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _pb_ops_gen as gen
from ..families import at_dim
from ..opdef import ZERO, Batched, Op, Tangent, register
from ..types import rank, shape, size
from .halves import Halves
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.CholeskyOp)
class Cholesky(Op):
    def jvp(self, b: Builder, x_dot: Any) -> Tangent:
        """L' = L half(L^-1 x' L^-T), half: the lower triangle, half its diagonal (Murray 2016)."""
        factor = self.result
        both = b.add(x_dot, b.matrix_transpose(x_dot))
        symmetric = b.mul(both, b.full_like(both, 0.5))
        left = b.triangular_solve(factor, symmetric)
        inner = b.triangular_solve(factor, b.matrix_transpose(left))
        return b.matmul(factor, b.half_diagonal(inner))

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        return Batched(b.cholesky(at_dim(b, x, 0, size)), 0)

    def reference(self, x: Any) -> Any:
        factor = np.zeros_like(x)
        for j in range(x.shape[-1]):
            row = factor[..., j, :j]
            left = x[..., j, j] - (row * row).sum(-1)
            pivot = np.where(left > 0, np.sqrt(np.where(left > 0, left, 1)), np.nan)
            below = x[..., j + 1 :, j] - (factor[..., j + 1 :, :j] * row[..., None, :]).sum(-1)
            factor[..., j, j] = pivot
            factor[..., j + 1 :, j] = below / pivot[..., None]
        return factor

    def flops(self) -> int:
        return size(shape(self.x)) * (shape(self.x)[-1] // 3 + 1)

    def halved(self, b: Builder, alone: int) -> Sequence[Any] | None:
        halves = Halves.of(b, shape(self.x)[-1], alone)
        return halves and [halves.cholesky(self.x)]

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.cholesky(x)


@register(gen.TriangularSolveOp)
class TriangularSolve(Op):
    def again(self, b: Builder, a: Any, right: Any, flip: bool = False) -> Any:
        """The same kind of solve; `flip`: of the transposed system."""
        transposed = bool(self.transposed) != flip
        return b.triangular_solve(a, right, bool(self.upper), bool(self.unit), transposed)

    def jvp(self, b: Builder, a_dot: Any, b_dot: Any) -> Tangent:
        """a y' = b' - a' y"""
        if a_dot is not ZERO:
            upper, unit = bool(self.upper), bool(self.unit)
            part = b.triangle(a_dot, not upper, (1 if upper else -1) if unit else 0)
            change = b.matmul(part, self.result, x_transposed=bool(self.transposed))
            b_dot = b.sub(b_dot, change)
        return self.again(b, self.a, b_dot)

    def transpose(self, b: Builder, ct: Any, a: Any, right: Any) -> Sequence[Tangent | None]:
        if a is None:
            raise self.missing("transpose", " for its matrix")
        return None, self.again(b, a, ct, flip=True)

    def batch(self, b: Builder, size: int, a: Batched, right: Batched) -> Batched:
        if a.dim is not None:
            made = self.again(b, at_dim(b, a, 0, size), at_dim(b, right, 0, size))
            return Batched(made, 0)
        # One matrix, and the right-hand sides of all examples side by side.
        last = rank(right.value) - 1
        moved = b.move_dim(right.value, batch_dim(right), last)
        *outer, columns, _ = shape(moved)
        made = self.again(b, a.value, b.reshape(moved, (*outer, columns * size)))
        return Batched(b.reshape(made, shape(moved)), last)

    def reference(self, a: Any, right: Any) -> Any:
        a = np.swapaxes(a, -1, -2) if self.transposed else a
        out, n = right.copy(), a.shape[-1]
        first = bool(self.upper) == bool(self.transposed)
        for i in range(n) if first else reversed(range(n)):
            done = slice(0, i) if first else slice(i + 1, n)
            out[..., i, :] -= (a[..., i, done, None] * out[..., done, :]).sum(-2)
            if not self.unit:
                out[..., i, :] /= a[..., i, i, None]
        return out

    def flops(self) -> int:
        return size(shape(self.b)) * shape(self.a)[-1]

    def halved(self, b: Builder, alone: int) -> Sequence[Any] | None:
        halves = Halves.of(b, shape(self.a)[-1], alone)
        flags = bool(self.upper), bool(self.unit), bool(self.transposed)
        return halves and [halves.solve(self.a, self.b, *flags)]

    def lower(self, loops: Any, a: Any, right: Any) -> Any:
        flags = bool(self.upper), bool(self.unit), bool(self.transposed)
        return loops.triangular_solve(a, right, *flags)
