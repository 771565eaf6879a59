"""Pooling and resampling through windows whose places are computed: gathers of elements.

``decompositions.py`` looks here, by way of compositions.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

aten = torch.ops.aten
Tensor = torch.Tensor


def max_pool2d_with_indices_backward(ct: Tensor, x: Tensor, *rest: Any) -> Tensor:
    """What arrives at each maximum; the places are the last argument."""
    places = rest[-1]
    *outer, height, width = x.shape
    flat = ct.new_zeros((*outer, height * width))
    return flat.scatter_add(-1, places.flatten(-2), ct.flatten(-2)).reshape(x.shape)


# --- fractional pooling: windows of one size, at random distances --------------------------------


def _starts(draws: Tensor, size: int, out: int, kernel: int) -> Tensor:
    """Where the windows along a dimension begin; a row for each image and channel."""
    last = draws.new_full((*draws.shape, 1), size - kernel).to(torch.int64)
    if out == 1:
        return last
    step = (size - kernel) / (out - 1)
    place = torch.arange(out - 1, dtype=draws.dtype)
    moved = ((place + draws.unsqueeze(-1)) * step).trunc() - (draws.unsqueeze(-1) * step).trunc()
    return torch.cat([moved.to(torch.int64), last], -1)


def fractional_max_pool(
    x: Tensor, kernel: Sequence[int], out: Sequence[int], draws: Tensor
) -> tuple[Tensor, Tensor]:
    """``draws``: in [0, 1), of shape (images, channels, dimensions); of two, the last one first."""
    spatial = len(kernel)
    *outer, channels = x.shape[:-spatial]
    images = outer[0] if outer else 1
    sizes = x.shape[-spatial:]
    if any(o + k - 1 > n for o, k, n in zip(out, kernel, sizes, strict=True)):
        raise RuntimeError("fractional_max_pool: kernel_size too large relative to the input size")
    flat = x.reshape(images, channels, math.prod(sizes))
    # images, channels, a dimension for each of `out`, a dimension for each of `kernel`
    place = torch.zeros((), dtype=torch.int64)
    order = (1, 0) if spatial == 2 else (0, 1, 2)
    for d, (size, count, width) in enumerate(zip(sizes, out, kernel, strict=True)):
        starts = _starts(draws[..., order[d]], size, count, width)
        shape = [1] * (2 * spatial)
        shape[d] = count
        starts = starts.reshape(images, channels, *shape)
        shape[d], shape[spatial + d] = 1, width
        place = place * size + starts + torch.arange(width).reshape(shape)
    place = place.reshape(images, channels, math.prod(out), math.prod(kernel))
    found = flat.gather(-1, place.flatten(2)).reshape(place.shape)
    best = found.argmax(-1, keepdim=True)
    lost = found != found  # torch keeps the last NaN
    latest = torch.where(lost, torch.arange(found.shape[-1]), -1).amax(-1, keepdim=True)
    best = torch.where(latest >= 0, latest, best)
    shape = (*x.shape[:-spatial], *out)
    values, places = (t.gather(-1, best).squeeze(-1).reshape(shape) for t in (found, place))
    return values, places


# --- resampling with antialiasing: weights of a filter as wide as the step ----------------------


def _triangle(t: float) -> float:
    return max(1 - abs(t), 0.0)


def _keys(t: float) -> float:
    """The cubic of Keys with the parameter -1/2."""
    t = abs(t)
    if t < 1:
        return (1.5 * t - 2.5) * t * t + 1
    return ((-0.5 * t + 2.5) * t - 4) * t + 2 if t < 2 else 0.0


def _filtered(
    x: Tensor, dim: int, out: int, corners: bool, factor: float | None, reach: int, f: Any
) -> Tensor:
    size = x.shape[dim]
    if size == out:
        return x
    if corners:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
    else:
        step = 1 / factor if factor else size / out
    wide = max(step, 1.0)
    support = reach * wide
    places, weights, inside = [], [], []
    rows = []
    for i in range(out):
        centre = step * (i + 0.5)
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), size)
        row = [f((j - centre + 0.5) / wide) for j in range(low, high)]
        rows.append((low, [w / sum(row) for w in row]))
    longest = max(len(row) for _, row in rows)
    for low, row in rows:
        more = longest - len(row)
        places.append([*range(low, low + len(row)), *[0] * more])
        weights.append([*row, *[0.0] * more])
        inside.append([True] * len(row) + [False] * more)
    moved = x.movedim(dim, -1)
    found = moved[..., torch.tensor(places)] * torch.tensor(weights, dtype=x.dtype)
    found = torch.where(torch.tensor(inside), found, 0).sum(-1)
    return found.movedim(-1, dim)


def antialiased(reach: int, f: Callable[[float], float]) -> Callable[..., Tensor]:
    def call(
        x: Tensor,
        output_size: Sequence[int] | None,
        align_corners: bool,
        *scales: Any,
        scales_h: float | None = None,
        scales_w: float | None = None,
    ) -> Tensor:
        given: list[Any] = [*scales] or [scales_h, scales_w]
        if len(given) == 1:  # one list, or None
            given = [*(given[0] or (None, None))]
        if output_size is None:
            output_size = [int(n * s) for n, s in zip(x.shape[2:], given, strict=True)]
        for dim, (size, factor) in enumerate(zip(output_size, given, strict=True)):
            x = _filtered(x, dim + 2, size, align_corners, factor, reach, f)
        return x

    return call


COMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.max_pool2d_with_indices_backward.default: max_pool2d_with_indices_backward,
    aten.fractional_max_pool2d.default: fractional_max_pool,
    aten.fractional_max_pool3d.default: fractional_max_pool,
    aten._upsample_bilinear2d_aa.default: antialiased(1, _triangle),
    aten._upsample_bilinear2d_aa.vec: antialiased(1, _triangle),
    aten._upsample_bicubic2d_aa.default: antialiased(2, _keys),
    aten._upsample_bicubic2d_aa.vec: antialiased(2, _keys),
}
