"""Samples of partial sums."""

from __future__ import annotations

import numpy as np
import torch

from .making import INF, NAN, Array, Sample, floats, integers, normal


def cumulative_sum(x: Array, dim: int, reverse: bool = False, smooth: bool = True) -> Sample:
    def function(x: torch.Tensor) -> torch.Tensor:
        turned = x.flip(dim) if reverse else x
        sums = turned.cumsum(dim, dtype=x.dtype)
        return sums.flip(dim) if reverse else sums

    return Sample(lambda b, x: b.cumulative_sum(x, dim, reverse), function, (x,), smooth)


CUMULATIVE = {
    "pb.cumulative_sum": [
        cumulative_sum(normal(5), 0),
        cumulative_sum(normal(2, 3, 4), 0),
        cumulative_sum(normal(2, 3, 4), 1, reverse=True),
        cumulative_sum(normal(2, 37), 1),
        cumulative_sum(normal(3, 1), 1),
        cumulative_sum(normal(0, 2), 1),
        cumulative_sum(normal(2, 0), 1, reverse=True),
        cumulative_sum(floats(1, INF, 2, NAN, 3), 0, smooth=False),
        cumulative_sum(integers(3, 4), 1),
        cumulative_sum(integers(3, 4).astype(np.int32), 0, reverse=True),
    ],
}
