"""Modified Bessel functions of the first kind, of orders 0 and 1, also scaled by exp(-|x|).

By their power series up to |x| = 20, beyond by the asymptotic one (Abramowitz and Stegun, 9.6.10
and 9.7.1). Both are exact to f64 where they are used, and so are their derivatives. Each branch
gets a number on which it is finite.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from mlir import ir

from .elementwise import absolute
from .emitter import Emitter

aten = torch.ops.aten

_FAR = 20.0
#: Terms after the first for f32 and f64: of the power series, of the asymptotic one.
_TERMS = {torch.float32: (28, 10), torch.float64: (38, 24)}


def _horner(e: Emitter, t: ir.Value, ratios: list[float]) -> ir.Value:
    """1 + r1 t (1 + r2 t (1 + ...))"""
    one = e.like(t, 1)
    total = one
    for ratio in reversed(ratios):
        total = e.b.add(e.b.mul(e.b.mul(t, e.like(t, ratio)), total), one)
    return total


def bessel_i(order: int, scaled: bool) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        (x,) = e.operands(x)
        size, zero = absolute(e, x), e.like(x, 0)
        near, beyond = _TERMS[e.out.dtype]
        far = e.b.compare("gt", size, e.like(x, _FAR))

        small = e.b.select(far, zero, x)
        half = e.b.mul(small, e.like(x, 0.5))
        ratios = [1 / (k * (k + order)) for k in range(1, near + 1)]
        inner = _horner(e, e.b.mul(half, half), ratios)
        inner = e.b.mul(half, inner) if order else inner
        if scaled:
            inner = e.b.mul(inner, e.b.exp(e.b.neg(absolute(e, small))))

        large = e.b.select(far, size, e.like(x, _FAR))
        limit = e.like(x, torch.finfo(e.out.dtype).max / 8)
        finite = e.b.select(e.b.compare("gt", large, limit), limit, large)
        square = 4 * order * order
        ratios = [((2 * k - 1) ** 2 - square) / (8 * k) for k in range(1, beyond + 1)]
        outer = _horner(e, e.b.div(e.like(x, 1), finite), ratios)
        outer = e.b.div(outer, e.b.sqrt(e.b.mul(finite, e.like(x, 2 * math.pi))))
        if not scaled:  # in two steps: the square root still counts where exp is infinite
            grown = e.b.exp(e.b.mul(large, e.like(x, 0.5)))
            outer = e.b.mul(e.b.mul(outer, grown), grown)
        if order:
            outer = e.b.select(e.b.compare("lt", x, zero), e.b.neg(outer), outer)
        return e.b.select(far, outer, inner)

    return rule


RULES: dict[Any, Any] = {
    aten.i0.default: bessel_i(0, False),
    aten.special_i0e.default: bessel_i(0, True),
    aten.special_i1.default: bessel_i(1, False),
    aten.special_i1e.default: bessel_i(1, True),
    aten.special_modified_bessel_i0.default: bessel_i(0, False),
    aten.special_modified_bessel_i1.default: bessel_i(1, False),
}
