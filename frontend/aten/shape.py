"""Views, joins and rearrangements: calls that only move elements."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, Operand, count, shape, wrap

aten = torch.ops.aten


def reshape(e: Emitter, x: ir.Value, *_: Any) -> ir.Value:
    return e.b.reshape(x, e.out.shape)


def permute(e: Emitter, x: ir.Value, dims: list[int]) -> ir.Value:
    return e.b.transpose(x, [wrap(d, len(shape(x))) for d in dims])


def expand(e: Emitter, x: ir.Value, *_: Any, **__: Any) -> ir.Value:
    return e.broadcast(x, e.out.shape)


def _window(x: ir.Value, dim: int, start: int, step: int) -> tuple[list[int], list[int]]:
    offsets, strides = [0] * len(shape(x)), [1] * len(shape(x))
    offsets[dim], strides[dim] = start, step
    return offsets, strides


def slice_(
    e: Emitter,
    x: ir.Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> ir.Value:
    dim = wrap(dim, len(shape(x)))
    low, _, _ = slice(start, end).indices(shape(x)[dim])
    offsets, strides = _window(x, dim, low, step)
    sizes = list(shape(x))
    sizes[dim] = max(0, len(range(*slice(start, end, step).indices(shape(x)[dim]))))
    if not sizes[dim]:
        offsets[dim] = 0
    return e.b.slice(x, offsets, sizes, strides)


def select(e: Emitter, x: ir.Value, dim: int, index: int) -> ir.Value:
    dim = wrap(dim, len(shape(x)))
    index = wrap(index, shape(x)[dim])
    return e.b.reshape(slice_(e, x, dim, index, index + 1), e.out.shape)


def _put(
    e: Emitter, x: ir.Value, part: ir.Value, offsets: list[int], strides: list[int]
) -> ir.Value:
    """x with ``part`` in the window: where part was padded in, part, else x."""
    if shape(part) == shape(x):
        return part
    inside = e.full(shape(part), 1, torch.bool)
    inside = e.b.pad(inside, None, shape(x), offsets, strides)
    placed = e.b.pad(part, None, shape(x), offsets, strides)
    return e.b.select(inside, placed, x)


def slice_scatter(
    e: Emitter,
    x: ir.Value,
    part: ir.Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> ir.Value:
    dim = wrap(dim, len(shape(x)))
    low, _, _ = slice(start, end).indices(shape(x)[dim])
    if 0 in shape(part):
        return x
    return _put(e, x, part, *_window(x, dim, low, step))


def select_scatter(e: Emitter, x: ir.Value, part: ir.Value, dim: int, index: int) -> ir.Value:
    dim = wrap(dim, len(shape(x)))
    sizes = list(shape(x))
    sizes[dim] = 1
    window = _window(x, dim, wrap(index, shape(x)[dim]), 1)
    return _put(e, x, e.b.reshape(part, sizes), *window)


def cat(e: Emitter, xs: list[ir.Value], dim: int = 0) -> ir.Value:
    filled = [e.convert(x, e.out.dtype) for x in xs if shape(x) != (0,)]
    if not filled:
        return e.convert(xs[0], e.out.dtype)
    return e.b.concatenate(filled, wrap(dim, len(e.out.shape)))


def stack(e: Emitter, xs: list[ir.Value], dim: int = 0) -> ir.Value:
    dim = wrap(dim, len(e.out.shape))
    sizes = [*shape(xs[0])[:dim], 1, *shape(xs[0])[dim:]]
    return e.b.concatenate([e.b.reshape(e.convert(x, e.out.dtype), sizes) for x in xs], dim)


def constant_pad(e: Emitter, x: ir.Value, pad: list[int], value: float = 0) -> ir.Value:
    """``pad`` lists (before, after) from the last dimension on; negative ones cut."""
    before, after = [0] * len(shape(x)), [0] * len(shape(x))
    for i in range(len(pad) // 2):
        before[-1 - i], after[-1 - i] = pad[2 * i], pad[2 * i + 1]
    offsets = [max(0, -b) for b in before]
    sizes = [n - o - max(0, -a) for n, o, a in zip(shape(x), offsets, after, strict=True)]
    ones = [1] * len(sizes)
    x = e.b.slice(x, offsets, sizes, ones) if tuple(sizes) != shape(x) else x
    fill = e.full((), value, e.out.dtype)
    return e.b.pad(x, fill, e.out.shape, [max(0, b) for b in before], ones)


def flip(e: Emitter, x: ir.Value, dims: list[int]) -> ir.Value:
    for dim in {wrap(d, len(shape(x))) for d in dims if shape(x)}:
        size = shape(x)[dim]
        forward = e.b.iota((size,), 0, e.element(torch.int64))
        backward = e.b.sub(e.like(forward, size - 1), forward)
        x = take(e, x, backward, dim)
    return x


def take(e: Emitter, x: ir.Value, positions: ir.Value, dim: int) -> ir.Value:
    """x at known good positions along one dimension, which stays where it was."""
    return e.b.move_dim(e.b.gather(x, [positions], [dim], in_bounds=True), 0, dim)


def repeat(e: Emitter, x: ir.Value, repeats: list[int]) -> ir.Value:
    lead = len(repeats) - len(shape(x))
    dims: list[int] = []
    at: list[int] = []
    for position, times in enumerate(repeats):
        dims.append(times)
        if position >= lead:
            at.append(len(dims))
            dims.append(shape(x)[position - lead])
    return e.b.reshape(e.b.broadcast(x, dims, at), e.out.shape)


def _diagonals(
    e: Emitter, x: ir.Value, offset: int, dim1: int, dim2: int
) -> tuple[ir.Value, list[int], list[int], list[int]]:
    """x with the two dimensions last and flattened; where the diagonal lies; the permutation."""
    rank = len(shape(x))
    dim1, dim2 = wrap(dim1, rank), wrap(dim2, rank)
    order = [d for d in range(rank) if d not in (dim1, dim2)] + [dim1, dim2]
    x = e.b.transpose(x, order)
    *outer, rows, columns = shape(x)
    start = offset if offset >= 0 else -offset * columns
    flat = e.b.reshape(x, (*outer, rows * columns))
    return flat, [0] * len(outer) + [start], [1] * len(outer) + [columns + 1], order


def diagonal(e: Emitter, x: ir.Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> ir.Value:
    flat, offsets, strides, _order = _diagonals(e, x, offset, dim1, dim2)
    if not e.out.shape[-1]:
        offsets = [0] * len(offsets)
    return e.b.slice(flat, offsets, e.out.shape, strides)


def diagonal_scatter(
    e: Emitter, x: ir.Value, part: ir.Value, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> ir.Value:
    if 0 in shape(part):
        return x
    flat, offsets, strides, order = _diagonals(e, x, offset, dim1, dim2)
    placed = e.b.reshape(_put(e, flat, part, offsets, strides), [shape(x)[d] for d in order])
    return e.b.transpose(placed, [order.index(d) for d in range(len(order))])


def _strided_places(
    e: Emitter, sizes: list[int], strides: list[int], start: int | None
) -> ir.Value:
    """The row-major place in the whole of each element of a strided layout."""
    place = e.full(sizes, start or 0, torch.int64)
    for d, stride in enumerate(strides):
        along = e.b.iota(sizes, d, e.element(torch.int64))
        place = e.b.add(place, e.b.mul(along, e.like(along, stride)))
    return place


def as_strided(
    e: Emitter, x: ir.Value, sizes: list[int], strides: list[int], start: int | None = None
) -> ir.Value:
    place = _strided_places(e, sizes, strides, start)
    flat = e.b.reshape(x, (count(shape(x)),))
    return e.b.gather(flat, [place], [0], in_bounds=True)


def as_strided_scatter(
    e: Emitter,
    x: ir.Value,
    part: ir.Value,
    sizes: list[int],
    strides: list[int],
    start: int | None = None,
) -> ir.Value:
    place = _strided_places(e, sizes, strides, start)
    flat = e.b.reshape(x, (count(shape(x)),))
    return e.b.reshape(e.b.scatter(flat, part, [place], [0], in_bounds=True), shape(x))


def fill(e: Emitter, x: ir.Value, value: Operand) -> ir.Value:
    return e.operands(value)[0]


RULES: dict[Any, Any] = {
    aten.view.default: reshape,
    aten._unsafe_view.default: reshape,
    aten.permute.default: permute,
    aten.expand.default: expand,
    aten.slice.Tensor: slice_,
    aten.select.int: select,
    aten.slice_scatter.default: slice_scatter,
    aten.select_scatter.default: select_scatter,
    aten.cat.default: cat,
    aten.stack.default: stack,
    aten.constant_pad_nd.default: constant_pad,
    aten.flip.default: flip,
    aten.repeat.default: repeat,
    aten.diagonal.default: diagonal,
    aten.diagonal_scatter.default: diagonal_scatter,
    aten.as_strided.default: as_strided,
    aten.as_strided_scatter.default: as_strided_scatter,
    aten.fill.Scalar: fill,
    aten.fill.Tensor: fill,
    aten.zero.default: lambda e, x: e.like(x, 0),
}
