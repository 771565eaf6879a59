"""Stable sorting of positions by integer keys, a digit at a time from the lowest (radix sort).

A block takes a tile of positions. Where there is more than one tile in a row, a kernel counts the
digits of each, a second adds up the counts of the tiles before, and a third puts the positions in
their places. In a tile, lanes with the same digit find each other by votes; each warp counts its
own digits; positions go through shared memory, so that what lies beside each other is written
together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from ..scalars import constant, width
from . import atomics, warps
from .launch import BLOCK, WARP, Threads, divided, launch, less, refuse_more, when
from .shuffles import shuffled

#: Bits of a digit at most; positions that a thread takes at most and at least.
_DIGIT, _MOST, _LEAST = 8, 16, 4
#: Of keys with more than 32 bits, for which there are not as many registers.
_MOST_WIDE = 6
#: So many blocks keep a GPU busy; rows so long are better read in large tiles.
_BUSY, _LONG = 256, 1 << 20

Key = Callable[[ir.Value, ir.Value], ir.Value]
Write = Callable[[ir.Value, ir.Value, ir.Value, ir.Value], Any]


@dataclass(frozen=True)
class _Pass:
    """One digit: `bits` of them from `shift` on of keys with `left` bits that are to be sorted."""

    key: Key
    position: Key | None
    shift: int
    bits: int
    write: Write

    @property
    def bins(self) -> int:
        return 1 << self.bits


class RadixSort:
    """Sorts rows of `length` positions by the low `bits` bits of key(row, position), an integer.

    The rest of a key's bits are zeros. `whole`: writers get keys as they were.
    """

    def __init__(self, key: Key, bits: int, rows: int, length: int, whole: bool = False) -> None:
        refuse_more("elements of a row that is sorted", length)
        self.key, self.bits, self.whole = key, max(bits, 1), whole
        self.rows, self.length = rows, length
        self.i32 = ir.IntegerType.get_signless(32)
        items = _MOST if rows * length >= _LONG else _MOST // 2
        if bits > 32:
            items = min(items, _MOST_WIDE)
        while items > _LEAST and rows * -(-length // (BLOCK * items)) < _BUSY:
            items //= 2
        self.items, self.tile = items, BLOCK * items
        self.tiles = -(-length // self.tile)

    def emit(self, write: Write) -> None:
        """Kernels, here; write(row, place, key, position: i32) is called for each place."""
        passes = -(-self.bits // _DIGIT)
        digit = -(-self.bits // passes)
        key, position, done = self.key, None, 0
        while done < self.bits:
            bits = min(digit, self.bits - done)
            shift = done if self.whole else 0
            done += bits
            if done == self.bits:
                self._sort(_Pass(key, position, shift, bits, write))
                return
            left = self.bits if self.whole else self.bits - done
            keys = memref.alloc(ir.MemRefType.get([self.rows, self.length], _holding(left)), [], [])
            order = memref.alloc(ir.MemRefType.get([self.rows, self.length], self.i32), [], [])
            to = keys, order, 0 if self.whole else bits
            self._sort(_Pass(key, position, shift, bits, _into(*to)))
            key, position = _from(keys), _from(order)

    def _sort(self, step: _Pass) -> None:
        if self.tiles == 1:
            self._place(step, None)
            return
        # Of each tile and digit; then of the tiles before it; and of all tiles.
        type_ = ir.MemRefType.get([self.rows, step.bins, self.tiles], self.i32)
        counts = memref.alloc(type_, [], [])
        totals = memref.alloc(ir.MemRefType.get([self.rows, step.bins], self.i32), [], [])
        self._count(step, counts)
        self._add_up(step, counts, totals)
        self._place(step, (counts, totals))

    # The tile of a block.

    def _start(self, t: Threads, step: _Pass) -> tuple[ir.Value, ir.Value, ir.Value]:
        """The row and the tile of this block, and the digits that its warps count: none yet."""
        row, tile = divided(t.block_id, self.tiles, self.rows * self.tiles)
        counted = t.shared([t.block // WARP * step.bins], self.i32)
        for n in range(0, t.block // WARP * step.bins, t.block):
            at = arith.addi(t.thread_id, index_constant(n))
            zero = constant(self.i32, 0)
            if n + t.block <= t.block // WARP * step.bins:
                memref.store(zero, counted, [at])
            else:
                with when(less(at, t.block // WARP * step.bins)):
                    memref.store(zero, counted, [at])
        t.barrier()
        return row, tile, counted

    def _ranked(
        self, t: Threads, step: _Pass, row: ir.Value, tile: ir.Value, counted: ir.Value
    ) -> list[tuple[ir.Value, ir.Value, ir.Value, ir.Value]]:
        """Of each position of this thread: place, key, digit, and how many of its warp with the
        same digit come before."""
        mine = arith.muli(tile, index_constant(self.tile))
        own = arith.muli(warps.warp(t), index_constant(WARP * self.items))
        first = arith.addi(arith.addi(mine, own), warps.lane(t))
        end, last = index_constant(self.length), index_constant(self.length - 1)
        before_me = warps.lanes_before(t)
        bins = index_constant(step.bins)
        base = arith.muli(warps.warp(t), bins)
        found = []
        for n in range(self.items):
            at = arith.addi(first, index_constant(n * WARP))
            ragged = self.length % self.tile != 0
            place = arith.minui(at, last) if ragged else at
            found.append((place, step.key(row, place), at))
        ranked = []
        for place, key, at in found:
            digit = _digit(key, step)
            if self.length % self.tile:
                # What is not there comes last.
                inside = arith.cmpi(arith.CmpIPredicate.ult, at, end)
                digit = arith.select(inside, digit, constant(self.i32, step.bins - 1))
            same = warps.peers(digit, step.bits)
            before = warps.count(arith.andi(same, before_me))
            leads = arith.cmpi(arith.CmpIPredicate.eq, before, constant(self.i32, 0))
            slot = arith.addi(base, arith.index_castui(ir.IndexType.get(), digit))
            adds = scf.IfOp(leads, [self.i32], has_else=True)
            with block_of(adds.then_block):
                old = atomics.update("add", counted, [slot], warps.count(same))
                scf.YieldOp([old])
            with block_of(adds.else_block):
                scf.YieldOp([constant(self.i32, 0)])
            # Until this arrives nobody goes on: the warp's counts grow in the order of positions.
            earlier = shuffled(adds.results[0], "idx", warps.first(same))
            ranked.append((place, key, digit, arith.addi(earlier, before)))
        t.barrier()
        return ranked

    def _counted(
        self, t: Threads, step: _Pass, counted: ir.Value, place: bool
    ) -> tuple[ir.Value, ir.Value]:
        """A digit of this thread, and how often it is in the tile.

        `place`: each warp's count becomes that of the warps before it.
        """
        inside = less(t.thread_id, step.bins)
        bin_ = t.thread_id
        if step.bins < t.block:
            bin_ = arith.minui(t.thread_id, index_constant(step.bins - 1))
        total = constant(self.i32, 0)
        sums = []
        for n in range(t.block // WARP):
            at = arith.addi(bin_, index_constant(n * step.bins))
            sums.append((at, total))
            total = arith.addi(total, memref.load(counted, [at]))
        if place:
            with when(inside):
                for at, before in sums:
                    memref.store(before, counted, [at])
        return bin_, arith.select(inside, total, constant(self.i32, 0))

    # The three kernels.

    def _count(self, step: _Pass, counts: ir.Value) -> None:
        with launch("radix_count", self.rows * self.tiles, BLOCK) as t:
            row, tile, counted = self._start(t, step)
            self._ranked(t, step, row, tile, counted)
            bin_, total = self._counted(t, step, counted, False)
            valid = total
            if self.length % self.tile:
                # Beyond the end there are some in the last bin of the last tile.
                is_last = arith.andi(_equal(tile, self.tiles - 1), _equal(bin_, step.bins - 1))
                extra = self.tiles * self.tile - self.length
                fewer = arith.subi(total, constant(self.i32, extra))
                valid = arith.select(is_last, fewer, total)
            with when(less(t.thread_id, step.bins)):
                memref.store(valid, counts, [row, bin_, tile])

    def _add_up(self, step: _Pass, counts: ir.Value, totals: ir.Value) -> None:
        """A warp for each row and digit goes through the tiles."""
        number = self.rows * step.bins
        grid = -(-number * WARP // BLOCK)
        with launch("radix_scan", grid, BLOCK) as t:
            flat, at = divided(t.flat(), WARP, grid * BLOCK)
            with when(less(flat, number)):
                row, bin_ = divided(flat, step.bins, grid * BLOCK // WARP)
                chunks = -(-self.tiles // WARP)
                zero = constant(self.i32, 0)
                loop = scf.ForOp(
                    index_constant(0), index_constant(chunks), index_constant(1), [zero]
                )
                with block_of(loop.body):
                    chunk = arith.muli(loop.induction_variable, index_constant(WARP))
                    tile = arith.addi(chunk, at)
                    inside = less(tile, self.tiles)
                    read = scf.IfOp(inside, [self.i32], has_else=True)
                    with block_of(read.then_block):
                        scf.YieldOp([memref.load(counts, [row, bin_, tile])])
                    with block_of(read.else_block):
                        scf.YieldOp([zero])
                    here = read.results[0]
                    [up_to] = warps.scan(at, [here], _sums)
                    carried = loop.inner_iter_args[0]
                    with when(inside):
                        before = arith.addi(carried, arith.subi(up_to, here))
                        memref.store(before, counts, [row, bin_, tile])
                    whole = shuffled(up_to, "idx", constant(self.i32, WARP - 1))
                    scf.YieldOp([arith.addi(carried, whole)])
                with when(_equal(at, 0)):
                    memref.store(loop.results[0], totals, [row, bin_])

    def _place(self, step: _Pass, sums: tuple[ir.Value, ir.Value] | None) -> None:
        index, zero = ir.IndexType.get(), constant(self.i32, 0)
        with launch("radix_place", self.rows * self.tiles, BLOCK) as t:
            row, tile, counted = self._start(t, step)
            ranked = self._ranked(t, step, row, tile, counted)
            bin_, total = self._counted(t, step, counted, True)
            inside = less(t.thread_id, step.bins)
            groups = [[total]]
            if sums is not None:
                overall = memref.load(sums[1], [row, bin_])
                groups.append([arith.select(inside, overall, zero)])
            scanned = warps.block_scan(t, groups, _sums, [zero])
            starts = t.shared([step.bins], self.i32)  # in the tile
            moves = t.shared([step.bins], self.i32)  # from there into the row
            with when(inside):
                [start] = scanned[0][0]
                memref.store(start, starts, [bin_])
                if sums is not None:
                    place = arith.addi(scanned[1][0][0], memref.load(sums[0], [row, bin_, tile]))
                    memref.store(arith.subi(place, start), moves, [bin_])
            t.barrier()
            keys = t.shared([self.tile], ranked[0][1].type)
            positions = t.shared([self.tile], self.i32)
            base = arith.muli(warps.warp(t), index_constant(step.bins))
            for place, key, digit, rank in ranked:
                slot = arith.index_castui(index, digit)
                start = memref.load(starts, [slot])
                earlier = memref.load(counted, [arith.addi(base, slot)])
                to = arith.index_castui(index, arith.addi(arith.addi(start, earlier), rank))
                memref.store(key, keys, [to])
                if step.position is None:
                    position = arith.index_castui(self.i32, place)
                else:
                    position = step.position(row, place)
                memref.store(position, positions, [to])
            t.barrier()
            self._written(t, step, (row, tile), (keys, positions), moves, sums is not None)

    def _written(
        self,
        t: Threads,
        step: _Pass,
        where: tuple[ir.Value, ir.Value],
        sorted_: tuple[ir.Value, ir.Value],
        moves: ir.Value,
        moved: bool,
    ) -> None:
        """The tile, in order, to where it belongs in the row."""
        index = ir.IndexType.get()
        row, tile = where
        first = arith.muli(tile, index_constant(self.tile))
        for n in range(self.items):
            at = arith.addi(t.thread_id, index_constant(n * t.block))

            def write(at: ir.Value = at) -> None:
                key, position = (memref.load(memory, [at]) for memory in sorted_)
                place = at
                if moved:
                    digit = arith.index_castui(index, _digit(key, step))
                    by = memref.load(moves, [digit])
                    place = arith.addi(arith.index_castui(self.i32, at), by)
                    place = arith.index_castui(index, place)
                step.write(row, place, key, position)

            if self.length % self.tile == 0:
                write()
            else:
                with when(less(arith.addi(first, at), self.length)):
                    write()


def _holding(bits: int) -> ir.IntegerType:
    return ir.IntegerType.get_signless(next(n for n in (8, 16, 32, 64) if n >= bits))


def _digit(key: ir.Value, step: _Pass) -> ir.Value:
    """As an i32."""
    i32 = ir.IntegerType.get_signless(32)
    shifted = arith.shrui(key, constant(key.type, step.shift)) if step.shift else key
    return arith.andi(resized(shifted, i32), constant(i32, step.bins - 1))


def resized(value: ir.Value, type_: ir.Type) -> ir.Value:
    """An integer without sign in more or fewer bits."""
    if width(value.type) == width(type_):
        return value
    emit = arith.trunci if width(value.type) > width(type_) else arith.extui
    return emit(type_, value)


def _equal(x: ir.Value, number: int) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.eq, x, index_constant(number))


def _from(memory: Any) -> Key:
    return lambda row, at: memref.load(memory, [row, at])


def _into(keys: Any, order: Any, shift: int) -> Write:
    def write(row: ir.Value, place: ir.Value, key: ir.Value, position: ir.Value) -> None:
        shifted = arith.shrui(key, constant(key.type, shift)) if shift else key
        memref.store(resized(shifted, keys.type.element_type), keys, [row, place])
        memref.store(position, order, [row, place])

    return write


def _sums(earlier: warps.Values, later: warps.Values) -> warps.Values:
    return [arith.addi(x, y) for x, y in zip(earlier, later, strict=True)]
