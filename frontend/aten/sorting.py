"""Sorting and what rests on it: order statistics, searches in sorted sequences.

pb.argsort finds the order, which has no derivative; elements are moved by gathers, which have.
"""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, Operand, count, dtype_of, shape, wrap

aten = torch.ops.aten
INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def along(e: Emitter, x: ir.Value, dim: int, index: ir.Value) -> ir.Value:
    """x at known good positions along ``dim``; the other dimensions of both are the same."""
    last = len(shape(x)) - 1
    rows, index = e.b.move_dim(x, dim, last), e.b.move_dim(index, dim, last)
    found = e.b.gather(rows, [index], [last], batch_dims=last, in_bounds=True)
    return e.b.move_dim(found, last, dim)


def leading(e: Emitter, x: ir.Value, dim: int, size: int) -> ir.Value:
    sizes = [size if d == dim else n for d, n in enumerate(shape(x))]
    return e.b.slice(x, [0] * len(sizes), sizes, [1] * len(sizes))


def sort(
    e: Emitter,
    x: ir.Value,
    dim: int = -1,
    descending: bool = False,
    stable: bool | None = None,
) -> list[ir.Value]:
    """Stable, asked for or not."""
    if not shape(x):
        return [x, e.full((), 0, torch.int64)]
    dim = wrap(dim, len(shape(x)))
    order = e.b.argsort(x, dim, descending)
    return [along(e, x, dim, order), order]


def argsort(e: Emitter, x: ir.Value, dim: int = -1, descending: bool = False, **_: Any) -> ir.Value:
    return sort(e, x, dim, descending)[1]


def topk(
    e: Emitter, x: ir.Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[ir.Value]:
    if not shape(x):
        return [x, e.full((), 0, torch.int64)]
    dim = wrap(dim, len(shape(x)))
    order = leading(e, e.b.argsort(x, dim, largest), dim, k)
    return [along(e, x, dim, order), order]


# --- order statistics -------------------------------------------------------------------------


def _chosen(e: Emitter, x: ir.Value, dim: int, position: ir.Value) -> list[ir.Value]:
    """The elements at one position for each row, and the positions, in the shapes wanted."""
    found = along(e, x, dim, position)
    return [e.b.reshape(v, out.shape) for v, out in zip((found, position), e.outs, strict=True)]


def _nans(e: Emitter, x: ir.Value, dim: int) -> ir.Value:
    """How many NaNs there are along ``dim``, which stays with size 1."""
    kept = [1 if d == dim else n for d, n in enumerate(shape(x))]
    if not dtype_of(x).is_floating_point:
        return e.full(kept, 0, torch.int64)
    nan = e.convert(e.b.compare("ne", x, x), torch.int64)
    return e.b.reshape(e.b.reduce_sum(nan, [dim]), kept)


def kthvalue(
    e: Emitter, x: ir.Value, k: int, dim: int = -1, keepdim: bool = False
) -> list[ir.Value]:
    if not shape(x):
        return [x, e.full((), 0, torch.int64)]
    dim = wrap(dim, len(shape(x)))
    kept = [1 if d == dim else n for d, n in enumerate(shape(x))]
    offsets = [k - 1 if d == dim else 0 for d in range(len(kept))]
    return _chosen(e, x, dim, e.b.slice(e.b.argsort(x, dim), offsets, kept, [1] * len(kept)))


def _middle(e: Emitter, x: ir.Value, dim: int, ignore_nan: bool) -> ir.Value:
    """Where along ``dim`` the lower median is; with NaNs the first of them, if they count."""
    size, nans = shape(x)[dim], _nans(e, x, dim)
    if ignore_nan:
        left = e.b.sub(e.like(nans, max(size - 1, 0)), nans)
        rank = e.b.div(e.b.maximum(left, e.like(left, 0)), e.like(left, 2))
    else:
        some = e.b.compare("gt", nans, e.like(nans, 0))
        first = e.b.sub(e.like(nans, size), nans)
        rank = e.b.select(some, first, e.like(nans, (size - 1) // 2))
    return along(e, e.b.argsort(x, dim), dim, rank)


def median_along(ignore_nan: bool) -> Any:
    def rule(e: Emitter, x: ir.Value, dim: int = -1, keepdim: bool = False) -> list[ir.Value]:
        if not shape(x):
            return [x, e.full((), 0, torch.int64)]
        dim = wrap(dim, len(shape(x)))
        return _chosen(e, x, dim, _middle(e, x, dim, ignore_nan))

    return rule


def median(ignore_nan: bool) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        x = e.b.reshape(x, (count(shape(x)),))
        if not shape(x)[0]:
            lowest = float("nan") if e.out.dtype.is_floating_point else 0
            return e.full((), lowest, e.out.dtype)
        value = e.b.reshape(along(e, x, 0, _middle(e, x, 0, ignore_nan)), ())
        return shared_by_equals(e, x, value) if dtype_of(x).is_floating_point else value

    return rule


def shared_by_equals(e: Emitter, x: ir.Value, value: ir.Value) -> ir.Value:
    """``value``, with the derivative spread evenly over the elements of the vector x equal to it.

    It is their mean, and what rounding leaves of the difference.
    """
    same = e.broadcast(value, shape(x))
    nan = e.b.mul(e.b.compare("ne", x, x), e.b.compare("ne", same, same))
    equal = e.b.add(e.b.compare("eq", x, same), nan)
    number = e.b.reduce_sum(e.convert(equal, dtype_of(x)), [0])
    shares = e.b.div(x, e.broadcast(number, shape(x)))
    mean = e.b.reduce_sum(e.b.select(equal, shares, e.like(x, 0)), [0])
    rest = e.b.select(e.b.compare("eq", mean, value), e.like(value, 0), e.b.sub(value, mean))
    return e.b.add(mean, e.b.stop_gradient(rest))


def mode(e: Emitter, x: ir.Value, dim: int = -1, keepdim: bool = False) -> list[ir.Value]:
    """The smallest of the most frequent elements, and where it comes last."""
    if not shape(x):
        return [x, e.full((), 0, torch.int64)]
    dim, last = wrap(dim, len(shape(x))), len(shape(x)) - 1
    rows = e.b.move_dim(x, dim, last)
    order = e.b.argsort(rows, last)
    ordered = along(e, rows, last, order)
    place = e.b.iota(shape(rows), last, e.element(torch.int64))
    # At the last of equal elements this is how many there are, at others less.
    frequency = e.b.sub(place, counted(e, ordered, ordered, right=False))
    most = e.b.reduce_max(frequency, [last])
    hit = e.b.compare("eq", frequency, e.b.broadcast(most, shape(rows), range(last)))
    size = shape(rows)[last]
    first = e.b.reduce_max(e.b.select(hit, e.b.neg(place), e.like(place, -size)), [last])
    first = e.b.reshape(e.b.neg(first), (*shape(rows)[:-1], 1))
    return _chosen(e, x, dim, e.b.move_dim(along(e, order, last, first), last, dim))


def quantile(ignore_nan: bool) -> Any:
    def rule(
        e: Emitter,
        x: ir.Value,
        q: Operand,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> ir.Value:
        if interpolation not in INTERPOLATIONS:
            raise NotImplementedError(f"interpolation={interpolation!r}")
        dtype = dtype_of(x)
        q = q if isinstance(q, ir.Value) else e.full((), q, dtype)
        x = x if shape(x) and dim is not None else e.b.reshape(x, (count(shape(x)),))
        last = len(shape(x)) - 1
        rows = e.b.move_dim(x, wrap(dim or 0, len(shape(x))), last)
        ordered = along(e, rows, last, e.b.argsort(rows, last))
        many = (*shape(rows)[:-1], count(shape(q)))
        levels = e.b.broadcast(e.b.reshape(_in_unit_interval(e, q), many[-1:]), many, [last])
        rank = _ranks(e, rows, levels, ignore_nan)
        found = _between(e, ordered, rank, interpolation)
        # dimensions: those of q, then of x without the reduced one
        return e.b.reshape(e.b.move_dim(found, last, 0), e.out.shape)

    return rule


def _in_unit_interval(e: Emitter, q: ir.Value) -> ir.Value:
    inside = e.b.mul(e.b.compare("ge", q, e.like(q, 0)), e.b.compare("le", q, e.like(q, 1)))
    message = "RuntimeError: quantile() q values must be in the range [0, 1]"
    outside = e.b.sub(e.full(shape(q), 1, torch.int64), e.convert(inside, torch.int64))
    e.b.check_index(outside, 1, message, wrap=False)
    return e.b.select(inside, q, e.like(q, 0))


def _ranks(e: Emitter, rows: ir.Value, levels: ir.Value, ignore_nan: bool) -> ir.Value:
    """Real positions in the ordered rows; rows with a NaN give its position unless ignored."""
    last, size, dtype = len(shape(rows)) - 1, shape(rows)[-1], dtype_of(rows)
    nans = e.broadcast(_nans(e, rows, last), shape(levels))
    if ignore_nan:
        top = e.convert(e.b.sub(e.like(nans, size - 1), nans), dtype)
        rank = e.b.mul(levels, top)
        return e.b.select(e.b.compare("lt", rank, e.like(rank, 0)), e.like(rank, 0), rank)
    some = e.b.compare("gt", nans, e.like(nans, 0))
    return e.b.select(some, e.like(levels, size - 1), e.b.mul(levels, e.like(levels, size - 1)))


def _between(e: Emitter, ordered: ir.Value, rank: ir.Value, interpolation: str) -> ir.Value:
    last, size = len(shape(ordered)) - 1, shape(ordered)[-1]
    low = e.convert(rank, torch.int64)  # not negative: truncation is floor
    part = e.b.sub(rank, e.convert(low, dtype_of(rank)))
    one = e.like(low, 1)
    whole = e.b.compare("eq", part, e.like(part, 0))
    high = e.b.select(whole, low, e.b.add(low, one))
    high = e.b.neg(e.b.maximum(e.b.neg(high), e.like(high, 1 - size)))
    if interpolation == "nearest":  # of two, the even one
        half = e.b.compare("eq", part, e.like(part, 0.5))
        odd = e.b.compare("ne", e.b.mul(e.b.div(low, e.like(low, 2)), e.like(low, 2)), low)
        up = e.b.add(e.b.compare("gt", part, e.like(part, 0.5)), e.b.mul(half, odd))
        return along(e, ordered, last, e.b.select(up, high, low))
    if interpolation in ("lower", "higher"):
        return along(e, ordered, last, low if interpolation == "lower" else high)
    below, above = along(e, ordered, last, low), along(e, ordered, last, high)
    weight = e.like(part, 0.5) if interpolation == "midpoint" else part
    rise = e.b.sub(above, below)
    rest = e.b.sub(e.like(weight, 1), weight)
    near = e.b.compare("lt", weight, e.like(weight, 0.5))
    return e.b.select(
        near, e.b.add(below, e.b.mul(weight, rise)), e.b.sub(above, e.b.mul(rise, rest))
    )


# --- searches ---------------------------------------------------------------------------------


def counted(e: Emitter, ordered: ir.Value, values: ir.Value, right: bool) -> ir.Value:
    """How many elements of each ordered row come before each value: bisection.

    ``ordered`` is a vector for all values, or has the leading dimensions of ``values``.
    """
    shared, size = len(shape(ordered)) == 1, shape(ordered)[-1]
    low = e.full(shape(values), 0, torch.int64)
    high = e.like(low, size)
    for _ in range(size.bit_length()):
        middle = e.b.div(e.b.add(low, high), e.like(low, 2))
        at = e.b.neg(e.b.maximum(e.b.neg(middle), e.like(middle, 1 - size)))
        if shared:
            probe = e.b.gather(ordered, [at], [0], in_bounds=True)
        else:
            probe = along(e, ordered, len(shape(ordered)) - 1, at)
        stays = e.b.compare("gt" if right else "ge", probe, values)  # a NaN goes to the end
        open_ = e.b.compare("lt", low, high)
        up = e.b.select(stays, low, e.b.add(middle, e.like(middle, 1)))
        down = e.b.select(stays, middle, high)
        low, high = e.b.select(open_, up, low), e.b.select(open_, down, high)
    return low


def searchsorted(
    e: Emitter,
    ordered: ir.Value,
    values: Operand,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: ir.Value | None = None,
) -> ir.Value:
    if not isinstance(values, ir.Value):
        values = e.full((), values, dtype_of(ordered))
    dtype = torch.promote_types(dtype_of(ordered), dtype_of(values))
    ordered, values = e.convert(ordered, dtype), e.convert(values, dtype)
    if sorter is not None:
        message = "RuntimeError: torch.searchsorted(): sorter index out of range"
        sorter = e.b.check_index(sorter, shape(ordered)[-1], message, wrap=False)
        ordered = along(e, ordered, len(shape(ordered)) - 1, sorter)
    found = counted(e, ordered, values, right or side == "right")
    return e.b.reshape(e.convert(found, e.out.dtype), e.out.shape)


def bucketize(e: Emitter, values: Operand, boundaries: ir.Value, **options: Any) -> ir.Value:
    return searchsorted(e, boundaries, values, **options)


def isin(
    e: Emitter, x: Operand, test: Operand, *, assume_unique: bool = False, invert: bool = False
) -> ir.Value:
    known = [v for v in (x, test) if isinstance(v, ir.Value)]
    dtype = dtype_of(known[0])
    for value in known[1:]:
        dtype = torch.promote_types(dtype, dtype_of(value))
    x, test = (
        e.convert(v, dtype) if isinstance(v, ir.Value) else e.full((), v, dtype) for v in (x, test)
    )
    test = e.b.reshape(test, (count(shape(test)),))
    pairs, rank = (*shape(x), *shape(test)), len(shape(x))
    same = e.b.compare(
        "eq", e.b.broadcast(x, pairs, range(rank)), e.b.broadcast(test, pairs, [rank])
    )
    found = e.b.reduce_sum(same, [rank])
    return e.b.compare("eq", found, e.full(shape(x), not bool(invert), torch.bool))


def histc(e: Emitter, x: ir.Value, bins: int = 100, min: float = 0, max: float = 0) -> ir.Value:
    x, dtype = e.b.reshape(x, (count(shape(x)),)), dtype_of(x)
    low, high = e.full((), min, dtype), e.full((), max, dtype)
    if min == max and shape(x)[0]:
        low = e.b.neg(e.b.reduce_max(e.b.neg(x), [0]))
        high = e.b.reduce_max(x, [0])
    equal, one = e.b.compare("eq", low, high), e.full((), 1, dtype)
    low, high = (
        e.b.select(equal, e.b.sub(low, one), low),
        e.b.select(equal, e.b.add(high, one), high),
    )
    low, high = e.broadcast(low, shape(x)), e.broadcast(high, shape(x))
    inside = e.b.mul(e.b.compare("ge", x, low), e.b.compare("le", x, high))
    share = e.b.div(e.b.mul(e.b.sub(x, low), e.like(x, bins)), e.b.sub(high, low))
    place = e.convert(e.b.select(inside, share, e.like(share, 0)), torch.int64)
    place = e.b.neg(e.b.maximum(e.b.neg(place), e.like(place, 1 - bins)))
    ones = e.b.stop_gradient(e.convert(inside, dtype))
    return e.b.scatter_add(e.full((bins,), 0, dtype), ones, [place], [0], in_bounds=True)


RULES: dict[Any, Any] = {
    aten.sort.default: sort,
    aten.sort.stable: lambda e, x, stable=None, dim=-1, descending=False: sort(
        e, x, dim, descending
    ),
    aten.argsort.default: argsort,
    aten.argsort.stable: argsort,
    aten.topk.default: topk,
    aten.kthvalue.default: kthvalue,
    aten.median.default: median(False),
    aten.median.dim: median_along(False),
    aten.nanmedian.default: median(True),
    aten.nanmedian.dim: median_along(True),
    aten.mode.default: mode,
    aten.quantile.default: quantile(False),
    aten.quantile.scalar: quantile(False),
    aten.nanquantile.default: quantile(True),
    aten.nanquantile.scalar: quantile(True),
    aten.searchsorted.Tensor: searchsorted,
    aten.searchsorted.Scalar: searchsorted,
    aten.bucketize.Tensor: bucketize,
    aten.bucketize.Scalar: bucketize,
    aten.isin.Tensor_Tensor: isin,
    aten.isin.Tensor_Scalar: isin,
    aten.isin.Scalar_Tensor: isin,
    aten.histc.default: histc,
}
