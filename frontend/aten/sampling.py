"""Reading images at computed places: grid_sample.

As in torch the place is clipped or reflected before it is looked up, with a derivative of zero at
the edges, and an element outside of the image is zero.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, shape
from .rounding import floor, round_even

aten = torch.ops.aten
_ZEROS, _BORDER, _REFLECTION = range(3)
_BILINEAR, _NEAREST, _BICUBIC = range(3)
_A = -0.75  # of the cubic convolution


def _scaled(e: Emitter, x: ir.Value, size: int, corners: bool) -> ir.Value:
    """-1 to 1 becomes 0 to size - 1 with aligned corners, else -1/2 to size - 1/2."""
    one = e.like(x, 1)
    if corners:
        half = e.b.div(e.b.add(x, one), e.like(x, 2))
        return e.b.mul(half, e.like(x, size - 1))
    return e.b.div(e.b.sub(e.b.mul(e.b.add(x, one), e.like(x, size)), one), e.like(x, 2))


def _clipped(e: Emitter, x: ir.Value, size: int, volume: bool) -> ir.Value:
    """Derivative 0 at both edges and beyond; as in torch NaN is an edge, in a volume the last."""
    zero, last = e.like(x, 0), e.like(x, size - 1)
    if volume:
        above = e.b.select(e.b.compare("le", x, zero), zero, x)
        return e.b.select(e.b.compare("lt", x, last), above, last)
    below = e.b.select(e.b.compare("ge", x, last), last, x)
    return e.b.select(e.b.compare("gt", x, zero), below, zero)


def _near(e: Emitter, x: ir.Value, size: int) -> ir.Value:
    """A place from which no element is read becomes a finite one, also NaN: no weight is NaN."""
    known = e.b.mul(
        e.b.compare("ge", x, e.like(x, -1)),
        e.b.compare("lt", x, e.like(x, size)),
    )
    return e.b.select(known, x, e.like(x, -2))


def _reflected(e: Emitter, x: ir.Value, size: int, corners: bool) -> ir.Value:
    """Reflected at the first and last element, or half an element beyond them."""
    low, span = (0.0, size - 1) if corners else (-0.5, size)
    zero = e.like(x, 0)
    if not span:
        return zero
    x = e.b.sub(x, e.like(x, low))
    x = e.b.select(e.b.compare("lt", x, zero), e.b.neg(x), x)
    rest = e.b.fmod(x, e.like(x, span))
    flips = floor(e, e.b.div(x, e.like(x, span)))
    halved = e.b.mul(flips, e.like(x, 0.5))
    even = e.b.compare("eq", floor(e, halved), halved)
    back = e.b.add(e.b.sub(e.like(x, span), rest), e.like(x, low))
    return e.b.select(even, e.b.add(rest, e.like(x, low)), back)


def _inside(
    e: Emitter, x: ir.Value, size: int, padding: int, corners: bool, volume: bool = False
) -> ir.Value:
    if padding == _ZEROS:
        return _near(e, x, size) if volume else x
    if padding == _REFLECTION:
        x = _reflected(e, x, size, corners)
    return _clipped(e, x, size, volume)


def _read(e: Emitter, x: ir.Value, places: list[ir.Value]) -> ir.Value:
    """x[n, c, *places[n]] for whole places; zero outside of x."""
    sizes = shape(x)[2:]
    good = []
    for place, size in zip(places, sizes, strict=True):
        good.append(e.b.compare("ge", place, e.like(place, 0)))
        good.append(e.b.compare("lt", place, e.like(place, size)))
    known = functools.reduce(e.b.mul, good)
    indices = [
        e.convert(e.b.select(known, place, e.like(place, 0)), torch.int64) for place in places
    ]
    axes = list(range(2, len(shape(x))))
    found = e.b.gather(x, indices, axes, batch_dims=1, in_bounds=True)
    channels_last = len(shape(found)) - 1
    found = e.b.move_dim(found, channels_last, 1)
    at = [0, *range(2, len(shape(found)))]
    return e.b.select(e.b.broadcast(known, shape(found), at), found, e.like(found, 0))


def _weighted(e: Emitter, found: ir.Value, weights: list[ir.Value]) -> ir.Value:
    weight = functools.reduce(e.b.mul, weights)
    at = [0, *range(2, len(shape(found)))]
    return e.b.mul(found, e.b.broadcast(weight, shape(found), at))


def _linear(e: Emitter, x: ir.Value, places: list[ir.Value]) -> ir.Value:
    lows = [floor(e, place) for place in places]
    sides = []
    for place, low in zip(places, lows, strict=True):
        high = e.b.add(low, e.like(low, 1))
        sides.append(((low, e.b.sub(high, place)), (high, e.b.sub(place, low))))
    total = None
    for corner in itertools.product(*sides):
        part = _weighted(e, _read(e, x, [at for at, _ in corner]), [w for _, w in corner])
        total = part if total is None else e.b.add(total, part)
    assert total is not None
    return total


def _cubic_weights(e: Emitter, t: ir.Value) -> list[ir.Value]:
    """Of the elements at -1, 0, 1 and 2, for a place t between 0 and 1."""

    def poly(x: ir.Value, *coefficients: float) -> ir.Value:
        result = e.like(x, coefficients[0])
        for number in coefficients[1:]:
            result = e.b.add(e.b.mul(result, x), e.like(x, number))
        return result

    def near(x: ir.Value) -> ir.Value:
        return poly(x, _A + 2, -(_A + 3), 0, 1)

    def far(x: ir.Value) -> ir.Value:
        return poly(x, _A, -5 * _A, 8 * _A, -4 * _A)

    one = e.like(t, 1)
    rest = e.b.sub(one, t)
    return [far(e.b.add(t, one)), near(t), near(rest), far(e.b.add(rest, one))]


def _cubic(
    e: Emitter, x: ir.Value, places: list[ir.Value], padding: int, corners: bool
) -> ir.Value:
    sides = []
    for place, size in zip(places, shape(x)[2:], strict=True):
        low = floor(e, place)
        weights = _cubic_weights(e, e.b.sub(place, low))
        taps = [e.b.add(low, e.like(low, offset)) for offset in (-1, 0, 1, 2)]
        taps = [_inside(e, tap, size, padding, corners) for tap in taps]
        sides.append(list(zip(taps, weights, strict=True)))
    total = None
    for corner in itertools.product(*sides):
        part = _weighted(e, _read(e, x, [at for at, _ in corner]), [w for _, w in corner])
        total = part if total is None else e.b.add(total, part)
    assert total is not None
    return total


def grid_sample(
    e: Emitter, x: ir.Value, grid: ir.Value, mode: int, padding: int, corners: bool
) -> ir.Value:
    """``grid`` holds x first; the dimensions of the image begin with the slowest."""
    spatial = len(shape(x)) - 2
    last = len(shape(grid)) - 1
    places = []
    for d in range(spatial):
        offsets, sizes = [0] * (last + 1), list(shape(grid))
        offsets[last], sizes[last] = spatial - 1 - d, 1
        part = e.b.slice(grid, offsets, sizes, [1] * (last + 1))
        place = _scaled(e, e.b.reshape(part, sizes[:last]), shape(x)[2 + d], corners)
        if mode != _BICUBIC:
            place = _inside(e, place, shape(x)[2 + d], padding, corners, spatial == 3)
        places.append(place)
    if 0 in shape(x)[2:]:
        raise NotImplementedError("grid_sample of an image without elements")
    if mode == _NEAREST:
        return _read(e, x, [round_even(e, place) for place in places])
    if mode == _BICUBIC:
        return _cubic(e, x, places, padding, corners)
    return _linear(e, x, places)


RULES: dict[Any, Any] = {
    aten.grid_sampler_2d.default: grid_sample,
    aten.grid_sampler_3d.default: grid_sample,
}
