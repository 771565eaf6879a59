"""Samples of what is combined along a dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .making import INF, NAN, Array, Sample, floats, integers, normal, positive


def cumulative_sum(x: Array, dim: int, reverse: bool = False, smooth: bool = True) -> Sample:
    def function(x: torch.Tensor) -> torch.Tensor:
        turned = x.flip(dim) if reverse else x
        sums = turned.cumsum(dim, dtype=x.dtype)
        return sums.flip(dim) if reverse else sums

    return Sample(lambda b, x: b.cumulative_sum(x, dim, reverse), function, (x,), smooth)


def along(name: str, function: Callable[..., Any]) -> Callable[..., Sample]:
    def sample(x: Array, dim: int, smooth: bool = True) -> Sample:
        def build(b: Any, x: Any) -> Any:
            return getattr(b, name)(x, dim)

        return Sample(build, lambda x: function(x, dim), (x,), smooth)

    return sample


product = along("cumulative_product", lambda x, dim: x.cumprod(dim, dtype=x.dtype))
logsumexp = along("cumulative_logsumexp", torch.logcumsumexp)


def extremum(x: Array, dim: int, smallest: bool = False) -> Sample:
    def function(x: torch.Tensor) -> torch.Tensor:
        return (x.cummin(dim) if smallest else x.cummax(dim))[1]

    return Sample(lambda b, x: b.cumulative_extremum(x, dim, smallest), function, (x,))


def recurrence(factors: Array, terms: Array, dim: int, reverse: bool = False) -> Sample:
    def function(factors: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
        a, b = factors.movedim(dim, 0), terms.movedim(dim, 0)
        order = list(range(len(b)))[:: -1 if reverse else 1]
        found: dict[int, torch.Tensor] = {}
        for k in order:
            if not found:
                found[k] = b[k].clone()
            else:
                found[k] = b[k] + (a[k + 1] * found[k + 1] if reverse else a[k] * found[k - 1])
        if not found:
            return terms.clone()
        return torch.stack([found[k] for k in sorted(found)]).movedim(0, dim)

    return Sample(
        lambda b, x, y: b.linear_recurrence(x, y, dim, reverse), function, (factors, terms)
    )


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
    "pb.cumulative_product": [
        product(normal(5), 0),
        product(normal(2, 3, 4), 0),
        product(normal(9, 3), 1),
        product(positive(2, 37), 1),
        product(normal(3, 1), 1),
        product(normal(2, 0), 1),
        product(floats(2, 0, 3, -1, 0, 4), 0),
        product(floats(-0.0, 2, -3), 0),
        product(integers(3, 4), 1),
    ],
    "pb.cumulative_logsumexp": [
        logsumexp(normal(5), 0),
        logsumexp(normal(2, 3, 4), 1),
        logsumexp(normal(11, 3), 1),
        logsumexp(10 * normal(2, 37), 1),
        logsumexp(normal(3, 1), 1),
        logsumexp(normal(0, 2), 1),
        logsumexp(floats(-2000, 1000, 999, 2000, -INF, 2001), 0),
        logsumexp(floats(0, 1, NAN, 3), 0, smooth=False),
    ],
    "pb.cumulative_extremum": [
        extremum(normal(5), 0),
        extremum(normal(2, 3, 4), 1, smallest=True),
        extremum(normal(11, 3), 1),
        extremum(normal(2, 37), 1),
        extremum(normal(3, 1), 1),
        extremum(normal(2, 0), 1),
        extremum(floats(-INF, 2, 2, 1, -0.0, 0.0, INF, INF, NAN, 3, NAN), 0),
        extremum(floats(INF, 2, 2, 1, -0.0, 0.0, -INF, -INF, NAN, -3, NAN), 0, smallest=True),
        extremum(integers(3, 14), 1),
        extremum(integers(14, 3).astype(np.int32), 0, smallest=True),
    ],
    "pb.linear_recurrence": [
        recurrence(normal(5), normal(5, seed=1), 0),
        recurrence(normal(5), normal(5, seed=1), 0, reverse=True),
        recurrence(normal(2, 3, 4), normal(2, 3, 4, seed=1), 1),
        recurrence(normal(2, 3, 4), normal(2, 3, 4, seed=1), 0, reverse=True),
        recurrence(normal(9, 4), normal(9, 4, seed=1), 1, reverse=True),
        recurrence(normal(2, 37), normal(2, 37, seed=1), 1),
        recurrence(normal(3, 1), normal(3, 1, seed=1), 1),
        recurrence(normal(2, 0), normal(2, 0, seed=1), 1),
        recurrence(floats(NAN, 0, 1, 0, 2), floats(1, 2, 3, 4, 5), 0),
        recurrence(floats(2, 0, 1, NAN, 2), floats(1, 2, 3, 4, 5), 0, reverse=True),
    ],
}
