"""Scatters: every element is what the updates one after the other make of it, or as exact.

Few updates are compared with each other. Of updates that replace, the last one is found by an
atomic maximum, and integers are combined by atomics where no place is crowded. All others are
sorted by their targets, and a thread combines a piece of neighbours: runs that lie within it are
finished, what reaches over its ends is left to a next, shorter round. So sums are added up in one
order in each run, and no thread does more than others do, wherever the updates go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..affine import identity
from ..buffers import in_memory
from ..builders import block_of, index_constant
from ..control import copy_into
from ..indexing import Positions
from ..loop_emission import Emission
from ..loop_graph import Monoid, Node
from ..scalars import constant
from . import atomics
from .launch import less, refuse_more, unravelled, when
from .radix import RadixSort, resized
from .wholes import each, memory_of

if TYPE_CHECKING:
    from .lowering import GpuLowering

#: So many updates, each may look at all the others.
_FEW = 64
#: Neighbours that a thread combines, and those that it loads at once.
_PIECE, _LOADED = 32, 8
#: From this many updates for each place on, atomics would wait for each other.
_CROWD = 16

_ATOMIC = {"sum": "add", "maximum": "max"}
#: A sum that starts with -0 is that of the rest, even of zeros.
SUM = Monoid("sum", lambda _: -0.0, lambda m, old, new: m.add(old, new))

Values = list[ir.Value]


def scattered(
    lowering: GpuLowering,
    x: Node,
    updates: Node,
    indices: Sequence[Node],
    axes: Sequence[int],
    batch_dims: int,
    checked: bool,
    monoid: Monoid | None,
) -> Node:
    positions = Positions(x, indices, axes, batch_dims, checked)
    if x.size == 0 or updates.size == 0:
        return x
    scatter = _Scatter(lowering, positions, updates, monoid)
    return scatter.lower(indices)


class _Scatter:
    def __init__(
        self, lowering: GpuLowering, positions: Positions, updates: Node, monoid: Monoid | None
    ) -> None:
        self.lowering, self.positions, self.monoid = lowering, positions, monoid
        self.x = positions.x
        shape = updates.shape
        n = positions.batch
        self.outer = shape[:n]
        self.rest = shape[positions.index_rank :]
        self.batch, self.width = math.prod(self.outer), math.prod(self.rest)
        self.count = math.prod(shape[n : positions.index_rank])
        refuse_more("updates", self.count)
        self.updates = lowering.reshape(updates, (self.batch, self.count, self.width))
        self.sizes = [self.x.shape[axis] for axis in positions.axes]

        self.places = math.prod(self.sizes)
        self.target = ir.IntegerType.get_signless(32 if self.places < 1 << 31 else 64)

    def lower(self, indices: Sequence[Node]) -> Node:
        targets = self.lowering.reshape(self._targets(indices), (self.batch, self.count))
        types = [(self.x.shape, self.x.element)]
        return self.lowering.in_memory(types, [self.x, self.updates, targets], self._way())[0]

    def _way(self) -> Callable[..., None]:
        if self.count <= _FEW:
            return self._few
        crowded = self.count >= _CROWD * self.places
        if self.monoid is None:
            return self._last_of_target if crowded else self._by_owner
        element = self.x.element
        whole = isinstance(element, ir.IntegerType) and element.width in (32, 64)
        return self._at_once if whole and not crowded else self._by_target

    def _targets(self, indices: Sequence[Node]) -> Node:
        """Where each update goes, as a position among the scattered dimensions."""
        at = identity(len(indices[0].shape))

        def position(emission: Emission, *found: ir.Value) -> ir.Value:
            inside = [
                self.positions.clamped(value, size)
                for value, size in zip(found, self.sizes, strict=True)
            ]
            return arith.index_cast(self.target, emission.scalars.position(inside, self.sizes))

        reads = [(index, at) for index in indices]
        return self.lowering.pointwise(
            indices[0].shape, self.target, reads, position, 4 * len(reads)
        )

    def _place(self, b: ir.Value, target: ir.Value, r: ir.Value) -> Values:
        """The element of x that an update of element r goes to."""
        found: dict[int, ir.Value] = {}
        found.update(enumerate(unravelled(b, self.outer)))
        flat = arith.index_cast(ir.IndexType.get(), target)
        axes = zip(self.positions.axes, unravelled(flat, self.sizes), strict=True)
        found.update(axes)
        found.update(zip(self.positions.rest, unravelled(r, self.rest), strict=True))
        return [found[d] for d in range(len(self.x.shape))]

    def _store(self, emission: Emission, value: ir.Value, out: ir.Value, place: Values) -> None:
        memref.store(emission.to_memory(value), out, place)

    def _load(self, emission: Emission, memory: ir.Value, place: Values) -> ir.Value:
        return emission.from_memory(memref.load(memory, place), self.x.element)

    def _combined(self, emission: Emission, old: ir.Value, new: ir.Value) -> ir.Value:
        assert self.monoid is not None
        return self.monoid.combine(emission.scalars, old, new)

    def _few(self, emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        """The first update of an element does the work of all; or the last, where it replaces."""
        [out] = places
        copy_into(tensors[0], out)
        updates, targets = map(memory_of, tensors[1:])
        truth = constant(ir.IntegerType.get_signless(1), 1)
        with each("scatter_few", (self.batch, self.count, self.width)) as (b, i, r):
            target = memref.load(targets, [b, i])

            def same(j: ir.Value) -> ir.Value:
                return _equal(memref.load(targets, [b, j]), target)

            low, high = index_constant(0), i
            if self.monoid is None:
                low, high = arith.addi(i, index_constant(1)), index_constant(self.count)
            search = scf.ForOp(low, high, index_constant(1), [truth])
            with block_of(search.body):
                other = arith.xori(same(search.induction_variable), truth)
                scf.YieldOp([arith.andi(search.inner_iter_args[0], other)])
            with when(search.results[0]):
                place = self._place(b, target, r)
                if self.monoid is None:
                    memref.store(memref.load(updates, [b, i, r]), out, place)
                    return
                start = self._load(emission, out, place)
                end, one = index_constant(self.count), index_constant(1)
                loop = scf.ForOp(i, end, one, [start])
                with block_of(loop.body):
                    j, total = loop.induction_variable, loop.inner_iter_args[0]
                    new = self._load(emission, updates, [b, j, r])
                    scf.YieldOp(
                        [arith.select(same(j), self._combined(emission, total, new), total)]
                    )
                self._store(emission, loop.results[0], out, place)

    def _by_owner(self, emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        """Updates that replace: each place is owned by the last of those that go there."""
        [out] = places
        copy_into(tensors[0], out)
        updates, targets = map(memory_of, tensors[1:])
        i32, index = ir.IntegerType.get_signless(32), ir.IndexType.get()
        owners = memref.alloc(ir.MemRefType.get([self.batch, self.places], i32), [], [])
        with each("scatter_owners", (self.batch, self.places)) as at:
            memref.store(constant(i32, -1), owners, at)
        with each("scatter_claim", (self.batch, self.count)) as (b, i):
            target = memref.load(targets, [b, i])
            place = arith.index_cast(index, target)
            # A neighbour that goes there too is later: so places are less crowded.
            after = arith.addi(i, index_constant(1))
            safe = arith.minui(after, index_constant(self.count - 1))
            next_one = _equal(memref.load(targets, [b, safe]), target)
            beaten = arith.andi(less(after, self.count), next_one)
            with when(arith.xori(beaten, constant(beaten.type, 1))):
                atomics.update("max", owners, [b, place], arith.index_castui(i32, i))
        with each("scatter_owned", (self.batch, self.count, self.width)) as (b, i, r):
            target = memref.load(targets, [b, i])
            owner = memref.load(owners, [b, arith.index_cast(index, target)])
            with when(_equal(owner, arith.index_castui(i32, i))):
                value = memref.load(updates, [b, i, r])
                memref.store(value, out, self._place(b, target, r))

    def _at_once(self, emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        """Of integers the order does not matter."""
        [out] = places
        copy_into(tensors[0], out)
        updates, targets = map(memory_of, tensors[1:])
        assert self.monoid is not None
        kind = _ATOMIC[self.monoid.name]
        with each("scatter_atomic", (self.batch, self.count, self.width)) as (b, i, r):
            place = self._place(b, memref.load(targets, [b, i]), r)
            atomics.update(kind, out, place, memref.load(updates, [b, i, r]))

    def _sorted(self, targets: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Kernels, here: the updates (i32) in the order of their targets, and these."""
        shape, i32 = [self.batch, self.count], ir.IntegerType.get_signless(32)
        kind = _type_of(targets)
        order = memref.alloc(ir.MemRefType.get(shape, i32), [], [])
        ordered = memref.alloc(ir.MemRefType.get(shape, kind), [], [])

        def write(b: ir.Value, place: ir.Value, key: ir.Value, position: ir.Value) -> None:
            memref.store(resized(key, kind), ordered, [b, place])
            memref.store(position, order, [b, place])

        bits = (self.places - 1).bit_length()
        rows, length = shape
        keys = RadixSort(lambda b, i: memref.load(targets, [b, i]), bits, rows, length, whole=True)
        keys.emit(write)
        return order, ordered

    def _last_of_target(
        self, emission: Emission, places: Sequence[Any], *tensors: ir.Value
    ) -> None:
        """As `_by_owner`, where atomics would wait for each other."""
        [out] = places
        copy_into(tensors[0], out)
        updates, targets = map(memory_of, tensors[1:])
        order, ordered = self._sorted(targets)
        with each("scatter_last", (self.batch, self.count, self.width)) as (b, k, r):
            target = memref.load(ordered, [b, k])
            last = _equal(k, index_constant(self.count - 1))
            after = arith.minui(arith.addi(k, index_constant(1)), index_constant(self.count - 1))
            differs = arith.cmpi(arith.CmpIPredicate.ne, memref.load(ordered, [b, after]), target)
            with when(arith.ori(last, differs)):
                i = arith.index_castui(ir.IndexType.get(), memref.load(order, [b, k]))
                value = memref.load(updates, [b, i, r])
                memref.store(value, out, self._place(b, target, r))

    def _by_target(self, emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        """Updates are sorted by where they go, and runs of neighbours combined."""
        [out] = places
        copy_into(tensors[0], out)
        updates, targets = map(memory_of, tensors[1:])
        order, ordered = self._sorted(targets)

        def value(b: ir.Value, k: ir.Value, r: ir.Value) -> ir.Value:
            i = arith.index_castui(ir.IndexType.get(), memref.load(order, [b, k]))
            return self._load(emission, updates, [b, i, r])

        runs = _Runs(self.count, ordered, value, False)
        while runs is not None:
            runs = self._combine_runs(emission, out, runs)

    def _combine_runs(self, emission: Emission, out: ir.Value, runs: _Runs) -> _Runs | None:
        """A thread for each piece; what may go on in another piece is left for the next round."""
        n = runs.count
        single = n <= 2 * _PIECE
        piece = n if single else _PIECE
        pieces = -(-n // piece)
        kind = _type_of(runs.targets)
        i1 = ir.IntegerType.get_signless(1)
        left = values = None
        if not single:
            shape = [self.batch, 2 * pieces]
            left = memref.alloc(ir.MemRefType.get(shape, kind), [], [])
            stored = in_memory(self.x.element)
            values = memref.alloc(ir.MemRefType.get([*shape, self.width], stored), [], [])
        assert self.monoid is not None
        with each("scatter_runs", (self.batch, pieces, self.width)) as (b, p, r):
            neutral = constant(self.x.element, self.monoid.start(self.x.element))
            nobody, yes, no = constant(kind, -1), constant(i1, 1), constant(i1, 0)
            start = arith.muli(p, index_constant(piece))
            end = arith.minui(arith.addi(start, index_constant(piece)), index_constant(n))
            last = arith.subi(end, index_constant(1))
            first_slot = arith.muli(p, index_constant(2))
            last_slot = arith.addi(first_slot, index_constant(1))

            def target_at(k: ir.Value) -> ir.Value:
                return memref.load(runs.targets, [b, k])

            def finished(target: ir.Value, total: ir.Value) -> None:
                def add() -> None:
                    place = self._place(b, target, r)
                    old = self._load(emission, out, place)
                    self._store(emission, self._combined(emission, old, total), out, place)

                if runs.holes:
                    with when(_somebody(target)):
                        add()
                else:
                    add()

            def leave(slot: ir.Value, value: ir.Value) -> None:
                assert values is not None
                self._store(emission, value, values, [b, slot, r])

            first, joined, goes_on = target_at(start), no, no
            if not single:
                # Does the first run come from the piece before, and the last one go on?
                before = target_at(
                    arith.subi(arith.maxui(start, index_constant(1)), index_constant(1))
                )
                inner = arith.cmpi(arith.CmpIPredicate.ugt, p, index_constant(0))
                joined = arith.andi(inner, arith.andi(_equal(before, first), _somebody(first)))
                final, after = target_at(last), target_at(arith.minui(end, index_constant(n - 1)))
                goes_on = arith.andi(
                    less(end, n), arith.andi(_equal(final, after), _somebody(final))
                )
                with when(_equal(r, index_constant(0))):
                    assert left is not None
                    memref.store(arith.select(joined, first, nobody), left, [b, first_slot])
                    memref.store(arith.select(goes_on, final, nobody), left, [b, last_slot])
                with when(arith.xori(joined, yes)):
                    leave(first_slot, neutral)

            def ends(target: ir.Value, total: ir.Value, shared: ir.Value) -> None:
                if single:
                    finished(target, total)
                    return
                choice = scf.IfOp(shared, has_else=True)
                with block_of(choice.then_block):
                    leave(first_slot, total)
                    scf.YieldOp([])
                with block_of(choice.else_block):
                    finished(target, total)
                    scf.YieldOp([])

            rounds = index_constant(-(-piece // _LOADED))
            loop = scf.ForOp(index_constant(0), rounds, index_constant(1), [first, neutral, joined])
            with block_of(loop.body):
                base = arith.addi(
                    start, arith.muli(loop.induction_variable, index_constant(_LOADED))
                )
                loaded = []
                for u in range(_LOADED):
                    k = arith.addi(base, index_constant(u))
                    safe = arith.minui(k, last)
                    there = arith.cmpi(arith.CmpIPredicate.ult, k, end)
                    new = arith.select(there, runs.value(b, safe, r), neutral)
                    loaded.append((target_at(safe), new))
                target, total, shared = loop.inner_iter_args
                for other, new in loaded:
                    again = _equal(other, target)
                    with when(arith.xori(again, yes)):
                        ends(target, total, shared)
                    total = arith.select(again, self._combined(emission, total, new), new)
                    target, shared = other, arith.andi(shared, again)
                scf.YieldOp([target, total, shared])
            target, total, shared = loop.results
            if single:
                finished(target, total)
            else:
                alone = arith.andi(goes_on, arith.xori(shared, yes))
                choice = scf.IfOp(alone, has_else=True)
                with block_of(choice.then_block):
                    leave(last_slot, total)
                    scf.YieldOp([])
                with block_of(choice.else_block):
                    leave(last_slot, neutral)
                    ends(target, total, shared)
                    scf.YieldOp([])
        if left is None:
            return None

        def value(b: ir.Value, k: ir.Value, r: ir.Value) -> ir.Value:
            assert values is not None
            return self._load(emission, values, [b, k, r])

        return _Runs(2 * pieces, left, value, True)


@dataclass(frozen=True)
class _Runs:
    """Values beside each other that go to equal targets. `holes`: some go nowhere (-1)."""

    count: int
    targets: ir.Value
    value: Callable[[ir.Value, ir.Value, ir.Value], ir.Value]
    holes: bool


def _type_of(targets: ir.Value) -> ir.Type:
    type_ = targets.type
    assert isinstance(type_, ir.MemRefType)
    return type_.element_type


def _equal(x: ir.Value, y: ir.Value) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.eq, x, y)


def _somebody(target: ir.Value) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.sge, target, constant(target.type, 0))
