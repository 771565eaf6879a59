"""Sorting of positions by keys that are integers: short rows in a block, long ones digit by digit.

In a block that is a bitonic network. Rows are filled up to a power of two; no two positions are
equal in the order (equal keys are ordered by position), so the result is that of a stable sort
whatever the network does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from ..scalars import constant, width
from .launch import Threads, launch, less, when
from .radix import Key, RadixSort, Write

#: Rows up to this length are sorted by one block; so many positions share a block at least, if
#: there are that many; and so many threads do at most.
CHUNK, _TOGETHER, _THREADS = 4096, 512, 1024


def emit(keys: ir.Value, out: ir.Value, element: ir.Type, descending: bool) -> None:
    """Kernels, here: out[row, place] = the position (i64) of what comes there; stable."""
    type_ = keys.type
    assert isinstance(type_, ir.MemRefType)
    rows, length = type_.shape

    def key(row: ir.Value, at: ir.Value) -> ir.Value:
        return ordered_bits(memref.load(keys, [row, at]), element, descending)

    def write(row: ir.Value, place: ir.Value, _: ir.Value, position: ir.Value) -> None:
        i64 = ir.IntegerType.get_signless(64)
        memref.store(arith.extui(i64, position), out, [row, place])

    if length <= CHUNK:
        _in_blocks(key, write, rows, length)
    else:
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


def _in_blocks(key: Key, write: Write, rows: int, length: int) -> None:
    i32 = ir.IntegerType.get_signless(32)
    bits = max(1, (length - 1).bit_length())
    padded = 1 << bits
    many = 1 << (rows - 1).bit_length()
    size = max(64, padded * max(1, min(many, _TOGETHER // padded)))
    per_block = size // padded
    with launch("sort_rows", -(-rows // per_block), min(_THREADS, size // 2)) as t:
        first = arith.muli(t.block_id, index_constant(per_block))

        def places(at: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
            """The row and the place in it, and whether there is such a row."""
            row = arith.addi(first, arith.shrui(at, index_constant(bits)))
            return row, _in_row(at, padded), less(row, rows)

        positions = t.shared([size], i32)
        memory = None
        for at in _each(t, size):
            row, place, there = places(at)
            inside = arith.andi(there, less(place, length))
            safe = arith.minui(row, index_constant(rows - 1))
            value = key(safe, arith.minui(place, index_constant(length - 1)))
            if memory is None:
                memory = t.shared([size], value.type)
            # What fills a row up comes last.
            value = arith.select(inside, value, constant(value.type, -1))
            memref.store(value, memory, [at])
            memref.store(arith.index_castui(i32, place), positions, [at])
        assert memory is not None
        t.barrier()
        with _loop(1, index_constant(bits + 1)) as run, _loop(0, run) as stage:
            bit = arith.subi(arith.subi(run, stage), index_constant(1))
            for number in _each(t, size // 2):
                low, high = _pair(number, bit)
                up = _upwards(_in_row(low, padded), run)
                _exchange((memory, positions), low, high, up)
            t.barrier()
        for at in _each(t, size):
            row, place, there = places(at)
            with when(arith.andi(there, less(place, length))):
                write(row, place, memref.load(memory, [at]), memref.load(positions, [at]))


def _each(t: Threads, size: int) -> Iterator[ir.Value]:
    """The numbers below `size`, a multiple of the block, that this thread takes."""
    for n in range(0, size, t.block):
        yield arith.addi(t.thread_id, index_constant(n)) if n else t.thread_id


def _in_row(at: ir.Value, padded: int) -> ir.Value:
    return arith.andi(at, index_constant(padded - 1))


def _exchange(
    memories: tuple[ir.Value, ir.Value], low: ir.Value, high: ir.Value, up: ir.Value
) -> None:
    """Puts two keys and their positions in order, or in the opposite order."""
    (x, p), (y, q) = ([memref.load(m, [place]) for m in memories] for place in (low, high))
    more = arith.cmpi(arith.CmpIPredicate.ugt, x, y)
    same = arith.cmpi(arith.CmpIPredicate.eq, x, y)
    later = arith.cmpi(arith.CmpIPredicate.ugt, p, q)
    wrong = arith.ori(more, arith.andi(same, later))
    with when(arith.cmpi(arith.CmpIPredicate.eq, wrong, up)):
        for memory, values in zip(memories, ((x, y), (p, q)), strict=True):
            memref.store(values[1], memory, [low])
            memref.store(values[0], memory, [high])


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


@contextmanager
def _loop(low: int, high: ir.Value) -> Iterator[ir.Value]:
    """for i = low to high, uniform in a block."""
    loop = scf.ForOp(index_constant(low), high, index_constant(1))
    with block_of(loop.body):
        yield loop.induction_variable
        scf.YieldOp([])
