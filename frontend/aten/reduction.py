"""Sums, extrema, norms, softmax, scans: calls that combine elements along dimensions."""

from __future__ import annotations

import math
from typing import Any

import torch
from mlir import ir

from .elementwise import absolute
from .emitter import Emitter, count, dtype_of, shape, wrap

aten = torch.ops.aten
Dims = int | list[int] | None


def total(e: Emitter, x: ir.Value, dim: Dims = None, keepdim: bool = False, **_: Any) -> ir.Value:
    x = e.convert(x, e.out.dtype)
    return e.b.reshape(e.b.reduce_sum(x, e.dims(dim, len(shape(x)))), e.out.shape)


def mean(e: Emitter, x: ir.Value, dim: Dims = None, keepdim: bool = False, **_: Any) -> ir.Value:
    number = count([shape(x)[d] for d in e.dims(dim, len(shape(x)))])
    summed = total(e, x, dim)
    return e.b.div(summed, e.like(summed, number))


def negated(e: Emitter, x: ir.Value) -> ir.Value:
    """Reverses the order; for integers without overflow."""
    if dtype_of(x).is_floating_point:
        return e.b.neg(x)
    if dtype_of(x) is torch.bool:
        return e.b.compare("eq", x, e.like(x, 0))
    return e.b.sub(e.like(x, -1), x)


def spread(e: Emitter, reduced: ir.Value, like: ir.Value, dims: list[int]) -> ir.Value:
    """A value without ``dims`` repeated along them."""
    kept = [d for d in range(len(shape(like))) if d not in dims]
    return e.b.broadcast(reduced, shape(like), kept)


def largest(e: Emitter, x: ir.Value, dims: list[int]) -> ir.Value:
    if dtype_of(x) is torch.bool:
        number = e.b.reduce_max(e.convert(x, torch.int32), dims)
        return e.convert(number, torch.bool)
    return e.b.reduce_max(x, dims)


def amax(e: Emitter, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    return e.b.reshape(largest(e, x, e.dims(dim, len(shape(x)))), e.out.shape)


def amin(e: Emitter, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    found = largest(e, negated(e, x), e.dims(dim, len(shape(x))))
    return e.b.reshape(negated(e, found), e.out.shape)


def extremum(sign: int) -> Any:
    """max() and min() of everything: where there are NaN, the derivative is shared among these."""

    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        dims = e.dims(None, len(shape(x)))
        if not dtype_of(x).is_floating_point:
            return (amax if sign > 0 else amin)(e, x)
        lost = e.b.compare("ne", x, x)
        ordered = e.b.select(lost, e.like(x, math.inf * sign), x)
        found = (amax if sign > 0 else amin)(e, ordered)
        number = e.b.reduce_sum(e.convert(lost, dtype_of(x)), dims)
        nans = e.b.reduce_sum(e.b.select(lost, x, e.like(x, 0)), dims)
        return e.b.select(
            e.b.compare("gt", number, e.like(number, 0)), e.b.div(nans, number), found
        )

    return rule


def first_largest(e: Emitter, x: ir.Value, dim: int) -> ir.Value:
    """The first position of the maximum along ``dim``; the first NaN where there is one."""
    size = shape(x)[dim]
    top = spread(e, largest(e, x, [dim]), x, [dim])
    hit = e.b.add(e.b.compare("eq", x, top), e.b.compare("ne", x, x))
    position = e.b.iota(shape(x), dim, e.element(torch.int64))
    missing = e.like(position, -size)
    return e.b.neg(e.b.reduce_max(e.b.select(hit, e.b.neg(position), missing), [dim]))


def max_along(sign: int) -> Any:
    def rule(e: Emitter, x: ir.Value, dim: int, keepdim: bool = False) -> list[ir.Value]:
        if not shape(x):
            return [x, e.full((), 0, torch.int64)]
        dim = wrap(dim, len(shape(x)))
        if not shape(x)[dim]:
            raise IndexError(f"max(): Expected reduction dim {dim} to have non-zero size.")
        position = first_largest(e, x if sign > 0 else negated(e, x), dim)
        grid = e.b.iota(shape(x), dim, e.element(torch.int64))
        at = spread(e, position, x, [dim])
        # A masked sum and not a gather: it fuses, and so does its derivative.
        chosen = e.b.select(e.b.compare("eq", grid, at), x, e.like(x, 0))
        value = largest(e, chosen, [dim]) if dtype_of(x) is torch.bool else None
        value = e.b.reduce_sum(chosen, [dim]) if value is None else value
        return [e.b.reshape(value, e.out.shape), e.b.reshape(position, e.out.shape)]

    return rule


def argmax(sign: int) -> Any:
    def rule(e: Emitter, x: ir.Value, dim: int | None = None, keepdim: bool = False) -> ir.Value:
        if dim is None or not shape(x):
            x, dim = e.b.reshape(x, (count(shape(x)),)), 0
        x = x if sign > 0 else negated(e, x)
        return e.b.reshape(first_largest(e, x, wrap(dim, len(shape(x)))), e.out.shape)

    return rule


def any_of(e: Emitter, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    number = e.convert(e.convert(x, torch.bool), torch.int64)
    found = e.b.reduce_sum(number, e.dims(dim, len(shape(x))))
    return e.b.reshape(e.b.compare("ne", found, e.like(found, 0)), e.out.shape)


def all_of(e: Emitter, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> ir.Value:
    x = e.convert(x, torch.bool)
    return negated(e, any_of(e, negated(e, x), dim, keepdim))


def centred(e: Emitter, x: ir.Value, dims: list[int]) -> tuple[ir.Value, ir.Value]:
    number = count([shape(x)[d] for d in dims])
    summed = e.b.reduce_sum(x, dims)
    average = e.b.div(summed, e.like(summed, number))
    return e.b.sub(x, spread(e, average, x, dims)), average


def variance(
    e: Emitter, x: ir.Value, dim: Dims = None, correction: float | None = None, **_: Any
) -> ir.Value:
    dims = e.dims(dim, len(shape(x)))
    difference, _mean = centred(e, x, dims)
    number = count([shape(x)[d] for d in dims])
    freedom = max(number - (1 if correction is None else correction), 0)
    squares = e.b.reduce_sum(e.b.mul(difference, difference), dims)
    if not number:  # NaN, of nothing
        squares = e.b.stop_gradient(squares)
    return e.b.reshape(e.b.div(squares, e.like(squares, freedom)), e.out.shape)


def variance_and_mean(e: Emitter, x: ir.Value, dim: Dims = None, **rest: Any) -> list[ir.Value]:
    difference, average = centred(e, x, e.dims(dim, len(shape(x))))
    # torch's mean of an infinite number is NaN here, for it is made of differences.
    missing = e.b.stop_gradient(e.b.reduce_sum(difference, e.dims(dim, len(shape(x)))))
    nan = e.b.compare("ne", missing, missing)
    average = e.b.add(average, e.b.select(nan, missing, e.like(missing, 0)))
    return [variance(e, x, dim, **rest), e.b.reshape(average, e.outs[1].shape)]


def safe_sqrt(e: Emitter, x: ir.Value) -> ir.Value:
    """sqrt with derivative 0 at 0: torch's choice for norms and standard deviations."""
    zero = e.b.compare("eq", x, e.like(x, 0))
    root = e.b.sqrt(e.b.select(zero, e.like(x, 1), x))
    return e.b.select(zero, e.like(x, 0), root)


def deviation(e: Emitter, x: ir.Value, dim: Dims = None, **rest: Any) -> ir.Value:
    return safe_sqrt(e, variance(e, x, dim, **rest))


def deviation_and_mean(e: Emitter, x: ir.Value, dim: Dims = None, **rest: Any) -> list[ir.Value]:
    found, average = variance_and_mean(e, x, dim, **rest)
    return [safe_sqrt(e, found), average]


def p_norm(e: Emitter, x: ir.Value, p: float, dims: list[int]) -> ir.Value:
    """(sum |x|^p)^(1/p) and its limits; derivative 0 for elements, and for norms, that are 0."""
    size = absolute(e, x)
    one = count([shape(x)[d] for d in dims]) == 1  # its power may be infinite
    if p == 1 or (one and p != 0):
        return e.b.reduce_sum(size, dims)
    if p == 2:
        return safe_sqrt(e, e.b.reduce_sum(e.b.mul(x, x), dims))
    if p == float("inf"):
        return e.b.reduce_max(size, dims)
    if p == float("-inf"):
        return e.b.neg(e.b.reduce_max(e.b.neg(size), dims))
    zero = e.b.compare("eq", size, e.like(x, 0))
    if p == 0:
        return e.b.reduce_sum(e.b.select(zero, e.like(x, 0), e.like(x, 1)), dims)
    total = e.b.reduce_sum(_power(e, size, zero, p), dims)
    return _power(e, total, e.b.compare("eq", total, e.like(total, 0)), 1 / p)


def _power(e: Emitter, x: ir.Value, zero: ir.Value, p: float) -> ir.Value:
    """x^p for x >= 0, without a derivative where x is 0."""
    safe = e.b.select(zero, e.like(x, 1), x)
    return e.b.select(zero, e.like(x, 0.0 if p > 0 else math.inf), e.b.pow(safe, e.like(x, p)))


def vector_norm(
    e: Emitter, x: ir.Value, ord: float = 2, dim: Dims = None, keepdim: bool = False, **_: Any
) -> ir.Value:
    x = e.convert(x, e.out.dtype)
    return e.b.reshape(p_norm(e, x, ord, e.dims(dim, len(shape(x)))), e.out.shape)


def dist(e: Emitter, x: ir.Value, y: ir.Value, p: float = 2) -> ir.Value:
    common = torch.broadcast_shapes(shape(x), shape(y))
    difference = e.b.sub(*(e.tensor(part, common, e.out.dtype) for part in (x, y)))
    return p_norm(e, difference, p, list(range(len(common))))


def both_extrema(e: Emitter, x: ir.Value, dim: Dims = None, keepdim: bool = False) -> Any:
    dims = e.dims(dim, len(shape(x)))
    low = negated(e, largest(e, negated(e, x), dims))
    return [e.b.reshape(part, e.out.shape) for part in (low, largest(e, x, dims))]


def nansum(e: Emitter, x: ir.Value, dim: Dims = None, *rest: Any, **more: Any) -> ir.Value:
    if dtype_of(x).is_floating_point:
        x = e.b.select(e.b.compare("ne", x, x), e.like(x, 0), x)
    return total(e, x, dim, *rest, **more)


def count_nonzero(e: Emitter, x: ir.Value, dim: Dims = None) -> ir.Value:
    number = e.convert(e.convert(x, torch.bool), torch.int64)
    return e.b.reduce_sum(number, e.dims(dim, len(shape(x))))


def norm(
    e: Emitter, x: ir.Value, ord: float | None, dim: Dims = None, keepdim: bool = False, **_: Any
) -> ir.Value:
    return vector_norm(e, x, 2 if ord is None else ord, dim, keepdim)


def shifted(e: Emitter, x: ir.Value, dims: list[int]) -> tuple[ir.Value, ir.Value]:
    """x minus its maximum, which is a mere shift: no derivative goes through it."""
    top = e.b.stop_gradient(e.b.reduce_max(x, dims))
    return e.b.sub(x, spread(e, top, x, dims)), top


def _alone(e: Emitter, x: ir.Value, dims: list[int]) -> ir.Value:
    """Of a scalar torch fills the softmax in: a derivative of 0, also times infinity."""
    return x if dims else e.b.stop_gradient(x)


def softmax(e: Emitter, x: ir.Value, dim: int, half_to_float: bool = False) -> ir.Value:
    dims = e.dims(dim, len(shape(x)))
    x = _alone(e, x, dims)
    weights = e.b.exp(shifted(e, x, dims)[0])
    return e.b.div(weights, spread(e, e.b.reduce_sum(weights, dims), x, dims))


def safe_softmax(e: Emitter, x: ir.Value, dim: int, *_: Any) -> ir.Value:
    """Softmax with zeros, and zero derivatives, for what is wholly masked with -inf."""
    dims = e.dims(dim, len(shape(x)))
    top = spread(e, e.b.stop_gradient(e.b.reduce_max(x, dims)), x, dims)
    masked = e.b.compare("eq", top, e.like(top, float("-inf")))
    zero = e.like(x, 0)
    return e.b.select(masked, zero, softmax(e, e.b.select(masked, zero, x), dim))


def log_softmax(e: Emitter, x: ir.Value, dim: int, half_to_float: bool = False) -> ir.Value:
    dims = e.dims(dim, len(shape(x)))
    low, _top = shifted(e, _alone(e, x, dims), dims)
    norm = e.b.log(e.b.reduce_sum(e.b.exp(low), dims))
    return e.b.sub(low, spread(e, norm, x, dims))


def logsumexp(e: Emitter, x: ir.Value, dim: Dims, keepdim: bool = False) -> ir.Value:
    x = e.convert(x, e.out.dtype)
    dims = e.dims(dim, len(shape(x)))
    top = e.b.stop_gradient(e.b.reduce_max(x, dims))
    infinite = e.b.compare("eq", absolute(e, top), e.like(top, float("inf")))
    # A finite shift, beyond which only an infinity has a weight that is infinite.
    top = e.b.select(infinite, e.like(top, torch.finfo(e.out.dtype).max), top)
    low = e.b.sub(x, spread(e, top, x, dims))
    result = e.b.add(e.b.log(e.b.reduce_sum(e.b.exp(low), dims)), top)
    return e.b.reshape(result, e.out.shape)


def product(e: Emitter, x: ir.Value, dim: int | None = None, *_: Any, **__: Any) -> ir.Value:
    """Halves the dimension until one is left: exact derivatives, whatever is zero."""
    x = e.convert(x, e.out.dtype)
    if dim is None:
        x, dim = e.b.reshape(x, (count(shape(x)),)), 0
    dim = wrap(dim, len(shape(x)))
    if not shape(x):
        return x
    if shape(x)[dim] == 0:
        return e.full(e.out.shape, 1, e.out.dtype)
    while (size := shape(x)[dim]) > 1:
        half = size // 2
        left, right = part(e, x, dim, 0, half), part(e, x, dim, half, half)
        paired = e.b.mul(left, right)
        x = e.b.concatenate([paired, part(e, x, dim, 2 * half, 1)], dim) if size % 2 else paired
    return e.b.reshape(x, e.out.shape)


def part(e: Emitter, x: ir.Value, dim: int, start: int, size: int) -> ir.Value:
    offsets, sizes = [0] * len(shape(x)), list(shape(x))
    offsets[dim], sizes[dim] = start, size
    return e.b.slice(x, offsets, sizes, [1] * len(sizes))


RULES: dict[Any, Any] = {
    aten.sum.default: total,
    aten.sum.dim_IntList: total,
    aten.mean.default: mean,
    aten.mean.dim: mean,
    aten.amax.default: amax,
    aten.amin.default: amin,
    aten.max.default: extremum(1),
    aten.min.default: extremum(-1),
    aten.max.dim: max_along(1),
    aten.min.dim: max_along(-1),
    aten.argmax.default: argmax(1),
    aten.argmin.default: argmax(-1),
    aten.any.default: any_of,
    aten.any.dim: any_of,
    aten.any.dims: any_of,
    aten.all.default: all_of,
    aten.all.dim: all_of,
    aten.all.dims: all_of,
    aten.var.correction: variance,
    aten.var_mean.correction: variance_and_mean,
    aten.std.correction: deviation,
    aten.std_mean.correction: deviation_and_mean,
    aten.linalg_vector_norm.default: vector_norm,
    aten.norm.Scalar: norm,
    aten.norm.ScalarOpt_dtype: norm,
    aten.norm.ScalarOpt_dim_dtype: norm,
    aten.dist.default: dist,
    aten.aminmax.default: both_extrema,
    aten.nansum.default: nansum,
    aten.count_nonzero.default: count_nonzero,
    aten.count_nonzero.dim_IntList: count_nonzero,
    aten.norm.ScalarOpt_dim: norm,
    aten._softmax.default: softmax,
    aten._log_softmax.default: log_softmax,
    aten._safe_softmax.default: safe_softmax,
    aten.logsumexp.default: logsumexp,
    aten.prod.default: product,
    aten.prod.dim_int: product,
}
