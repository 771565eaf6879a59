"""Kernels of several loop nests that run over the same rows, as softmax and layer norms do.

A block works on whole rows. What one nest makes and another reads stays in registers: element j of
a row belongs to one thread in all nests, and the result of a reduction is known to all threads of
its row. Only what is used after the kernel is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref, scf, vector

from ..builders import block_of, index_constant
from ..plan_memory import VIEWS, size_of
from ..scalars import constant
from .launch import Threads, divided, launch, less, when
from .nests import Access
from .reductions import across_lanes
from .row_groups import COLUMN, ELEMENT, ROW, Group, RowNest, origin, root


def emit(group: Group) -> None:
    """The kernel, here."""
    lanes, rows = group.lanes, group.rows
    side = max(1, 128 // lanes)
    names = [each.nest.name.removeprefix("map_").removeprefix("reduce_") for each in group.nests]
    name = "_".join(["rows", *dict.fromkeys(w for n in names for w in n.split("_"))][:5])
    with launch(name, -(-rows // side), side * lanes) as t:
        _Kernel(group, t, side).run()


class _Kernel:
    def __init__(self, group: Group, t: Threads, side: int) -> None:
        self.group, self.t, self.side = group, t, side
        self.mine, self.lane = divided(t.thread_id, group.lanes, t.block)
        row = arith.addi(arith.muli(t.block_id, index_constant(side)), self.mine)
        self.inside = less(row, group.rows) if group.rows % side else None
        last = index_constant(group.rows - 1)
        # Threads beyond the last row do its work again, and store nothing.
        self.row = row if self.inside is None else arith.minui(row, last)
        self.width = self._width()
        self.slots = -(-group.length // (group.lanes * self.width)) * self.width
        self.places = [self._place(slot) for slot in range(self.slots)]
        #: What is in registers: of a buffer, by slot (None: of the row).
        self.known: dict[tuple[Any, ...], ir.Value] = {}
        self.overwritten = group.overwritten()
        self.first_lane = arith.cmpi(arith.CmpIPredicate.eq, self.lane, index_constant(0))

    def _width(self) -> int:
        """Elements of a row beside each other in a thread: 16 bytes of the smallest type."""
        width = 16
        for each in self.group.nests:
            for number, access in enumerate(each.nest.accesses):
                type_ = access.buffer.type
                if isinstance(type_, ir.MemRefType) and each.form(access) in (ELEMENT, COLUMN):
                    if number < len(each.nest.inputs) and not each.nest.used[number]:
                        continue
                    width = min(width, 16 // size_of(ir.MemRefType.get([1], type_.element_type)))
        group = self.group
        while width > 1 and (group.length % width or group.slots < width):
            width //= 2
        return width

    def _place(self, slot: int) -> tuple[ir.Value, ir.Value | None]:
        """The element of the row in a slot, and whether there is one."""
        group, width = self.group, self.width
        step, inner = divmod(slot, width)
        at = arith.addi(self.lane, index_constant(step * group.lanes))
        if width > 1:
            at = arith.addi(arith.muli(at, index_constant(width)), index_constant(inner))
        if (step + 1) * group.lanes * width <= group.length:
            return at, None
        valid = less(at, group.length)
        last = index_constant(group.length - width + inner)
        return arith.minui(at, last), valid

    def run(self) -> None:
        for each in self.group.nests:
            if each.nest.reduced:
                self._reduce(each)
            else:
                self._map(each)

    def _map(self, each: RowNest) -> None:
        if each.length == 1:
            loops = each.loops(self.row, index_constant(0))
            results = each.nest.run(loops, self._loads(each, loops, None, {}))
            for access, value in zip(each.nest.outputs, results, strict=True):
                self._keep_row(each, access, loops, value)
            return
        made = []
        for slot in range(self.slots):
            loops = each.loops(self.row, self.places[slot][0])
            made.append(each.nest.run(loops, self._loads(each, loops, slot, {})))
        for n, access in enumerate(each.nest.outputs):
            self._keep_elements(each, access, [results[n] for results in made])

    def _reduce(self, each: RowNest) -> None:
        nest = each.nest
        reductions = [n for n, start in enumerate(nest.starts) if start is not None]
        carried = [_number(nest.starts[n]) for n in reductions]
        stored: dict[int, list[ir.Value]] = {n: [] for n in range(len(nest.outputs))}
        for slot in range(self.slots):
            at, valid = self.places[slot]
            loops = each.loops(self.row, at)
            skip = {len(nest.inputs) + n: v for n, v in zip(reductions, carried, strict=True)}
            made = nest.run(loops, self._loads(each, loops, slot, skip))
            new = [made[n] for n in reductions]
            if valid is not None:
                pairs = zip(new, carried, strict=True)
                new = [arith.select(valid, x, old) for x, old in pairs]
            carried = new
            for n in stored:
                stored[n].append(made[n])

        def combine(x: list[ir.Value], y: list[ir.Value]) -> list[ir.Value]:
            return [nest.combine(*values) for values in zip(reductions, x, y, strict=True)]

        lanes = self.group.lanes
        totals = across_lanes(self.t, self.mine, self.lane, self.side, lanes, carried, combine)
        loops = each.loops(self.row, index_constant(0))
        for n, access in enumerate(nest.outputs):
            if n in reductions:
                self._keep_row(each, access, loops, totals[reductions.index(n)])
            else:
                self._keep_elements(each, access, stored[n])

    # Registers and memory.

    def _loads(
        self,
        each: RowNest,
        loops: Sequence[ir.Value],
        slot: int | None,
        skip: dict[int, ir.Value],
    ) -> list[ir.Value]:
        known = dict(skip)
        for number, access in enumerate(each.nest.inputs):
            if not each.nest.used[number] or not isinstance(access.buffer.type, ir.MemRefType):
                continue
            known[number] = self._load(each, access, loops, slot)
        return each.nest.loads(loops, known)

    def _load(
        self, each: RowNest, access: Access, loops: Sequence[ir.Value], slot: int | None
    ) -> ir.Value:
        form = each.form(access)
        base = root(access.buffer)
        if form == ROW or (form is None and not any(d >= each.outer for d in access.loops())):
            key: tuple[Any, ...] = (
                (base, ROW) if form == ROW else (base, access.indices, each.outer)
            )
            if each.outer == 0:
                return memref.load(access.buffer, access.at(loops))
        elif form is not None:
            key = (base, form, slot)
            if key not in self.known and self.width > 1 and slot is not None:
                self._load_vector(each, access, (base, form), slot)
        else:
            return memref.load(access.buffer, access.at(loops))
        if key not in self.known:
            [self.known[key]] = self._guarded(
                base, slot, lambda: [memref.load(access.buffer, access.at(loops))]
            )
        return self.known[key]

    def _guarded(
        self, base: ir.Value, slot: int | None, load: Callable[[], list[ir.Value]]
    ) -> list[ir.Value]:
        """Threads without an element load another's, but not one that its thread overwrites."""
        valid = self.places[slot][1] if slot is not None else None
        conditions = [c for c in (valid, self.inside) if c is not None]
        if base not in self.overwritten or not conditions:
            return load()
        good = conditions[0] if len(conditions) == 1 else arith.andi(*conditions)
        type_ = base.type
        assert isinstance(type_, ir.MemRefType)
        choice = scf.IfOp(good, [type_.element_type] * self._beside(slot), has_else=True)
        with block_of(choice.then_block):
            scf.YieldOp(load())
        with block_of(choice.else_block):
            scf.YieldOp([constant(type_.element_type, 0)] * self._beside(slot))
        return list(choice.results)

    def _beside(self, slot: int | None) -> int:
        return 1 if slot is None else self.width

    def _load_vector(self, each: RowNest, access: Access, key: tuple[Any, ...], slot: int) -> None:
        first = slot - slot % self.width
        loops = each.loops(self.row, self.places[first][0])
        type_ = access.buffer.type
        assert isinstance(type_, ir.MemRefType)
        wide = ir.VectorType.get([self.width], type_.element_type)
        bytes_ = self.width * size_of(ir.MemRefType.get([1], type_.element_type))

        def load() -> list[ir.Value]:
            op = vector.LoadOp(wide, access.buffer, access.at(loops), alignment=bytes_)
            return [vector.extract(op.result, [], [lane]) for lane in range(self.width)]

        for lane, value in enumerate(self._guarded(key[0], first, load)):
            self.known[*key, first + lane] = value

    def _keep_row(
        self, each: RowNest, access: Access, loops: Sequence[ir.Value], value: ir.Value
    ) -> None:
        self.known[root(access.buffer), ROW] = value
        if self._is_used(access):
            good = self.first_lane
            if self.inside is not None:
                good = arith.andi(good, self.inside)
            with when(good):
                memref.store(value, access.buffer, access.at(loops))

    def _keep_elements(self, each: RowNest, access: Access, values: Sequence[ir.Value]) -> None:
        for slot, value in enumerate(values):
            self.known[root(access.buffer), ELEMENT, slot] = value
        if not self._is_used(access):
            return
        for first in range(0, self.slots, self.width):
            at, valid = self.places[first]
            conditions = [c for c in (valid, self.inside) if c is not None]
            if not conditions:
                self._store(each, access, at, values[first : first + self.width])
                continue
            good = conditions[0] if len(conditions) == 1 else arith.andi(*conditions)
            with when(good):
                self._store(each, access, at, values[first : first + self.width])

    def _store(
        self, each: RowNest, access: Access, at: ir.Value, values: Sequence[ir.Value]
    ) -> None:
        loops = each.loops(self.row, at)
        if len(values) == 1:
            memref.store(values[0], access.buffer, access.at(loops))
            return
        type_ = ir.VectorType.get([len(values)], values[0].type)
        packed = vector.from_elements(type_, list(values))
        bytes_ = len(values) * size_of(ir.MemRefType.get([1], values[0].type))
        vector.StoreOp(packed, access.buffer, access.at(loops), alignment=bytes_)

    def _is_used(self, access: Access) -> bool:
        """Does anything but this kernel look at the buffer?"""
        base = origin(access.buffer)
        if isinstance(base.owner, ir.Block) or base.owner.name != "memref.alloc":
            return True
        return not set(_users(base)) <= {each.nest.op for each in self.group.nests}


def _users(buffer: ir.Value) -> list[ir.Operation]:
    found = []
    for use in buffer.uses:
        owner = use.owner.operation
        found += _users(owner.results[0]) if owner.name in VIEWS else [owner]
    return found


def _number(attribute: Any) -> ir.Value:
    return arith.ConstantOp(attribute.type, attribute).result
