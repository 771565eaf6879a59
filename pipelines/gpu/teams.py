"""All threads of a block at work on one matrix: how they share loops, and memory.

A matrix is a `Buffer`, as in the CPU's loops. Between what one thread writes and another reads or
writes there must be a `barrier`, which every thread of the block reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from mlir import ir
from mlir.dialects import arith, math, memref

from ..memory_loops import Buffer, Number, equal, fold, index, less, loop, minus, plus, scratch
from ..scalars import constant, width
from . import warps
from .launch import WARP, Threads, launch, unravelled, when
from .shuffles import shuffled

#: Bytes of shared memory for matrices; what is left of 48 KiB is for results of reductions.
_SHARED = 47 << 10
#: Fewer matrices than this leave multiprocessors without one: a block may fill its own.
FEW = 64
#: Rows that a warp works on at once.
_TOGETHER = 4


Values = list[ir.Value]
Combine = Callable[[Values, Values], Values]


class Team:
    """The threads of a block; `places` are its numbers in the grid."""

    def __init__(self, t: Threads, places: list[ir.Value]) -> None:
        self.t, self.places = t, places
        self.barrier = t.barrier
        self.lane, self.warp = warps.lane(t), warps.warp(t)

    # Loops: each turn is one thread's, or one warp's.

    def each(self, start: Number, end: Number) -> AbstractContextManager[ir.Value]:
        return loop(plus(start, self.t.thread_id), end, self.t.block)

    def warps(self, start: Number, end: Number) -> AbstractContextManager[ir.Value]:
        """Each turn is a warp's."""
        return loop(plus(start, self.warp), end, self.t.block // WARP)

    def rows(self, start: Number, end: Number, body: Callable[[Sequence[ir.Value]], None]) -> None:
        """A warp's turn is body(rows): some at once, so that it waits for memory once for all."""
        step = self.t.block // WARP
        first = index(plus(start, self.warp))
        whole = index(minus(end, (_TOGETHER - 1) * step))
        turns = arith.ceildivui(arith.maxsi(minus(whole, first), index(0)), index(_TOGETHER * step))
        rest = plus(first, arith.muli(turns, index(_TOGETHER * step)))
        with loop(first, rest, _TOGETHER * step) as i:
            body([plus(i, n * step) for n in range(_TOGETHER)])
        with loop(rest, end, step) as i:
            body([i])

    def lanes(self, start: Number, end: Number) -> AbstractContextManager[ir.Value]:
        """In a warp's turn, the lanes'. A number is the same lane's whatever the start."""
        return loop(self._first_of_lane(start), end, WARP)

    def _first_of_lane(self, start: Number) -> Number:
        """The first number from `start` on that is this lane's modulo their count."""
        after = arith.andi(arith.subi(self.lane, index(start)), index(WARP - 1))
        return plus(start, after)

    def one(self) -> AbstractContextManager[None]:
        """What a single thread does."""
        return when(same(self.t.thread_id, 0))

    def first_lane(self) -> AbstractContextManager[None]:
        """What one thread of a warp does."""
        return when(same(self.lane, 0))

    @contextmanager
    def elements(self, of: Buffer) -> Iterator[tuple[ir.Value, ir.Value]]:
        with self.warps(0, of.rows) as i, self.lanes(0, of.columns) as j:
            yield i, j

    def copy(self, source: Buffer, to: Buffer, transposed: bool = False) -> None:
        with self.elements(source) as (i, j):
            to[(j, i) if transposed else (i, j)] = source[i, j]

    # Reductions: every thread gets the result, and the same bits.

    def over_lanes(self, values: Values, combine: Combine, count: int = WARP) -> Values:
        """Of a warp, whose lanes all are here; each `count` of them for themselves.

        `combine` takes two lists in either order.
        """
        distance = 1
        while distance < count:
            others = [shuffled(value, "bfly", distance) for value in values]
            values = combine(values, others)
            distance *= 2
        return values

    def sum_of_lanes(
        self, start: Number, end: Number, element: ir.Type, term: Callable[[ir.Value], ir.Value]
    ) -> ir.Value:
        """The sum of term(i), start <= i < end, by the lanes of a warp."""

        [total] = self.sums_of_lanes(start, end, element, lambda i: [term(i)], 1)
        return total

    def sums_of_lanes(
        self,
        start: Number,
        end: Number,
        element: ir.Type,
        terms: Callable[[ir.Value], Values],
        count: int,
    ) -> Values:
        """So many sums at once."""

        def add(x: Values, y: Values) -> Values:
            return [arith.addf(a, b) for a, b in zip(x, y, strict=True)]

        def turn(i: ir.Value, *sums: ir.Value) -> Values:
            return add(list(sums), terms(i))

        nothing = [constant(element, 0)] * count
        sums = fold(self._first_of_lane(start), end, nothing, turn, WARP)
        return self.over_lanes(sums, add)

    def over_block(self, values: Values, combine: Combine) -> Values:
        """Of all threads, behind a barrier. Another must follow before it is reached again."""
        values = self.over_lanes(values, combine)
        count = self.t.block // WARP
        if count == 1:
            self.barrier()
            return values
        memories = [self.t.shared([count], value.type) for value in values]
        with when(same(self.lane, 0)):
            for value, memory in zip(values, memories, strict=True):
                memref.store(value, memory, [self.warp])
        self.barrier()
        place = arith.andi(self.lane, index(count - 1))
        return self.over_lanes([memref.load(m, [place]) for m in memories], combine, count)

    def first_largest(
        self, start: Number, end: Number, key: Callable[[ir.Value], ir.Value]
    ) -> ir.Value:
        """The first i whose key is largest, by the whole block: see `over_block`.

        As if looked for from the start on: a NaN is larger than nothing, and nothing than it.
        """
        i32 = ir.IntegerType.get_signless(32)
        element = key(index(start)).type
        infinity, below = constant(element, float("inf")), constant(element, float("-inf"))

        def larger(mine: Values, others: Values) -> Values:
            (x, i), (y, j) = mine, others
            earlier = arith.cmpi(arith.CmpIPredicate.ult, j, i)
            better = arith.ori(less(x, y), arith.andi(equal(x, y), earlier))
            return [arith.select(better, b, a) for a, b in zip(mine, others, strict=True)]

        def turn(i: ir.Value, *best: ir.Value) -> Values:
            found = key(i)
            unordered = arith.cmpf(arith.CmpFPredicate.UNO, found, found)
            instead = arith.select(same(i, start), infinity, below)
            found = arith.select(unordered, instead, found)
            return larger(list(best), [found, arith.index_cast(i32, i)])

        none = [below, constant(i32, -1)]
        best = fold(plus(start, self.t.thread_id), end, none, turn, self.t.block)
        _, place = self.over_block(best, larger)
        return arith.index_castui(ir.IndexType.get(), place)


def same(x: ir.Value, y: Number) -> ir.Value:
    return arith.cmpi(arith.CmpIPredicate.eq, x, index(y))


def minus_product(c: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
    """c - a b, rounded once."""
    return math.fma(arith.negf(a), b, c)


def threads_for(elements: int, most: int = 256) -> int:
    """Threads of a block for so many elements at once."""
    return max(WARP, min(most, 1 << (elements - 1).bit_length()))


@contextmanager
def teams(name: str, grid: list[int], threads: int) -> Iterator[Team]:
    """A kernel with a block for each place in a grid of this shape."""
    count = 1
    for size in grid:
        count *= size
    with launch(name, count, threads) as t:
        yield Team(t, unravelled(t.block_id, grid))


class Room:
    """Shared memory of the blocks of a launch to come, as long as there is some."""

    def __init__(self) -> None:
        self.left = _SHARED

    def shared(self, rows: int, columns: int, element: ir.Type) -> Callable[[Team], Buffer] | None:
        """What gives a team its matrix; None if there is no room.

        Rows start an odd number of elements apart, so that the elements of a column are in
        different banks.
        """
        pitch = columns | 1
        size = rows * pitch * (width(element) // 8)
        if size > self.left:
            return None
        self.left -= size

        def make(team: Team) -> Buffer:
            whole = team.t.shared([1, rows, pitch], element)
            return Buffer(memref.subview(whole, [0, 0, 0], [1, rows, columns], [1, 1, 1]))

        return make

    def matrix(
        self, blocks: int, rows: int, columns: int, element: ir.Type
    ) -> Callable[[Team], Buffer]:
        """What gives a team its matrix, in global memory if there is no room."""
        found = self.shared(rows, columns, element)
        if found is not None:
            return found
        memory = scratch((blocks, rows, columns), element)
        return lambda team: memory.of(team.t.block_id)
