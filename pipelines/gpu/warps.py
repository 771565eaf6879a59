"""What the threads of a warp, and of a block, find out together: votes and scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlir import ir
from mlir.dialects import arith, math, memref, nvvm

from ..builders import index_constant
from ..scalars import constant
from .launch import WARP, Threads, when
from .shuffles import shuffled

Values = Sequence[ir.Value]
#: Of what several values are together: (earlier, later) -> both.
Combine = Callable[[Values, Values], Values]


def lane(t: Threads) -> ir.Value:
    return arith.andi(t.thread_id, index_constant(WARP - 1))


def warp(t: Threads) -> ir.Value:
    return arith.shrui(t.thread_id, index_constant(WARP.bit_length() - 1))


def peers(digit: ir.Value, bits: int) -> ir.Value:
    """The lanes that have the same lowest bits of `digit` (i32), as bits of an i32."""
    i32 = ir.IntegerType.get_signless(32)
    everybody = constant(i32, -1)
    kind = ir.Attribute.parse("#nvvm<vote_sync_kind ballot>")
    found = everybody
    for n in range(bits):
        bit = arith.andi(digit, constant(i32, 1 << n))
        mine = arith.cmpi(arith.CmpIPredicate.ne, bit, constant(i32, 0))
        others = nvvm.vote_sync(i32, everybody, mine, kind)
        inverse = arith.xori(others, everybody)
        found = arith.andi(found, arith.select(mine, others, inverse))
    return found


def lanes_before(t: Threads) -> ir.Value:
    """The lanes before this one, as bits of an i32."""
    i32 = ir.IntegerType.get_signless(32)
    one = constant(i32, 1)
    return arith.subi(arith.shli(one, arith.index_castui(i32, lane(t))), one)


def count(lanes: ir.Value) -> ir.Value:
    return math.ctpop(lanes)


def first(lanes: ir.Value) -> ir.Value:
    return math.cttz(lanes)


def scan(lane: ir.Value, values: Values, combine: Combine, lanes: int = WARP) -> Values:
    """Of each lane, what the lanes up to it have, combined in order; a row is `lanes` wide."""
    distance = 1
    while distance < lanes:
        longer = combine([shuffled(value, "up", distance) for value in values], values)
        there = arith.cmpi(arith.CmpIPredicate.uge, lane, index_constant(distance))
        values = chosen(there, longer, values)
        distance *= 2
    return values


def chosen(condition: ir.Value, on_true: Values, on_false: Values) -> Values:
    return [arith.select(condition, x, y) for x, y in zip(on_true, on_false, strict=True)]


def block_scan(
    t: Threads, groups: Sequence[Values], combine: Combine, start: Values
) -> list[tuple[Values, Values]]:
    """Of each of `groups`: those of the threads before this one combined, and of the whole block.

    `start` changes nothing when combined with. All threads of the block take part.
    """
    warps = t.block // WARP
    at_lane, at_warp = lane(t), warp(t)
    last = arith.cmpi(arith.CmpIPredicate.eq, at_lane, index_constant(WARP - 1))
    is_first = arith.cmpi(arith.CmpIPredicate.eq, at_lane, index_constant(0))
    within, memories = [], []
    for values in groups:
        up_to = scan(at_lane, values, combine)
        before = [shuffled(value, "up", 1) for value in up_to]
        within.append((chosen(is_first, start, before), up_to))
        memories.append([t.shared([warps], value.type) for value in values])
    with when(last):
        for (_, up_to), memory in zip(within, memories, strict=True):
            for value, slots in zip(up_to, memory, strict=True):
                memref.store(value, slots, [at_warp])
    t.barrier()
    results = []
    for (before, _), memory in zip(within, memories, strict=True):
        so_far, mine = start, start
        for n in range(warps):
            here = arith.cmpi(arith.CmpIPredicate.eq, at_warp, index_constant(n))
            mine = chosen(here, so_far, mine)
            total = [memref.load(slots, [index_constant(n)]) for slots in memory]
            so_far = combine(so_far, total) if n else total
        results.append((combine(mine, before), so_far))
    return results
