"""Eigenvalues of symmetric matrices, singular values, and the pseudoinverse."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, dtype_of, shape
from .linalg import failure

aten = torch.ops.aten


def converged(e: Emitter, values: ir.Value, name: str) -> None:
    """As in torch, NaN in a matrix is an error, and infinities make NaN."""
    e.b.check(e.b.compare("eq", values, values), failure(name))


def eigh(e: Emitter, a: ir.Value, UPLO: str = "L", compute_v: bool = True) -> list[ir.Value]:
    upper = UPLO.upper() == "U"
    converged(e, e.b.triangle(a, not upper), "linalg.eigh")
    values, vectors = e.b.eigh(a, upper)
    return [values, vectors if compute_v else e.full((0,), 0, dtype_of(a))]


def completed(e: Emitter, u: ir.Value) -> ir.Value:
    """Square matrices that begin with the columns of u; the other columns have no derivative."""
    *outer, n, k = shape(u)
    if n == k:
        return u
    q, _ = e.b.qr(e.b.stop_gradient(u), True)
    start, ones = [0] * (len(outer) + 1), [1] * (len(outer) + 2)
    rest = e.b.slice(q, [*start, k], [*outer, n, n - k], ones)
    return e.b.concatenate([u, rest], len(outer) + 1)


def svd(
    e: Emitter,
    a: ir.Value,
    full_matrices: bool = False,
    compute_uv: bool = True,
    *,
    driver: str | None = None,
) -> list[ir.Value]:
    converged(e, a, "linalg.svd")
    u, s, vh = e.b.svd(a)
    if not compute_uv:
        none = e.full((0,), 0, dtype_of(a))
        return [none, s, none]
    if full_matrices:
        u = completed(e, u)
        vh = e.b.matrix_transpose(completed(e, e.b.matrix_transpose(vh)))
    return [u, s, vh]


def magnitude(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.maximum(x, e.b.neg(x))


def pinv(
    e: Emitter,
    a: ir.Value,
    *,
    atol: ir.Value | None = None,
    rtol: ir.Value | None = None,
    hermitian: bool = False,
) -> ir.Value:
    still = e.b.stop_gradient(a)
    *outer, rows, columns = shape(a)
    if 0 in shape(a):
        return e.full((*outer, columns, rows), 0, dtype_of(a))
    if hermitian:
        converged(e, e.b.triangle(a, True), "linalg.eigh")
        s, v = e.b.eigh(still)
        u = v
    else:
        converged(e, a, "linalg.svd")
        u, s, vh = e.b.svd(still)
        v = e.b.matrix_transpose(vh)
    last, kind = len(outer), dtype_of(a)
    size = magnitude(e, s)
    relative = e.full(outer, max(rows, columns) * torch.finfo(kind).eps, kind)
    absolute = e.full(outer, 0, kind)
    if atol is not None:
        absolute = e.broadcast(e.convert(atol, kind), outer)
        given = e.b.compare("gt", absolute, e.like(absolute, 0))
        relative = e.b.select(given, e.like(relative, 0), relative)
    if rtol is not None:
        relative = e.broadcast(e.convert(rtol, kind), outer)
    limit = e.b.maximum(absolute, e.b.mul(relative, e.b.reduce_max(size, [last])))
    kept = e.b.compare("gt", size, e.b.broadcast(limit, shape(s), list(range(last))))
    one = e.like(s, 1)
    inverse = e.b.select(kept, e.b.div(one, e.b.select(kept, s, one)), e.like(s, 0))
    scaled = e.b.mul(v, e.b.broadcast(inverse, shape(v), [*range(last), last + 1]))
    return e.b.pinv(a, e.b.stop_gradient(e.b.matmul(scaled, u, y_transposed=True)))


RULES: dict[Any, Any] = {
    aten._linalg_eigh.default: eigh,
    aten._linalg_svd.default: svd,
    aten.linalg_pinv.atol_rtol_tensor: pinv,
}
