"""Tables and their rows: embeddings, bags of rows, repetitions, positions of what is not zero."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, count, dtype_of, shape
from .indexing import check_self
from .sorting import counted

aten = torch.ops.aten
SUM, MEAN, MAX = 0, 1, 2


def embedding(
    e: Emitter,
    weight: ir.Value,
    index: ir.Value,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> ir.Value:
    """Rows of the weight; the one of ``padding_idx`` gets no cotangent, but has a tangent."""
    if scale_grad_by_freq:
        raise NotImplementedError("scale_grad_by_freq=True; scale the gradient afterwards")
    index = check_self(e, index, shape(weight)[0])
    rows = e.b.gather(weight, [index], [0], in_bounds=True)
    if padding_idx < 0 or not dtype_of(weight).is_floating_point:
        return rows
    padding = e.b.compare("eq", index, e.like(index, padding_idx))
    padding = e.b.broadcast(padding, shape(rows), range(len(shape(index))))
    return e.b.select(padding, e.b.stop_gradient(rows, reverse_only=True), rows)


def embedding_bag(
    e: Emitter,
    weight: ir.Value,
    index: ir.Value,
    offsets: ir.Value,
    scale_grad_by_freq: bool = False,
    mode: int = SUM,
    sparse: bool = False,
    per_sample_weights: ir.Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> list[ir.Value]:
    """The sum, mean or largest of each bag's rows. A bag ends where the next one's offset is."""
    if scale_grad_by_freq:
        raise NotImplementedError("scale_grad_by_freq=True; scale the gradient afterwards")
    number, bags, width = count(shape(index)), e.out.shape[0], shape(weight)[1]
    rows = e.b.gather(weight, [check_self(e, index, shape(weight)[0])], [0], in_bounds=True)
    message = "RuntimeError: embedding_bag: an offset is beyond the number of indices"
    offsets = e.b.check_index(e.convert(offsets, torch.int64), number + 1, message, wrap=False)
    offsets = e.b.slice(offsets, [0], [bags], [1])
    place = e.b.iota((number,), 0, e.element(torch.int64))
    bag = e.b.sub(counted(e, offsets, place, right=True), e.like(place, 1))
    message = "RuntimeError: offsets[0] has to be 0: the first bag starts with the first index"
    bag = e.b.check_index(bag, bags, message, wrap=False)
    used = e.b.compare("ne", index, e.like(index, padding_idx))
    sizes = e.b.scatter_add(
        e.full((bags,), 0, torch.int64), e.convert(used, torch.int64), [bag], [0], in_bounds=True
    )
    wide = e.b.broadcast(used, shape(rows), [0])
    if mode == MAX:
        result = _largest(e, rows, bag, wide, bags)
    else:
        rows = e.b.select(wide, rows, e.like(rows, 0))
        if per_sample_weights is not None:
            # The weight of padding is not read: it may be infinite, and would meet a zero.
            zero = e.like(per_sample_weights, 0)
            weights = e.b.select(used, per_sample_weights, zero)
            rows = e.b.mul(rows, e.b.broadcast(weights, shape(rows), [0]))
        zeros = e.full((bags, width), 0, dtype_of(rows))
        result = e.b.scatter_add(zeros, rows, [bag], [0], in_bounds=True)
    if mode == MEAN:
        number_of = e.convert(e.b.maximum(sizes, e.like(sizes, 1)), dtype_of(result))
        result = e.b.div(result, e.b.broadcast(number_of, shape(result), [0]))
    # The other results serve torch's own backward; their shapes are what it makes of the mode.
    others: dict[tuple[int, ...], ir.Value] = {
        (number,): e.convert(bag, dtype_of(index)),
        (bags,): e.convert(sizes, dtype_of(index)),
    }
    rest = [
        e.convert(others.get(out.shape, e.full(out.shape, 0, torch.int64)), out.dtype)
        for out in e.outs[1:3]
    ]
    return [result, *rest, e.full(e.outs[3].shape, 0, e.outs[3].dtype)]


def _largest(e: Emitter, rows: ir.Value, bag: ir.Value, used: ir.Value, bags: int) -> ir.Value:
    """The first of the largest, which has the derivative; 0 for a bag without rows."""
    number, width = shape(rows)
    lowest = e.like(rows, -float("inf"))
    start = e.full((bags, width), -float("inf"), dtype_of(rows))
    stopped = e.b.select(used, e.b.stop_gradient(rows), lowest)
    top = e.b.scatter_max(start, stopped, [bag], [0], in_bounds=True)
    mine = e.b.gather(top, [bag], [0], in_bounds=True)
    hit = e.b.mul(used, e.b.add(e.b.compare("eq", rows, mine), e.b.compare("ne", rows, rows)))
    place = e.b.neg(e.b.iota((number, width), 0, e.element(torch.int64)))
    place = e.b.select(hit, place, e.like(place, -number))
    first = e.b.scatter_max(
        e.full((bags, width), -number, torch.int64), place, [bag], [0], in_bounds=True
    )
    first = e.b.neg(first)
    empty = e.b.compare("eq", first, e.like(first, number))
    columns = e.b.iota((bags, width), 1, e.element(torch.int64))
    if not number:
        return e.full((bags, width), 0, dtype_of(rows))
    at = e.b.select(empty, e.like(first, 0), first)
    found = e.b.gather(rows, [at, columns], [0, 1], in_bounds=True)
    return e.b.select(empty, e.like(found, 0), found)


def repeated_positions(e: Emitter, repeats: ir.Value, *, output_size: int | None = None) -> Any:
    """0 repeats[0] times, 1 repeats[1] times, ...: how many partial sums are not above it."""
    number = shape(repeats)[0]
    ends, step = e.convert(repeats, torch.int64), 1
    while step < number:  # sums over 1, 2, 4, ... elements
        before = e.b.slice(ends, [0], [number - step], [1])
        ends = e.b.add(ends, e.b.pad(before, None, (number,), [step], [1]))
        step *= 2
    (size,) = e.out.shape
    if number:
        total = e.b.reshape(e.b.slice(ends, [number - 1], [1], [1]), ())
        wrong = e.convert(e.b.compare("ne", total, e.like(total, size)), torch.int64)
        message = "RuntimeError: repeat_interleave: output_size is not the sum of the repeats"
        e.b.check_index(wrong, 1, message, wrap=False)
    place = e.b.iota((size,), 0, e.element(torch.int64))
    found = counted(e, ends, place, right=True)
    last = e.like(found, max(number - 1, 0))  # reached where the check fails only
    return e.convert(e.b.neg(e.b.maximum(e.b.neg(found), e.b.neg(last))), e.out.dtype)


def nonzero_static(e: Emitter, x: ir.Value, *, size: int, fill_value: int = -1) -> ir.Value:
    """The positions of the first ``size`` elements that are not zero, ``fill_value`` after them."""
    dims, total = shape(x), count(shape(x))
    if not total or not size:
        return e.full(e.out.shape, fill_value, torch.int64)
    true = e.b.reshape(e.convert(x, torch.bool), (total,))
    number = e.b.reduce_sum(e.convert(true, torch.int64), [0])
    kept = min(size, total)
    order = e.b.slice(e.b.argsort(true, 0, descending=True), [0], [kept], [1])
    valid = e.b.compare(
        "lt", e.b.iota((kept,), 0, e.element(torch.int64)), e.broadcast(number, (kept,))
    )
    columns, stride = [], total
    for n in dims:
        stride //= n
        index = e.b.div(order, e.like(order, stride))
        order = e.b.sub(order, e.b.mul(index, e.like(index, stride)))
        index = e.b.select(valid, index, e.like(index, fill_value))
        columns.append(e.b.reshape(index, (kept, 1)))
    found = e.b.concatenate(columns, 1) if columns else e.full((kept, 0), 0, torch.int64)
    fill = e.full((), fill_value, torch.int64)
    return found if kept == size else e.b.pad(found, fill, e.out.shape, [0, 0], [1, 1])


RULES: dict[Any, Any] = {
    aten.embedding.default: embedding,
    aten._embedding_bag.default: embedding_bag,
    aten._embedding_bag_forward_only.default: embedding_bag,
    aten.repeat_interleave.Tensor: repeated_positions,
    aten.nonzero_static.default: nonzero_static,
}
