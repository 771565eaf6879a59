"""Dense linear algebra: factorisations, systems, and the errors of data that has none."""

from __future__ import annotations

import re
from typing import Any

import torch
from mlir import ir

from ...dialects.pb.builder import Builder
from ...dialects.pb.types import element_type, rank
from .emitter import Emitter, count, dtype_of, shape

aten = torch.ops.aten

_POSITIVE = "The factorization could not be completed because the input is not positive-definite."
_MESSAGES = {
    "linalg.cholesky": _POSITIVE,
    "linalg.cholesky_ex": _POSITIVE,
    "linalg.inv": "The inversion could not be completed because the input matrix is singular.",
    "linalg.inv_ex": "The inversion could not be completed because the input matrix is singular.",
    "linalg.eigh": "The algorithm failed to converge.",
    "linalg.svd": "The algorithm failed to converge because the input has non-finite values.",
}
_ASSERTED = "Expected Tensor with single nonzero value, but got zero"
_OTHER = "The solver failed because the input matrix is singular."


def failure(name: str) -> str:
    return f"LinAlgError: {name}: {_MESSAGES.get(name, _OTHER)}"


def check_errors(e: Emitter, info: ir.Value, name: str, *_: Any, **__: Any) -> list[ir.Value]:
    e.b.check(e.b.compare("eq", info, e.like(info, 0)), failure(name))
    return []


def assert_async(e: Emitter, condition: ir.Value, message: str = _ASSERTED) -> list[ir.Value]:
    if not re.match(r"\w+Error: ", message):
        message = f"RuntimeError: {message}"
    e.b.check(e.b.reshape(e.convert(condition, torch.bool), ()), message)
    return []


def first_false(e: Emitter, good: ir.Value) -> ir.Value:
    """1 + the first position along the last dimension that is false; 0 if there is none. i32."""
    n, outer = shape(good)[-1], shape(good)[:-1]
    if n == 0:
        return e.full(outer, 0, torch.int32)
    place = e.b.iota(shape(good), len(outer), e.element(torch.int32))
    left = e.b.sub(e.like(place, n), place)  # n at the first position
    worst = e.b.reduce_max(e.b.select(good, e.like(left, 0), left), [len(outer)])
    none = e.b.compare("eq", worst, e.like(worst, 0))
    return e.b.select(none, e.like(worst, 0), e.b.sub(e.like(worst, n + 1), worst))


def factor(e: Emitter, x: ir.Value, upper: bool) -> ir.Value:
    found = e.b.cholesky(e.b.matrix_transpose(x) if upper else x)
    return e.b.matrix_transpose(found) if upper else found


def cholesky_ex(
    e: Emitter, x: ir.Value, *, upper: bool = False, check_errors: bool = False
) -> list[ir.Value]:
    result = factor(e, x, upper)
    diagonal = e.b.diagonal_of(result)
    info = first_false(e, e.b.compare("gt", diagonal, e.like(diagonal, 0)))
    if check_errors:
        e.b.check(e.b.compare("eq", info, e.like(info, 0)), failure("linalg.cholesky_ex"))
    return [result, info]


def cholesky(e: Emitter, x: ir.Value, upper: bool = False) -> ir.Value:
    [result, info] = cholesky_ex(e, x, upper=upper)
    e.b.check(e.b.compare("eq", info, e.like(info, 0)), failure("linalg.cholesky"))
    return result


def common_batch(e: Emitter, a: ir.Value, b: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Matrices with their batches broadcast against each other."""
    outer = torch.broadcast_shapes(shape(a)[:-2], shape(b)[:-2])
    return tuple(e.broadcast(x, (*outer, *shape(x)[-2:])) for x in (a, b))  # type: ignore[return-value]


def solve_triangular(
    e: Emitter,
    a: ir.Value,
    b: ir.Value,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> ir.Value:
    if not left:  # x a = b is a^T x^T = b^T
        b = e.b.matrix_transpose(b)
    a, b = common_batch(e, a, b)
    x = e.b.triangular_solve(a, b, upper, unitriangular, transposed=not left)
    return x if left else e.b.matrix_transpose(x)


def triangular_solve(
    e: Emitter,
    b: ir.Value,
    a: ir.Value,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> list[ir.Value]:
    a, b = common_batch(e, a, b)
    return [e.b.triangular_solve(a, b, upper, unitriangular, transpose), a]


def cholesky_solve(e: Emitter, b: ir.Value, factor: ir.Value, upper: bool = False) -> ir.Value:
    factor, b = common_batch(e, factor, b)
    first = e.b.triangular_solve(factor, b, upper, transposed=upper)
    return e.b.triangular_solve(factor, first, upper, transposed=not upper)


def cholesky_inverse(e: Emitter, factor: ir.Value, upper: bool = False) -> ir.Value:
    one = identity_like(e, factor)
    return cholesky_solve(e, one, factor, upper)


def identity_like(e: Emitter, x: ir.Value) -> ir.Value:
    """Identity matrices of the size and number of square x."""
    *outer, n, _ = shape(x)
    one = e.b.identity_matrix(n, e.element(dtype_of(x)))
    return e.broadcast(one, (*outer, n, n))


# Systems by LU.

Factors = tuple[ir.Value, ir.Value, ir.Value]


def factor_info(e: Emitter, lu: ir.Value) -> ir.Value:
    diagonal = e.b.diagonal_of(lu)
    return first_false(e, e.b.compare("ne", diagonal, e.like(diagonal, 0)))


def checked(e: Emitter, info: ir.Value, check: bool, name: str) -> ir.Value:
    if check:
        e.b.check(e.b.compare("eq", info, e.like(info, 0)), failure(name))
    return info


def with_pivots(pivot: bool) -> None:
    if not pivot:
        raise NotImplementedError("LU without pivoting; use pivot=True")


def lu_factor_ex(
    e: Emitter, a: ir.Value, *, pivot: bool = True, check_errors: bool = False
) -> list[ir.Value]:
    with_pivots(pivot)
    lu, pivots, _ = e.b.lu(a)
    info = factor_info(e, lu)
    return [lu, pivots, checked(e, info, check_errors, "torch.linalg.lu_factor_ex")]


def permutation_matrix(e: Emitter, permutation: ir.Value, like: ir.Value) -> ir.Value:
    """P with x = P L U: column i has its one in row permutation[i]."""
    dims = (*shape(permutation), shape(permutation)[-1])
    n = len(dims)
    rows = e.b.iota(dims, n - 2, e.element(torch.int64))
    chosen = e.b.broadcast(permutation, dims, [*range(n - 2), n - 1])
    return e.convert(e.b.compare("eq", rows, chosen), dtype_of(like))


def triangles(e: Emitter, lu: ir.Value) -> tuple[ir.Value, ir.Value]:
    *outer, rows, columns = shape(lu)
    k, start = min(rows, columns), [0] * len(shape(lu))
    strides = [1] * len(shape(lu))
    left = e.b.slice(lu, start, [*outer, rows, k], strides)
    one = e.b.as_diagonal(e.full((*outer, k), 1, dtype_of(lu)))
    if rows > k:
        one = e.b.pad(one, None, [*outer, rows, k], start, strides)
    lower = e.b.add(e.b.triangle(left, True, -1), one)
    upper = e.b.triangle(e.b.slice(lu, start, [*outer, k, columns], strides), False)
    return lower, upper


def linalg_lu(e: Emitter, a: ir.Value, *, pivot: bool = True) -> list[ir.Value]:
    with_pivots(pivot)
    lu, _, permutation = e.b.lu(a)
    return [permutation_matrix(e, permutation, a), *triangles(e, lu)]


def lu_det(e: Emitter, a: ir.Value) -> list[ir.Value]:
    lu, pivots, permutation = e.b.lu(a)
    return [e.b.determinant(a, lu, pivots, permutation), lu, pivots]


def slogdet(e: Emitter, a: ir.Value) -> list[ir.Value]:
    lu, pivots, permutation = e.b.lu(a)
    last = len(shape(pivots)) - 1
    diagonal, kind = e.b.diagonal_of(lu), dtype_of(a)
    negative = e.convert(e.b.compare("lt", diagonal, e.like(diagonal, 0)), torch.int32)
    place = e.b.iota(shape(pivots), last, e.element(torch.int32))
    place = e.b.add(place, e.like(place, 1))
    swapped = e.convert(e.b.compare("ne", pivots, place), torch.int32)
    turns = e.b.reduce_sum(e.b.add(negative, swapped), [last])
    two = e.like(turns, 2)
    odd = e.b.compare("ne", turns, e.b.mul(e.b.div(turns, two), two))
    outer = shape(turns)
    one, minus = e.full(outer, 1, kind), e.full(outer, -1, kind)
    sign = e.b.select(odd, minus, one)
    for predicate, other in (("eq", None), ("ne", diagonal)):  # a zero, and a NaN, decide
        found = e.b.compare(predicate, diagonal, e.like(diagonal, 0) if other is None else other)
        some = e.b.reduce_sum(found, [last])  # of truth values: or
        value = 0.0 if other is None else float("nan")
        sign = e.b.select(some, e.full(outer, value, kind), sign)
    return [sign, e.b.determinant(a, lu, pivots, permutation, log=True), lu, pivots]


def by_factors(
    e: Emitter, a: ir.Value, factors: Factors, b: ir.Value, left: bool, transposed: bool = False
) -> ir.Value:
    lu, _, permutation = factors
    if left:
        return e.b.lu_solve(a, lu, permutation, b, transposed)
    flipped = e.b.lu_solve(a, lu, permutation, e.b.matrix_transpose(b), not transposed)
    return e.b.matrix_transpose(flipped)


def solve_ex(
    e: Emitter, a: ir.Value, b: ir.Value, *, left: bool = True, check_errors: bool = False
) -> list[ir.Value]:
    lu, pivots, permutation = e.b.lu(a)
    info = checked(e, factor_info(e, lu), check_errors, "torch.linalg.solve")
    vectors = len(shape(b)) == 1 or shape(b) == shape(a)[:-1]
    column = e.b.reshape(b, (*shape(b), 1)) if vectors else b
    outer = torch.broadcast_shapes(shape(a)[:-2], shape(column)[:-2])
    wide, column = common_batch(e, a, column)
    factors = (
        e.broadcast(lu, (*outer, *shape(lu)[-2:])),
        pivots,
        e.broadcast(permutation, (*outer, shape(permutation)[-1])),
    )
    x = by_factors(e, wide, factors, column, left or vectors)
    return [e.b.reshape(x, e.outs[0].shape), lu, pivots, info]


def inv_ex(e: Emitter, a: ir.Value, *, check_errors: bool = False) -> list[ir.Value]:
    factors = e.b.lu(a)
    info = checked(e, factor_info(e, factors[0]), check_errors, "linalg.inv_ex")
    return [by_factors(e, a, factors, identity_like(e, a), True), info]


def qr(e: Emitter, a: ir.Value, mode: str = "reduced") -> list[ir.Value]:
    q, r = e.b.qr(a, mode == "complete")
    return [e.full((0,), 0, dtype_of(a)) if mode == "r" else q, r]


#: matrix_exp halves a matrix until its norm is at most 1/2. More halvings than the first number
#: are rare and have a loop of their own; a matrix that needs more than both together is scaled
#: down before: no digit of its exponential is known but for zeros and infinities.
_HALVINGS, _MORE = 12, 54


def squared(b: Builder, result: ir.Value, norm: ir.Value, start: int, count: int) -> ir.Value:
    """Squares as often as a matrix was halved, between `start` and `start + count` times."""
    last = rank(norm)

    def step(b: Builder, values: list[ir.Value]) -> list[ir.Value]:
        norm, limit, x = values
        more = b.compare("gt", norm, b.broadcast(limit, shape(norm), []))
        more = b.broadcast(more, shape(x), list(range(last)))
        return [b.add(limit, limit), b.select(more, b.matmul(x, x), x)]

    limit = b.full((), 2.0 ** (start - 1), element_type(norm))
    return b.scan([norm], [limit, result], [], count, False, step)[1]


def matrix_exp(e: Emitter, a: ir.Value) -> ir.Value:
    """Taylor's sum to degree 14, of a matrix scaled down, squared as often as it was halved.

    The number of halvings is data, the structure is not: squarings beyond it are not selected.
    """
    outer = shape(a)[:-2]
    if count(shape(a)) == 0:
        return a
    kind, last, dims = dtype_of(a), len(outer), shape(a)
    still = e.b.stop_gradient(a)
    columns = e.b.reduce_sum(e.b.maximum(still, e.b.neg(still)), [last])
    norm = e.b.reduce_max(columns, [last])
    most = e.like(norm, 2.0 ** (_HALVINGS + _MORE - 1))
    scale = e.b.select(e.b.compare("gt", norm, most), e.b.div(most, norm), e.like(norm, 1))
    norm = e.b.select(e.b.compare("gt", norm, most), most, norm)

    def halve(b: Builder, values: list[ir.Value]) -> list[ir.Value]:
        norm, limit, scale = values
        more = b.compare("gt", norm, b.broadcast(limit, shape(norm), []))
        half = b.mul(scale, b.full_like(scale, 0.5))
        return [b.add(limit, limit), b.select(more, half, scale)]

    start = e.full((), 0.5, kind)
    scale = e.b.scan([norm], [start, scale], [], _HALVINGS + _MORE, False, halve)[1]
    x = e.b.mul(a, e.b.broadcast(scale, dims, list(range(last))))
    one = identity_like(e, a)
    result = one
    for k in range(14, 0, -1):  # Horner's rule: 1 + x / k (...)
        term = e.b.matmul(x, result)
        result = e.b.add(one, e.b.div(term, e.full(dims, k, kind)))
    result = squared(e.b, result, norm, 0, _HALVINGS)
    some = e.b.compare("gt", norm, e.like(norm, 2.0 ** (_HALVINGS - 1)))
    large = e.b.reduce_sum(some, list(range(last)))  # of truth values: or
    [result] = e.b.cond(
        large,
        [result, norm],
        lambda b, values: [squared(b, values[0], values[1], _HALVINGS, _MORE)],
        lambda b, values: [values[0]],
    )
    return result


RULES: dict[Any, Any] = {
    aten.linalg_lu_factor_ex.default: lu_factor_ex,
    aten.linalg_lu.default: linalg_lu,
    aten._linalg_det.default: lu_det,
    aten._linalg_slogdet.default: slogdet,
    aten._linalg_solve_ex.default: solve_ex,
    aten.linalg_inv_ex.default: inv_ex,
    aten.linalg_qr.default: qr,
    aten.linalg_matrix_exp.default: matrix_exp,
    aten._linalg_check_errors.default: check_errors,
    aten._assert_async.default: assert_async,
    aten._assert_async.msg: assert_async,
    aten.linalg_cholesky_ex.default: cholesky_ex,
    aten.cholesky.default: cholesky,
    aten.linalg_solve_triangular.default: solve_triangular,
    aten.triangular_solve.default: triangular_solve,
    aten.cholesky_solve.default: cholesky_solve,
    aten.cholesky_inverse.default: cholesky_inverse,
}
