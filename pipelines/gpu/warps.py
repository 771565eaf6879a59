"""What the threads of a warp, and of a block, find out together: votes and scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlir import ir
from mlir.dialects import arith, math, memref, nvvm

from ..builders import index_constant
from ..scalars import constant
from .launch import WARP, Threads, when
from .shuffles import shuffled

Combine = Callable[[ir.Value, ir.Value], ir.Value]


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


def scan(t: Threads, value: ir.Value, combine: Combine) -> ir.Value:
    """Of each lane, the values of the lanes up to it combined in order."""
    mine = lane(t)
    distance = 1
    while distance < WARP:
        before = combine(shuffled(value, "up", distance), value)
        there = arith.cmpi(arith.CmpIPredicate.uge, mine, index_constant(distance))
        value = arith.select(there, before, value)
        distance *= 2
    return value


def block_scan(
    t: Threads, values: Sequence[ir.Value], combine: Combine, starts: Sequence[ir.Value]
) -> list[tuple[ir.Value, ir.Value]]:
    """Of each of `values`: those of the threads before this one combined, and of the whole block.

    `starts` change nothing when combined with. All threads of the block take part.
    """
    warps = t.block // WARP
    at_lane, at_warp = lane(t), warp(t)
    last = arith.cmpi(arith.CmpIPredicate.eq, at_lane, index_constant(WARP - 1))
    is_first = arith.cmpi(arith.CmpIPredicate.eq, at_lane, index_constant(0))
    within, memories = [], []
    for value, start in zip(values, starts, strict=True):
        up_to = scan(t, value, combine)
        shifted = shuffled(up_to, "up", 1)
        within.append((arith.select(is_first, start, shifted), up_to))
        memories.append(t.shared([warps], value.type))
    with when(last):
        for (_, up_to), memory in zip(within, memories, strict=True):
            memref.store(up_to, memory, [at_warp])
    t.barrier()
    results = []
    for (before, _), memory, start in zip(within, memories, starts, strict=True):
        so_far, mine = start, start
        for n in range(warps):
            here = arith.cmpi(arith.CmpIPredicate.eq, at_warp, index_constant(n))
            mine = arith.select(here, so_far, mine)
            total = memref.load(memory, [index_constant(n)])
            so_far = combine(so_far, total) if n else total
        results.append((combine(mine, before), so_far))
    return results
