"""erf, erfc, scaled erfc, and the inverses erfinv and ndtri: bodies for math_library.py."""

from __future__ import annotations

from collections.abc import Callable

from mlir import ir
from mlir.dialects import arith, math

from .exponential import log1p
from .float_body import Body
from .scalar_math import exp, in_f64, log

# erf(x) = x P(x^2), |x| <= 1
_ERF = {
    64: "0x1.20dd750429b6dp+0 -0x1.812746b0379e7p-2 0x1.ce2f21a042bdep-4 -0x1.b82ce312889bap-6 "
    "0x1.565bcd0e6502dp-8 -0x1.c02db3feeb579p-11 0x1.f9a326c233146p-14 -0x1.f4d2561aeafd4p-17 "
    "0x1.b9e6509b9867dp-20 -0x1.5f6d925a0bc7ap-23 0x1.fc4356498c2d9p-27 -0x1.4e607b41a6416p-30 "
    "0x1.7f072188e194dp-34 -0x1.29b9f1b3df556p-38",
    32: "0x1.20dd74fecep+0 -0x1.81273e7ap-2 0x1.ce2d10edp-4 -0x1.b7faba96p-6 0x1.5412707ap-8 "
    "-0x1.a45087f2p-11 0x1.4a569086p-14",
}
# log(erfc(x)) = P(x), 0.9 <= x <= 4, to 2^-25
_LOG_ERFC = (
    "0x1.4e0356ebap-12 -0x1.2156d28bp+0 -0x1.437e6cb2p-1 -0x1.c2eac2bcp-4 0x1.b0fd8b52p-6 "
    "-0x1.381f9a32p-8 0x1.394e9ab8p-11 -0x1.834021aap-15 0x1.b90e7984p-20"
)
# exp(x^2) erfc(x) (1 + 2x) = P((x - 4) / (x + 4)), x >= 0
_SCALED_ERFC = (
    "0x1.3ba5916e9fd7fp+0 -0x1.1df1ad154a28ep-3 0x1.f7f5df66fc17fp-7 0x1.16ecefcfa5214p-4 "
    "-0x1.9ddb23c3e0c24p-4 0x1.7fee004e16d41p-4 -0x1.0fb06dfee479p-4 0x1.3079edf5d9d05p-5 "
    "-0x1.0962386da3254p-6 0x1.49c672b9685cep-8 -0x1.8d4aaa8fbedbcp-11 -0x1.a1df4a1e543bcp-13 "
    "0x1.3be12bafabe1fp-13 -0x1.99551e5f87e2p-16 -0x1.78a738afaf645p-17 0x1.7f01a118598aep-18 "
    "0x1.400a0021a32f1p-22 -0x1.b9339da7bf70bp-21 0x1.31744dd9b56dp-24 0x1.cad9b27d6d663p-24 "
    "-0x1.1904891a069b4p-26 -0x1.af097381d257bp-27 0x1.afe473b552685p-30 0x1.0967e527911a9p-30"
)
# erfinv(x) = x P(w / 3.125 - 1), w = -log(1 - x^2) <= 6.25
_INVERSE = (
    "0x1.a755e7c99ae86p+0 0x1.8040caa12786bp-1 -0x1.e2b19456a0d5cp-5 -0x1.7259eca3a0e6ap-6 "
    "0x1.23c5aee6d7623p-6 -0x1.0f249df1e0f4cp-8 -0x1.4d5dd2f601d97p-10 0x1.4316b4de70ff3p-10 "
    "-0x1.153c9cea11803p-12 -0x1.ea4472a80be62p-14 0x1.879bf9b660a9p-14 -0x1.f83eaa8301e2fp-17 "
    "-0x1.79ad54de00827p-17 0x1.de7b6e9c9a48dp-18 -0x1.712e9bbf5975bp-21 -0x1.1c4e17253da66p-20 "
    "0x1.24f0792b27f89p-21 -0x1.65c703ccb827bp-27 -0x1.c39d8ba95df48p-24 0x1.51b6d83b10caep-25 "
    "0x1.37b6d2ede04acp-27 -0x1.286d931b525f7p-27 -0x1.7943526054c85p-34 0x1.ace756859e33ap-31"
)
# erfinv(x) = x s P(1 / s), s = sqrt(w) >= 2.5, to 2^-25
_INVERSE_TAIL = (
    "0x1.00044946c88e7p+0 -0x1.96aef307c5786p-7 -0x1.a1648de1524a8p+0 0x1.693ca8e6398b3p+3 "
    "-0x1.42421c8b65372p+6 0x1.fe0ba18a4593ap+8 -0x1.3b7a48496c7e8p+11 0x1.2dd41251f04acp+13 "
    "-0x1.cd44dcf20e394p+14 0x1.2505d83c586f6p+16 -0x1.3202a2e56bb5bp+17 0x1.db206df27c9f9p+17 "
    "-0x1.cbbf9205392f8p+17 0x1.9046d59b735c7p+16"
)
_ROOT_HALF = [float.fromhex("0x1.6a09e667f3bcdp-1"), float.fromhex("-0x1.bdd3413b26456p-55")]
_HALF_ROOT_PI = float.fromhex("0x1.c5bf891b4ef6bp-1")


def _near_erf(b: Body, x: ir.Value) -> ir.Value:
    return b.mul(x, b.polynomial(b.mul(x, x), _ERF[b.bits]))


def _square(b: Body, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """x^2 and what its rounding lost."""
    high = b.mul(x, x)
    return high, b.fma(x, x, b.sub(0.0, high))


def _positive_erfcx(b: Body, x: ir.Value) -> ir.Value:
    """exp(x^2) erfc(x) for x >= 0, infinity included."""
    t = b.sub(1.0, b.div(8.0, b.add(x, 4.0)))
    return b.div(b.polynomial(t, _SCALED_ERFC), b.fma(x, 2.0, 1.0))


def _positive_erfc(b: Body, x: ir.Value) -> ir.Value:
    x = b.select(b.less(30.0, x), 30.0, x)
    high, low = _square(b, x)
    shrunk = exp(b, b.sub(0.0, high))
    return b.mul(b.fma(b.sub(0.0, low), shrunk, shrunk), _positive_erfcx(b, x))


def _erf(b: Body, x: ir.Value) -> ir.Value:
    size = b.abs(x)
    if b.bits == 64:
        far = b.sub(1.0, _positive_erfc(b, size))
    else:
        inside = b.select(b.less(4.0, size), 4.0, size)
        far = b.sub(1.0, exp(b, b.polynomial(inside, _LOG_ERFC)))
    far = math.copysign(far, x)
    return b.select(b.less(size, 1.0 if b.bits == 64 else 0.9), _near_erf(b, x), far)


def erfc(b: Body, x: ir.Value) -> ir.Value:
    size = b.abs(x)
    tail = _positive_erfc(b, size)
    far = b.select(b.less(x, 0.0), b.sub(2.0, tail), tail)
    return b.select(b.less(size, 0.5), b.sub(1.0, _near_erf(b, x)), far)


def _erfcx(b: Body, x: ir.Value) -> ir.Value:
    """exp(x^2) erfc(x): on the negative side 2 exp(x^2) less its mirror image."""
    mirror = _positive_erfcx(b, b.abs(x))
    high, low = _square(b, b.select(b.less(x, -30.0), -30.0, x))
    grown = exp(b, high)
    grown = b.select(b.less(grown, float("inf")), b.fma(low, grown, grown), grown)
    return b.select(b.less(x, 0.0), b.sub(b.mul(grown, 2.0), mirror), mirror)


def _inverse(b: Body, x: ir.Value, q: ir.Value) -> ir.Value:
    """erfinv(x), where q = 1 - |x| is known exactly."""
    size = b.abs(x)
    near = b.less(size, 0.5)
    complement = b.mul(q, b.sub(2.0, q))  # 1 - x^2
    w = b.select(near, b.f(0.5), complement)
    w = b.sub(0.0, log(b, w))
    inner = b.select(near, size, 0.0)
    w = b.select(near, b.sub(0.0, log1p(b, b.sub(0.0, b.mul(inner, inner)))), w)
    middle = b.fma(w, 1 / 3.125, -1.0)
    central = b.mul(x, b.polynomial(middle, _INVERSE))
    s = math.sqrt(b.select(b.less(w, 6.25), 6.25, w))
    s = b.select(b.less(s, 27.3), s, 27.3)
    y = b.mul(b.mul(size, s), b.polynomial(b.div(1.0, s), _INVERSE_TAIL))
    # One step of Halley's method on erfc(y) = q, both sides times exp(y^2).
    high, low = _square(b, y)
    grown = exp(b, high)
    grown = b.fma(low, grown, grown)
    step = b.mul(b.sub(b.mul(q, grown), _positive_erfcx(b, y)), _HALF_ROOT_PI)
    y = b.sub(y, b.div(step, b.fma(y, step, 1.0)))
    result = b.select(b.less(w, 6.25), central, math.copysign(y, x))
    result = b.select(b.equal(q, 0.0), math.copysign(b.f(float("inf")), x), result)
    valid = arith.cmpf(arith.CmpFPredicate.OGE, q, b.f(0.0))
    return b.select(valid, result, float("nan"))


def _erfinv(b: Body, x: ir.Value) -> ir.Value:
    return b.select(b.equal(x, 0.0), x, _inverse(b, x, b.sub(1.0, b.abs(x))))


def _ndtri(b: Body, p: ir.Value) -> ir.Value:
    """The argument at which the normal distribution function is p."""
    other = b.sub(1.0, p)
    q = b.mul(b.select(b.less(p, other), p, other), 2.0)
    x = b.mul(b.sub(p, 0.5), 2.0)
    return b.mul(_inverse(b, x, q), 2.0**0.5)


def _log_ndtr(b: Body, x: ir.Value) -> ir.Value:
    """The logarithm of the normal distribution function."""
    turned = b.mul(x, _ROOT_HALF[0])
    low = b.less(x, -1.0)
    tail = log(b, b.mul(_positive_erfcx(b, b.select(low, b.sub(0.0, turned), 0.0)), 0.5))
    tail = b.sub(tail, b.mul(b.mul(x, x), 0.5))
    inner = b.select(low, 0.0, turned)
    # What the rounding of x / sqrt(2) lost, times the derivative of erfc.
    lost = b.fma(x, _ROOT_HALF[1], b.fma(x, _ROOT_HALF[0], b.sub(0.0, turned)))
    slope = b.div(exp(b, b.sub(0.0, b.mul(inner, inner))), _HALF_ROOT_PI)
    lost = b.select(b.less(b.abs(x), 40.0), lost, 0.0)
    upper = b.mul(b.sub(erfc(b, inner), b.mul(lost, slope)), -0.5)
    return b.select(low, tail, log1p(b, upper))


RULES: dict[str, Callable[..., ir.Value]] = {
    "erf": _erf,
    "erfc": in_f64(erfc),
    "erfcx": in_f64(_erfcx),
    "erfinv": in_f64(_erfinv),
    "ndtri": in_f64(_ndtri),
    "log_ndtr": in_f64(_log_ndtr),
}
