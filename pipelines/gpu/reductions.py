"""Kernels of loop nests with reductions.

Threads that work on one result lie beside each other where the reduced loop runs along rows of
what is read (the lanes of a warp, or all threads of a block), and across warps where another loop
does. Long reductions of few results are cut in parts, and the parts are reduced by a second kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from .launch import BLOCK, WARP, Threads, divided, launch, less, unravelled, when
from .nests import Nest

#: So many elements a thread reduces by itself before more threads share the work.
_ALONE = 8
#: So many elements are loaded before they are added up, if the body is small.
_UNROLLED, _SMALL_BODY = 4, 60
#: Results beside each other that make the best of memory.
SECTOR = 8
#: From this many blocks on, the machine is busy.
_BUSY = 512

Values = list[ir.Value]
Combine = Callable[[Values, Values], Values]


@dataclass(frozen=True)
class Layout:
    """Threads of a block: `lanes` for each of `results` results; the grid: `parts` of each."""

    results: int
    lanes: int
    lanes_first: bool
    parts: int

    @staticmethod
    def of(results: int, length: int, along: bool) -> Layout:
        if along:
            lanes = min(WARP, _power(length))
            while length > _ALONE * lanes and lanes < BLOCK:
                lanes *= 2
            side = max(1, min(BLOCK // lanes, _power(results)))
        else:
            # A sector of 32 bytes is read whole: fewer results beside each other waste bandwidth.
            side = min(WARP, _power(results))
            while side > SECTOR and -(-results // side) < _BUSY:
                side //= 2
            lanes = 1
            while length > _ALONE * lanes and lanes < BLOCK // side:
                lanes *= 2
            side = min(BLOCK // lanes, max(side, _power(results)))
            while lanes == 1 and side > WARP and -(-results // side) < _BUSY:
                side //= 2
        side = max(side, WARP // lanes)  # all lanes of a warp exist
        blocks = -(-results // side)
        parts = 1
        if length > 4 * _ALONE * lanes and blocks < _BUSY // 4:
            parts = min(-(-length // (_ALONE * lanes)), -(-2 * _BUSY // blocks))
        return Layout(side, lanes, along, parts)

    def place(self, t: Threads) -> tuple[ir.Value, ir.Value]:
        """The result that a thread works on, within the block, and its lane there."""
        if self.lanes_first:
            result, lane = divided(t.thread_id, self.lanes, t.block)
            return result, lane
        lane, result = divided(t.thread_id, self.results, t.block)
        return result, lane


def _power(n: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(0, n - 1).bit_length()


class Reducing:
    """What the threads of a nest with reductions do, for the result number `at` and the term `r`.

    Values are those of its reductions; what else it computes is stored at once.
    """

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self._results = [nest.domain[d] for d in nest.parallel]
        self._reduced = [nest.domain[d] for d in nest.reduced]
        self.count, self.length = math.prod(self._results), math.prod(self._reduced)
        self.reductions = [n for n, start in enumerate(nest.starts) if start is not None]
        self.starts = [nest.starts[n] for n in self.reductions]

    def _loops(self, at: ir.Value, r: ir.Value) -> Values:
        loops: dict[int, ir.Value] = {}
        loops.update(zip(self.nest.parallel, unravelled(at, self._results), strict=True))
        loops.update(zip(self.nest.reduced, unravelled(r, self._reduced), strict=True))
        return [loops[d] for d in range(len(self.nest.domain))]

    def element(self, at: ir.Value, r: ir.Value, carried: Sequence[ir.Value]) -> Values:
        nest, loops = self.nest, self._loops(at, r)
        skip = {len(nest.inputs) + n: v for n, v in zip(self.reductions, carried, strict=True)}
        made = nest.run(loops, nest.loads(loops, skip))
        for n, access in enumerate(nest.outputs):
            if n not in self.reductions:
                memref.store(made[n], access.buffer, access.at(loops))
        return [made[n] for n in self.reductions]

    def store(self, at: ir.Value, values: Values) -> None:
        loops = self._loops(at, index_constant(0))
        for n, value in zip(self.reductions, values, strict=True):
            access = self.nest.outputs[n]
            memref.store(value, access.buffer, access.at(loops))

    def combine(self, x: Values, y: Values) -> Values:
        pairs = zip(x, y, strict=True)
        return [self.nest.combine(n, *pair) for n, pair in zip(self.reductions, pairs, strict=True)]


def emit(nest: Nest) -> None:
    """The kernels, here."""
    work = Reducing(nest)
    count, length = work.count, work.length
    layout = Layout.of(count, length, runs_along(nest))

    def whole(_: ir.Value, at: ir.Value, values: Values) -> None:
        work.store(at, values)

    small = len(nest.body) <= _SMALL_BODY
    step = work.element, work.combine
    if layout.parts == 1:
        _kernel(nest.name, layout, count, length, work.starts, *step, whole, small)
        return
    partials = []
    for n in work.reductions:
        type_ = nest.outputs[n].buffer.type
        assert isinstance(type_, ir.MemRefType)
        shape = [layout.parts, count]
        partials.append(memref.alloc(ir.MemRefType.get(shape, type_.element_type), [], []))

    def keep(part: ir.Value, at: ir.Value, values: Values) -> None:
        for buffer, value in zip(partials, values, strict=True):
            memref.store(value, buffer, [part, at])

    def again(at: ir.Value, part: ir.Value, carried: Sequence[ir.Value]) -> Values:
        return work.combine(list(carried), [memref.load(b, [part, at]) for b in partials])

    _kernel(nest.name, layout, count, length, work.starts, *step, keep, small)
    second = Layout.of(count, layout.parts, count == 1)
    second = Layout(second.results, second.lanes, second.lanes_first, 1)
    name = f"{nest.name}_parts"
    _kernel(name, second, count, layout.parts, work.starts, again, work.combine, whole)


def runs_along(nest: Nest) -> bool:
    """Does a reduced loop run along the rows of most of what is read?"""
    votes = 0
    for number, access in enumerate(nest.accesses):
        along = access.along()
        if along is None or not (nest.used[number] or number >= len(nest.inputs)):
            continue
        size = math.prod(nest.domain[d] for d in access.loops())
        votes += size if along in nest.reduced else -size
    if votes == 0:
        return not nest.parallel
    return votes > 0


def _kernel(
    name: str,
    layout: Layout,
    count: int,
    length: int,
    starts: Sequence[ir.Attribute | None],
    element: Callable[[ir.Value, ir.Value, Sequence[ir.Value]], Values],
    combine: Combine,
    store: Callable[[ir.Value, ir.Value, Values], None],
    small: bool = True,
) -> None:
    """`small`: the body may be there several times, so that loads are under way together."""
    blocks = -(-count // layout.results)
    block = layout.results * layout.lanes
    with launch(name, blocks * layout.parts, block) as t:
        part, column = divided(t.block_id, blocks, t.grid)
        mine, lane = layout.place(t)
        at = arith.addi(arith.muli(column, index_constant(layout.results)), mine)
        inside = less(at, count)
        chunk = -(-length // layout.parts)
        first = arith.muli(part, index_constant(chunk))
        end = arith.minui(arith.addi(first, index_constant(chunk)), index_constant(length))
        # Threads beyond the last result have nothing to add, but meet the others at barriers.
        end = arith.select(inside, end, first)
        starting = [started(a) for a in starts if a is not None]
        several = _UNROLLED if chunk >= 2 * _UNROLLED * layout.lanes and small else 1
        start = arith.addi(first, lane)
        own = each_term(start, end, layout.lanes, several, starting, partial(element, at))
        values = _together(layout, t, mine, lane, own, combine)
        writes = arith.cmpi(arith.CmpIPredicate.eq, lane, index_constant(0))
        with when(arith.andi(inside, writes)):
            store(part, at, values)


def each_term(
    start: ir.Value,
    end: ir.Value,
    step: int,
    several: int,
    values: Values,
    element: Callable[[ir.Value, Sequence[ir.Value]], Values],
) -> Values:
    """Carries values through r = start, start + step, ... below `end`, `several` at a time."""
    if several > 1:
        left = arith.maxsi(arith.subi(end, start), index_constant(0))
        count = arith.divui(arith.addi(left, index_constant(step - 1)), index_constant(step))
        rounds = arith.divui(count, index_constant(several))
        stride = index_constant(several * step)
        loop = scf.ForOp(index_constant(0), rounds, index_constant(1), values)
        with block_of(loop.body):
            r, carried = arith.muli(loop.induction_variable, stride), list(loop.inner_iter_args)
            r = arith.addi(start, r)
            for n in range(several):
                carried = element(arith.addi(r, index_constant(n * step)) if n else r, carried)
            scf.YieldOp(carried)
        values = list(loop.results)
        start = arith.addi(start, arith.muli(rounds, stride))
    loop = scf.ForOp(start, end, index_constant(step), values)
    with block_of(loop.body):
        scf.YieldOp(element(loop.induction_variable, list(loop.inner_iter_args)))
    return list(loop.results)


def started(number: Any) -> ir.Value:
    return arith.ConstantOp(number.type, number).result


def _together(
    layout: Layout,
    t: Threads,
    mine: ir.Value,
    lane: ir.Value,
    values: Values,
    combine: Combine,
) -> Values:
    """The values of the lanes of each result as one, in lane 0."""
    if layout.lanes_first:
        return across_lanes(t, mine, lane, layout.results, layout.lanes, values, combine)
    if layout.lanes == 1:
        return values
    buffers = [t.shared([layout.lanes, layout.results], v.type) for v in values]
    half = layout.lanes
    while half > 1:
        half //= 2
        # The upper half of the lanes hands its values to the lower half.
        upper = arith.cmpi(arith.CmpIPredicate.uge, lane, index_constant(half))
        with when(arith.andi(upper, less(lane, 2 * half))):
            for buffer, value in zip(buffers, values, strict=True):
                memref.store(value, buffer, [lane, mine])
        t.barrier()
        choice = scf.IfOp(less(lane, half), [v.type for v in values], has_else=True)
        with block_of(choice.then_block):
            at = arith.addi(lane, index_constant(half))
            scf.YieldOp(combine(values, [memref.load(b, [at, mine]) for b in buffers]))
        with block_of(choice.else_block):
            scf.YieldOp(values)
        values = list(choice.results)
    return values


def across_lanes(
    t: Threads,
    mine: ir.Value,
    lane: ir.Value,
    results: int,
    lanes: int,
    values: Values,
    combine: Combine,
) -> Values:
    """The values of neighbouring threads as one, in all of them."""
    values = shuffled_together(t, values, min(WARP, lanes), combine)
    if lanes <= WARP:
        return values
    warps = lanes // WARP
    warp, in_warp = divided(lane, WARP, lanes)
    buffers = [t.shared([results, warps], v.type) for v in values]
    with when(arith.cmpi(arith.CmpIPredicate.eq, in_warp, index_constant(0))):
        for buffer, value in zip(buffers, values, strict=True):
            memref.store(value, buffer, [mine, warp])
    t.barrier()
    _, other = divided(in_warp, warps, WARP)
    return shuffled_together(t, [memref.load(b, [mine, other]) for b in buffers], warps, combine)


def shuffled_together(t: Threads, values: Values, lanes: int, combine: Combine) -> Values:
    while lanes > 1:
        lanes //= 2
        values = combine(values, [t.across(v, lanes) for v in values])
    return values
