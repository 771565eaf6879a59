"""Sorting of positions: bitonic networks, in shared memory as far as they reach.

Rows are filled up to a power of two with positions beyond the end, which come last. No two
positions are equal in the order (equal keys are ordered by position), so the result is that of a
stable sort whatever the network does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import index_constant
from ..control import CONTROL
from ..loop_emission import Emission
from ..scalars import Scalars, constant, width
from ..sorting import precedes
from .launch import BLOCK, Threads, divided, launch, less, when
from .radix import RadixSort
from .wholes import each

#: Positions that a block sorts in shared memory, as a power of two.
BITS = 10
CHUNK = 1 << BITS

Key = Callable[[ir.Value, ir.Value], ir.Value]


def emit(
    emission: Emission, keys: ir.Value, out: ir.Value, element: ir.Type, descending: bool
) -> None:
    """Kernels, here: out[row, place] = the position (i64) of what comes there; stable."""
    type_ = keys.type
    assert isinstance(type_, ir.MemRefType)
    rows, length = type_.shape
    if length <= CHUNK:

        def value(row: ir.Value, at: ir.Value) -> ir.Value:
            return emission.from_memory(memref.load(keys, [row, at]), element)

        Sort(emission.scalars, value, rows, length, descending).emit(out)
        return
    i64 = ir.IntegerType.get_signless(64)

    def key(row: ir.Value, at: ir.Value) -> ir.Value:
        return ordered_bits(memref.load(keys, [row, at]), element, descending)

    def write(row: ir.Value, place: ir.Value, _: ir.Value, position: ir.Value) -> None:
        memref.store(arith.extui(i64, position), out, [row, place])

    RadixSort(key, width(element), rows, length).emit(write)


#: Of a float's bits: those of infinity, and of the NaN that stands for all of them.
_INFINITY = {
    "f64": (0x7FF0000000000000, 0x7FF8000000000000),
    "f32": (0x7F800000, 0x7FC00000),
    "bf16": (0x7F80, 0x7FC0),
    "f16": (0x7C00, 0x7E00),
}


def ordered_bits(stored: ir.Value, element: ir.Type, descending: bool) -> ir.Value:
    """What is in memory as an unsigned integer that orders as the elements do.

    NaN is larger than everything else, and all of them are equal, as -0 and 0 are.
    """
    bits = width(stored.type)
    type_ = ir.IntegerType.get_signless(bits)
    key = stored if stored.type == type_ else arith.bitcast(type_, stored)
    if width(element) == 1:
        truth = arith.cmpi(arith.CmpIPredicate.ne, key, constant(type_, 0))
        key, mask = arith.extui(type_, truth), 1
    else:
        mask, sign = -1, constant(type_, -(1 << bits - 1))
        if isinstance(element, ir.FloatType):
            infinity, nan = _INFINITY[str(element)]
            size = arith.andi(key, constant(type_, (1 << bits - 1) - 1))
            negative = arith.cmpi(arith.CmpIPredicate.slt, key, constant(type_, 0))
            turned = arith.select(negative, arith.subi(constant(type_, 0), size), size)
            is_nan = arith.cmpi(arith.CmpIPredicate.ugt, size, constant(type_, infinity))
            key = arith.select(is_nan, constant(type_, nan), turned)
        key = arith.xori(key, sign)
    return arith.xori(key, constant(type_, mask)) if descending else key


class Sort:
    """Sorts rows of `length` positions by key(row, position)."""

    def __init__(self, m: Scalars, key: Key, rows: int, length: int, descending: bool) -> None:
        self.m, self.key, self.rows, self.length = m, key, rows, length
        self.descending = descending
        self.bits = max(1, (length - 1).bit_length())
        self.i32 = ir.IntegerType.get_signless(32)

    def emit(self, out: ir.Value) -> None:
        """Kernels, here, that write the positions (i64) in order to out[row, place]."""
        padded = 1 << self.bits
        type_ = ir.MemRefType.get([self.rows, padded], self.i32)
        order = memref.alloc(type_, [], [])
        with each("sort_start", (self.rows, padded)) as (row, at):
            memref.store(arith.index_castui(self.i32, at), order, [row, at])
        self._in_blocks(order, None)
        levels = self.bits - BITS
        if levels > 0:
            with _host_loop(levels) as level:
                with _host_loop(levels) as step:
                    self._across(order, level, step)
                self._in_blocks(order, level)
        with each("sort_end", (self.rows, self.length)) as (row, at):
            i64 = ir.IntegerType.get_signless(64)
            memref.store(arith.extui(i64, memref.load(order, [row, at])), out, [row, at])

    def before(self, row: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
        """Does position x (i32) come before y?"""
        m, end = self.m, constant(self.i32, self.length)
        keys = [self.key(row, self._inside(p)) for p in (x, y)]
        first = precedes(m, keys[0], keys[1], self.descending)
        second = precedes(m, keys[1], keys[0], self.descending)
        earlier = arith.cmpi(arith.CmpIPredicate.ult, x, y)
        by_key = arith.select(first, first, arith.andi(arith.xori(second, _true()), earlier))
        both = arith.andi(*(arith.cmpi(arith.CmpIPredicate.ult, p, end) for p in (x, y)))
        return arith.select(both, by_key, earlier)

    def _inside(self, position: ir.Value) -> ir.Value:
        last = constant(self.i32, self.length - 1)
        return arith.index_castui(ir.IndexType.get(), arith.minui(position, last))

    def _exchange(
        self,
        memory: Any,
        row: ir.Value,
        places: tuple[list[ir.Value], list[ir.Value]],
        up: ir.Value,
    ) -> None:
        """Puts two positions in order, or in the opposite order."""
        x, y = (memref.load(memory, place) for place in places)
        swap = arith.xori(arith.xori(self.before(row, x, y), _true()), arith.xori(up, _true()))
        with when(swap):
            memref.store(y, memory, places[0])
            memref.store(x, memory, places[1])

    def _across(self, order: ir.Value, level: ir.Value, step: ir.Value) -> None:
        """One stage of merging sorted runs of 2^(BITS + level), over distances beyond a block."""
        half = 1 << self.bits - 1
        count = self.rows * half
        with launch("sort_across", -(-count // BLOCK), BLOCK) as t:
            row, pair = divided(t.flat(), half, -(-count // BLOCK) * BLOCK)
            good = arith.andi(
                less(t.flat(), count), arith.cmpi(arith.CmpIPredicate.ule, step, level)
            )
            with when(good):
                bit = arith.addi(arith.subi(level, step), index_constant(BITS))
                low, high = _pair(pair, bit)
                run = arith.addi(level, index_constant(BITS + 1))
                self._exchange(order, row, ([row, low], [row, high]), _upwards(low, run))

    def _in_blocks(self, order: ir.Value, level: ir.Value | None) -> None:
        """Sorts blocks of positions (level: None), or ends the merging of longer runs in them."""
        size = min(CHUNK, 1 << self.bits)
        chunks = (1 << self.bits) // size
        bits = size.bit_length() - 1
        block = max(32, size // 4)
        name = "sort_blocks" if level is None else "sort_merge"
        with launch(name, self.rows * chunks, block) as t:
            row, chunk = divided(t.block_id, chunks, self.rows * chunks)
            first = arith.muli(chunk, index_constant(size))
            memory = t.shared([size], self.i32)
            self._move(
                t,
                size,
                lambda at: memref.store(
                    memref.load(order, [row, arith.addi(first, at)]), memory, [at]
                ),
            )
            t.barrier()
            if level is None:
                with _loop(1, index_constant(bits + 1)) as run:
                    self._merge(t, memory, row, first, run, run, size)
            else:
                run = arith.addi(level, index_constant(BITS + 1))
                self._merge(t, memory, row, first, run, index_constant(bits), size)
            self._move(
                t,
                size,
                lambda at: memref.store(
                    memref.load(memory, [at]), order, [row, arith.addi(first, at)]
                ),
            )

    def _move(self, t: Threads, size: int, move: Callable[[ir.Value], Any]) -> None:
        for n in range(-(-size // t.block)):
            at = arith.addi(t.thread_id, index_constant(n * t.block)) if n else t.thread_id
            if size % t.block:
                with when(less(at, size)):
                    move(at)
            else:
                move(at)

    def _merge(
        self,
        t: Threads,
        memory: ir.Value,
        row: ir.Value,
        first: ir.Value,
        run: ir.Value,
        stages: ir.Value,
        size: int,
    ) -> None:
        """Stages of runs of 2^run, over distances 2^(stages - 1), ..., 1."""
        with _loop(0, stages) as stage:
            bit = arith.subi(arith.subi(stages, stage), index_constant(1))

            def move(pair: ir.Value) -> None:
                low, high = _pair(pair, bit)
                up = _upwards(arith.addi(first, low), run)
                self._exchange(memory, row, ([low], [high]), up)

            self._move(t, size // 2, move)
            t.barrier()


def _true() -> ir.Value:
    return constant(ir.IntegerType.get_signless(1), 1)


def _pair(pair: ir.Value, bit: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The two places of a pair, which differ in this bit."""
    distance = arith.shli(index_constant(1), bit)
    below = arith.andi(pair, arith.subi(distance, index_constant(1)))
    above = arith.shli(arith.shrui(pair, bit), arith.addi(bit, index_constant(1)))
    low = arith.ori(above, below)
    return low, arith.ori(low, distance)


def _upwards(place: ir.Value, run: ir.Value) -> ir.Value:
    """Is this place in a run (of 2^run) that is to be ascending? The last run of all is."""
    bit = arith.andi(arith.shrui(place, run), index_constant(1))
    return arith.cmpi(arith.CmpIPredicate.eq, bit, index_constant(0))


class _loop:
    """for i = low to high, uniform in a block."""

    def __init__(self, low: int, high: ir.Value) -> None:
        self.op = scf.ForOp(index_constant(low), high, index_constant(1))
        self.point = ir.InsertionPoint(self.op.body)

    def __enter__(self) -> ir.Value:
        self.point.__enter__()
        return self.op.induction_variable

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            scf.YieldOp([])
        self.point.__exit__(*error)


class _host_loop(_loop):
    """A loop around kernels."""

    def __init__(self, count: int) -> None:
        super().__init__(0, index_constant(count))
        self.op.operation.attributes[CONTROL] = ir.UnitAttr.get()
