"""lgamma, digamma, trigamma and the Hurwitz zeta function: bodies for math_library.py.

Small positive arguments are moved up by the recurrence, negative ones reflected.
"""

from __future__ import annotations

import math as numbers
from collections.abc import Callable

from mlir import ir
from mlir.dialects import arith, math, scf

from .float_body import Body
from .scalar_math import in_f64, log, pow64
from .scalars import constant

# sin(pi r) = r P(r^2), |r| <= 1/2
_SIN_PI = (
    "0x1.921fb54442d18p+1 -0x1.4abbce625be53p+2 0x1.466bc6775aae2p+1 -0x1.32d2cce62bd57p-1 "
    "0x1.50783487ec19ap-4 -0x1.e3074fdc520eap-8 0x1.e8f4338e03a66p-12 -0x1.6fad488852625p-16 "
    "0x1.aabbe3815eb6p-21 -0x1.7ed4cd7222586p-26"
)
# lgamma(1 + d) = d P(d), |d| <= 1/2
_LGAMMA = (
    "-0x1.2788cfc6fb619p-1 0x1.a51a6625307d3p-1 -0x1.9a4d55beab37cp-2 0x1.151322ac7d8e9p-2 "
    "-0x1.a8b9c17a91284p-3 0x1.5b40cb0ff7e2cp-3 -0x1.2703a1e53cd44p-3 0x1.010b36b799ac3p-3 "
    "-0x1.c8066cfb76ec6p-4 0x1.9a01e02e1bc0ep-4 -0x1.748ca0044fd2dp-4 0x1.556b3fe9a66f6p-4 "
    "-0x1.3b14e848a2d53p-4 0x1.248e72b0a7186p-4 -0x1.118acc50ec441p-4 0x1.007509e47a025p-4 "
    "-0x1.d8fbcda10e84fp-5 0x1.be79bd2aebac5p-5 -0x1.ea4aa627b4073p-5 0x1.d2f7f4a6085fbp-5 "
    "-0x1.db7126487ed8p-7 0x1.b4fc9a43dac9fp-7 -0x1.28eb1f4f52ce4p-3 0x1.1ef5d11df4a3dp-3 "
    "0x1.3914b3aa0e424p-3 -0x1.3046d605c1822p-3 -0x1.cc35b376ce28p-3 0x1.bdb3d7629dd5ep-3"
)
# lgamma(x) = (x - 1/2) log(x) - x + log(2 pi)/2 + P(1/x^2)/x, x >= 8
_STIRLING = (
    "0x1.5555555555555p-4 -0x1.6c16c16c16b29p-9 0x1.a01a019ee0dafp-11 -0x1.38137ec06f013p-11 "
    "0x1.b94f6d64ea633p-11 -0x1.f5ff2fc17e10bp-10 0x1.96db3f3dd602bp-8 -0x1.55b3a241f83b1p-6"
)
# digamma(x) = log(x) - 1/(2x) - P(1/x^2)/x^2, x >= 8
_DIGAMMA = (
    "0x1.5555555555555p-4 -0x1.1111111110d4fp-7 0x1.0410410195ba1p-8 -0x1.11110c0ff6574p-8 "
    "0x1.f077209adf882p-8 -0x1.58e68c6db330ap-6 0x1.47c695ea891f9p-4 -0x1.329c8b9447472p-2"
)
#: From here on the asymptotic series hold.
_LARGE = 8
#: The Bernoulli numbers B2, B4, ... over (2k)!.
_BERNOULLI = [
    b / numbers.factorial(2 * k + 2)
    for k, b in enumerate(
        (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798)
    )
]


def _sin_pi(b: Body, r: ir.Value) -> ir.Value:
    return b.mul(r, b.polynomial(b.mul(r, r), _SIN_PI))


def _fraction(b: Body, x: ir.Value) -> ir.Value:
    """x less the nearest whole number, exactly."""
    return b.sub(x, math.roundeven(x))


def _positive_lgamma(b: Body, x: ir.Value) -> ir.Value:
    low = b.select(b.less(x, float(_LARGE)), x, 1.0)
    n = math.roundeven(low)
    d = b.sub(low, n)
    # lgamma(n + d) = lgamma(1 + d) + log((1 + d) ... (n - 1 + d)), each factor being x - k
    product = b.select(b.less(n, 0.5), b.div(1.0, low), 1.0)
    for k in range(1, _LARGE):
        factor = b.sub(low, float(k))
        product = b.select(b.less(k + 0.5, n), b.mul(product, factor), product)
    large = b.less(_LARGE - 2.0**-40, x)
    logarithm = log(b, b.select(large, x, product))
    small = b.add(logarithm, b.mul(d, b.polynomial(d, _LGAMMA)))
    inverse = b.div(1.0, b.select(large, x, 8.0))
    series = b.mul(inverse, b.polynomial(b.mul(inverse, inverse), _STIRLING))
    series = b.add(series, numbers.log(2 * numbers.pi) / 2)
    # (x - 1/2) log(x) - x, so that only what is infinite overflows
    stirling = b.fma(b.sub(x, 0.5), b.sub(logarithm, 1.0), b.sub(series, 0.5))
    return b.select(large, stirling, small)


def _lgamma(b: Body, x: ir.Value) -> ir.Value:
    size = b.abs(x)
    upper = _positive_lgamma(b, size)
    sine = b.abs(_sin_pi(b, _fraction(b, x)))
    area = b.select(b.less(x, 0.0), b.mul(size, sine), 1.0)
    lower = b.sub(log(b, b.div(numbers.pi, area)), upper)
    result = b.select(b.less(x, 0.0), lower, upper)
    pole = arith.andi(arith.cmpf(arith.CmpFPredicate.OLE, x, b.f(0.0)), _whole(b, x))
    infinite = arith.ori(pole, b.equal(size, float("inf")))
    result = b.select(infinite, float("inf"), result)
    return b.select(arith.cmpf(arith.CmpFPredicate.UNO, x, x), x, result)


def _whole(b: Body, x: ir.Value) -> ir.Value:
    return b.equal(math.trunc(x), x)


def _digamma(b: Body, x: ir.Value) -> ir.Value:
    negative = b.less(x, 0.0)
    y = b.select(negative, b.sub(1.0, x), x)
    start, total = y, b.f(0.0)
    for _ in range(_LARGE):
        small = b.less(start, float(_LARGE))
        total = b.select(small, b.sub(total, b.div(1.0, start)), total)
        start = b.select(small, b.add(start, 1.0), start)
    inverse = b.div(1.0, start)
    square = b.mul(inverse, inverse)
    series = b.fma(square, b.polynomial(square, _DIGAMMA), b.mul(inverse, 0.5))
    result = b.add(b.sub(log(b, start), series), total)
    r = _fraction(b, x)
    cotangent = b.div(_cos_pi(b, r), _sin_pi(b, r))
    reflected = b.sub(result, b.mul(cotangent, numbers.pi))
    result = b.select(negative, reflected, result)
    undefined = arith.andi(negative, _whole(b, x))
    result = b.select(undefined, float("nan"), result)
    pole = b.sub(0.0, math.copysign(b.f(float("inf")), x))
    return b.select(b.equal(x, 0.0), pole, result)


def _cos_pi(b: Body, r: ir.Value) -> ir.Value:
    return _sin_pi(b, b.sub(0.5, b.abs(r)))


def _zeta(b: Body, s: ir.Value, q: ir.Value) -> ir.Value:
    """The sum of (q + k)^-s over k >= 0, by the Euler-Maclaurin formula from q + k > 9 on."""
    whole = arith.andi(arith.cmpf(arith.CmpFPredicate.OLE, q, b.f(0.0)), _whole(b, q))
    broken = arith.andi(b.less(q, 0.0), arith.xori(_whole(b, s), constant(whole.type, 1)))
    skip = arith.ori(whole, arith.ori(broken, arith.cmpf(arith.CmpFPredicate.ULE, s, b.f(1.0))))
    minus = b.sub(0.0, s)
    loop = scf.WhileOp([b.type, b.type], [b.select(skip, 10.0, q), b.f(0.0)])
    before = loop.before.blocks.append(b.type, b.type)
    with ir.InsertionPoint(before):
        more = arith.cmpf(arith.CmpFPredicate.OLE, before.arguments[0], b.f(9.0))
        scf.ConditionOp(more, list(before.arguments))
    after = loop.after.blocks.append(b.type, b.type)
    with ir.InsertionPoint(after):
        start, total = after.arguments
        scf.YieldOp([b.add(start, 1.0), b.add(total, pow64(b, start, minus))])
    start, total = loop.results
    power = pow64(b, start, minus)
    total = b.add(total, b.mul(power, b.add(b.div(start, b.sub(s, 1.0)), 0.5)))
    term, factor, square = b.div(power, start), s, b.mul(start, start)
    for k, bernoulli in enumerate(_BERNOULLI):
        total = b.fma(b.mul(factor, term), bernoulli, total)
        step = b.mul(b.add(s, 2.0 * k + 1), b.add(s, 2.0 * k + 2))
        factor, term = b.mul(factor, step), b.div(term, square)
    total = b.select(b.equal(q, float("inf")), 0.0, total)
    result = b.select(whole, float("inf"), b.select(broken, float("nan"), total))
    result = b.select(b.less(s, 1.0), float("nan"), result)
    result = b.select(b.equal(s, 1.0), float("inf"), result)
    missing = arith.cmpf(arith.CmpFPredicate.UNO, s, q)
    return b.select(missing, float("nan"), result)


RULES: dict[str, Callable[..., ir.Value]] = {
    "lgamma": in_f64(_lgamma),
    "digamma": in_f64(_digamma),
    "zeta": in_f64(_zeta),
}
