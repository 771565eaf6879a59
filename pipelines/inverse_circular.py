"""atan, atan2, asin and acos: bodies for math_library.py; all are the angle of a point."""

from __future__ import annotations

from collections.abc import Callable

from mlir import ir
from mlir.dialects import arith, math

from .float_body import Body
from .scalar_math import in_f64

# atan(t) = t + t z P(z), z = t^2, |t| <= tan(pi/8)
_ATAN = (
    "-0x1.5555555555555p-2 0x1.9999999999953p-3 -0x1.249249248d7eep-3 0x1.c71c71c304b68p-4 "
    "-0x1.745d165df3f95p-4 0x1.3b1392d9e785cp-4 -0x1.110e880a7a521p-4 0x1.e19a13b9fc6dfp-5 "
    "-0x1.ac7a938b69c93p-5 0x1.74ddd408bb4c1p-5 -0x1.1b33b923aa954p-5 0x1.0ad36a455cafbp-6"
)
_TAN_PI_8 = float.fromhex("0x1.a827999fcef32p-2")
_PI = [float.fromhex("0x1.921fb54442d18p+1"), float.fromhex("0x1.1a62633145c07p-53")]


def _angle(b: Body, y: ir.Value, x: ir.Value) -> ir.Value:
    """The angle of (x, y) for x, y >= 0, in [0, pi/2]; NaN if either is."""
    steep = b.less(x, y)
    small, large = b.select(steep, x, y), b.select(steep, y, x)
    same = b.equal(small, large)  # also two zeros, where the angle is 0, and two infinities
    # Sums of the two must not overflow.
    scale = b.select(b.less(2.0**1000, large), 0.25, 1.0)
    small, large = b.mul(small, scale), b.mul(large, scale)
    turned = b.less(b.mul(large, _TAN_PI_8), small)
    above = b.select(turned, b.sub(small, large), small)
    below = b.select(turned, b.add(small, large), large)
    t = b.div(above, below)
    z = b.mul(t, t)
    t_rest = b.mul(b.mul(t, z), b.polynomial(z, _ATAN))
    # angle = base + t, base 0 or pi/4, or pi/2 minus that
    t = b.select(same, 0.0, t)
    t_rest = b.select(same, 0.0, t_rest)
    turned = arith.ori(turned, arith.andi(same, b.less(0.0, y)))
    minus = b.select(steep, -1.0, 1.0)
    quarters = b.select(turned, 1.0, b.select(steep, 2.0, 0.0))
    low = b.fma(quarters, _PI[1] / 4, b.mul(minus, t_rest))
    angle = b.fma(quarters, _PI[0] / 4, b.fma(minus, t, low))
    missing = arith.cmpf(arith.CmpFPredicate.UNO, x, y)
    return b.select(missing, float("nan"), angle)


def atan2(b: Body, y: ir.Value, x: ir.Value) -> ir.Value:
    angle = _angle(b, b.abs(y), b.abs(x))
    back = arith.cmpi(arith.CmpIPredicate.slt, b.as_integer(x), b.i(0))
    behind = b.sub(_PI[0], b.sub(angle, _PI[1]))
    return math.copysign(b.select(back, behind, angle), y)


def _atan(b: Body, x: ir.Value) -> ir.Value:
    return math.copysign(_angle(b, b.abs(x), b.f(1.0)), x)


def _asin(b: Body, x: ir.Value) -> ir.Value:
    size = b.abs(x)
    other = math.sqrt(b.mul(b.sub(1.0, size), b.add(1.0, size)))
    return math.copysign(_angle(b, size, other), x)


def _acos(b: Body, x: ir.Value) -> ir.Value:
    return b.mul(_angle(b, math.sqrt(b.sub(1.0, x)), math.sqrt(b.add(1.0, x))), 2.0)


RULES: dict[str, Callable[..., ir.Value]] = {
    "atan": in_f64(_atan),
    "atan2": in_f64(atan2),
    "asin": in_f64(_asin),
    "acos": in_f64(_acos),
}
