"""Bags of embeddings: rows of a table, combined by the bag that they are in."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, dtype_of, shape
from .indexing import check_self

aten = torch.ops.aten
_SUM, _MEAN, _MAX = range(3)


def _bags(e: Emitter, offsets: ir.Value, count: int, bags: int) -> ir.Value:
    """The bag of each of ``count`` rows: how many bags have begun, less one."""
    sizes = (count, bags)
    starts = e.b.slice(offsets, [0], [bags], [1]) if shape(offsets) != (bags,) else offsets
    row = e.b.iota(sizes, 0, e.element(dtype_of(offsets)))
    begun = e.b.compare("le", e.b.broadcast(starts, sizes, [1]), row)
    number = e.b.reduce_sum(e.convert(begun, torch.int64), [1])
    return e.b.sub(number, e.like(number, 1))


def embedding_bag(
    e: Emitter,
    weight: ir.Value,
    indices: ir.Value,
    offsets: ir.Value,
    _scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    _sparse: bool = False,
    per_sample_weights: ir.Value | None = None,
    _include_last_offset: bool = False,
    padding_idx: int = -1,
) -> list[ir.Value]:
    """The bags; the other results are torch's notes for its own derivative."""
    if mode == _MAX:
        raise NotImplementedError("embedding_bag with mode='max'; use F.embedding and amax")
    if _scale_grad_by_freq:
        raise NotImplementedError("embedding_bag with scale_grad_by_freq")
    bags, width = e.out.shape
    (count,) = shape(indices)
    index = check_self(e, indices, shape(weight)[0])
    rows = e.b.gather(weight, [index], [0], in_bounds=True)
    if per_sample_weights is not None:
        rows = e.b.mul(rows, e.b.broadcast(per_sample_weights, (count, width), [0]))
    used = e.full((count,), 1, dtype_of(rows))
    if padding_idx >= 0:
        padding = e.b.compare("eq", index, e.like(index, padding_idx))
        used = e.b.select(padding, e.like(used, 0), used)
        skipped = e.b.broadcast(padding, (count, width), [0])
        rows = e.b.select(skipped, e.like(rows, 0), rows)
    bag = _bags(e, offsets, count, bags)
    message = "RuntimeError: offsets[0] has to be 0: the first bag starts with the first index"
    bag = e.b.check_index(bag, bags, message, wrap=False)
    zeros = e.full((bags, width), 0, dtype_of(rows))
    total = e.b.scatter_add(zeros, rows, [bag], [0], in_bounds=True)
    if mode == _MEAN:
        number = e.b.scatter_add(
            e.full((bags,), 0, dtype_of(rows)), used, [bag], [0], in_bounds=True
        )
        number = e.b.maximum(number, e.like(number, 1))
        total = e.b.div(total, e.b.broadcast(number, (bags, width), [0]))
    notes = [e.full(out.shape, 0, out.dtype) for out in e.outs[1:]]
    return [total, *notes]


RULES: dict[Any, Any] = {
    aten._embedding_bag.default: embedding_bag,
    aten._embedding_bag_forward_only.default: embedding_bag,
}
