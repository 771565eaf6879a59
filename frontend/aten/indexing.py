"""Reads at positions given by tensors, and ``x[i] = v``; other writes are in ``scatter.py``.

Every index of the user goes through check_index: torch's exception type stands before the colon
of the message. Positions made here (iota) are known good and not checked.
"""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, count, dtype_of, shape, wrap

aten = torch.ops.aten


def check(e: Emitter, index: ir.Value, size: int, dim: int, kind: str, negative: bool) -> ir.Value:
    message = f"{kind}: index is out of bounds for dimension {dim} with size {size}"
    return e.b.check_index(index, size, message, wrap=negative)


def check_self(e: Emitter, index: ir.Value, size: int) -> ir.Value:
    return e.b.check_index(index, size, "IndexError: index out of range in self", wrap=False)


def _advanced(
    e: Emitter, x: ir.Value, indices: list[ir.Value | None]
) -> tuple[list[ir.Value], list[int], int, int]:
    """Checked index tensors of one shape, the axes they index, their rank, where it goes.

    As in torch, nothing is looked up where other axes are empty: any index is good.
    """
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    given = [indices[axis] for axis in axes]
    if any(dtype_of(index) is torch.bool for index in given):
        raise NotImplementedError("a mask as an index; use torch.where")
    common = torch.broadcast_shapes(*(shape(index) for index in given))
    sizes = shape(x)
    read = all(size for axis, size in enumerate(sizes) if axis not in axes)
    checked = []
    for axis, index in zip(axes, given, strict=True):
        if read or not sizes[axis]:
            index = check(e, index, sizes[axis], axis, "IndexError", True)
        checked.append(e.broadcast(index, common))
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
    if any(index is not None and dtype_of(index) is torch.bool for index in indices):
        return _put_at_mask(e, x, indices, value, accumulate)
    positions, axes, rank, at = _advanced(e, x, indices)
    rest = [size for axis, size in enumerate(shape(x)) if axis not in axes]
    common = list(shape(positions[0]))
    target = [*rest[:at], *common, *rest[at:]]
    updates = e.b.transpose(e.tensor(value, target, dtype_of(x)), _to_front(at, rank, len(target)))
    if accumulate:
        return e.b.scatter_add(x, updates, positions, axes, in_bounds=True)
    return e.b.scatter(x, updates, positions, axes, in_bounds=True)


def _put_at_mask(
    e: Emitter,
    x: ir.Value,
    indices: list[ir.Value | None],
    value: ir.Value,
    accumulate: bool,
) -> ir.Value:
    """A mask whose number of true elements is not known: one value for all of them."""
    given = [axis for axis, index in enumerate(indices) if index is not None]
    if len(given) > 1:
        raise NotImplementedError(
            "a mask together with other tensors as an index; write with one mask: "
            "torch.where(mask, value, x)"
        )
    (axis,) = given
    mask = indices[axis]
    rank = len(shape(mask))
    after = len(shape(x)) - axis - rank
    sizes = list(shape(value))
    lead = len(sizes) - after
    if lead > 0:
        if sizes[lead - 1] != 1:
            raise NotImplementedError(
                "a value for each element that a mask chooses; use torch.where with values in the "
                "shape of the tensor, or masked_scatter"
            )
        sizes[lead - 1 : lead] = [1] * rank
    new = e.broadcast(e.convert(e.b.reshape(value, sizes), dtype_of(x)), shape(x))
    chosen = e.b.broadcast(mask, shape(x), range(axis, axis + rank))
    return e.b.select(chosen, e.b.add(x, new) if accumulate else new, x)


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


def along_all(
    e: Emitter, x: ir.Value, dim: int, index: ir.Value
) -> tuple[list[ir.Value], list[int]]:
    """Positions in every dimension for gather and scatter along one: iota in the others."""
    checked = check(e, index, shape(x)[dim], dim, "RuntimeError", False)
    positions = [
        checked if d == dim else e.b.iota(shape(index), d, e.element(dtype_of(index)))
        for d in range(len(shape(x)))
    ]
    return positions, list(range(len(shape(x))))


def vectors(e: Emitter, *xs: ir.Value) -> list[ir.Value]:
    """torch lets 0-dim tensors stand for vectors of one element."""
    return [x if shape(x) else e.b.reshape(x, (1,)) for x in xs]


def same_outside(x: ir.Value, y: ir.Value, dim: int) -> bool:
    return all(a == b for d, (a, b) in enumerate(zip(shape(x), shape(y), strict=True)) if d != dim)


def gather(
    e: Emitter, x: ir.Value, dim: int, index: ir.Value, sparse_grad: bool = False
) -> ir.Value:
    if not count(shape(index)):  # of any rank
        return e.full(e.out.shape, 0, dtype_of(x))
    x, index = vectors(e, x, index)
    dim = wrap(dim, len(shape(x)))
    last = len(shape(x)) - 1
    if not same_outside(x, index, dim):
        return e.b.gather(x, *along_all(e, x, dim, index), in_bounds=True)
    index = check(e, index, shape(x)[dim], dim, "RuntimeError", False)
    rows, positions = e.b.move_dim(x, dim, last), e.b.move_dim(index, dim, last)
    out = e.b.gather(rows, [positions], [last], batch_dims=last, in_bounds=True)
    return e.b.reshape(e.b.move_dim(out, last, dim), e.out.shape)


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
    aten.take.default: take,
    aten.gather.default: gather,
    aten.nll_loss_forward.default: nll_loss,
}
