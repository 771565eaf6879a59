"""Reading and adding at computed positions; each is the transpose of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from ...errors import exception
from .. import _pb_ops_gen as gen
from ..families import Elementwise, Linear, at_dim
from ..opdef import ZERO, Batched, Op, Tangent, register
from ..types import element_type, rank, shape, size
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


def positions(op: Any, x: Any, indices: Sequence[Any]) -> tuple[Any, ...]:
    """The numpy index of what gather reads, with the dimensions of x that are left at the end."""
    n, axes = op.batch_dims.value, list(op.axes)
    index_rank = indices[0].ndim
    grid = [
        np.arange(x.shape[d]).reshape([-1 if i == d else 1 for i in range(index_rank)])
        for d in range(n)
    ]
    clamped = [np.clip(i, 0, x.shape[a] - 1) for i, a in zip(indices, axes, strict=True)]
    return (*grid, *clamped)


def axes_first(op: Any, rank_: int) -> list[int]:
    """Dimensions of x: batch, indexed, the rest."""
    n, axes = op.batch_dims.value, list(op.axes)
    return [*range(n), *axes, *(d for d in range(n, rank_) if d not in axes)]


@register(gen.GatherOp)
class Gather(Linear):
    moves = True

    linear_in = (0,)

    def transpose(
        self, b: Builder, ct: ir.Value, x: Any, *indices: Any
    ) -> Sequence[Tangent | None]:
        bar = b.scatter_add(
            b.zeros(self.x.type),
            ct,
            indices,
            list(self.axes),
            self.batch_dims.value,
            bool(self.in_bounds),
        )
        return bar, *[None] * len(indices)

    def batch(self, b: Builder, size: int, x: Batched, *indices: Batched) -> Batched:
        axes, n, safe = list(self.axes), self.batch_dims.value, bool(self.in_bounds)
        if all(index.dim is None for index in indices):
            # examples are one more dimension of x that is not indexed: the last
            value = b.move_dim(x.value, batch_dim(x), rank(x.value) - 1)
            out = b.gather(value, [index.value for index in indices], axes, n, safe)
            return Batched(out, rank(out) - 1)
        if x.dim is None:  # examples are one more index dimension
            out = b.gather(x.value, [at_dim(b, index, n, size) for index in indices], axes, n, safe)
            return Batched(out, n)
        values = [at_dim(b, index, 0, size) for index in indices]
        out = b.gather(at_dim(b, x, 0, size), values, [a + 1 for a in axes], n + 1, safe)
        return Batched(out, 0)

    def reference(self, x: Any, *indices: Any) -> Any:
        return np.transpose(x, axes_first(self, x.ndim))[positions(self, x, indices)]

    def lower(self, loops: Any, x: Any, *indices: Any) -> Any:
        return loops.gather(x, indices, self.axes, self.batch_dims.value, bool(self.in_bounds))


class Scatter(Op):
    """x changed at computed positions by updates, which have the shape of what gather reads."""

    x: ir.Value
    updates: ir.Value

    def over(
        self,
        b: Builder,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        shift: int = 0,
    ) -> ir.Value:
        """The op on other values, with `shift` more batch dimensions in front."""
        raise NotImplementedError

    def place(self, shift: int = 0) -> tuple[list[int], int, bool]:
        """Where the positions lie, in the terms of the builder."""
        axes = [axis + shift for axis in self.axes]
        return axes, self.batch_dims.value + shift, bool(self.in_bounds)

    def batch(
        self, b: Builder, size: int, x: Batched, updates: Batched, *indices: Batched
    ) -> Batched:
        if all(index.dim is None for index in indices):
            last = rank(self.x)
            value = at_dim(b, x, last, size)
            new = at_dim(b, updates, rank(self.updates), size)
            return Batched(self.over(b, value, new, [i.value for i in indices]), last)
        value, new = at_dim(b, x, 0, size), at_dim(b, updates, 0, size)
        values = [at_dim(b, index, 0, size) for index in indices]
        return Batched(self.over(b, value, new, values, 1), 0)

    def written(self, x: Any, updates: Any, indices: Sequence[Any], write: Any) -> Any:
        """The definition: write(array, positions, updates) on a copy of x."""
        order = axes_first(self, x.ndim)
        out = np.transpose(x, order).copy()
        write(out, positions(self, x, indices), updates)
        return np.transpose(out, np.argsort(order))

    def flops(self) -> int:
        return size(shape(self.updates))


@register(gen.ScatterAddOp)
class ScatterAdd(Scatter, Linear):
    linear_in = (0, 1)

    def over(
        self,
        b: Builder,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        shift: int = 0,
    ) -> ir.Value:
        return b.scatter_add(x, updates, indices, *self.place(shift))

    def transpose(
        self, b: Builder, ct: ir.Value, x: Any, updates: Any, *indices: Any
    ) -> Sequence[Tangent | None]:
        updates_bar = b.gather(ct, indices, *self.place()) if updates is None else None
        return ct if x is None else None, updates_bar, *[None] * len(indices)

    def reference(self, x: Any, updates: Any, *indices: Any) -> Any:
        return self.written(x, updates, indices, np.add.at)

    def lower(self, loops: Any, x: Any, updates: Any, *indices: Any) -> Any:
        safe = bool(self.in_bounds)
        return loops.scatter_add(x, updates, indices, self.axes, self.batch_dims.value, safe)


@register(gen.ScatterOp)
class ScatterSet(Scatter, Linear):
    linear_in = (0, 1)

    def over(
        self,
        b: Builder,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        shift: int = 0,
    ) -> ir.Value:
        return b.scatter(x, updates, indices, *self.place(shift))

    def transpose(
        self, b: Builder, ct: ir.Value, x: Any, updates: Any, *indices: Any
    ) -> Sequence[Tangent | None]:
        x_bar = updates_bar = None
        if x is None:
            x_bar = b.scatter(ct, b.zeros(self.updates.type), indices, *self.place())
        if updates is None:
            updates_bar = b.gather(ct, indices, *self.place())
            if (last := last_writers(b, self, indices)) is not None:
                last = b.broadcast(last, shape(updates_bar), range(rank(last)))
                updates_bar = b.select(last, updates_bar, ZERO)
        return x_bar, updates_bar, *[None] * len(indices)

    def reference(self, x: Any, updates: Any, *indices: Any) -> Any:
        return self.written(x, updates, indices, lambda out, at, new: out.__setitem__(at, new))

    def lower(self, loops: Any, x: Any, updates: Any, *indices: Any) -> Any:
        safe = bool(self.in_bounds)
        return loops.scatter(x, updates, indices, self.axes, self.batch_dims.value, safe)


def last_writers(b: Builder, op: Any, indices: Sequence[ir.Value]) -> ir.Value | None:
    """Which positions no later one equals; None if there is but one.

    Each writes its number, and is the last if it finds it unchanged.
    """
    axes, n, safe = op.place()
    dims = shape(indices[0])
    if size(dims[n:]) <= 1:
        return None
    i64 = ir.IntegerType.get_signless(64, op.x.context)
    numbers = b.reshape(b.iota((size(dims),), 0, i64), dims)
    cells = [shape(op.x)[d] for d in (*range(n), *axes)]
    at = list(range(n, n + len(axes)))
    owners = b.scatter(b.full(cells, 0, i64), numbers, indices, at, n, safe)
    return b.compare("eq", b.gather(owners, indices, at, n, safe), numbers)


@register(gen.ScatterMaxOp)
class ScatterMax(Scatter):
    def over(
        self,
        b: Builder,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        shift: int = 0,
    ) -> ir.Value:
        return b.scatter_max(x, updates, indices, *self.place(shift))

    def jvp(self, b: Builder, *tangents: Tangent) -> Tangent:
        # what ties shares evenly; where the maximum is NaN, 0 / 0 is too, as in torch
        indices, (x_dot, updates_dot) = list(self.indices), tangents[:2]
        out, element = self.result, element_type(self.x)
        top = b.gather(out, indices, *self.place())
        mine = b.convert(b.compare("eq", self.x, out), element)
        theirs = b.convert(b.compare("eq", self.updates, top), element)
        count = b.scatter_add(mine, theirs, indices, *self.place())
        moved = b.mul(mine, x_dot)
        if updates_dot is not ZERO:
            moved = b.zeros(self.x.type) if moved is ZERO else moved
            moved = b.scatter_add(moved, b.mul(theirs, updates_dot), indices, *self.place())
        return b.div(moved, count)

    def reference(self, x: Any, updates: Any, *indices: Any) -> Any:
        return self.written(x, updates, indices, np.maximum.at)

    def lower(self, loops: Any, x: Any, updates: Any, *indices: Any) -> Any:
        safe = bool(self.in_bounds)
        return loops.scatter_max(x, updates, indices, self.axes, self.batch_dims.value, safe)


@register(gen.CheckIndexOp)
class CheckIndex(Elementwise):
    pure, idempotent = False, True

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return ZERO

    def masked(
        self, b: Builder, mask: ir.Value, operands: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        (x,) = operands
        dims, message = shape(x), self.message.value
        zeros = b.zeros_like(x)
        if self.size.value:
            safe = b.select(b.all_of(mask, dims), x, zeros)
            return [b.check_index(safe, self.size.value, message, bool(self.wrap))]
        # Any index is wrong: one that is wrong for the size 1 stands for it.
        wrong = b.select(b.all_of(mask, dims), b.full_like(x, 1), zeros)
        return [b.check_index(wrong, 1, message, False)]

    def reference(self, x: Any) -> Any:
        wrapped = np.where(x < 0, x + self.size.value, x) if self.wrap else x
        bad = (wrapped < 0) | (wrapped >= self.size.value)
        if bad.any():
            kind, _, text = self.message.value.partition(": ")
            raise exception(kind)(text)
        return wrapped.astype(x.dtype)

    def simplify(self, b: Builder) -> ir.Value | None:
        return None

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.check_index(x, self.size.value, self.message.value, bool(self.wrap))


@register(gen.CheckOp)
class Check(Op):
    pure, idempotent = False, True

    def jvp(self, b: Builder, good_dot: Tangent) -> Sequence[Tangent]:
        return ()

    def batch(self, b: Builder, size: int, good: Batched) -> Sequence[Batched]:
        b.check(good.value, self.message.value)
        return ()

    def reference(self, good: Any) -> Sequence[Any]:
        if not good.all():
            kind, _, text = self.message.value.partition(": ")
            raise exception(kind)(text)
        return ()

    def lower(self, loops: Any, good: Any) -> Sequence[Any]:
        loops.check(good, self.message.value)
        return ()
