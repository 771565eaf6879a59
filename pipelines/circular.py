"""sin and cos, exact reduction of every finite argument included: bodies for scalar_math.py.

Arguments up to 2^43 are reduced with three terms of pi/2 and fused multiply-adds, larger ones by a
scalar function that multiplies with as many digits of 2/pi as matter (Payne and Hanek, 1983).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from mlir import ir
from mlir.dialects import arith, func, memref, scf, vector

from .builders import block_of, dense, for_loop
from .float_body import Body
from .scalars import constant, like

# sin(r) = r + r z P(z), cos(r) = 1 - z/2 + z^2 Q(z), z = r^2, |r| <= pi/4
_SIN = {
    64: "-0x1.5555555555555p-3 0x1.1111111110b23p-7 -0x1.a01a019e623afp-13 0x1.71de376b9c575p-19 "
    "-0x1.ae5fdeb852566p-26 0x1.5dfb4dfaf15abp-33",
    32: "-0x1.555556p-3 0x1.11110ep-7 -0x1.a01366p-13 0x1.6da906p-19",
}
_COS = {
    64: "0x1.5555555555555p-5 -0x1.6c16c16c1691fp-10 0x1.a01a019f3df42p-16 -0x1.27e4fa025e03dp-22 "
    "0x1.1eeb52bea9072p-29 -0x1.906dd38cb66a1p-37",
    32: "0x1.555556p-5 -0x1.6c16cp-10 0x1.a01598p-16 -0x1.251648p-22",
}
_HALF_PI = [
    float.fromhex(h)
    for h in ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110")
]
_TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
# Binary digits of 2/pi after one word of zeros: enough for the largest f64.
_TWO_OVER_PI_WORDS = (
    "0000000000000000 a2f9836e4e441529 fc2757d1f534ddc0 db6295993c439041 fe5163abdebbc561 "
    "b7246e3a424dd2e0 06492eea09d1921c fe1deb1cb129a73e e88235f52ebb4484 e99c7026b45f7e41 "
    "3991d639835339f4 9c845f8bbdf9283b 1ff897ffde05980f ef2f118b5a0a6d1f 6d367ecf27cb09b7 "
    "4f463f669e5fea2d 7527bac7ebe5f17b 3d0739f78a5292ea 6bfb5fb11f8d5d08 56033046fc7b6bab "
    "f0cfbc209af4361d"
)
_TABLE = "pb.two_over_pi"
_DYNAMIC = ir.ShapedType.get_dynamic_size()
# Up to here three terms of pi/2 and fused multiply-adds reduce an argument exactly enough.
_LARGE = 2.0**43
SHIFTS = {"sin": 0, "cos": 1}


def far_symbol(name: str) -> str:
    return f"pb.{name}.far"


def digits_table() -> None:
    """Adds the digits of 2/pi to the module."""
    words = np.array([int(w, 16) for w in _TWO_OVER_PI_WORDS.split()], np.uint64).view(np.int64)
    memref.global_(
        _TABLE,
        ir.MemRefType.get([len(words)], ir.IntegerType.get_signless(64)),
        sym_visibility="private",
        initial_value=dense(words),
        constant=True,
    )


def _quadrant(b: Body, r: ir.Value, r_low: ir.Value | None, quadrant: ir.Value) -> ir.Value:
    """sin(r + r_low + quadrant pi/2) for |r| <= pi/4."""
    z = b.mul(r, r)
    if r_low is None:
        sine = b.fma(b.mul(r, z), b.polynomial(z, _SIN[b.bits]), r)
    else:
        # sin(r + e) = sin r + e (1 - z/2)
        cubic = b.fma(
            b.mul(r, z), b.polynomial(z, _SIN[b.bits]), b.fma(b.mul(z, -0.5), r_low, r_low)
        )
        sine = b.add(r, cubic)
    half = b.mul(z, 0.5)
    top = b.sub(1.0, half)
    rest = b.sub(b.sub(1.0, top), half)
    rest = b.fma(b.mul(z, z), b.polynomial(z, _COS[b.bits]), rest)
    if r_low is not None:
        rest = b.sub(rest, b.mul(r, r_low))
    cosine = b.add(top, rest)
    odd = arith.cmpi(arith.CmpIPredicate.ne, arith.andi(quadrant, b.i(1)), b.i(0))
    chosen = b.as_integer(b.select(odd, cosine, sine))
    flip = arith.shli(arith.andi(quadrant, b.i(2)), b.i(b.bits - 2))
    return b.as_float(arith.xori(chosen, flip))


def _near(b: Body, x: ir.Value, shift: int) -> ir.Value:
    """sin(x + shift pi/2) for |x| < _LARGE, NaN for NaN and infinities; no trap beyond."""
    wide = b if b.bits == 64 else Body(like(b.type, ir.F64Type.get()))
    argument = x if wide is b else arith.extf(wide.type, x)
    q, quadrant = wide.round(wide.mul(argument, _TWO_OVER_PI))
    minus_q = wide.sub(0.0, q)
    r = wide.fma(minus_q, _HALF_PI[0], argument)  # exact
    if wide is not b:
        r = wide.fma(minus_q, _HALF_PI[1], r)
        narrow = arith.trunci(b.integer, quadrant)
        result = _quadrant(b, arith.truncf(b.type, r), None, arith.addi(narrow, b.i(shift)))
        return result if shift else b.select(b.equal(x, 0.0), x, result)
    high = wide.fma(minus_q, _HALF_PI[1], r)
    low = wide.fma(minus_q, _HALF_PI[1], wide.sub(r, high))
    low = wide.fma(minus_q, _HALF_PI[2], low)
    result = _quadrant(b, high, low, arith.addi(quadrant, b.i(shift)))
    # The sums above lose the sign of sin(-0.0).
    return result if shift else b.select(b.equal(x, 0.0), x, result)


def far(b: Body, x: ir.Value, shift: int) -> ir.Value:
    """The same for one large finite f64."""
    bits = b.as_integer(x)
    exponent = arith.subi(
        arith.andi(arith.shrui(bits, b.i(52)), b.i(0x7FF)), b.i(1075)
    )  # |x| = mantissa 2^exponent
    mantissa = arith.ori(arith.andi(bits, b.i(2**52 - 1)), b.i(2**52))
    # Digits whose weight times an integer is a multiple of 4 do not matter: start after them.
    start = arith.addi(exponent, b.i(64 - 1 - 1))
    word = arith.index_cast(ir.IndexType.get(), arith.shrui(start, b.i(6)))
    offset = arith.andi(start, b.i(63))
    table = memref.get_global(
        ir.MemRefType.get([len(_TWO_OVER_PI_WORDS.split())], b.integer), _TABLE
    )
    words = [
        memref.load(table, [arith.addi(word, constant(ir.IndexType.get(), j))]) for j in range(4)
    ]
    window = []
    for first, second in pairwise(words):
        # The next word's top bits, shifted in two steps since a shift by 64 is undefined.
        carried = arith.shrui(arith.shrui(second, b.i(1)), arith.xori(offset, b.i(63)))
        window.append(arith.ori(arith.shli(first, offset), carried))
    # (window[0], window[1], window[2]) * mantissa modulo 2^192
    middle = arith.MulUIExtendedOp(window[1], mantissa)
    low = arith.MulUIExtendedOp(window[2], mantissa)
    mid = arith.addi(middle.low, low.high)
    carry = arith.extui(b.integer, arith.cmpi(arith.CmpIPredicate.ult, mid, low.high))
    top = arith.addi(arith.addi(arith.muli(window[0], mantissa), middle.high), carry)
    # top:mid is a fixed-point number of quarter turns with two bits before the point.
    quadrant = arith.addi(arith.shrui(top, b.i(62)), arith.andi(arith.shrui(top, b.i(61)), b.i(1)))
    fraction = arith.ori(arith.shli(top, b.i(2)), arith.shrui(mid, b.i(62)))
    fraction_low = arith.shli(mid, b.i(2))
    # As a sum of floats, each exact or far below the rest.
    upper = arith.sitofp(b.type, arith.shrsi(fraction, b.i(32)))
    lower = arith.uitofp(b.type, arith.andi(fraction, b.i(2**32 - 1)))
    high, error = b.two_sum(b.mul(upper, 2.0**-32), b.mul(lower, 2.0**-64))
    error = b.fma(arith.uitofp(b.type, fraction_low), 2.0**-128, error)
    high, error = b.two_sum(high, error)
    r = b.mul(high, _HALF_PI[0])
    r_low = b.fma(high, _HALF_PI[0], b.sub(0.0, r))
    r_low = b.fma(high, _HALF_PI[1], b.fma(error, _HALF_PI[0], r_low))
    # The reduction was of |x|: sin(-x + k pi/2) = sin(-(r + q pi/2) + k pi/2).
    negative = arith.cmpi(arith.CmpIPredicate.slt, bits, b.i(0))
    minus = b.sub(0.0, r), b.sub(0.0, r_low)
    r, r_low = b.select(negative, minus[0], r), b.select(negative, minus[1], r_low)
    quadrant = arith.select(negative, arith.subi(b.i(0), quadrant), quadrant)
    return _quadrant(b, r, r_low, arith.addi(quadrant, b.i(shift)))


def circular(b: Body, x: ir.Value, name: str) -> ir.Value:
    near = _near(b, x, SHIFTS[name])
    size = b.abs(x)
    large = arith.andi(
        arith.cmpf(arith.CmpFPredicate.OGT, size, b.f(_LARGE)), b.less(size, float("inf"))
    )
    f64 = ir.F64Type.get()

    def far_from(argument: ir.Value) -> ir.Value:
        scalar = argument.type
        wide = argument if b.bits == 64 else arith.extf(f64, argument)
        result = func.call([f64], far_symbol(name), [wide])
        return result if b.bits == 64 else arith.truncf(scalar, result)

    if not isinstance(b.type, ir.VectorType):
        choice = scf.IfOp(large, [b.type], has_else=True)
        with block_of(choice.then_block):
            scf.YieldOp([far_from(x)])
        with block_of(choice.else_block):
            scf.YieldOp([near])
        return choice.results[0]
    return _far_lanes(b, x, near, large, far_from)


def _far_lanes(
    b: Body, x: ir.Value, near: ir.Value, large: ir.Value, far_from: Callable[[ir.Value], ir.Value]
) -> ir.Value:
    """`near` with the large lanes replaced, one at a time; hardly ever runs."""
    i1 = ir.IntegerType.get_signless(1)
    assert isinstance(b.type, ir.VectorType)
    lanes = b.type.shape[0]
    anywhere = vector.reduction(i1, vector.CombiningKind.OR, large)
    choice = scf.IfOp(anywhere, [b.type], has_else=True)
    with block_of(choice.else_block):
        scf.YieldOp([near])
    with block_of(choice.then_block):
        loop = for_loop(lanes, 1, near)
        with ir.InsertionPoint(loop.body):
            lane, current = loop.induction_variable, loop.inner_iter_args[0]
            here = vector.extract(large, [lane], [_DYNAMIC])
            one = scf.IfOp(here, [b.type], has_else=True)
            with block_of(one.then_block):
                value = far_from(vector.extract(x, [lane], [_DYNAMIC]))
                scf.YieldOp([vector.insert(value, current, [lane], [_DYNAMIC])])
            with block_of(one.else_block):
                scf.YieldOp([current])
            scf.YieldOp([one.results[0]])
        scf.YieldOp([loop.results[0]])
    return choice.results[0]
