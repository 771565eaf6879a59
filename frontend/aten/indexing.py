"""Reads and writes at positions given by tensors.

Every index of the user goes through check_index: torch's exception type stands before the colon
of the message. Positions made here (iota) are known good and not checked.
"""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .elementwise import scaled
from .emitter import Emitter, Operand, count, dtype_of, shape, wrap

aten = torch.ops.aten


def check(e: Emitter, index: ir.Value, size: int, dim: int, kind: str, negative: bool) -> ir.Value:
    message = f"{kind}: index is out of bounds for dimension {dim} with size {size}"
    return e.b.check_index(index, size, message, wrap=negative)


def check_self(e: Emitter, index: ir.Value, size: int) -> ir.Value:
    return e.b.check_index(index, size, "IndexError: index out of range in self", wrap=False)


def _advanced(
    e: Emitter, x: ir.Value, indices: list[ir.Value | None]
) -> tuple[list[ir.Value], list[int], int, int]:
    """Checked index tensors of one shape, the axes they index, their rank, where it goes."""
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    given = [indices[axis] for axis in axes]
    if any(dtype_of(index) is torch.bool for index in given):
        raise NotImplementedError("a mask as an index; use torch.where")
    common = torch.broadcast_shapes(*(shape(index) for index in given))
    sizes = shape(x)
    checked = [
        e.broadcast(check(e, index, sizes[axis], axis, "IndexError", True), common)
        for axis, index in zip(axes, given, strict=True)
    ]
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    return checked, axes, len(common), axes[0] if adjacent else 0


def _to_front(at: int, rank: int, total: int) -> list[int]:
    """The permutation that moves ``rank`` dimensions starting at ``at`` to the front."""
    block = list(range(at, at + rank))
    return block + [d for d in range(total) if d not in block]


def index(e: Emitter, x: ir.Value, indices: list[ir.Value | None]) -> ir.Value:
    positions, axes, rank, at = _advanced(e, x, indices)
    out = e.b.gather(x, positions, axes, in_bounds=True)
    front = _to_front(at, rank, len(shape(out)))
    return e.b.transpose(out, [front.index(d) for d in range(len(front))])


def index_put(
    e: Emitter,
    x: ir.Value,
    indices: list[ir.Value | None],
    value: ir.Value,
    accumulate: bool = False,
    unsafe: bool = False,
) -> ir.Value:
    mask = indices[0] if len(indices) == 1 else None
    if mask is not None and dtype_of(mask) is torch.bool and count(shape(value)) == 1:
        rest = len(shape(x)) - len(shape(mask))
        mask = e.b.reshape(mask, (*shape(mask), *([1] * rest)))
        new = e.broadcast(e.b.reshape(e.convert(value, dtype_of(x)), ()), shape(x))
        old = e.b.add(x, new) if accumulate else None
        return e.b.select(e.broadcast(mask, shape(x)), new if old is None else old, x)
    positions, axes, rank, at = _advanced(e, x, indices)
    rest = [size for axis, size in enumerate(shape(x)) if axis not in axes]
    common = list(shape(positions[0]))
    target = [*rest[:at], *common, *rest[at:]]
    updates = e.b.transpose(e.tensor(value, target, dtype_of(x)), _to_front(at, rank, len(target)))
    if accumulate:
        return e.b.scatter_add(x, updates, positions, axes, in_bounds=True)
    return _overwrite(e, x, updates, positions, axes, count(shape(value)) == 1)


def _overwrite(
    e: Emitter,
    x: ir.Value,
    updates: ir.Value,
    positions: list[ir.Value],
    axes: list[int],
    equal: bool,
) -> ir.Value:
    """x with updates in place of what was there; ``equal``: all updates are the same number."""
    if not equal and count(shape(positions[0])) > 1:
        last = _last_writers(e, x, positions, axes)
        last = e.b.broadcast(last, shape(updates), range(len(shape(last))))
        updates = e.b.select(last, updates, e.like(updates, 0))
    ones = e.full(shape(updates), 1, torch.int32)
    zeros = e.full(shape(x), 0, torch.int32)
    hits = e.b.scatter_add(zeros, ones, positions, axes, in_bounds=True)
    if equal:
        start = [0] * len(shape(updates))
        one = e.b.slice(updates, start, [1] * len(start), [1] * len(start))
        new = e.broadcast(e.b.reshape(one, ()), shape(x))
    else:
        new = e.b.scatter_add(e.like(x, 0), updates, positions, axes, in_bounds=True)
    return e.b.select(e.b.compare("gt", hits, e.like(hits, 0)), new, x)


def _last_writers(e: Emitter, x: ir.Value, positions: list[ir.Value], axes: list[int]) -> ir.Value:
    """Which updates no later one overwrites: all pairs are compared."""
    number = count(shape(positions[0]))
    if number > 1024:
        raise NotImplementedError(
            "writing at more than 1024 positions given by a tensor; use index_add or scatter_add "
            "on zeros"
        )
    place = e.full((number,), 0, torch.int64)
    for position, axis in zip(positions, axes, strict=True):
        flat = e.convert(e.b.reshape(position, (number,)), torch.int64)
        place = e.b.add(e.b.mul(place, e.like(place, shape(x)[axis])), flat)
    pairs = (number, number)
    same = e.b.compare("eq", e.b.broadcast(place, pairs, [0]), e.b.broadcast(place, pairs, [1]))
    rows, columns = (e.b.iota(pairs, d, e.element(torch.int64)) for d in (0, 1))
    beaten = e.convert(e.b.mul(same, e.b.compare("gt", columns, rows)), torch.int32)
    beaten = e.b.reduce_sum(beaten, [1])
    return e.b.reshape(e.b.compare("eq", beaten, e.like(beaten, 0)), shape(positions[0]))


def index_select(e: Emitter, x: ir.Value, dim: int, index: ir.Value) -> ir.Value:
    if not shape(x):
        return x
    dim = wrap(dim, len(shape(x)))
    size = shape(x)[dim]
    checked = check(e, index, size, dim, "RuntimeError", False) if dim else None
    index = check_self(e, index, size) if checked is None else checked
    index = e.b.reshape(index, (count(shape(index)),))
    return e.b.move_dim(e.b.gather(x, [index], [dim], in_bounds=True), 0, dim)


def take(e: Emitter, x: ir.Value, index: ir.Value) -> ir.Value:
    total = count(shape(x))
    index = check(e, index, total, 0, "IndexError", True)
    return e.b.gather(e.b.reshape(x, (total,)), [index], [0], in_bounds=True)


def index_add(
    e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: ir.Value, alpha: float = 1
) -> ir.Value:
    x, source = _vectors(e, x, source)
    dim = wrap(dim, len(shape(x)))
    index = check(e, index, shape(x)[dim], dim, "RuntimeError", False)
    index = e.b.reshape(index, (count(shape(index)),))
    updates = scaled(e, e.b.move_dim(source, dim, 0), alpha)
    out = e.b.scatter_add(x, updates, [index], [dim], in_bounds=True)
    return e.b.reshape(out, e.out.shape)


def embedding(e: Emitter, weight: ir.Value, index: ir.Value, *_: Any) -> ir.Value:
    index = check_self(e, index, shape(weight)[0])
    return e.b.gather(weight, [index], [0], in_bounds=True)


def _along(e: Emitter, x: ir.Value, dim: int, index: ir.Value) -> tuple[list[ir.Value], list[int]]:
    """Positions in every dimension for gather and scatter along one: iota in the others."""
    checked = check(e, index, shape(x)[dim], dim, "RuntimeError", False)
    positions = [
        checked if d == dim else e.b.iota(shape(index), d, e.element(dtype_of(index)))
        for d in range(len(shape(x)))
    ]
    return positions, list(range(len(shape(x))))


def _vectors(e: Emitter, *xs: ir.Value) -> list[ir.Value]:
    """torch lets 0-dim tensors stand for vectors of one element."""
    return [x if shape(x) else e.b.reshape(x, (1,)) for x in xs]


def _same_outside(x: ir.Value, y: ir.Value, dim: int) -> bool:
    return all(a == b for d, (a, b) in enumerate(zip(shape(x), shape(y), strict=True)) if d != dim)


def gather(
    e: Emitter, x: ir.Value, dim: int, index: ir.Value, sparse_grad: bool = False
) -> ir.Value:
    x, index = _vectors(e, x, index)
    dim = wrap(dim, len(shape(x)))
    last = len(shape(x)) - 1
    if not _same_outside(x, index, dim):
        return e.b.gather(x, *_along(e, x, dim, index), in_bounds=True)
    index = check(e, index, shape(x)[dim], dim, "RuntimeError", False)
    rows, positions = e.b.move_dim(x, dim, last), e.b.move_dim(index, dim, last)
    out = e.b.gather(rows, [positions], [last], batch_dims=last, in_bounds=True)
    return e.b.reshape(e.b.move_dim(out, last, dim), e.out.shape)


def _cut(e: Emitter, source: ir.Value, like: ir.Value) -> ir.Value:
    """The leading part of source that the index covers."""
    if shape(source) == shape(like):
        return source
    rank = len(shape(like))
    return e.b.slice(source, [0] * rank, shape(like), [1] * rank)


def scatter_add(e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: ir.Value) -> ir.Value:
    x, index, source = _vectors(e, x, index, source)
    dim = wrap(dim, len(shape(x)))
    updates = _cut(e, source, index)
    last = len(shape(x)) - 1
    if not _same_outside(x, index, dim):
        return e.b.scatter_add(x, updates, *_along(e, x, dim, index), in_bounds=True)
    index = check(e, index, shape(x)[dim], dim, "RuntimeError", False)
    rows, updates, index = (e.b.move_dim(t, dim, last) for t in (x, updates, index))
    out = e.b.scatter_add(rows, updates, [index], [last], batch_dims=last, in_bounds=True)
    return e.b.reshape(e.b.move_dim(out, last, dim), e.out.shape)


def scatter(
    e: Emitter, x: ir.Value, dim: int, index: ir.Value, source: Operand, *_: Any
) -> ir.Value:
    x, index = _vectors(e, x, index)
    positions, axes = _along(e, x, wrap(dim, len(shape(x))), index)
    if isinstance(source, ir.Value):
        (source,) = _vectors(e, source)
        out = _overwrite(e, x, _cut(e, source, index), positions, axes, equal=False)
    else:
        updates = e.full(shape(index), source, dtype_of(x))
        out = _overwrite(e, x, updates, positions, axes, equal=True)
    return e.b.reshape(out, e.out.shape)


def _picked(e: Emitter, x: ir.Value, target: ir.Value) -> ir.Value:
    """x[n, target[n]]: a masked sum, which fuses and whose derivative is a mask again."""
    at = e.b.broadcast(target, shape(x), range(len(shape(target))))
    grid = e.b.iota(shape(x), len(shape(x)) - 1, e.element(dtype_of(target)))
    chosen = e.b.select(e.b.compare("eq", grid, at), x, e.like(x, 0))
    return e.b.reduce_sum(chosen, [len(shape(x)) - 1])


def nll_loss(
    e: Emitter,
    x: ir.Value,
    target: ir.Value,
    weight: ir.Value | None,
    reduction: int,
    ignore_index: int,
) -> list[ir.Value]:
    """The loss and the total weight. ``reduction``: 0 none, 1 mean, 2 sum."""
    classes = shape(x)[-1]
    ignored = e.b.compare("eq", target, e.like(target, ignore_index))
    target = e.b.select(ignored, e.like(target, 0), target)
    message = "IndexError: Target is out of bounds."
    target = e.b.check_index(target, classes, message, wrap=False)
    weights = e.full(shape(target), 1, dtype_of(x))
    if weight is not None:
        weights = _picked(e, e.broadcast(weight, (*shape(target), classes)), target)
    weights = e.b.select(ignored, e.like(weights, 0), weights)
    picked = e.b.select(ignored, e.like(weights, 0), _picked(e, x, target))
    losses = e.b.neg(picked if weight is None else e.b.mul(picked, weights))
    every = list(range(len(shape(losses))))
    if reduction == 0:
        return [losses, e.full((), 0, dtype_of(x))]
    total = e.b.reduce_sum(losses, every)
    norm = e.b.reduce_sum(weights, every)
    return [e.b.div(total, norm) if reduction == 1 else total, norm]


RULES: dict[Any, Any] = {
    aten.index.Tensor: index,
    aten.index_put.default: index_put,
    aten._unsafe_index_put.default: index_put,
    aten.index_select.default: index_select,
    aten.index_add.default: index_add,
    aten.take.default: take,
    aten.embedding.default: embedding,
    aten.gather.default: gather,
    aten.scatter_add.default: scatter_add,
    aten.scatter.value: scatter,
    aten.scatter.src: scatter,
    aten.nll_loss_forward.default: nll_loss,
}
