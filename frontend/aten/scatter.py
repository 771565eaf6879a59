"""Writes at positions given by tensors along one dimension, and in flattened tensors.

The reads are in ``indexing.py``, and ``x[i] = v`` too. Every index of the user is checked there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mlir import ir

from .elementwise import scaled
from .emitter import Emitter, Operand, count, dtype_of, shape, wrap
from .indexing import along_all, check, same_outside, vectors
from .reduction import negated

aten = torch.ops.aten


class _Place(NamedTuple):
    """Where the updates of a call go, in the terms of the scatters of the builder."""

    indices: list[ir.Value]
    axes: list[int]
    batch_dims: int = 0


class _Call(NamedTuple):
    """x and updates in the layout of ``place``; ``back`` undoes the layout."""

    x: ir.Value
    updates: ir.Value
    place: _Place
    back: Callable[[ir.Value], ir.Value]


def cut(e: Emitter, source: ir.Value, like: ir.Value) -> ir.Value:
    """The leading part of source that the index covers."""
    if shape(source) == shape(like):
        return source
    rank = len(shape(like))
    return e.b.slice(source, [0] * rank, shape(like), [1] * rank)


def _elementwise(e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: Operand) -> _Call:
    """An index for each update, as scatter and its kin have it."""
    x, index = vectors(e, x, index)
    if not count(shape(index)):  # of any rank
        index = e.b.reshape(index, (0,) * len(shape(x)))
        source = 0
    if isinstance(source, ir.Value):
        updates = e.convert(cut(e, vectors(e, source)[0], index), dtype_of(x))
    else:
        updates = e.full(shape(index), source, dtype_of(x))
    dim, last = wrap(dim, len(shape(x))), len(shape(x)) - 1
    out_shape = e.out.shape
    if not same_outside(x, index, dim):
        place = _Place(*along_all(e, x, dim, index))
        return _Call(x, updates, place, lambda out: e.b.reshape(out, out_shape))
    index = check(e, index, shape(x)[dim], dim, "RuntimeError", False)
    rows, updates, index = (e.b.move_dim(t, dim, last) for t in (x, updates, index))
    return _Call(
        rows,
        updates,
        _Place([index], [last], last),
        lambda out: e.b.reshape(e.b.move_dim(out, last, dim), out_shape),
    )


def _slices(
    e: Emitter,
    x: ir.Value,
    dim: int,
    index: ir.Value,
    source: ir.Value,
    kind: str = "RuntimeError",
    negative: bool = False,
) -> _Call:
    """An index for each slice along ``dim``, as index_add and its kin have it."""
    x, source = vectors(e, x, source)
    dim = wrap(dim, len(shape(x)))
    if count(shape(x)) or not shape(x)[dim]:  # torch looks at no index where nothing is written
        index = check(e, index, shape(x)[dim], dim, kind, negative)
    index = e.b.reshape(index, (count(shape(index)),))
    updates = e.convert(e.b.move_dim(source, dim, 0), dtype_of(x))
    out_shape = e.out.shape
    return _Call(x, updates, _Place([index], [dim]), lambda out: e.b.reshape(out, out_shape))


def overwritten(e: Emitter, call: _Call) -> ir.Value:
    return call.back(e.b.scatter(call.x, call.updates, *call.place, in_bounds=True))


def added(e: Emitter, call: _Call) -> ir.Value:
    if dtype_of(call.x) is torch.bool:
        raise NotImplementedError("adding at positions of a bool tensor")
    return call.back(e.b.scatter_add(call.x, call.updates, *call.place, in_bounds=True))


# --- reductions -------------------------------------------------------------------------------


def reduced(e: Emitter, call: _Call, how: str, include_self: bool) -> ir.Value:
    """torch's scatter_reduce: sum, prod, mean, amax, amin."""
    how = {"add": "sum", "multiply": "prod"}.get(how, how)
    if dtype_of(call.x) is torch.bool:
        raise NotImplementedError(f"scatter_reduce {how} of a bool tensor")
    if how == "amin":
        turned = call._replace(x=negated(e, call.x), updates=negated(e, call.updates))
        return call.back(negated(e, _largest(e, turned, include_self)))
    combine = {"sum": _sum, "mean": _mean, "prod": _product, "amax": _largest}[how]
    return call.back(combine(e, call, include_self))


def _without_self(e: Emitter, call: _Call, neutral: float) -> ir.Value:
    """x with the neutral element wherever there is an update."""
    start = e.full(shape(call.updates), neutral, dtype_of(call.x))
    return e.b.scatter(call.x, start, *call.place, in_bounds=True)


def _sum(e: Emitter, call: _Call, include_self: bool) -> ir.Value:
    start = call.x if include_self else _without_self(e, call, 0)
    return e.b.scatter_add(start, call.updates, *call.place, in_bounds=True)


def _mean(e: Emitter, call: _Call, include_self: bool) -> ir.Value:
    total = _sum(e, call, include_self)
    ones = e.full(shape(call.updates), 1, torch.int64)
    start = e.full(shape(call.x), int(include_self), torch.int64)
    number = e.b.scatter_add(start, ones, *call.place, in_bounds=True)
    number = e.convert(e.b.maximum(number, e.like(number, 1)), dtype_of(total))
    quotient = e.b.div(total, number)
    if dtype_of(total).is_floating_point:
        return quotient
    rest = e.b.sub(total, e.b.mul(quotient, number))  # torch rounds down
    below = e.b.compare("lt", rest, e.like(rest, 0))
    return e.b.sub(quotient, e.convert(below, dtype_of(total)))


def _largest(e: Emitter, call: _Call, include_self: bool) -> ir.Value:
    dtype = dtype_of(call.x)
    lowest = -float("inf") if dtype.is_floating_point else torch.iinfo(dtype).min
    start = call.x if include_self else _without_self(e, call, lowest)
    largest = e.b.scatter_max(start, call.updates, *call.place, in_bounds=True)
    if include_self or not dtype.is_floating_point:
        return largest
    # Where all updates are the lowest number, it is not to share the derivative with them.
    equal = e.b.compare("eq", largest, e.like(largest, lowest))
    return e.b.select(equal, _mean(e, call, include_self), largest)


def _product(e: Emitter, call: _Call, include_self: bool) -> ir.Value:
    """The factors of each element are sorted together and multiplied in 1, 2, 4, ... steps.

    Derivatives of any order are those of the products, whatever is zero.
    """
    number, total = count(shape(call.updates)), count(shape(call.x))
    if not number or not total:
        return call.x
    cells = e.b.reshape(e.b.iota((total,), 0, e.element(torch.int64)), shape(call.x))
    cells = e.b.gather(cells, *call.place, in_bounds=True)
    cells = e.b.reshape(cells, (number,))
    order = e.b.argsort(cells, 0)
    cells = e.b.gather(cells, [order], [0], in_bounds=True)
    factors = e.b.gather(e.b.reshape(call.updates, (number,)), [order], [0], in_bounds=True)
    step = 1
    while step < number:
        before = e.b.slice(factors, [0], [number - step], [1])
        one = e.full((), 1, dtype_of(factors))
        before = e.b.pad(before, one, (number,), [step], [1])
        cell = e.b.slice(cells, [0], [number - step], [1])
        cell = e.b.pad(cell, e.full((), -1, torch.int64), (number,), [step], [1])
        same = e.b.compare("eq", cell, cells)
        factors = e.b.mul(factors, e.b.select(same, before, e.like(factors, 1)))
        step *= 2
    # The last of each run is the whole product, and the last to be written.
    start = call.x if include_self else _without_self(e, call, 1)
    ones = e.full((total,), 1, dtype_of(factors))
    products = e.b.scatter(ones, factors, [cells], [0], in_bounds=True)
    return e.b.mul(start, e.b.reshape(products, shape(call.x)))


# --- torch's names ----------------------------------------------------------------------------


def scatter(
    e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: Operand, reduce: str | None = None
) -> ir.Value:
    call = _elementwise(e, x, dim, index, source)
    return overwritten(e, call) if reduce is None else reduced(e, call, reduce, True)


def scatter_add(e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: ir.Value) -> ir.Value:
    return added(e, _elementwise(e, x, dim, index, source))


def scatter_reduce(
    e: Emitter,
    x: ir.Value,
    dim: int,
    index: ir.Value,
    source: ir.Value,
    reduce: str,
    include_self: bool = True,
) -> ir.Value:
    return reduced(e, _elementwise(e, x, dim, index, source), reduce, include_self)


def index_add(
    e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: ir.Value, alpha: float = 1
) -> ir.Value:
    return added(e, _slices(e, x, dim, index, scaled(e, source, alpha)))


def index_copy(e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: ir.Value) -> ir.Value:
    return overwritten(e, _slices(e, x, dim, index, source, "IndexError"))


def index_fill(e: Emitter, x: ir.Value, dim: int, index: ir.Value, value: Operand) -> ir.Value:
    sizes = list(shape(x)) or [1]
    sizes[wrap(dim, len(sizes))] = count(shape(index))
    source = e.tensor(value, sizes, dtype_of(x))
    return overwritten(e, _slices(e, x, dim, index, source, "IndexError", negative=True))


def index_reduce(
    e: Emitter,
    x: ir.Value,
    dim: int,
    index: ir.Value,
    source: ir.Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> ir.Value:
    return reduced(e, _slices(e, x, dim, index, source), reduce, include_self)


def put(
    e: Emitter, x: ir.Value, index: ir.Value, source: ir.Value, accumulate: bool = False
) -> ir.Value:
    """Into the flattened tensor."""
    total, number = count(shape(x)), count(shape(index))
    index = check(e, e.b.reshape(index, (number,)), total, 0, "IndexError", True)
    flat, updates = e.b.reshape(x, (total,)), e.b.reshape(source, (number,))
    out_shape = e.out.shape
    call = _Call(flat, updates, _Place([index], [0]), lambda out: e.b.reshape(out, out_shape))
    return added(e, call) if accumulate else overwritten(e, call)


def masked_scatter(e: Emitter, x: ir.Value, mask: ir.Value, source: ir.Value) -> ir.Value:
    """The i-th true position gets the i-th element of source."""
    x, mask = e.broadcast(x, e.out.shape), e.broadcast(mask, e.out.shape)
    number, total = count(shape(x)), count(shape(source))
    if not number:
        return x
    true = e.convert(e.b.reshape(mask, (number,)), torch.int64)
    place, step = true, 1
    while step < number:  # sums over 1, 2, 4, ... elements
        before = e.b.slice(place, [0], [number - step], [1])
        place = e.b.add(place, e.b.pad(before, None, (number,), [step], [1]))
        step *= 2
    place = e.b.mul(true, e.b.sub(place, e.like(place, 1)))
    needed = e.b.reduce_sum(true, [0])
    message = (
        "RuntimeError: masked_scatter: number of elements in source is smaller than the number "
        "of ones in mask"
    )
    e.b.check_index(needed, total + 1, message, wrap=False)
    if not total:
        return x
    place = e.b.neg(e.b.maximum(e.b.neg(place), e.like(place, 1 - total)))
    flat = e.b.reshape(e.convert(source, dtype_of(x)), (total,))
    chosen = e.b.reshape(e.b.gather(flat, [place], [0], in_bounds=True), shape(x))
    return e.b.select(mask, chosen, x)


RULES: dict[Any, Any] = {
    aten.scatter.value: scatter,
    aten.scatter.src: scatter,
    aten.scatter.reduce: scatter,
    aten.scatter.value_reduce: scatter,
    aten.scatter_add.default: scatter_add,
    aten.scatter_reduce.two: scatter_reduce,
    aten.index_add.default: index_add,
    aten.index_copy.default: index_copy,
    aten.index_fill.int_Scalar: index_fill,
    aten.index_fill.int_Tensor: index_fill,
    aten.index_reduce.default: index_reduce,
    aten.put.default: put,
    aten.masked_scatter.default: masked_scatter,
}
