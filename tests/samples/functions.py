"""Samples of the functions of numbers and bits (PbMath.td)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mlir import ir

from .making import (
    FIRST,
    NAN,
    SECOND,
    SPECIAL,
    Array,
    Sample,
    floats,
    integers,
    normal,
    positive,
)


def inside(*shape: int, seed: int = 0) -> Array:
    """In (-0.5, 0.5)."""
    return 0.5 * np.sin(normal(*shape, seed=seed) * 2)


def above_one(*shape: int, seed: int = 0) -> Array:
    return 1 + positive(*shape, seed=seed)


def chances(*shape: int, seed: int = 0) -> Array:
    return 0.5 + 0.05 * np.sin(normal(*shape, seed=seed) * 2)


def function(
    name: str,
    like: Callable[..., torch.Tensor],
    make: Callable[..., Array] = normal,
    special: Array = SPECIAL,
) -> list[Sample]:
    def emit(b: Any, x: ir.Value) -> ir.Value:
        return getattr(b, name)(x)

    return [
        Sample(emit, like, (make(2, 3),)),
        Sample(emit, like, (make(),)),
        Sample(emit, like, (make(37),)),
        Sample(emit, like, (special,), smooth=False),
        Sample(emit, like, (floats(0.25, -0.75, 1e-7, -1e-7, 3.5, -2.5, 0.999999),), smooth=False),
    ]


def whole(name: str) -> list[Sample]:
    x = floats(*SPECIAL, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999999999999994, 4503599627370497.5, 1e30)
    like = getattr(torch, name)

    def emit(b: Any, x: ir.Value) -> ir.Value:
        return getattr(b, name)(x)

    return [Sample(emit, like, (normal(2, 3),)), Sample(emit, like, (x,), smooth=False)]


def binary(name: str, like: Callable[..., torch.Tensor]) -> list[Sample]:
    def emit(b: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return getattr(b, name)(x, y)

    return [
        Sample(emit, like, (normal(2, 3), positive(2, 3))),
        Sample(emit, like, (normal(), positive())),
        Sample(emit, like, (FIRST, SECOND), smooth=False),
        Sample(emit, like, (1e3 * normal(31), normal(31, seed=1)), smooth=False),
        Sample(
            emit,
            like,
            (floats(1e30, -7.0, 3e-38, 1e17), floats(3.0, 2.0, 7e-39, 7.0)),
            smooth=False,
        ),
    ]


def bits(name: str, like: Callable[..., torch.Tensor]) -> list[Sample]:
    def emit(b: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return getattr(b, name)(x, y)

    x, y = integers(3, 5, low=-(2**40), high=2**40), integers(3, 5, seed=1, low=-2, high=70)
    low, few = x.astype(np.int32), (y % 36 - 2).astype(np.int32)
    return [
        Sample(emit, like, (x, y)),
        Sample(emit, like, (low, few)),
        Sample(emit, like, (integers(), integers(seed=2))),
    ]


def shifted_left(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    good = (y >= 0) & (y < 8 * x.itemsize)
    return torch.where(good, x << torch.where(good, y, 0), 0)


def shifted_right(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    last = 8 * x.itemsize - 1
    return x >> torch.where((y >= 0) & (y <= last), y, last)


GAMMA = floats(NAN, 1.0, 2.0, 3.0, 0.5, 1e-3, 7.9, 8.1, 31.0, -0.5, -1.25, -7.3, 1.5, 2.5)


def polygamma(n: int, x: Array) -> Sample:
    def function(x: torch.Tensor) -> torch.Tensor:
        # torch's trigamma is not exact enough, its zeta is
        factor = (-1) ** (n + 1) * math.factorial(n)
        return factor * torch.special.zeta(torch.full_like(x, n + 1), x)

    return Sample(lambda b, x: b.polygamma(x, n), function, (x,), x is not GAMMA)


class Digamma(torch.autograd.Function):
    """With an exact derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.digamma(x)

    @staticmethod
    def backward(ctx: Any, ct: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return ct * torch.special.zeta(torch.full_like(x, 2), x)


def zeta_of(s: float) -> Callable[..., torch.Tensor]:
    return lambda q: torch.special.zeta(torch.full_like(q, s), q)


def as_integer(x: torch.Tensor) -> torch.Tensor:
    return x.detach().view(torch.int64 if x.dtype == torch.float64 else torch.int32)


FUNCTIONS = {
    **{
        f"pb.{name}": function(name, getattr(torch, name))
        for name in ["exp2", "expm1", "sinh", "cosh", "asinh", "atan"]
    },
    **{
        f"pb.{name}": function(name, getattr(torch, name), positive)
        for name in ["log1p", "log2", "log10"]
    },
    **{
        f"pb.{name}": function(name, getattr(torch, name), inside)
        for name in ["asin", "acos", "atanh"]
    },
    "pb.acosh": function("acosh", torch.acosh, above_one),
    "pb.erf": function("erf", torch.erf),
    "pb.erfc": function("erfc", torch.erfc),
    # At infinity torch's derivative is NaN, not its limit.
    "pb.erfcx": function("erfcx", torch.special.erfcx, normal, SPECIAL[np.inf != SPECIAL]),
    "pb.erfinv": function("erfinv", torch.erfinv, inside),
    "pb.ndtri": function("ndtri", torch.special.ndtri, chances),
    "pb.log_ndtr": function("log_ndtr", torch.special.log_ndtr, normal, SPECIAL[SPECIAL > -20]),
    "pb.lgamma": function("lgamma", torch.lgamma, positive, GAMMA),
    "pb.digamma": function("digamma", Digamma.apply, positive, GAMMA),
    "pb.polygamma": [
        polygamma(n, x) for n in (1, 2, 3) for x in (positive(2, 3), GAMMA, positive())
    ],
    "pb.zeta": [
        Sample(lambda b, q, s=s: b.zeta(b.full_like(q, s), q), zeta_of(s), (1 + positive(7),))
        for s in (2.0, 3.5)
    ],
    **{f"pb.{name}": whole(name) for name in ["floor", "ceil", "trunc", "round"]},
    "pb.atan2": binary("atan2", torch.atan2),
    "pb.fmod": binary("fmod", torch.fmod),
    "pb.and": bits("bit_and", torch.bitwise_and),
    "pb.or": bits("bit_or", torch.bitwise_or),
    "pb.xor": bits("bit_xor", torch.bitwise_xor),
    "pb.shift_left": bits("shift_left", shifted_left),
    "pb.shift_right": bits("shift_right", shifted_right),
    "pb.bitcast": [
        Sample(lambda b, x: b.bitcast(x), as_integer, (normal(2, 3),), smooth=False),
        Sample(
            lambda b, x: b.bitcast(x), lambda x: x.view(torch.float64), (integers(3),), smooth=False
        ),
    ],
}
