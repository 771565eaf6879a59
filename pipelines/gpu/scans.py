"""Partial sums along a dimension. Elements stand as (outer, length, inner).

Short rows are given to the lanes of a warp, longer ones to blocks, a tile each: a first kernel
sums up the tiles, a second adds what comes before to the sums within. Where rows do not lie beside
each other a thread adds up a piece, and the totals of pieces are treated in the same way. The sums
of an f32 are f64, as on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from ..scalars import Scalars, constant
from . import warps
from .launch import BLOCK, WARP, Threads, divided, launch, less, when
from .shuffles import shuffled
from .wholes import each

#: What a thread adds up by itself, and when it takes all.
PIECE, _SHORT = 16, 64
#: Elements of a row that one warp goes through; elements of a thread of a block.
_OF_WARP, _ITEMS = 256, 8
#: So many tiles a block may look at, to add up what comes before its own.
_LOOKED_AT = 8 * BLOCK

Sizes = tuple[int, int, int]


def scan(
    m: Scalars,
    values: ir.Value,
    out: ir.Value,
    sizes: Sizes,
    wide: ir.Type,
    reverse: bool,
    exclusive: bool = False,
) -> None:
    """out[o, k, i] = the sum of values[o, :k + 1, i], or without k itself: kernels, here."""
    made = _Scan(m, values, out, sizes, wide, reverse, exclusive)
    if sizes[2] > 1:
        made.across()
    elif sizes[1] <= _OF_WARP:
        made.rows()
    else:
        made.tiles()


class _Scan:
    def __init__(
        self,
        m: Scalars,
        values: ir.Value,
        out: ir.Value,
        sizes: Sizes,
        wide: ir.Type,
        reverse: bool,
        exclusive: bool,
    ) -> None:
        self.m, self.values, self.out, self.wide = m, values, out, wide
        self.outer, self.length, self.inner = sizes
        self.reverse, self.exclusive = reverse, exclusive
        self.zero = constant(wide, 0)

    # Elements, by their place in the order of the sums.

    def _at(self, k: ir.Value) -> ir.Value:
        return arith.subi(index_constant(self.length - 1), k) if self.reverse else k

    def _load(self, o: ir.Value, k: ir.Value, i: ir.Value) -> ir.Value:
        return self.m.convert(memref.load(self.values, [o, self._at(k), i]), self.wide)

    def _load_inside(self, o: ir.Value, k: ir.Value, i: ir.Value) -> ir.Value:
        """0 beyond the end."""
        safe = arith.minui(k, index_constant(self.length - 1))
        return arith.select(less(k, self.length), self._load(o, safe, i), self.zero)

    def _stored(self, value: ir.Value) -> ir.Value:
        type_ = self.out.type
        assert isinstance(type_, ir.MemRefType)
        return self.m.convert(value, type_.element_type)

    def _store(self, value: ir.Value, o: ir.Value, k: ir.Value, i: ir.Value) -> None:
        memref.store(self._stored(value), self.out, [o, self._at(k), i])

    # Rows that a part of a warp goes through.

    def rows(self) -> None:
        lanes = min(WARP, 1 << (self.length - 1).bit_length())
        threads = self.outer * lanes
        grid = -(-threads // BLOCK)
        with launch("scan_rows", grid, BLOCK) as t:
            row, lane = divided(t.flat(), lanes, grid * BLOCK)
            inside = less(row, self.outer)
            o, i = arith.minui(row, index_constant(self.outer - 1)), index_constant(0)
            with _carrying(-(-self.length // lanes), self.zero) as (chunk, before, after):
                k = arith.addi(arith.muli(chunk, index_constant(lanes)), lane)
                value = self._load_inside(o, k, i)
                up_to = self._within(value, lane, lanes)
                last = arith.ori(warps.lane(t), index_constant(lanes - 1))  # of this row
                source = arith.index_castui(ir.IntegerType.get_signless(32), last)
                if self.exclusive:
                    shifted = shuffled(up_to, "up", 1)
                    first = arith.cmpi(arith.CmpIPredicate.eq, lane, index_constant(0))
                    result = arith.select(first, self.zero, shifted)
                else:
                    result = up_to
                with when(arith.andi(inside, less(k, self.length))):
                    self._store(self.m.add(before, result), o, k, i)
                after.append(self.m.add(before, shuffled(up_to, "idx", source)))

    def _within(self, value: ir.Value, lane: ir.Value, lanes: int) -> ir.Value:
        distance = 1
        while distance < lanes:
            longer = self.m.add(shuffled(value, "up", distance), value)
            there = arith.cmpi(arith.CmpIPredicate.uge, lane, index_constant(distance))
            value = arith.select(there, longer, value)
            distance *= 2
        return value

    # Rows that blocks go through.

    def tiles(self) -> None:
        block = min(BLOCK, max(WARP, 1 << (-(-self.length // _ITEMS) - 1).bit_length()))
        tile = block * _ITEMS
        count = -(-self.length // tile)
        if count == 1:
            self._finish(block, 1, None, False)
            return
        shape = [self.outer, count, 1]
        totals = memref.alloc(ir.MemRefType.get(shape, self.wide), [], [])
        with launch("scan_totals", self.outer * count, block) as t:
            o, number = divided(t.block_id, count, self.outer * count)
            first = arith.addi(arith.muli(number, index_constant(tile)), t.thread_id)
            total = self.zero
            for n in range(_ITEMS):
                k = arith.addi(first, index_constant(n * block))
                total = self.m.add(total, self._load_inside(o, k, index_constant(0)))
            [(_, whole)] = warps.block_scan(t, [total], self.m.add, [self.zero])
            with when(arith.cmpi(arith.CmpIPredicate.eq, t.thread_id, index_constant(0))):
                memref.store(whole, totals, [o, number, index_constant(0)])
        summed = count > _LOOKED_AT
        if summed:
            before = memref.alloc(ir.MemRefType.get(shape, self.wide), [], [])
            sizes = (self.outer, count, 1)
            scan(self.m, totals, before, sizes, self.wide, False, exclusive=True)
            totals = before
        self._finish(block, count, totals, summed)

    def _finish(self, block: int, count: int, totals: ir.Value | None, summed: bool) -> None:
        """`totals`: of the tiles, or if they are `summed`, of all tiles before each."""
        tile, zero = block * _ITEMS, index_constant(0)
        type_ = self.values.type
        assert isinstance(type_, ir.MemRefType)
        with launch("scan_tiles", self.outer * count, block) as t:
            o, number = divided(t.block_id, count, self.outer * count)
            first = arith.muli(number, index_constant(tile))
            # So that threads that load side by side, and then add up side by side, do not wait.
            memory = t.shared([tile + tile // WARP], type_.element_type)
            for n in range(_ITEMS):
                at = arith.addi(t.thread_id, index_constant(n * block))
                k = arith.addi(first, at)
                safe = arith.minui(k, index_constant(self.length - 1))
                value = memref.load(self.values, [o, self._at(safe), zero])
                nothing = constant(type_.element_type, 0)
                memref.store(
                    arith.select(less(k, self.length), value, nothing), memory, [_padded(at)]
                )
            t.barrier()
            own = arith.muli(t.thread_id, index_constant(_ITEMS))
            slots = [_padded(arith.addi(own, index_constant(n))) for n in range(_ITEMS)]
            sums = [self.zero]
            for slot in slots:
                value = self.m.convert(memref.load(memory, [slot]), self.wide)
                sums.append(self.m.add(sums[-1], value))
            scanned = [sums[-1]]
            if totals is not None and not summed:
                scanned.append(self._before(t, o, number, totals, count))
            found = warps.block_scan(t, scanned, self.m.add, [self.zero] * len(scanned))
            start = found[0][0]
            if totals is not None:
                carry = memref.load(totals, [o, number, zero]) if summed else found[1][1]
                start = self.m.add(carry, start)
            for n, slot in enumerate(slots):
                value = self.m.add(start, sums[n if self.exclusive else n + 1])
                memref.store(self._stored(value), memory, [slot])
            t.barrier()
            for n in range(_ITEMS):
                at = arith.addi(t.thread_id, index_constant(n * block))
                k = arith.addi(first, at)
                with when(less(k, self.length)):
                    value = memref.load(memory, [_padded(at)])
                    memref.store(value, self.out, [o, self._at(k), zero])

    def _before(
        self, t: Threads, o: ir.Value, number: ir.Value, totals: ir.Value, count: int
    ) -> ir.Value:
        """This thread's share of the totals of the tiles before."""
        with _carrying(-(-count // t.block), self.zero) as (chunk, before, after):
            at = arith.addi(arith.muli(chunk, index_constant(t.block)), t.thread_id)
            safe = arith.minui(at, index_constant(count - 1))
            total = memref.load(totals, [o, safe, index_constant(0)])
            earlier = arith.cmpi(arith.CmpIPredicate.ult, at, number)
            after.append(self.m.add(before, arith.select(earlier, total, self.zero)))
        return after[0]

    # Sums from row to row.

    def across(self) -> None:
        outer, length, inner = self.outer, self.length, self.inner
        if length <= _SHORT:
            with each("scan", (outer, inner)) as (o, i):
                self._piece((o, i), index_constant(0), index_constant(length), self.zero)
            return
        pieces = -(-length // PIECE)
        totals, before = (
            memref.alloc(ir.MemRefType.get([outer, pieces, inner], self.wide), [], [])
            for _ in range(2)
        )
        with each("scan_totals", (outer, pieces, inner)) as (o, p, i):
            loop = scf.ForOp(*self._bounds(p), index_constant(1), [self.zero])
            with block_of(loop.body):
                value = self._load(o, loop.induction_variable, i)
                scf.YieldOp([self.m.add(loop.inner_iter_args[0], value)])
            memref.store(loop.results[0], totals, [o, p, i])
        scan(self.m, totals, before, (outer, pieces, inner), self.wide, False, exclusive=True)
        with each("scan_pieces", (outer, pieces, inner)) as (o, p, i):
            start = memref.load(before, [o, p, i])
            self._piece((o, i), *self._bounds(p), start)

    def _bounds(self, piece: ir.Value) -> tuple[ir.Value, ir.Value]:
        start = arith.muli(piece, index_constant(PIECE))
        end = arith.addi(start, index_constant(PIECE))
        return start, arith.minui(end, index_constant(self.length))

    def _piece(
        self, place: tuple[ir.Value, ir.Value], low: ir.Value, high: ir.Value, start: ir.Value
    ) -> None:
        o, i = place
        loop = scf.ForOp(low, high, index_constant(1), [start])
        with block_of(loop.body):
            k, before = loop.induction_variable, loop.inner_iter_args[0]
            after = self.m.add(before, self._load(o, k, i))
            self._store(before if self.exclusive else after, o, k, i)
            scf.YieldOp([after])


def _padded(at: ir.Value) -> ir.Value:
    return arith.addi(at, arith.shrui(at, index_constant(WARP.bit_length() - 1)))


@contextmanager
def _carrying(count: int, start: ir.Value) -> Iterator[tuple[ir.Value, ir.Value, list[ir.Value]]]:
    """for n = 0 to count, carrying a value: n, the value, and a list for the next one.

    Afterwards the list holds the last.
    """
    loop = scf.ForOp(index_constant(0), index_constant(count), index_constant(1), [start])
    after: list[ir.Value] = []
    with block_of(loop.body):
        yield loop.induction_variable, loop.inner_iter_args[0], after
        scf.YieldOp(after)
    after[:] = loop.results
