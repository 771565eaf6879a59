"""Eigenvalues of symmetric matrices and singular values. A matrix is the last two dimensions.

Derivatives are those of Giles (2008), in the gauge that torch chooses: the diagonal of u^T u' is
zero. Between equal values they are infinite, or NaN, as torch's are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import at_dim
from ..opdef import ZERO, Batched, Op, Tangent, register
from ..types import element_type, rank, shape, size

if TYPE_CHECKING:
    from ..builder import Builder

#: The component that is positive is the first one larger than this part of the largest: a ratio
#: that is not met by accident, so that rounding does not decide.
DECISIVE = 0.6180339887


def signs(vectors: Any) -> Any:
    """The sign that each column of arrays is to be multiplied with."""
    magnitude = np.abs(vectors)
    if vectors.shape[-2] == 0:
        return np.ones_like(vectors.sum(-2, keepdims=True))
    large = magnitude > DECISIVE * magnitude.max(-2, keepdims=True)
    decisive = np.take_along_axis(vectors, large.argmax(-2)[..., None, :], -2)
    return np.where(decisive < 0, -1.0, 1.0)


def finite(x: Any) -> tuple[Any, Any]:
    """Matrices in double precision, and which are not finite; those are zeros."""
    wide = x.astype(np.float64)
    bad = ~np.isfinite(wide).all((-1, -2), keepdims=True)
    return np.where(bad, 0, wide), bad


def along(b: Builder, x: Any, like: ir.Value, rows: bool) -> Any:
    """Matrices with x along their columns: entry i, j is x_j; with `rows` x_i."""
    n = rank(like)
    return b.broadcast(x, shape(like), [*range(n - 2), n - 2 if rows else n - 1])


def gaps(b: Builder, values: ir.Value, like: ir.Value) -> ir.Value:
    """values_j - values_i at i, j; ones on the diagonal."""
    differences = b.sub(along(b, values, like, False), along(b, values, like, True))
    one = b.as_diagonal(b.full(shape(values), 1, element_type(values)))
    return b.add(differences, one)


def without_diagonal(b: Builder, x: Any) -> Any:
    if x is ZERO:
        return x
    zeros = b.zeros_like(x)
    return b.where_below(x, b.where_below(x, x, zeros, -1), x)


@register(gen.EighOp)
class Eigh(Op):
    def jvp(self, b: Builder, x_dot: Any) -> Sequence[Tangent]:
        """With M = v^T x' v: values' = diag(M), v' = v (M_ij / (values_j - values_i))."""
        v = self.vectors
        inner = b.matmul(v, b.matmul(x_dot, v), x_transposed=True)
        turn = b.div(without_diagonal(b, inner), gaps(b, self.eigenvalues, v))
        return b.diagonal_of(inner), b.matmul(v, turn)

    def batch(self, b: Builder, size: int, x: Batched) -> Sequence[Batched]:
        return [Batched(value, 0) for value in b.eigh(at_dim(b, x, 0, size), bool(self.upper))]

    def reference(self, x: Any) -> Any:
        triangle = "U" if self.upper else "L"
        wide, bad = finite(np.triu(x) if self.upper else np.tril(x))
        values, vectors = np.linalg.eigh(wide, triangle) if x.size else (wide.sum(-1), wide)
        vectors = np.where(bad, np.nan, vectors * signs(vectors))
        values = np.where(bad[..., 0], np.nan, values)
        return values.astype(x.dtype), vectors.astype(x.dtype)

    def flops(self) -> int:
        return 50 * size(shape(self.x)) * shape(self.x)[-1]

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.eigh(x, bool(self.upper))


@register(gen.SvdOp)
class Svd(Op):
    def jvp(self, b: Builder, x_dot: Any) -> Sequence[Tangent]:
        """With M = u^T x' v less its diagonal s', and F_ij = 1 / (s_j^2 - s_i^2):

        u' = u F (M s + s M^T) and v' = v F (s M + M^T s), where F is entry by entry and s scales
        rows or columns; with more rows than columns u' has the part of x' v / s outside u, with
        more columns than rows v' that of x'^T u / s outside v.
        """
        u, s, vh = self.u, self.s, self.vh
        rows, columns = shape(self.x)[-2:]
        left = b.matmul(u, x_dot, x_transposed=True)
        inner = b.matmul(left, vh, y_transposed=True)
        s_dot = b.diagonal_of(inner)
        square = b.broadcast(b.full((), 0, element_type(s)), (*shape(s), shape(s)[-1]), [])
        by_row, by_column = along(b, s, square, True), along(b, s, square, False)
        one = b.as_diagonal(b.full(shape(s), 1, element_type(s)))
        # s_j^2 - s_i^2 without a loss of digits; on the diagonal something that is not zero
        gap = b.mul(gaps(b, s, square), b.add(b.add(by_row, by_column), one))
        inner = without_diagonal(b, inner)
        scaled = b.mul(inner, by_column), b.mul(inner, by_row)
        turns = [b.div(b.add(part, b.matrix_transpose(part)), gap) for part in scaled]
        u_dot = b.matmul(u, turns[0])
        vh_dot = b.matmul(turns[1], vh, x_transposed=True)
        if rows > columns:
            right = b.matmul(x_dot, vh, y_transposed=True)
            outside = b.sub(right, b.matmul(u, b.matmul(u, right, x_transposed=True)))
            u_dot = b.add(u_dot, b.div(outside, along(b, s, u, False)))
        if columns > rows:
            outside = b.sub(left, b.matmul(b.matmul(left, vh, y_transposed=True), vh))
            vh_dot = b.add(vh_dot, b.div(outside, along(b, s, vh, True)))
        return u_dot, s_dot, vh_dot

    def batch(self, b: Builder, size: int, x: Batched) -> Sequence[Batched]:
        return [Batched(value, 0) for value in b.svd(at_dim(b, x, 0, size))]

    def reference(self, x: Any) -> Any:
        wide, bad = finite(x)
        k = min(x.shape[-2:])
        if x.size:
            u, s, vh = np.linalg.svd(wide, full_matrices=False)
        else:
            u, s, vh = wide[..., :k], wide.sum(-1)[..., :k], wide[..., :k, :]
        sign = signs(u)
        u, vh = u * sign, vh * np.swapaxes(sign, -1, -2)
        parts = (
            np.where(bad, np.nan, u),
            np.where(bad[..., 0], np.nan, s),
            np.where(bad, np.nan, vh),
        )
        return tuple(part.astype(x.dtype) for part in parts)

    def flops(self) -> int:
        return 50 * size(shape(self.x)) * min(shape(self.x)[-2:])

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.svd(x)


@register(gen.PinvOp)
class Pinv(Op):
    def jvp(self, b: Builder, a_dot: Any, p_dot: Any) -> Tangent:
        """-p a' p + p p^T a'^T (1 - a p) + (1 - p a) a'^T p^T p  (Golub and Pereyra 1973)"""
        if a_dot is ZERO:
            return ZERO
        a, p = self.a, self.result
        flipped = b.matrix_transpose(a_dot)
        inner = b.matmul(b.matmul(p, a_dot), p)
        right = b.matmul(p, b.matmul(p, flipped, x_transposed=True))
        left = b.matmul(b.matmul(flipped, p, y_transposed=True), p)
        right = b.sub(right, b.matmul(b.matmul(right, a), p))
        left = b.sub(left, b.matmul(p, b.matmul(a, left)))
        return b.sub(b.add(right, left), inner)

    def batch(self, b: Builder, size: int, *operands: Batched) -> Batched:
        return Batched(b.pinv(*(at_dim(b, operand, 0, size) for operand in operands)), 0)

    def reference(self, a: Any, p: Any) -> Any:
        return p

    def lower(self, loops: Any, a: Any, p: Any) -> Any:
        return p
