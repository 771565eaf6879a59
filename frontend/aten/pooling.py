"""Pooling: sums of windows are convolutions with ones, maxima are read where they were found.

A maximum is its position, which has no derivative, and a gather there, which has the right one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mlir import ir

from ...dialects.pb.builders.convolution import Relation
from .convolution import each
from .emitter import Emitter, count, dtype_of, shape
from .shape import take

aten = torch.ops.aten
Numbers = Sequence[int]
#: A window with more elements than this is looked through one dimension after the other.
_WHOLE_WINDOW = 16


def _grid(e: Emitter, numbers: np.ndarray) -> ir.Value:
    return e.b.constant(numbers, e.element(torch.int64))


# --- sums and means -------------------------------------------------------------------------------


def window_sums(
    e: Emitter, x: ir.Value, kernel: Numbers, stride: Numbers, padding: Numbers, sizes: Numbers
) -> ir.Value:
    """Sums over windows of the last dimensions, which get the given sizes."""
    spatial = len(kernel)
    outer = shape(x)[: len(shape(x)) - spatial]
    groups = count(outer)
    flat = e.b.reshape(x, (1, groups, 1, *shape(x)[len(outer) :]))
    ones = e.full((groups, 1, 1, *kernel), 1, dtype_of(x))
    relation = Relation(
        (1,) * spatial, (-1,) * spatial, tuple(-s for s in stride), tuple(-p for p in padding)
    )
    return e.b.reshape(e.b.conv(flat, ones, relation, sizes), (*outer, *sizes))


def _covered(n: int, k: int, s: int, p: int, size: int, with_padding: bool) -> np.ndarray:
    """How many elements of one dimension, padding counted or not, the windows have."""
    start = np.arange(size) * s - p
    end = np.minimum(start + k, n + p)
    if with_padding:
        return end - start
    return np.maximum(np.minimum(end, n) - np.maximum(start, 0), 0)


def avg_pool(spatial: int) -> Any:
    def rule(
        e: Emitter,
        x: ir.Value,
        kernel: list[int],
        stride: list[int] | None = None,
        padding: list[int] = [0],  # noqa: B006
        _ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> ir.Value:
        window, steps = each(kernel, spatial), each(stride or kernel, spatial)
        around = each(padding, spatial)
        sizes = e.out.shape[-spatial:]
        total = window_sums(e, x, window, steps, around, sizes)
        if divisor_override is not None:
            return e.b.div(total, e.like(total, divisor_override))
        first = len(shape(x)) - spatial
        covered = [
            _covered(*numbers, with_padding=count_include_pad)
            for numbers in zip(shape(x)[first:], window, steps, around, sizes, strict=True)
        ]
        return e.b.div(total, _products(e, total, covered, first))

    return rule


def _products(e: Emitter, like: ir.Value, rows: Sequence[np.ndarray], first: int) -> ir.Value:
    """The outer product of one row of numbers for each of the last dimensions."""
    if all((row == row[:1]).all() for row in rows):
        return e.like(like, float(np.prod([row[0] for row in rows if row.size])))
    result = e.like(like, 1)
    for d, row in enumerate(rows):
        numbers = e.b.constant(row, e.element(dtype_of(like)))
        result = e.b.mul(result, e.b.broadcast(numbers, shape(like), [first + d]))
    return result


def adaptive_bounds(n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each window: torch spreads them evenly, with overlaps if need be."""
    o = np.arange(size)
    return o * n // size, -(-(o + 1) * n // size)


def unfolded(
    e: Emitter, x: ir.Value, dim: int, start: np.ndarray, end: np.ndarray, fill: ir.Value
) -> ir.Value:
    """[.., windows, elements, ..] in place of `dim`; shorter windows end with `fill`."""
    longest = int((end - start).max(initial=1))
    at = start[:, None] + np.arange(longest)
    inside = at < end[:, None]
    sizes = [*shape(x)[:dim], *at.shape, *shape(x)[dim + 1 :]]
    positions = _grid(e, np.minimum(at, shape(x)[dim] - 1).reshape(-1))
    out = e.b.reshape(take(e, x, positions, dim), sizes)
    if inside.all():
        return out
    mask = e.b.constant(inside, e.element(torch.bool))
    mask = e.b.broadcast(mask, sizes, [dim, dim + 1])
    return e.b.select(mask, out, e.b.broadcast(fill, sizes, []))


def adaptive_avg_pool(e: Emitter, x: ir.Value, output_size: list[int]) -> ir.Value:
    spatial, rank = len(output_size), len(shape(x))
    for dim in range(rank - spatial, rank):
        n, size = shape(x)[dim], e.out.shape[dim]
        if size and n % size == 0:
            sizes = [*shape(x)[:dim], size, n // size, *shape(x)[dim + 1 :]]
            total = e.b.reduce_sum(e.b.reshape(x, sizes), [dim + 1])
            x = e.b.div(total, e.like(total, n // size))
            continue
        start, end = adaptive_bounds(n, size)
        parts = unfolded(e, x, dim, start, end, e.full((), 0, dtype_of(x)))
        total = e.b.reduce_sum(parts, [dim + 1])
        lengths = e.b.constant(end - start, e.element(dtype_of(x)))
        x = e.b.div(total, e.b.broadcast(lengths, shape(total), [dim]))
    return x


# --- maxima ---------------------------------------------------------------------------------------


def _better(e: Emitter, new: ir.Value, old: ir.Value) -> ir.Value:
    """Does torch take `new` after `old`? The first of equals; the last NaN."""
    return e.b.add(e.b.compare("gt", new, old), e.b.compare("ne", new, new))


def _look(
    e: Emitter,
    x: ir.Value,
    index: ir.Value,
    dims: Numbers,
    kernel: Numbers,
    stride: Numbers,
    padding: Numbers,
    dilation: Numbers,
    sizes: Numbers,
) -> tuple[ir.Value, ir.Value]:
    """The largest element of windows along `dims`, and the index that comes with it.

    Where no element of a window has been seen, the index is -1.
    """
    out, padded = list(shape(x)), list(shape(x))
    offsets = [0] * len(out)
    strides = [1] * len(out)
    for d, k, s, p, by, size in zip(dims, kernel, stride, padding, dilation, sizes, strict=True):
        out[d], offsets[d], strides[d] = size, p, s
        padded[d] = max(shape(x)[d] + p, (size - 1) * s + (k - 1) * by + 1)
    ones = [1] * len(out)
    lowest = -np.inf if dtype_of(x).is_floating_point else torch.iinfo(dtype_of(x)).min
    x = e.b.pad(x, e.full((), lowest, dtype_of(x)), padded, offsets, ones)
    index = e.b.pad(index, e.full((), -1, torch.int64), padded, offsets, ones)
    best: tuple[ir.Value, ir.Value] | None = None
    for tap in itertools.product(*map(range, kernel)):
        at = [0] * len(out)
        for d, k, by in zip(dims, tap, dilation, strict=True):
            at[d] = k * by
        new, number = (e.b.slice(t, at, out, strides) for t in (x, index))
        if best is None:
            best = new, number
            continue
        seen = e.b.compare("ge", number, e.like(number, 0))
        none = e.b.compare("lt", best[1], e.like(number, 0))
        takes = e.b.mul(seen, e.b.add(none, _better(e, new, best[0])))
        best = e.b.select(takes, new, best[0]), e.b.select(takes, number, best[1])
    assert best is not None
    return best


def _numbered(e: Emitter, x: ir.Value, spatial: int) -> ir.Value:
    """The flat position of each element among the last `spatial` dimensions."""
    inner = shape(x)[len(shape(x)) - spatial :]
    flat = e.b.iota((count(inner),), 0, e.element(torch.int64))
    at = range(len(shape(x)) - spatial, len(shape(x)))
    return e.b.broadcast(e.b.reshape(flat, inner), shape(x), list(at))


def read_at(e: Emitter, x: ir.Value, index: ir.Value, spatial: int) -> ir.Value:
    """x at flat positions of its last dimensions."""
    outer = len(shape(x)) - spatial
    lead, inner = shape(x)[:outer], shape(x)[outer:]
    flat = e.b.reshape(x, (*lead, count(inner)))
    positions = e.b.reshape(index, (*lead, count(shape(index)[outer:])))
    out = e.b.gather(flat, [positions], [outer], batch_dims=outer, in_bounds=True)
    return e.b.reshape(out, shape(index))


def max_pool(spatial: int) -> Any:
    def rule(
        e: Emitter,
        x: ir.Value,
        kernel: list[int],
        stride: list[int] | None = None,
        padding: list[int] = [0],  # noqa: B006
        dilation: list[int] = [1],  # noqa: B006
        _ceil_mode: bool = False,
    ) -> list[ir.Value]:
        numbers = [each(n, spatial) for n in (kernel, stride or kernel, padding, dilation)]
        sizes = e.out.shape[-spatial:]
        if not count(e.out.shape):
            return [e.full(e.out.shape, 0, dtype_of(x)), e.full(e.out.shape, 0, torch.int64)]
        first = len(shape(x)) - spatial
        dims = list(range(first, first + spatial))
        value, index = x, _numbered(e, x, spatial)
        whole = count(numbers[0]) <= _WHOLE_WINDOW
        for group in [dims] if whole else [[d] for d in reversed(dims)]:
            at = [d - first for d in group]
            chosen = [[n[i] for i in at] for n in (*numbers, sizes)]
            value, index = _look(e, value, index, group, *chosen)
        return [read_at(e, x, index, spatial), index]

    return rule


def _last_dim(e: Emitter, x: ir.Value, index: ir.Value, dim: int) -> tuple[ir.Value, ir.Value]:
    """The largest along `dim`, as _look finds it, and its index; by reductions."""
    kept = [d for d in range(len(shape(x))) if d != dim]
    top = e.b.reduce_max(x, [dim])
    spread = e.b.broadcast(top, shape(x), kept)
    hit = e.b.add(e.b.compare("eq", x, spread), e.b.compare("ne", x, x))
    place = e.b.iota(shape(x), dim, e.element(torch.int64))
    size = shape(x)[dim]
    first = e.b.neg(e.b.reduce_max(e.b.select(hit, e.b.neg(place), e.like(place, -size)), [dim]))
    last = e.b.reduce_max(e.b.select(hit, place, e.like(place, -1)), [dim])
    at = e.b.select(e.b.compare("ne", top, top), last, first)
    chosen = e.b.compare("eq", place, e.b.broadcast(at, shape(x), kept))
    return top, e.b.reduce_max(e.b.select(chosen, index, e.like(index, -1)), [dim])


def adaptive_max_pool(e: Emitter, x: ir.Value, output_size: list[int]) -> list[ir.Value]:
    spatial, rank = len(output_size), len(shape(x))
    if not count(e.out.shape):
        return [e.full(e.out.shape, 0, dtype_of(x)), e.full(e.out.shape, 0, torch.int64)]
    value, index = x, _numbered(e, x, spatial)
    low = e.full((), -np.inf, dtype_of(x))
    for dim in range(rank - 1, rank - 1 - spatial, -1):
        start, end = adaptive_bounds(shape(x)[dim], e.out.shape[dim])
        values = unfolded(e, value, dim, start, end, low)
        numbers = unfolded(e, index, dim, start, end, e.full((), -1, torch.int64))
        value, index = _last_dim(e, values, numbers, dim + 1)
    return [read_at(e, x, index, spatial), index]


RULES: dict[Any, Any] = {
    aten.avg_pool2d.default: avg_pool(2),
    aten.avg_pool3d.default: avg_pool(3),
    aten._adaptive_avg_pool2d.default: adaptive_avg_pool,
    aten._adaptive_avg_pool3d.default: adaptive_avg_pool,
    aten.max_pool2d_with_indices.default: max_pool(2),
    aten.max_pool3d_with_indices.default: max_pool(3),
    aten.adaptive_max_pool2d.default: adaptive_max_pool,
    aten.adaptive_max_pool3d.default: adaptive_max_pool,
}
