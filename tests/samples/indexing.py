"""Overwriting scatters and sorting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .making import INF, NAN, SPECIAL, Array, Sample, bools, floats, integers, normal

INDEX = np.array([2, 0, 2, 1])
ROW, COLUMN = np.array([[0, 1, 1]]), np.array([[2, 0, 2]])
PAIRS = np.array([[2, 0], [1, 1]])


def one_by_one(combine: Callable[..., Any]) -> Callable[..., Callable[..., torch.Tensor]]:
    """A scatter by its definition: a loop over the updates, in row-major order."""

    def of(axes: Sequence[int], batch: int) -> Callable[..., torch.Tensor]:
        def function(x: torch.Tensor, updates: torch.Tensor, *indices: torch.Tensor):
            rest = [d for d in range(batch, x.ndim) if d not in axes]
            order = [*range(batch), *axes, *rest]
            cells: dict[tuple[int, ...], list[torch.Tensor]] = {}
            for at in np.ndindex(*indices[0].shape):
                found = [
                    int(i[at].clamp(0, x.shape[a] - 1)) for i, a in zip(indices, axes, strict=True)
                ]
                cells.setdefault((*at[:batch], *found), []).append(updates[at])
            moved = x.permute(order)
            rows = [
                combine(moved[cell], cells[cell]) if cell in cells else moved[cell]
                for cell in np.ndindex(*moved.shape[: batch + len(axes)])
            ]
            if not rows:
                return x.clone()
            out = torch.stack(rows).reshape(moved.shape)
            return out.permute([order.index(d) for d in range(x.ndim)])

        return function

    return of


last = one_by_one(lambda _, updates: updates[-1])
largest = one_by_one(lambda old, updates: torch.amax(torch.stack([old, *updates]), 0))


def scatters(build: str, reference: Callable[..., Any]) -> list[Sample]:
    def sample(x: Array, updates: Array, axes, batch: int, *indices: Array, **options: bool):
        safe = options.pop("safe", True)
        return Sample(
            lambda b, x, updates, *indices: getattr(b, build)(
                x, updates, indices, axes, batch, safe
            ),
            reference(axes, batch),
            (x, updates, *indices),
            **options,
        )

    return [
        sample(normal(3, 5), normal(4, 5), (0,), 0, INDEX),
        sample(normal(5, 3), normal(4, 5), (1,), 0, INDEX),
        sample(normal(2, 3), normal(1, 3), (0, 1), 0, ROW, COLUMN),
        sample(normal(2, 4, 3), normal(1, 3, 4), (0, 2), 0, ROW, COLUMN),
        sample(normal(2, 3, 4), normal(2, 2, 4), (1,), 1, PAIRS),
        sample(normal(2, 4, 3), normal(2, 4), (2,), 1, np.array([2, 0])),
        sample(normal(3, 5), normal(5), (0,), 0, np.array(2)),
        sample(normal(3, 5), normal(0, 5), (0,), 0, np.zeros((0,), np.int64)),
        sample(normal(3, 5), normal(3, 5, seed=1), (0,), 0, np.array([-7, 9, 1]), safe=False),
        sample(integers(3), integers(4), (0,), 0, INDEX.astype(np.int32)),
        sample(
            floats(1.0, NAN, INF, 2.0),
            floats(1.0, 1.0, NAN, 2.0, 2.0, INF),
            (0,),
            0,
            np.array([0, 1, 0, 3, 3, 2]),
            smooth=False,
        ),
    ]


def argsort(x: Array, dim: int, descending: bool = False) -> Sample:
    return Sample(
        lambda b, x: b.argsort(x, dim, descending),
        lambda x: torch.sort(x, stable=True, dim=dim, descending=descending).indices,
        (x,),
        smooth=False,
    )


TIES = floats(1.0, NAN, -0.0, 2.0, 0.0, NAN, 1.0, -INF, INF, 1.0, 0.0)
INDEXING: dict[str, list[Sample]] = {
    "pb.scatter": [
        *scatters("scatter", last),
        Sample(
            lambda b, x, updates, i: b.scatter(x, updates, [i], [0], 0, True),
            last([0], 0),
            (bools(3), bools(4), INDEX),
        ),
    ],
    "pb.scatter_max": scatters("scatter_max", largest),
    "pb.argsort": [
        argsort(normal(7), 0),
        argsort(normal(33), 0, True),
        argsort(normal(4, 5), 0),
        argsort(normal(4, 5), 1, True),
        argsort(normal(2, 6, 3), 1),
        argsort(TIES, 0),
        argsort(TIES, 0, True),
        argsort(SPECIAL, 0),
        argsort(integers(20, low=-2, high=3), 0),
        argsort(integers(20, low=-2, high=3).astype(np.int32), 0, True),
        argsort(bools(9), 0),
        argsort(normal(2, 1), 1),
        argsort(normal(0, 3), 0),
        argsort(normal(3, 0), 0),
        Sample(  # what is sorted, and its derivative
            lambda b, x: b.gather(x, [b.argsort(x, 0)], [0], 0, True),
            lambda x: torch.sort(x).values,
            (normal(5),),
        ),
    ],
}
