"""Margin losses over classes. Most other losses arrive here taken apart, or stand elsewhere."""

from __future__ import annotations

import math
from typing import Any

import torch
from mlir import ir

from .activation import positive
from .emitter import Emitter, count, shape

aten = torch.ops.aten
_MESSAGE = "RuntimeError: target out of range"


def reduced(e: Emitter, losses: ir.Value, reduction: int) -> ir.Value:
    """torch's reductions: 0 none, 1 mean, 2 sum."""
    if reduction == 0:
        return losses
    total = e.b.reduce_sum(losses, list(range(len(shape(losses)))))
    return total if reduction == 2 else e.b.div(total, e.like(total, count(shape(losses))))


def binary_cross_entropy(
    e: Emitter,
    x: ir.Value,
    y: ir.Value,
    weight: ir.Value | None = None,
    reduction: int = 1,
) -> ir.Value:
    """torch bounds each logarithm by -100; beyond, it is a constant here."""
    common = shape(x)
    y = e.tensor(y, common, e.out.dtype)
    rest = e.b.sub(e.like(x, 1), x)
    least = e.like(x, math.exp(-100.0))

    def bounded(p: ir.Value) -> ir.Value:
        small = e.b.compare("lt", p, least)
        return e.b.select(small, e.like(p, -100.0), e.b.log(e.b.select(small, e.like(p, 1), p)))

    other = e.b.sub(e.like(y, 1), y)
    losses = e.b.neg(e.b.add(e.b.mul(y, bounded(x)), e.b.mul(other, bounded(rest))))
    if weight is not None:
        losses = e.b.mul(losses, e.tensor(weight, common, e.out.dtype))
    return reduced(e, losses, reduction)


def _one_hot(e: Emitter, index: ir.Value, classes: int) -> ir.Value:
    """True at the index, along a new last dimension."""
    dims = (*shape(index), classes)
    grid = e.b.iota(dims, len(dims) - 1, e.element(torch.int64))
    return e.b.compare("eq", grid, e.b.broadcast(index, dims, list(range(len(dims) - 1))))


def _over(e: Emitter, x: ir.Value) -> ir.Value:
    """What is above zero; torch leaves out a NaN, as from two equal infinities."""
    return e.b.select(positive(e, x), x, e.like(x, 0))


def _sum_where(e: Emitter, mask: ir.Value, x: ir.Value, dim: int) -> ir.Value:
    return e.b.reduce_sum(e.b.select(mask, x, e.like(x, 0)), [dim])


def multi_margin(
    e: Emitter,
    x: ir.Value,
    target: ir.Value,
    p: int = 1,
    margin: float = 1,
    weight: ir.Value | None = None,
    reduction: int = 1,
) -> ir.Value:
    classes = shape(x)[-1] if shape(x) else 1
    rows = shape(x) if len(shape(x)) == 2 else (1, classes)
    x, target = e.b.reshape(x, rows), e.b.reshape(target, rows[:1])
    target = e.b.check_index(target, classes, _MESSAGE, wrap=False)
    mine = _one_hot(e, target, classes)
    own = e.b.broadcast(_sum_where(e, mine, x, 1), rows, [0])
    over = _over(e, e.b.add(e.b.sub(e.like(x, margin), own), x))
    over = e.b.mul(over, over) if p == 2 else over
    losses = _sum_where(e, e.b.compare("eq", mine, e.like(mine, 0)), over, 1)
    if weight is not None:
        weights = e.b.broadcast(e.b.reshape(weight, (classes,)), rows, [1])
        losses = e.b.mul(losses, _sum_where(e, mine, weights, 1))
    losses = e.b.div(losses, e.like(losses, classes))
    return e.b.reshape(reduced(e, losses, reduction), e.out.shape)


def multilabel_margin(
    e: Emitter, x: ir.Value, target: ir.Value, reduction: int = 1
) -> list[ir.Value]:
    """The labels of a row are its targets up to the first negative one."""
    n, classes = (1, 1, *shape(x))[-2:] if shape(x) else (1, 1)
    x, labels = e.b.reshape(x, (n, classes)), e.b.reshape(target, (n, classes))
    zero = e.like(labels, 0)
    ended = e.convert(e.b.compare("lt", labels, zero), torch.int64)
    valid = e.b.compare("eq", e.b.cumulative_sum(ended, 1), zero)
    labels = e.b.check_index(e.b.select(valid, labels, zero), classes, _MESSAGE, wrap=False)
    cube = (n, classes, classes)  # row, place in the list of labels, class
    named = e.b.mul(_one_hot(e, labels, classes), e.b.broadcast(valid, cube, [0, 1]))
    is_label = e.b.reduce_sum(named, [1])
    spread = e.b.broadcast(x, cube, [0, 2])
    own = e.b.broadcast(_sum_where(e, named, spread, 2), cube, [0, 1])
    over = _over(e, e.b.add(e.b.sub(e.like(own, 1), own), spread))
    others = e.b.compare("eq", is_label, e.like(is_label, 0))
    counted = e.b.mul(e.b.broadcast(valid, cube, [0, 1]), e.b.broadcast(others, cube, [0, 2]))
    losses = e.b.reduce_sum(e.b.select(counted, over, e.like(over, 0)), [1, 2])
    losses = e.b.div(losses, e.like(losses, classes))
    found = e.convert(is_label, e.outs[1].dtype)
    return [
        e.b.reshape(reduced(e, losses, reduction), e.out.shape),
        e.b.reshape(found, e.outs[1].shape),
    ]


RULES: dict[Any, Any] = {
    aten.binary_cross_entropy.default: binary_cross_entropy,
    aten.multi_margin_loss.default: multi_margin,
    aten.multilabel_margin_loss_forward.default: multilabel_margin,
}
