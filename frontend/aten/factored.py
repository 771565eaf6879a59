"""What is done with the factors of an LU factorisation that are arguments of a call."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from ...dialects.pb import _pb_ops_gen as gen
from .emitter import Emitter, dtype_of, shape
from .linalg import permutation_matrix, triangles

aten = torch.ops.aten


def permutation_of(e: Emitter, pivots: ir.Value, rows: int) -> ir.Value:
    """Row permutation[i] of P^T x is row i, if row i was swapped with row pivots[i] - 1."""
    owner: Any = pivots.owner
    if isinstance(owner, gen.LuOp):
        return owner.permutation
    *outer, k = shape(pivots)
    last, dims, i64 = len(outer), (*outer, rows), e.element(torch.int64)
    start = e.b.iota(dims, last, i64)
    if k == 0:
        return start
    swaps = e.b.move_dim(e.convert(pivots, torch.int64), last, 0)

    def swap(b: Any, values: list[ir.Value]) -> list[ir.Value]:
        step, order, pivot = values
        place, batch = b.iota(dims, last, i64), list(range(last))
        other = b.sub(pivot, b.full_like(pivot, 1))
        here = b.compare("eq", place, b.broadcast(step, dims, []))
        there = b.compare("eq", place, b.broadcast(other, dims, batch))
        at_here, at_there = (
            b.broadcast(
                b.reduce_sum(b.select(mask, order, b.zeros_like(order)), [last]), dims, batch
            )
            for mask in (here, there)
        )
        order = b.select(there, at_here, b.select(here, at_there, order))
        return [b.add(step, b.full_like(step, 1)), order]

    first = e.full((), 0, torch.int64)
    return e.b.scan([], [first, start], [swaps], k, False, swap)[1]


def inverse_of(e: Emitter, permutation: ir.Value) -> ir.Value:
    *outer, n = shape(permutation)
    last, dims = len(outer), (*outer, n, n)
    rows, columns = (e.b.iota(dims, d, e.element(torch.int64)) for d in (last, last + 1))
    wide = e.b.broadcast(permutation, dims, list(range(last + 1)))
    found = e.b.compare("eq", wide, columns)
    return e.b.reduce_sum(e.b.select(found, rows, e.like(rows, 0)), [last])


def rows_of(e: Emitter, x: ir.Value, order: ir.Value) -> ir.Value:
    n = len(shape(order)) - 1
    return e.b.gather(x, [order], [n], batch_dims=n, in_bounds=True)


def lu_unpack(
    e: Emitter,
    lu: ir.Value,
    pivots: ir.Value,
    unpack_data: bool = True,
    unpack_pivots: bool = True,
) -> list[ir.Value]:
    none = e.full((0,), 0, dtype_of(lu))
    lower, upper = triangles(e, lu) if unpack_data else (none, none)
    if not unpack_pivots:
        return [none, lower, upper]
    order = permutation_of(e, pivots, shape(lu)[-2])
    return [permutation_matrix(e, order, lu), lower, upper]


def lu_solve(
    e: Emitter,
    lu: ir.Value,
    pivots: ir.Value,
    b: ir.Value,
    *,
    left: bool = True,
    adjoint: bool = False,
) -> ir.Value:
    """a x = b, a^T x = b if `adjoint`; x a = b, x a^T = b unless `left`."""
    transposed = adjoint == left
    y = b if left else e.b.matrix_transpose(b)
    outer = torch.broadcast_shapes(shape(lu)[:-2], shape(y)[:-2])
    order = permutation_of(e, pivots, shape(lu)[-2])
    if transposed:
        order = inverse_of(e, order)
    lu, y = (e.broadcast(x, (*outer, *shape(x)[-2:])) for x in (lu, y))
    order = e.broadcast(order, (*outer, shape(order)[-1]))
    if not transposed:
        y = e.b.triangular_solve(lu, rows_of(e, y, order), unit=True)
        y = e.b.triangular_solve(lu, y, upper=True)
    else:
        y = e.b.triangular_solve(lu, y, upper=True, transposed=True)
        y = e.b.triangular_solve(lu, y, unit=True, transposed=True)
        y = rows_of(e, y, order)
    return y if left else e.b.matrix_transpose(y)


def _reflectors(e: Emitter, a: ir.Value, k: int) -> ir.Value:
    """Unit vectors on and below the diagonal of a."""
    *outer, rows, columns = shape(a)
    start, strides = [0] * (len(outer) + 2), [1] * (len(outer) + 2)
    one = _unit(e, a)
    vectors = e.b.add(e.b.triangle(a, True, -1), one)
    return vectors if k == columns else e.b.slice(vectors, start, [*outer, rows, k], strides)


def _unit(e: Emitter, a: ir.Value) -> ir.Value:
    """The first columns of an identity, in the shape of a."""
    *outer, rows, columns = shape(a)
    k, start, strides = min(rows, columns), [0] * (len(outer) + 2), [1] * (len(outer) + 2)
    one = e.b.as_diagonal(e.full((*outer, k), 1, dtype_of(a)))
    if rows == columns:
        return one
    return e.b.pad(one, None, [*outer, rows, columns], start, strides)


def _reflected(
    e: Emitter, a: ir.Value, tau: ir.Value, x: ir.Value, reverse: bool = True
) -> ir.Value:
    """H_1 ... H_k x, H_i = 1 - tau_i v_i v_i^T, v_i in column i of a; H_k ... H_1 x forwards."""
    *outer, rows, _ = shape(a)
    last, k = len(outer), shape(tau)[-1]
    if k == 0 or 0 in shape(x) or 0 in shape(a):
        return x

    def reflect(b: Any, values: list[ir.Value]) -> list[ir.Value]:
        x, v, factor = values
        v = b.reshape(v, (*outer, rows, 1))
        factor = b.broadcast(factor, (*outer, rows, 1), list(range(last)))
        change = b.matmul(b.mul(v, factor), b.matmul(v, x, x_transposed=True))
        return [b.sub(x, change)]

    slices = [e.b.move_dim(v, len(shape(v)) - 1, 0) for v in (_reflectors(e, a, k), tau)]
    return e.b.scan([], [x], slices, k, reverse, reflect)[0]


def householder_product(e: Emitter, a: ir.Value, tau: ir.Value) -> ir.Value:
    """The first columns of H_1 ... H_k."""
    return _reflected(e, a, tau, _unit(e, a))


def ormqr(
    e: Emitter,
    a: ir.Value,
    tau: ir.Value,
    x: ir.Value,
    left: bool = True,
    transpose: bool = False,
) -> ir.Value:
    """Q x, Q = H_1 ... H_k as a whole, or its transpose; x Q unless `left`."""
    if left:
        return _reflected(e, a, tau, x, reverse=not transpose)
    turned = _reflected(e, a, tau, e.b.matrix_transpose(x), reverse=transpose)
    return e.b.matrix_transpose(turned)


def geqrf(e: Emitter, a: ir.Value) -> list[ir.Value]:
    """R, below it the reflectors, and their factors: LAPACK's, column by column."""
    *outer, rows, columns = shape(a)
    last, k, kind = len(outer), min(rows, columns), dtype_of(a)
    if 0 in shape(a):
        return [a, e.full((*outer, k), 0, kind)]
    i64, dims = e.element(torch.int64), (*outer, rows)
    batch = list(range(last))

    def step(b: Any, values: list[ir.Value]) -> list[ir.Value]:
        x, place = values
        row, column = b.iota(dims, last, i64), b.iota(shape(x), last + 1, i64)
        here = b.compare("eq", row, b.broadcast(place, dims, []))
        below = b.compare("gt", row, b.broadcast(place, dims, []))
        mine = b.compare("eq", column, b.broadcast(place, shape(x), []))
        right = b.compare("gt", column, b.broadcast(place, shape(x), []))

        def total(mask: ir.Value, v: ir.Value, dim: int) -> ir.Value:
            return b.reduce_sum(b.select(mask, v, b.zeros_like(v)), [dim])

        current = total(mine, x, last + 1)
        head, tail = total(here, current, last), total(below, b.mul(current, current), last)
        norm = b.sqrt(b.add(b.mul(head, head), tail))
        some = b.compare("ne", tail, b.zeros_like(tail))
        up = b.compare("lt", head, b.zeros_like(head))
        beta = b.select(some, b.select(up, norm, b.neg(norm)), head)
        one = b.full_like(head, 1)
        divisor = b.select(some, beta, one)
        tau = b.select(some, b.div(b.sub(beta, head), divisor), b.zeros_like(head))
        scale = b.broadcast(b.select(some, b.sub(head, beta), one), dims, batch)
        inner = b.select(below, b.div(current, scale), b.zeros_like(current))
        v = b.reshape(b.select(here, b.full_like(inner, 1), inner), (*dims, 1))
        factor = b.broadcast(tau, (*dims, 1), batch)
        change = b.matmul(b.mul(v, factor), b.matmul(v, x, x_transposed=True))
        kept = b.select(here, b.broadcast(beta, dims, batch), b.select(below, inner, current))
        kept = b.broadcast(kept, shape(x), [*batch, last])
        x = b.select(right, b.sub(x, change), b.select(mine, kept, x))
        return [x, b.add(place, b.full_like(place, 1)), tau]

    result, _, taus = e.b.scan([], [a, e.full((), 0, torch.int64)], [], k, False, step)
    return [result, e.b.move_dim(taus, 0, last)]


RULES: dict[Any, Any] = {
    aten.linalg_householder_product.default: householder_product,
    aten.ormqr.default: ormqr,
    aten.geqrf.default: geqrf,
    aten.lu_unpack.default: lu_unpack,
    aten.linalg_lu_solve.default: lu_solve,
}
