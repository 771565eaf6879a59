"""Linear, bilinear and trilinear interpolation: two elements along each dimension, weighted.

As a sum of products, and not as x0 + t (x1 - x0): an infinite element stays one, as in torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mlir import ir

from .emitter import Emitter, dtype_of, shape
from .shape import take

aten = torch.ops.aten


def _places(
    n: int, size: int, corners: bool, scale: float | None, real: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two elements that each result lies between, and the weight of the second one."""
    o = np.arange(size)
    if n == size:
        return o, o, np.zeros(size, real)
    if corners:
        step = real(n - 1) / real(size - 1) if size > 1 else real(0)
        at = step * o.astype(real)
    else:
        step = real(1 / scale) if scale else real(n) / real(size)
        at = np.maximum(step * (o.astype(real) + real(0.5)) - real(0.5), real(0))
    low = np.minimum(at.astype(np.int64), n - 1)
    weight = np.clip(at - low.astype(real), real(0), real(1))
    return low, np.minimum(low + 1, n - 1), weight.astype(real)


def linear(
    e: Emitter,
    x: ir.Value,
    output_size: list[int],
    align_corners: bool,
    *scales: float | None,
) -> ir.Value:
    spatial, rank = len(output_size), len(shape(x))
    first = rank - spatial
    if shape(x)[first:] == e.out.shape[first:]:
        return x
    real = np.float32 if dtype_of(x) is torch.float32 else np.float64
    for dim in range(rank - 1, first - 1, -1):
        size = e.out.shape[dim]
        scale = scales[dim - first] if scales else None
        low, high, weight = _places(shape(x)[dim], size, align_corners, scale, real)
        parts = []
        for at, share in ((low, 1 - weight), (high, weight)):
            part = take(e, x, e.b.constant(at, e.element(torch.int64)), dim)
            row = e.b.constant(share.reshape(size), e.element(dtype_of(x)))
            parts.append(e.b.mul(part, e.b.broadcast(row, shape(part), [dim])))
        x = e.b.add(*parts)
    return x


def linear_by_factors(
    e: Emitter,
    x: ir.Value,
    _output_size: list[int] | None,
    align_corners: bool,
    scales: list[float] | None,
) -> ir.Value:
    return linear(e, x, list(e.out.shape[2:]), align_corners, *(scales or []))


RULES: dict[Any, Any] = {
    aten.upsample_linear1d.vec: linear_by_factors,
    aten.upsample_bilinear2d.vec: linear_by_factors,
    aten.upsample_trilinear3d.vec: linear_by_factors,
    aten.upsample_linear1d.default: linear,
    aten.upsample_bilinear2d.default: linear,
    aten.upsample_trilinear3d.default: linear,
}
