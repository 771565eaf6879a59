"""exp, log, tanh, pow and logistic: bodies of the functions of math_library.py.

Polynomials were fitted at Chebyshev nodes in 60 digits; every special value follows C99
(NaN, infinities, -0.0, denormals, overflow).
"""

from __future__ import annotations

from collections.abc import Callable

from mlir import ir
from mlir.dialects import arith, math

from .float_body import Body
from .scalars import constant, like

# exp(r) = 1 + r + r^2 P(r), |r| <= ln(2)/2
_EXP = {
    64: "0x1.0000000000001p-1 0x1.5555555555556p-3 0x1.5555555553b6cp-5 0x1.1111111110918p-7 "
    "0x1.6c16c1794e1dcp-10 0x1.a01a01a83ba17p-13 0x1.a019b621f9d08p-16 0x1.71de0be2b5e96p-19 "
    "0x1.2894f52583578p-22 0x1.af3ce42b12b24p-26",
    32: "0x1.0p-1 0x1.555556p-3 0x1.5554e4p-5 0x1.1110ep-7 0x1.6d492p-10 0x1.a12a42p-13",
}
# log((1 + s) / (1 - s)) = 2s + s z P(z), z = s^2, for (1 + s) / (1 - s) in [sqrt(1/2), sqrt(2)]
_LOG = {
    64: "0x1.5555555555558p-1 0x1.9999999994e76p-2 0x1.2492492e6dfddp-2 0x1.c71c6247410e3p-3 "
    "0x1.7462e17b4cdd0p-3 0x1.39f8963ccbdc2p-3 0x1.2b9f7fb3de73fp-3",
    32: "0x1.555556p-1 0x1.9999eep-2 0x1.245b28p-2 0x1.de0b02p-3",
}
# The same with 2/3 taken out: log(..) = 2s + s z (2/3 + z P(z))
_LOG_TAIL = (
    "0x1.999999999999fp-2 0x1.249249248e146p-2 0x1.c71c71d8c53b5p-3 0x1.745d09640eef7p-3 "
    "0x1.3b18e0ae3818bp-3 0x1.10138b989b9b4p-3 0x1.08b7b3fabc5b2p-3"
)
_LOG2_E = float.fromhex("0x1.71547652b82fep+0")
_LN2 = {  # high part times an exponent is exact
    64: [
        float.fromhex(h)
        for h in ("0x1.62e42fefa2000p-1", "0x1.9ef35793c7673p-41", "0x1.f97b57a079a19p-103")
    ],
    32: [0.693145751953125, 1.428606765330187e-06],
}
_TWO_THIRDS = [float.fromhex(h) for h in ("0x1.5555555555555p-1", "0x1.5555555555555p-55")]


def exp_reduced(b: Body, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """exp(x) = 2^n (1 + r + r^2 p): returns n (integer), r, r^2 p. NaN stays NaN."""
    n, n_bits = b.round(b.mul(x, _LOG2_E))
    high, low = _LN2[b.bits][:2]
    r = b.fma(b.sub(0.0, n), high, x)
    r = b.fma(b.sub(0.0, n), low, r)
    return arith.subi(n_bits, b.as_integer(b.f(b.magic))), r, exp_tail(b, r)


def exp_tail(b: Body, r: ir.Value) -> ir.Value:
    """exp(r) - 1 - r for |r| <= ln(2)/2."""
    return b.mul(b.mul(r, r), b.polynomial(r, _EXP[b.bits]))


def _clamped_exponent(b: Body, x: ir.Value) -> ir.Value:
    low, high = (-746.0, 710.0) if b.bits == 64 else (-104.5, 89.0)
    x = b.select(b.less(x, low), low, x)
    return b.select(b.less(high, x), high, x)


def scaled(b: Body, p: ir.Value, n: ir.Value) -> ir.Value:
    """p * 2^n in two steps: denormal results round once, and the scale never overflows first."""
    half = arith.shrsi(n, b.i(1))
    return b.mul(b.mul(p, b.power_of_two(half)), b.power_of_two(arith.subi(n, half)))


def exp(b: Body, x: ir.Value) -> ir.Value:
    n, r, tail = exp_reduced(b, _clamped_exponent(b, x))
    return scaled(b, b.add(1.0, b.add(r, tail)), n)


def _logistic(b: Body, x: ir.Value) -> ir.Value:
    e = exp(b, b.sub(0.0, b.abs(x)))
    return b.div(b.select(b.less(x, 0.0), e, 1.0), b.add(1.0, e))


def _tanh(b: Body, x: ir.Value) -> ir.Value:
    """-t / (t + 2) with t = expm1(-2|x|)."""
    argument = b.mul(b.abs(x), -2.0)
    argument = b.select(b.less(argument, -40.0), -40.0, argument)
    n, r, tail = exp_reduced(b, argument)
    scale = b.power_of_two(n)
    t = b.fma(scale, b.add(r, tail), b.sub(scale, 1.0))
    return math.copysign(b.div(b.sub(0.0, t), b.add(t, 2.0)), x)


def split_mantissa(b: Body, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Positive x as m 2^k with m in [sqrt(1/2), sqrt(2)): returns m - 1 (exact) and k (a float)."""
    small = b.less(x, 2.0 ** (1 - b.bias))
    shift = b.mantissa + 2
    bits = b.as_integer(b.select(small, b.mul(x, 2.0**shift), x))
    root = constant(b.integer, 0x3FE6A09E667F3BCD if b.bits == 64 else 0x3F3504F3)
    k = arith.shrsi(arith.subi(bits, root), b.i(b.mantissa))
    m = b.as_float(arith.subi(bits, arith.shli(k, b.i(b.mantissa))))
    # |k| is small: its float comes out of the magic number's low bits, without a conversion.
    exponent = b.sub(b.as_float(arith.addi(k, b.as_integer(b.f(b.magic)))), b.magic)
    return b.sub(m, 1.0), b.sub(exponent, b.select(small, float(shift), 0.0))


def log_specials(b: Body, x: ir.Value, result: ir.Value) -> ir.Value:
    result = b.select(b.equal(x, float("inf")), x, result)
    result = b.select(b.equal(x, 0.0), float("-inf"), result)
    valid = arith.cmpf(arith.CmpFPredicate.OGE, x, b.f(0.0))
    return b.select(valid, result, float("nan"))


def log_mantissa(b: Body, f: ir.Value) -> tuple[ir.Value, ir.Value]:
    """log(1 + f) as f and a correction, for 1 + f in [sqrt(1/2), sqrt(2))."""
    s = b.div(f, b.add(f, 2.0))
    z = b.mul(s, s)
    half_square = b.mul(b.mul(f, f), 0.5)
    tail = b.mul(s, b.fma(z, b.polynomial(z, _LOG[b.bits]), half_square))
    return f, b.sub(tail, half_square)


def log(b: Body, x: ir.Value) -> ir.Value:
    f, k = split_mantissa(b, x)
    s = b.div(f, b.add(f, 2.0))
    z = b.mul(s, s)
    half_square = b.mul(b.mul(f, f), 0.5)
    # log(1 + f) = f - f^2/2 + s (f^2/2 + z P(z)): the large terms are exact.
    tail = b.mul(s, b.fma(z, b.polynomial(z, _LOG[b.bits]), half_square))
    high, low = _LN2[b.bits][:2]
    correction = b.sub(half_square, b.fma(k, low, tail))
    result = b.fma(k, high, b.sub(0.0, b.sub(correction, f)))
    return log_specials(b, x, result)


def _exact_log(b: Body, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """log of a positive f64 as high + low, to about 2^-64."""
    f, k = split_mantissa(b, x)
    divisor, divisor_low = b.add(f, 2.0), None
    divisor_low = b.sub(f, b.sub(divisor, 2.0))
    s = b.div(f, divisor)
    rest = b.fma(b.sub(0.0, s), divisor, f)
    s_low = b.div(b.fma(b.sub(0.0, s), divisor_low, rest), divisor)
    z = b.mul(s, s)
    z_low = b.fma(b.mul(s, 2.0), s_low, b.fma(s, s, b.sub(0.0, z)))
    # s z (2/3 + z P(z)), each factor with its low part
    c, c_error = b.two_sum(b.f(_TWO_THIRDS[0]), b.mul(z, b.polynomial(z, _LOG_TAIL)))
    c_low = b.add(c_error, _TWO_THIRDS[1])
    cube = b.mul(s, z)
    cube_low = b.add(b.fma(s, z, b.sub(0.0, cube)), b.fma(s, z_low, b.mul(s_low, z)))
    term = b.mul(cube, c)
    term_low = b.add(b.fma(cube, c, b.sub(0.0, term)), b.fma(cube, c_low, b.mul(cube_low, c)))
    high, low = b.two_sum(b.mul(s, 2.0), term)
    low = b.add(low, b.fma(s_low, 2.0, term_low))
    ln2 = _LN2[64]
    # k ln2 is zero or larger than what it is added to.
    total, error = b.two_sum(b.mul(k, ln2[0]), high)
    error = b.add(error, b.fma(k, ln2[1], low))
    return b.two_sum(total, error)


def pow64(b: Body, x: ir.Value, y: ir.Value) -> ir.Value:
    a = b.abs(x)
    high, low = _exact_log(b, a)
    plain = b.f(float("inf"))
    finite = b.less(a, plain)
    usable = arith.andi(finite, b.less(0.0, a))
    high = b.select(usable, high, log_specials(b, a, a))
    low = b.select(usable, low, 0.0)
    product = b.mul(y, high)
    product_low = b.fma(y, low, b.fma(y, high, b.sub(0.0, product)))
    # Beyond the range of exp the low part is noise, or NaN.
    inside = b.less(b.abs(product), 800.0)
    product_low = b.select(inside, product_low, 0.0)
    n, r, tail = exp_reduced(b, _clamped_exponent(b, product))
    p = b.add(1.0, b.add(r, tail))
    result = scaled(b, b.fma(p, product_low, p), n)

    half = b.mul(y, 0.5)
    whole = b.equal(math.trunc(y), y)
    odd = arith.andi(whole, arith.cmpf(arith.CmpFPredicate.UNE, math.trunc(half), half))
    negative = arith.cmpi(arith.CmpIPredicate.slt, b.as_integer(x), b.i(0))
    result = b.select(arith.andi(negative, odd), math.copysign(result, b.f(-1.0)), result)
    undefined = arith.andi(arith.andi(b.less(x, 0.0), finite), arith.xori(whole, _true(whole)))
    result = b.select(undefined, float("nan"), result)
    one = arith.ori(b.equal(y, 0.0), b.equal(x, 1.0))
    infinite_power = b.equal(b.abs(y), float("inf"))
    one = arith.ori(one, arith.andi(b.equal(a, 1.0), infinite_power))
    missing = arith.cmpf(arith.CmpFPredicate.UNO, x, y)
    result = b.select(missing, float("nan"), result)
    return b.select(one, 1.0, result)


def _true(condition: ir.Value) -> ir.Value:
    return constant(condition.type, 1)


def in_f64(rule: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
    """The rule, with f32 computed in f64."""

    def either(b: Body, *operands: ir.Value) -> ir.Value:
        if b.bits == 64:
            return rule(b, *operands)
        wide = Body(like(b.type, ir.F64Type.get()))
        result = rule(wide, *(arith.extf(wide.type, operand) for operand in operands))
        return arith.truncf(b.type, result)

    either.arity = arity(rule)  # type: ignore[attr-defined]
    return either


def arity(rule: Callable[..., ir.Value]) -> int:
    """How many operands a rule takes."""
    known = getattr(rule, "arity", None)
    return rule.__code__.co_argcount - 1 if known is None else known


RULES: dict[str, Callable[..., ir.Value]] = {
    "exp": exp,
    "log": log,
    "tanh": _tanh,
    "logistic": _logistic,
    "pow": in_f64(pow64),
}
