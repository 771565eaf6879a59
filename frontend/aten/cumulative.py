"""Partial results along a dimension: sums, products, extrema, and the logarithm of sums."""

from __future__ import annotations

import math
from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, count, dtype_of, shape, wrap
from .reduction import negated

aten = torch.ops.aten


def cumsum(e: Emitter, x: ir.Value, dim: int, **_: Any) -> ir.Value:
    x = e.convert(x, e.out.dtype)
    return e.b.cumulative_sum(x, wrap(dim, len(shape(x)))) if shape(x) else x


def _along(e: Emitter, x: ir.Value, dim: int, inits: Any, body: Any, *more: ir.Value) -> Any:
    """Scans the slices of x; body(builder, carried, slices) -> carried, result."""
    lead = e.b.move_dim(x, dim, 0)
    start = list(inits(shape(lead)[1:]))

    def step(b: Any, values: list[ir.Value]) -> list[ir.Value]:
        carried, result = body(b, values[: len(start)], values[len(start) :])
        return [*carried, result]

    results = e.b.scan([], start, [lead, *more], shape(lead)[0], False, step)
    return e.b.move_dim(results[-1], 0, dim)


def cumprod(e: Emitter, x: ir.Value, dim: int, **_: Any) -> ir.Value:
    """A loop: its derivative multiplies what is there, and needs no division by a zero."""
    x = e.convert(x, e.out.dtype)
    if not shape(x) or not count(shape(x)):
        return x

    def body(b: Any, carried: list[ir.Value], xs: list[ir.Value]) -> Any:
        product = b.mul(carried[0], xs[0])
        return [product], product

    def inits(dims: tuple[int, ...]) -> Any:
        yield e.full(dims, 1, e.out.dtype)

    return _along(e, x, wrap(dim, len(shape(x))), inits, body)


def logcumsumexp(e: Emitter, x: ir.Value, dim: int) -> ir.Value:
    """Carries the maximum so far and the sum of exp(x - maximum)."""
    if not shape(x) or not count(shape(x)):
        return x

    def body(b: Any, carried: list[ir.Value], xs: list[ir.Value]) -> Any:
        top, total = carried
        new = b.stop_gradient(b.maximum(top, xs[0]))
        # An infinity is no shift; with the one before, what came before stays finite.
        shift = b.select(b.compare("eq", new, b.full_like(new, math.inf)), top, new)
        shrunk = b.mul(total, b.exp(b.sub(top, shift)))
        endless = b.compare("eq", total, b.full_like(total, math.inf))
        shrunk = b.select(endless, total, shrunk)  # infinity stays, whatever the shift
        total = b.add(shrunk, b.exp(b.sub(xs[0], shift)))
        return [shift, total], b.add(b.log(total), shift)

    def inits(dims: tuple[int, ...]) -> Any:
        # A finite start: -inf would be the shift of nothing.
        yield e.full(dims, torch.finfo(e.out.dtype).min, e.out.dtype)
        yield e.full(dims, 0, e.out.dtype)

    return _along(e, x, wrap(dim, len(shape(x))), inits, body)


def extremum(sign: int) -> Any:
    """Values and the position of the latest one; NaN stays from where it is on."""

    def rule(e: Emitter, x: ir.Value, dim: int) -> list[ir.Value]:
        if not shape(x) or not count(shape(x)):
            return [x, e.full(shape(x), 0, torch.int64)]
        dim = wrap(dim, len(shape(x)))
        keys = x if dtype_of(x) is not torch.bool else e.convert(x, torch.int32)
        keys = e.b.stop_gradient(keys if sign > 0 else negated(e, keys))
        dtype, size = dtype_of(keys), shape(x)[dim]
        low = -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min
        steps = e.b.iota((size,), 0, e.element(torch.int64))

        def body(b: Any, carried: list[ir.Value], xs: list[ir.Value]) -> Any:
            top, place = carried
            later = b.compare("ge", xs[0], top)
            if dtype.is_floating_point:
                later = b.add(later, b.compare("ne", xs[0], xs[0]))
            here = b.broadcast(xs[1], shape(place), [])
            place = b.select(later, here, place)
            return [b.select(later, xs[0], top), place], place

        def inits(dims: tuple[int, ...]) -> Any:
            yield e.full(dims, low, dtype)
            yield e.full(dims, 0, torch.int64)

        place = _along(e, keys, dim, inits, body, steps)
        last = e.b.move_dim(x, dim, len(shape(x)) - 1)
        at = e.b.move_dim(place, dim, len(shape(x)) - 1)
        batch = len(shape(x)) - 1
        values = e.b.gather(last, [at], [batch], batch, in_bounds=True)
        return [e.b.move_dim(values, batch, dim), place]

    return rule


RULES: dict[Any, Any] = {
    aten.cumsum.default: cumsum,
    aten.cumprod.default: cumprod,
    aten.logcumsumexp.default: logcumsumexp,
    aten.cummax.default: extremum(1),
    aten.cummin.default: extremum(-1),
}
