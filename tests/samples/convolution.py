"""Samples of pb.conv: torch's convolutions, and relations that only its derivatives have."""

from __future__ import annotations

from typing import Any

import torch
from pullback.dialects.pb.builders.convolution import Relation

from .making import Array, Sample, integers, normal


def conv(x: Array, w: Array, relation: Relation, sizes: tuple[int, ...]) -> Sample:
    def defined(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """The definition, by a mask over all pairs of positions."""
        letters, out = "ijk"[: len(sizes)], x
        operands: list[Any] = [out, w]
        for a, b, s, c, i, k, o in zip(*relation, x.shape[3:], w.shape[3:], sizes, strict=True):
            grid = torch.meshgrid(*map(torch.arange, (i, k, o)), indexing="ij")
            joined = a * grid[0] + b * grid[1] + s * grid[2] == c
            operands.append(joined.to(x.dtype))
        xs, ws, os = letters, letters.upper(), letters.translate(str.maketrans("ijk", "pqr"))
        masks = [f"{i}{k}{o}" for i, k, o in zip(xs, ws, os, strict=True)]
        equation = ",".join([f"ngc{xs}", f"gfc{ws}", *masks]) + f"->ngf{os}"
        return torch.einsum(equation, *operands)

    build = lambda b, x, w: b.conv(x, w, relation, sizes)  # noqa: E731
    return Sample(build, defined, (x, w), either_zero=True)


def relation(stride: int, padding: int, dilation: int) -> Relation:
    return Relation((1,), (-dilation,), (-stride,), (-padding,))


def in_2d(stride: int, padding: int, dilation: int) -> Relation:
    return Relation(*(steps * 2 for steps in relation(stride, padding, dilation)))


SAMPLES: dict[str, list[Sample]] = {
    "pb.conv": [
        conv(normal(2, 1, 2, 5), normal(1, 3, 2, 3), relation(1, 0, 1), (3,)),
        conv(normal(1, 2, 2, 7), normal(2, 1, 2, 3), relation(2, 1, 1), (4,)),
        conv(normal(2, 2, 1, 6), normal(2, 2, 1, 2), relation(1, -1, 2), (2,)),
        conv(normal(1, 1, 1, 4), normal(1, 1, 1, 3), Relation((-2,), (-1,), (1,), (-1,)), (9,)),
        conv(normal(1, 1, 2, 3), normal(1, 2, 2, 3), Relation((-3,), (2,), (-2,), (-1,)), (4,)),
        conv(normal(1, 1, 1, 3), normal(1, 1, 1, 2), Relation((1,), (1,), (1,), (3,)), (4,)),
        conv(normal(2, 1, 2, 3, 4), normal(1, 2, 2, 2, 3), in_2d(1, 1, 1), (4, 4)),
        conv(normal(2, 2, 3), normal(2, 4, 3), Relation((), (), (), ()), ()),
        conv(normal(0, 1, 2, 5), normal(1, 3, 2, 3), relation(1, 0, 1), (3,)),
        conv(normal(2, 1, 0, 5), normal(1, 3, 0, 3), relation(1, 0, 1), (3,)),
        conv(normal(1, 1, 1, 2), normal(1, 1, 1, 2), relation(1, 4, 1), (3,)),
        Sample(
            lambda b, x, w: b.slice(
                b.conv(x, w, relation(2, 1, 1), (4,)), (0, 0, 0, 1), (1, 1, 2, 2), (1, 1, 1, 2)
            ),
            lambda x, w: torch.conv1d(x[:, 0], w[0], stride=2, padding=1)[:, None, :, 1::2],
            (normal(1, 1, 1, 7), normal(1, 2, 1, 3)),
            either_zero=True,
        ),
        conv(integers(1, 1, 2, 5), integers(1, 2, 2, 3), relation(1, 1, 1), (5,)),
    ],
}
