"""Scatters whose result is that of the updates one after the other, with a thread for each element.

Where rows of updates are few, or what they write is wide, a thread takes one element of the rest
dimensions through all updates. Else the updates are sorted by what they write, and the first of
those that write the same element does the work of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..affine import identity
from ..builders import index_constant
from ..control import copy_into
from ..indexing import Combine, Positions
from ..loop_emission import Emission
from ..loop_graph import Node
from .launch import unravelled, when
from .wholes import each, memory_of, steps

if TYPE_CHECKING:
    from .lowering import GpuLowering

_FEW, _WIDE = 64, 1 << 14

Values = list[ir.Value]


def scattered(
    lowering: GpuLowering,
    x: Node,
    updates: Node,
    indices: Sequence[Node],
    axes: Sequence[int],
    batch_dims: int,
    checked: bool,
    combine: Combine,
) -> Node:
    positions = Positions(x, indices, axes, batch_dims, checked)
    if x.size == 0 or updates.size == 0:
        return x
    scatter = _Scatter(lowering, positions, updates, combine)
    return scatter.lower(indices)


class _Scatter:
    def __init__(
        self, lowering: GpuLowering, positions: Positions, updates: Node, combine: Combine
    ) -> None:
        self.lowering, self.positions, self.combine = lowering, positions, combine
        self.x = positions.x
        shape = updates.shape
        n = positions.batch
        self.outer = shape[:n]
        self.rest = shape[positions.index_rank :]
        self.batch, self.width = math.prod(self.outer), math.prod(self.rest)
        self.count = math.prod(shape[n : positions.index_rank])
        self.updates = lowering.reshape(updates, (self.batch, self.count, self.width))
        self.sizes = [self.x.shape[axis] for axis in positions.axes]

    def lower(self, indices: Sequence[Node]) -> Node:
        targets = self.lowering.reshape(self._targets(indices), (self.batch, self.count))
        serial = self.count <= _FEW or self.batch * self.width >= _WIDE
        sources = [self.x, self.updates, targets]
        if not serial:
            sources.append(self.lowering.argsort(targets, 1, False))
        emit = self._in_order if serial else self._by_target
        types = [(self.x.shape, self.x.element)]
        return self.lowering.in_memory(types, sources, emit)[0]

    def _targets(self, indices: Sequence[Node]) -> Node:
        """Where each update goes, as a position among the scattered dimensions."""
        i64 = ir.IntegerType.get_signless(64)
        at = identity(len(indices[0].shape))

        def position(emission: Emission, *found: ir.Value) -> ir.Value:
            inside = [
                self.positions.clamped(value, size)
                for value, size in zip(found, self.sizes, strict=True)
            ]
            return arith.index_cast(i64, emission.scalars.position(inside, self.sizes))

        reads = [(index, at) for index in indices]
        return self.lowering.pointwise(indices[0].shape, i64, reads, position, 4 * len(reads))

    def _place(self, b: ir.Value, target: ir.Value, r: ir.Value) -> Values:
        """The element of x that an update of element r goes to."""
        found: dict[int, ir.Value] = {}
        found.update(enumerate(unravelled(b, self.outer)))
        flat = arith.index_cast(ir.IndexType.get(), target)
        axes = zip(self.positions.axes, unravelled(flat, self.sizes), strict=True)
        found.update(axes)
        found.update(zip(self.positions.rest, unravelled(r, self.rest), strict=True))
        return [found[d] for d in range(len(self.x.shape))]

    def _combined(self, emission: Emission, old: ir.Value, new: ir.Value) -> ir.Value:
        return new if self.combine is None else self.combine(emission.scalars, old, new)

    def _in_order(self, emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        [out] = places
        copy_into(tensors[0], out)
        updates, targets = map(memory_of, tensors[1:])
        with each("scatter", (self.batch, self.width)) as (b, r), steps(self.count) as i:
            place = self._place(b, memref.load(targets, [b, i]), r)
            new = memref.load(updates, [b, i, r])
            memref.store(self._combined(emission, memref.load(out, place), new), out, place)

    def _by_target(self, emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        [out] = places
        copy_into(tensors[0], out)
        updates, targets, order = map(memory_of, tensors[1:])
        index = ir.IndexType.get()

        def update_at(b: ir.Value, p: ir.Value) -> ir.Value:
            return arith.index_cast(index, memref.load(order, [b, p]))

        def same(b: ir.Value, target: ir.Value, p: ir.Value, bound: int) -> ir.Value:
            """Does the p-th update in order write there too? No, where there is none."""
            inside = arith.cmpi(arith.CmpIPredicate.ult, p, index_constant(self.count))
            safe = arith.select(inside, p, index_constant(bound))
            other = memref.load(targets, [b, update_at(b, safe)])
            return arith.andi(inside, arith.cmpi(arith.CmpIPredicate.eq, other, target))

        with each("scatter_sorted", (self.batch, self.count, self.width)) as (b, p, r):
            i = update_at(b, p)
            target = memref.load(targets, [b, i])
            step = 1 if self.combine is None else -1
            neighbour = arith.addi(p, index_constant(step))
            no = arith.ConstantOp(ir.IntegerType.get_signless(1), 1).result
            chosen = arith.xori(same(b, target, neighbour, 0), no)
            with when(chosen):
                place = self._place(b, target, r)
                if self.combine is None:
                    memref.store(memref.load(updates, [b, i, r]), out, place)
                else:
                    first = memref.load(out, place)
                    loop = scf.WhileOp([index, first.type], [p, first])
                    types = [index, first.type]
                    before = loop.before.blocks.append(*types, arg_locs=[ir.Location.unknown()] * 2)
                    with ir.InsertionPoint(before):
                        goes_on = same(b, target, before.arguments[0], self.count - 1)
                        scf.ConditionOp(goes_on, before.arguments)
                    after = loop.after.blocks.append(*types, arg_locs=[ir.Location.unknown()] * 2)
                    with ir.InsertionPoint(after):
                        q, total = after.arguments
                        new = memref.load(updates, [b, update_at(b, q), r])
                        one = index_constant(1)
                        scf.YieldOp([arith.addi(q, one), self._combined(emission, total, new)])
                    memref.store(loop.results[1], out, place)
