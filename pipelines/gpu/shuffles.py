"""Values that go from lane to lane of a warp."""

from __future__ import annotations

from mlir import ir
from mlir.dialects import arith, nvvm

from ..scalars import constant, width

WARP = 32


def shuffled(value: ir.Value, kind: str, amount: int | ir.Value) -> ir.Value:
    """The value of another lane. "bfly": that whose number differs in these bits; "up": that so
    many before (lanes without one get their own); "idx": that of this number (an i32)."""
    bits = width(value.type)
    whole, i32 = (ir.IntegerType.get_signless(n) for n in (bits, 32))
    as_bits = arith.bitcast(whole, value) if value.type != whole else value
    if bits == 64:
        high = arith.trunci(i32, arith.shrui(as_bits, constant(whole, 32)))
        low, high = (_word(v, kind, amount) for v in (arith.trunci(i32, as_bits), high))
        upper = arith.shli(arith.extui(whole, high), constant(whole, 32))
        moved = arith.ori(upper, arith.extui(whole, low))
    elif bits == 32:
        moved = _word(as_bits, kind, amount)
    else:
        moved = arith.trunci(whole, _word(arith.extui(i32, as_bits), kind, amount))
    return arith.bitcast(value.type, moved) if value.type != whole else moved


def _word(value: ir.Value, kind: str, amount: int | ir.Value) -> ir.Value:
    clamp = constant(value.type, 0 if kind == "up" else WARP - 1)
    by = constant(value.type, amount) if isinstance(amount, int) else amount
    everybody = constant(value.type, -1)
    which = ir.Attribute.parse(f"#nvvm<shfl_kind {kind}>")
    return nvvm.shfl_sync(value.type, everybody, value, by, clamp, which)
