"""Partial sums: of short pieces by one thread each, and of the pieces' totals in the same way.

Elements stand as (outer, length, inner). The sums of an f32 are f64, as on the CPU.
"""

from __future__ import annotations

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from ..scalars import Scalars, constant
from .wholes import each

#: What a thread adds up by itself.
PIECE, _SHORT = 16, 64


def scan(
    m: Scalars,
    values: ir.Value,
    out: ir.Value,
    sizes: tuple[int, int, int],
    wide: ir.Type,
    reverse: bool,
    exclusive: bool = False,
) -> None:
    """out[o, k, i] = the sum of values[o, :k + 1, i], or without k itself: kernels, here."""
    outer, length, inner = sizes
    if length <= _SHORT:
        with each("scan", (outer, inner)) as (o, i):
            _piece(
                m, values, out, (o, i), (0, length), length, constant(wide, 0), reverse, exclusive
            )
        return
    pieces = -(-length // PIECE)
    totals, before = (
        memref.alloc(ir.MemRefType.get([outer, pieces, inner], wide), [], []) for _ in range(2)
    )
    with each("scan_totals", (outer, pieces, inner)) as (o, p, i):
        start, end = _bounds(p, length)
        loop = scf.ForOp(start, end, index_constant(1), [constant(wide, 0)])
        with block_of(loop.body):
            at = _at(loop.induction_variable, length, reverse)
            value = m.convert(memref.load(values, [o, at, i]), wide)
            scf.YieldOp([m.add(loop.inner_iter_args[0], value)])
        memref.store(loop.results[0], totals, [o, p, i])
    scan(m, totals, before, (outer, pieces, inner), wide, False, exclusive=True)
    with each("scan_pieces", (outer, pieces, inner)) as (o, p, i):
        start = memref.load(before, [o, p, i])
        _piece(m, values, out, (o, i), _bounds(p, length), length, start, reverse, exclusive)


def _bounds(piece: ir.Value, length: int) -> tuple[ir.Value, ir.Value]:
    start = arith.muli(piece, index_constant(PIECE))
    return start, arith.minui(arith.addi(start, index_constant(PIECE)), index_constant(length))


def _at(k: ir.Value, length: int, reverse: bool) -> ir.Value:
    return arith.subi(index_constant(length - 1), k) if reverse else k


def _piece(
    m: Scalars,
    values: ir.Value,
    out: ir.Value,
    place: tuple[ir.Value, ir.Value],
    bounds: tuple[ir.Value | int, ir.Value | int],
    length: int,
    start: ir.Value,
    reverse: bool,
    exclusive: bool,
) -> None:
    o, i = place
    low, high = (index_constant(n) if isinstance(n, int) else n for n in bounds)
    loop = scf.ForOp(low, high, index_constant(1), [start])
    with block_of(loop.body):
        at = _at(loop.induction_variable, length, reverse)
        before = loop.inner_iter_args[0]
        value = m.convert(memref.load(values, [o, at, i]), start.type)
        after = m.add(before, value)
        type_ = out.type
        assert isinstance(type_, ir.MemRefType)
        memref.store(m.convert(before if exclusive else after, type_.element_type), out, [o, at, i])
        scf.YieldOp([after])
