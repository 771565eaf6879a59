"""What is combined along a dimension, in parallel. Elements stand as (outer, length, inner).

Short rows are given to the lanes of a warp, longer ones to blocks, a tile each: a first kernel
combines the tiles, a second what comes before with what is within. Where rows do not lie beside
each other a thread combines a piece, and the totals of pieces are treated in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from ..prefixes import Carried, Prefix
from ..scalars import Scalars
from . import warps
from .launch import BLOCK, WARP, Threads, divided, launch, less, when
from .shuffles import shuffled
from .warps import Values, chosen
from .wholes import each

#: What a thread combines by itself, and when it takes all.
PIECE, _SHORT = 16, 64
#: Elements of a row that one warp goes through; elements of a thread of a block.
_OF_WARP, _ITEMS = 256, 8
#: So many tiles a block may look at, to combine what comes before its own.
_LOOKED_AT = 8 * BLOCK

Sizes = tuple[int, int, int]


def scan(
    m: Scalars,
    prefix: Prefix,
    sources: Values,
    outs: Values,
    sizes: Sizes,
    reverse: bool,
    exclusive: bool = False,
) -> None:
    """outs[o, k, i] = the prefix of sources[o, :k + 1, i], or without k itself: kernels, here."""
    made = _Scan(m, prefix, sources, outs, sizes, reverse, exclusive)
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
        prefix: Prefix,
        sources: Values,
        outs: Values,
        sizes: Sizes,
        reverse: bool,
        exclusive: bool,
    ) -> None:
        self.m, self.prefix, self.sources, self.outs = m, prefix, sources, outs
        self.outer, self.length, self.inner = sizes
        self.reverse, self.exclusive = reverse, exclusive
        self.start = prefix.start()

    def _combine(self, earlier: Values, later: Values) -> Values:
        return self.prefix.combine(self.m, earlier, later)

    # Elements, by their place in the order.

    def _at(self, k: ir.Value) -> ir.Value:
        return arith.subi(index_constant(self.length - 1), k) if self.reverse else k

    def _elements(self, o: ir.Value, k: ir.Value, i: ir.Value) -> list[ir.Value]:
        at = late = self._at(k)
        if self.reverse:
            late = arith.addi(at, index_constant(1))
            late = arith.minui(late, index_constant(self.length - 1))
        places = (late if n in self.prefix.lagging else at for n in range(len(self.sources)))
        return [
            memref.load(source, [o, place, i])
            for source, place in zip(self.sources, places, strict=True)
        ]

    def _load(self, o: ir.Value, k: ir.Value, i: ir.Value) -> Values:
        return self.prefix.lift(self.m, k, *self._elements(o, k, i))

    def _load_inside(self, o: ir.Value, k: ir.Value, i: ir.Value) -> Values:
        """Nothing beyond the end."""
        safe = arith.minui(k, index_constant(self.length - 1))
        return chosen(less(k, self.length), self._load(o, safe, i), self.start)

    def _store(self, values: Values, o: ir.Value, k: ir.Value, i: ir.Value) -> None:
        _stored(self.prefix.result(self.m, values), self.outs, [o, self._at(k), i])

    def _totals(self, shape: Sequence[int]) -> list[ir.Value]:
        types = [ir.MemRefType.get(list(shape), type_) for type_ in self.prefix.carried]
        return [memref.alloc(type_, [], []) for type_ in types]

    def _before_each(self, totals: Values, sizes: Sizes) -> Values:
        """Of all totals before each."""
        found = self._totals(sizes)
        scan(self.m, Carried(self.prefix), totals, found, sizes, False, exclusive=True)
        return found

    # Rows that a part of a warp goes through.

    def rows(self) -> None:
        lanes = min(WARP, 1 << (self.length - 1).bit_length())
        threads = self.outer * lanes
        grid = -(-threads // BLOCK)
        with launch("scan_rows", grid, BLOCK) as t:
            row, lane = divided(t.flat(), lanes, grid * BLOCK)
            inside = less(row, self.outer)
            o, i = arith.minui(row, index_constant(self.outer - 1)), index_constant(0)
            with _carrying(-(-self.length // lanes), self.start) as (chunk, before, after):
                k = arith.addi(arith.muli(chunk, index_constant(lanes)), lane)
                up_to = warps.scan(lane, self._load_inside(o, k, i), self._combine, lanes)
                last = arith.ori(warps.lane(t), index_constant(lanes - 1))  # of this row
                source = arith.index_castui(ir.IntegerType.get_signless(32), last)
                if self.exclusive:
                    first = arith.cmpi(arith.CmpIPredicate.eq, lane, index_constant(0))
                    result = chosen(first, self.start, [shuffled(x, "up", 1) for x in up_to])
                else:
                    result = up_to
                with when(arith.andi(inside, less(k, self.length))):
                    self._store(self._combine(before, result), o, k, i)
                whole = [shuffled(x, "idx", source) for x in up_to]
                after += self._combine(before, whole)

    # Rows that blocks go through.

    def tiles(self) -> None:
        block = min(BLOCK, max(WARP, 1 << (-(-self.length // _ITEMS) - 1).bit_length()))
        tile = block * _ITEMS
        count = -(-self.length // tile)
        if count == 1:
            self._finish(block, 1, None, False)
            return
        sizes = (self.outer, count, 1)
        totals: Values = self._totals(sizes)
        with launch("scan_totals", self.outer * count, block) as t:
            o, number = divided(t.block_id, count, self.outer * count)
            first = arith.muli(number, index_constant(tile))
            if self.prefix.in_any_order:
                items = []
                for n in range(_ITEMS):
                    at = arith.addi(t.thread_id, index_constant(n * block))
                    items.append(self._load_inside(o, arith.addi(first, at), index_constant(0)))
            else:
                items = _Tile(self, t, o, first).items
            [(_, whole)] = warps.block_scan(t, [self._all(items)], self._combine, self.start)
            with when(arith.cmpi(arith.CmpIPredicate.eq, t.thread_id, index_constant(0))):
                _stored(whole, totals, [o, number, index_constant(0)])
        summed = count > _LOOKED_AT
        self._finish(block, count, self._before_each(totals, sizes) if summed else totals, summed)

    def _all(self, items: Sequence[Values]) -> Values:
        whole = items[0]
        for item in items[1:]:
            whole = self._combine(whole, item)
        return whole

    def _finish(self, block: int, count: int, totals: Values | None, summed: bool) -> None:
        """`totals`: of the tiles, or if they are `summed`, of all tiles before each."""
        zero = index_constant(0)
        # Several values of each element are more registers than the assembler likes to give.
        resident = 3 if len(self.prefix.carried) > 1 else 0
        with launch("scan_tiles", self.outer * count, block, resident) as t:
            o, number = divided(t.block_id, count, self.outer * count)
            tile = _Tile(self, t, o, arith.muli(number, index_constant(block * _ITEMS)))
            scanned = [self._all(tile.items)]
            if totals is not None and not summed:
                scanned.append(self._before(t, o, number, totals, count))
            found = warps.block_scan(t, scanned, self._combine, self.start)
            value = found[0][0]
            if totals is not None:
                carry = [memref.load(x, [o, number, zero]) for x in totals]
                value = self._combine(carry if summed else found[1][1], value)
            results = []
            for item in tile.items:
                after = self._combine(value, item)
                results.append(value if self.exclusive else after)
                value = after
            tile.store(results)

    def _before(
        self, t: Threads, o: ir.Value, number: ir.Value, totals: Values, count: int
    ) -> Values:
        """This thread's share of the totals of the tiles before."""
        share = -(-count // t.block)
        first = arith.muli(t.thread_id, index_constant(share))
        with _carrying(share, self.start) as (n, before, after):
            at = arith.addi(first, n)
            safe = arith.minui(at, index_constant(count - 1))
            total = [memref.load(x, [o, safe, index_constant(0)]) for x in totals]
            earlier = arith.cmpi(arith.CmpIPredicate.ult, at, number)
            after += chosen(earlier, self._combine(before, total), before)
        return after

    # From row to row.

    def across(self) -> None:
        outer, length, inner = self.outer, self.length, self.inner
        if length <= _SHORT:
            with each("scan", (outer, inner)) as (o, i):
                self._piece((o, i), index_constant(0), index_constant(length), self.start)
            return
        sizes = (outer, -(-length // PIECE), inner)
        totals = self._totals(sizes)
        with each("scan_totals", sizes) as (o, p, i):
            loop = scf.ForOp(*self._bounds(p), index_constant(1), list(self.start))
            with block_of(loop.body):
                values = self._load(o, loop.induction_variable, i)
                scf.YieldOp(list(self._combine(list(loop.inner_iter_args), values)))
            _stored(list(loop.results), totals, [o, p, i])
        before = self._before_each(totals, sizes)
        with each("scan_pieces", sizes) as (o, p, i):
            start = [memref.load(x, [o, p, i]) for x in before]
            self._piece((o, i), *self._bounds(p), start)

    def _bounds(self, piece: ir.Value) -> tuple[ir.Value, ir.Value]:
        start = arith.muli(piece, index_constant(PIECE))
        end = arith.addi(start, index_constant(PIECE))
        return start, arith.minui(end, index_constant(self.length))

    def _piece(
        self, place: tuple[ir.Value, ir.Value], low: ir.Value, high: ir.Value, start: Values
    ) -> None:
        o, i = place
        loop = scf.ForOp(low, high, index_constant(1), list(start))
        with block_of(loop.body):
            k, before = loop.induction_variable, list(loop.inner_iter_args)
            after = self._combine(before, self._load(o, k, i))
            self._store(before if self.exclusive else after, o, k, i)
            scf.YieldOp(list(after))


class _Tile:
    """The elements of a block, through shared memory: threads load side by side, and each combines
    side by side, without waiting for each other at a bank."""

    def __init__(self, of: _Scan, t: Threads, o: ir.Value, first: ir.Value) -> None:
        self.of, self.t, self.o, self.first = of, t, o, first
        self.memory = [self._shared(source) for source in of.sources]
        for at, k in self._side_by_side():
            safe = arith.minui(k, index_constant(of.length - 1))
            _stored(of._elements(o, safe, index_constant(0)), self.memory, [_padded(at)])
        t.barrier()
        own = arith.muli(t.thread_id, index_constant(_ITEMS))
        places = [arith.addi(own, index_constant(n)) for n in range(_ITEMS)]
        self.slots = [_padded(place) for place in places]
        #: What this thread combines, in order.
        self.items: list[Values] = []
        for place, slot in zip(places, self.slots, strict=True):
            k = arith.addi(first, place)
            elements = [memref.load(memory, [slot]) for memory in self.memory]
            lifted = of.prefix.lift(of.m, k, *elements)
            self.items.append(chosen(less(k, of.length), lifted, of.start))

    def _shared(self, like: ir.Value) -> ir.Value:
        type_: Any = like.type
        size = self.t.block * _ITEMS
        return self.t.shared([size + size // WARP], type_.element_type)

    def _side_by_side(self) -> Iterator[tuple[ir.Value, ir.Value]]:
        """Places in the tile, and in the row."""
        for n in range(_ITEMS):
            at = arith.addi(self.t.thread_id, index_constant(n * self.t.block))
            yield at, arith.addi(self.first, at)

    def store(self, carried: Sequence[Values]) -> None:
        of, free = self.of, list(self.memory)
        memory = []
        for out in of.outs:  # where an element was, if it has the type
            type_: Any = out.type
            same: list[Any] = [x for x in free if _element(x) == type_.element_type]
            memory.append(same[-1] if same else self._shared(out))
            free = [x for x in free if x is not memory[-1]]
        for slot, values in zip(self.slots, carried, strict=True):
            _stored(of.prefix.result(of.m, values), memory, [slot])
        self.t.barrier()
        for at, k in self._side_by_side():
            with when(less(k, of.length)):
                values = [memref.load(x, [_padded(at)]) for x in memory]
                _stored(values, of.outs, [self.o, of._at(k), index_constant(0)])


def _element(memory: ir.Value) -> ir.Type:
    type_: Any = memory.type
    return type_.element_type


def _stored(values: Values, memories: Values, place: Sequence[ir.Value]) -> None:
    for value, memory in zip(values, memories, strict=True):
        memref.store(value, memory, place)


def _padded(at: ir.Value) -> ir.Value:
    return arith.addi(at, arith.shrui(at, index_constant(WARP.bit_length() - 1)))


@contextmanager
def _carrying(count: int, start: Values) -> Iterator[tuple[ir.Value, Values, list[ir.Value]]]:
    """for n = 0 to count, carrying values: n, the values, and a list for the next ones.

    Afterwards the list holds the last.
    """
    loop = scf.ForOp(index_constant(0), index_constant(count), index_constant(1), list(start))
    after: list[ir.Value] = []
    with block_of(loop.body):
        yield loop.induction_variable, list(loop.inner_iter_args), after
        scf.YieldOp(after)
    after[:] = loop.results
