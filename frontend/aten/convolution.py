"""Convolutions as pb.conv: torch's features are split into groups, which costs nothing."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from ...dialects.pb.builders.convolution import Relation
from .emitter import Emitter, shape

aten = torch.ops.aten


def each(numbers: list[int], count: int) -> tuple[int, ...]:
    """One number for each spatial dimension: torch lets one stand for all."""
    return tuple(numbers) * count if len(numbers) == 1 else tuple(numbers)


def convolution(
    e: Emitter,
    x: ir.Value,
    w: ir.Value,
    bias: ir.Value | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    _output_padding: list[int],
    groups: int,
    *_: Any,
) -> ir.Value:
    """The result's shape is torch's, so output_padding needs nothing more."""
    if 0 in e.out.shape:  # which without input channels is not what their number tells
        return e.full(e.out.shape, 0, e.out.dtype)
    spatial = len(shape(w)) - 2
    stride, padding, dilation = (each(n, spatial) for n in (stride, padding, dilation))  # type: ignore[assignment]
    n, channels, *inner = shape(x)
    x = e.b.reshape(x, (n, groups, channels // groups, *inner))
    if not transposed and any(padding):
        # Of its own, because torch multiplies the zeros of padding with the weights, but not
        # those that lie between or around the elements of a transposed convolution.
        dims = (*shape(x)[:3], *(size + 2 * p for size, p in zip(inner, padding, strict=True)))
        x = e.b.pad(x, None, dims, (0, 0, 0, *padding), (1,) * len(dims))
        padding = (0,) * spatial  # type: ignore[assignment]
    ones = (1,) * spatial
    minus = [tuple(-n for n in numbers) for numbers in (stride, padding, dilation)]
    inputs, *rest = shape(w)
    w = e.b.reshape(w, (groups, inputs // groups, *rest))
    if transposed:  # what convolution does to its input, backwards
        w = e.b.transpose(w, [0, 2, 1, *range(3, 3 + spatial)])
        relation = Relation(minus[0], minus[2], ones, minus[1])
    else:
        relation = Relation(ones, minus[2], minus[0], minus[1])
    out = e.b.reshape(e.b.conv(x, w, relation, e.out.shape[2:]), e.out.shape)
    return out if bias is None else e.b.add(out, e.b.broadcast(bias, shape(out), [1]))


RULES: dict[Any, Any] = {aten.convolution.default: convolution}
