"""fmod: the exact remainder, by long division of the mantissas; a body for math_library.py.

The loop runs once for each ten binary digits of the quotient, so the body is scalar.
"""

from __future__ import annotations

from collections.abc import Callable

from mlir import ir
from mlir.dialects import arith, math, scf

from .float_body import Body
from .scalar_math import in_f64, scaled

_STEP = 10  # a mantissa of 53 bits and these fit in 64


def _parts(b: Body, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """|x| = mantissa 2^(exponent - 1075), for denormals too."""
    bits = b.as_integer(x)
    raw = arith.andi(arith.shrui(bits, b.i(52)), b.i(0x7FF))
    denormal = arith.cmpi(arith.CmpIPredicate.eq, raw, b.i(0))
    leading = arith.select(denormal, b.i(0), b.i(1 << 52))
    mantissa = arith.ori(arith.andi(bits, b.i((1 << 52) - 1)), leading)
    return mantissa, arith.select(denormal, b.i(1), raw)


def _fmod(b: Body, x: ir.Value, y: ir.Value) -> ir.Value:
    (top, high), (divisor, low) = _parts(b, x), _parts(b, y)
    zero = arith.cmpi(arith.CmpIPredicate.eq, divisor, b.i(0))
    divisor = arith.select(zero, b.i(1), divisor)
    below = arith.cmpi(arith.CmpIPredicate.slt, high, low)
    left = arith.select(below, b.i(0), arith.subi(high, low))
    top = arith.remui(top, divisor)
    loop = scf.WhileOp([b.integer, b.integer], [top, left])
    before = loop.before.blocks.append(b.integer, b.integer)
    with ir.InsertionPoint(before):
        more = arith.cmpi(arith.CmpIPredicate.sgt, before.arguments[1], b.i(0))
        scf.ConditionOp(more, list(before.arguments))
    after = loop.after.blocks.append(b.integer, b.integer)
    with ir.InsertionPoint(after):
        rest, left = after.arguments
        step = arith.minsi(left, b.i(_STEP))
        scf.YieldOp([arith.remui(arith.shli(rest, step), divisor), arith.subi(left, step)])
    rest = arith.sitofp(b.type, loop.results[0])
    result = scaled(b, rest, arith.subi(low, b.i(1075)))
    result = b.select(b.less(b.abs(x), b.abs(y)), b.abs(x), result)
    result = math.copysign(result, x)
    undefined = arith.ori(b.equal(b.abs(x), float("inf")), b.equal(y, 0.0))
    undefined = arith.ori(undefined, arith.cmpf(arith.CmpFPredicate.UNO, x, y))
    return b.select(undefined, float("nan"), result)


RULES: dict[str, Callable[..., ir.Value]] = {"fmod": in_f64(_fmod)}
