"""Functions of one or two numbers: powers, logarithms, angles, error functions.

Most are one op of pb. What is composed here is composed so that a branch not taken has a finite
argument: its infinite derivative would make the sum NaN.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from mlir import ir

from .elementwise import absolute, power
from .emitter import Emitter, Operand, dtype_of

aten = torch.ops.aten


def unary(name: str) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        return getattr(e.b, name)(*e.operands(x))

    return rule


def binary(name: str) -> Any:
    def rule(e: Emitter, x: Operand, y: Operand) -> ir.Value:
        return getattr(e.b, name)(*e.operands(x, y))

    return rule


def times(number: float) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        (x,) = e.operands(x)
        return e.b.mul(x, e.like(x, number))

    return rule


def rsqrt(e: Emitter, x: ir.Value) -> ir.Value:
    root = e.b.sqrt(*e.operands(x))
    return e.b.div(e.like(root, 1), root)


def tan(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    return e.b.div(e.b.sin(x), e.b.cos(x))


def corrected(e: Emitter, rough: ir.Value, lost: ir.Value) -> ir.Value:
    """``rough`` with its derivatives, plus the error of its value, where that is finite."""
    lost = e.b.stop_gradient(lost)
    finite = e.b.compare("lt", absolute(e, lost), e.like(lost, math.inf))
    return e.b.add(rough, e.b.select(finite, lost, e.like(lost, 0)))


def hypot(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    """Scaled by the larger of the two: no square overflows or vanishes."""
    x, y = e.operands(x, y)
    infinity = e.like(x, math.inf)
    largest = e.b.stop_gradient(e.b.maximum(absolute(e, x), absolute(e, y)))
    ordinary = e.b.mul(
        e.b.compare("gt", largest, e.like(x, 0)), e.b.compare("lt", largest, infinity)
    )
    scale = e.b.select(ordinary, largest, e.like(x, 1))
    u, v = e.b.div(x, scale), e.b.div(y, scale)
    root = e.b.mul(scale, e.b.sqrt(e.b.add(e.b.mul(u, u), e.b.mul(v, v))))
    either = [e.b.compare("eq", absolute(e, part), infinity) for part in (x, y)]
    missing = e.b.compare("ne", root, root)
    return e.b.select(e.b.mul(e.b.add(*either), missing), infinity, root)


def _log_of_sum(power: str, scale: float) -> Any:
    """log(base^x + base^y) = high + log(1 + base^(low - high)), analytic where x = y as well."""

    def rule(e: Emitter, x: Operand, y: Operand) -> ir.Value:
        x, y = e.operands(x, y)
        right = e.b.compare("ge", x, y)
        high, low = e.b.select(right, x, y), e.b.select(right, y, x)
        infinite = e.b.compare("eq", absolute(e, x), e.like(x, math.inf))
        void = e.b.mul(infinite, e.b.compare("eq", x, y))
        apart = e.b.select(void, e.like(x, 0), e.b.sub(low, high))
        more = e.b.log1p(getattr(e.b, power)(apart))
        return e.b.add(high, more if scale == 1 else e.b.mul(more, e.like(x, scale)))

    return rule


logaddexp = _log_of_sum("exp", 1)
logaddexp2 = _log_of_sum("exp2", 1 / math.log(2))


def times_log(logarithm: str, neutral: float) -> Any:
    """x log(y), and 0 where x is 0, whatever y is, unless it is NaN."""

    def rule(e: Emitter, x: Operand, y: Operand) -> ir.Value:
        x, y = e.operands(x, y)
        singular = e.b.add(
            e.b.compare("le", y, e.like(y, neutral - 1)), e.b.compare("eq", y, e.like(y, math.inf))
        )
        void = e.b.mul(e.b.compare("eq", x, e.like(x, 0)), singular)
        safe = e.b.select(void, e.like(x, neutral), y)
        product = e.b.mul(x, getattr(e.b, logarithm)(safe))
        # At the pole of the logarithm torch's derivative in y is 0 / 0: so is that of this zero.
        pole = e.b.mul(void, e.b.compare("eq", y, e.like(y, neutral - 1)))
        nothing = e.b.select(pole, e.b.mul(y, e.like(y, 0)), e.like(y, 1))
        root = e.b.sqrt(e.b.mul(nothing, nothing))
        return e.b.add(product, e.b.select(pole, root, e.like(y, 0)))

    return rule


def entropy(e: Emitter, x: ir.Value) -> ir.Value:
    """-x log(x); 0 at 0, where the slope is infinite as that of sqrt, and -inf below."""
    (x,) = e.operands(x)
    zero, one = e.like(x, 0), e.like(x, 1)
    at_zero = e.b.compare("eq", x, zero)
    below = e.b.compare("lt", x, zero)
    # Each branch gets 1 where it is not taken.
    safe = e.b.select(e.b.add(at_zero, below), one, x)
    value = e.b.neg(e.b.mul(safe, e.b.log(safe)))
    # The slope at -0.0 is that at 0.0.
    root = e.b.sqrt(e.b.add(e.b.select(at_zero, x, one), zero))
    value = e.b.select(at_zero, root, value)
    steep = e.b.mul(x, e.b.select(below, e.like(x, math.inf), one))
    return e.b.select(below, steep, value)


def ndtr(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    tail = e.b.erfc(e.b.mul(x, e.like(x, -math.sqrt(0.5))))
    return e.b.mul(tail, e.like(x, 0.5))


def polygamma(e: Emitter, order: int, x: ir.Value) -> ir.Value:
    return e.b.polygamma(e.operands(x)[0], order)


def logit(e: Emitter, x: ir.Value, eps: float | None = None) -> ir.Value:
    (x,) = e.operands(x)
    one = e.like(x, 1)
    if eps is not None:
        for predicate, bound in (("lt", eps), ("gt", 1 - eps)):
            limit = e.like(x, bound)
            x = e.b.select(e.b.compare(predicate, x, limit), limit, x)
    outside = e.b.add(e.b.compare("lt", x, e.like(x, 0)), e.b.compare("gt", x, one))
    x = e.b.select(outside, e.like(x, math.nan), x)
    odds = e.b.sub(e.b.log(x), e.b.log1p(e.b.neg(x)))
    rest = e.b.sub(one, x)
    better = e.b.log(e.b.div(x, rest))
    return corrected(e, odds, e.b.sub(better, odds))


def sinc(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    zero = e.b.compare("eq", x, e.like(x, 0))
    angle = e.b.mul(e.b.select(zero, e.like(x, 1), x), e.like(x, math.pi))
    return e.b.select(zero, e.like(x, 1), e.b.div(e.b.sin(angle), angle))


def spherical_bessel_j0(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    infinite = e.b.compare("eq", absolute(e, x), e.like(x, math.inf))
    zero = e.b.compare("eq", x, e.like(x, 0))
    safe = e.b.select(e.b.add(zero, infinite), e.like(x, 1), x)
    value = e.b.select(zero, e.like(x, 1), e.b.div(e.b.sin(safe), safe))
    return e.b.select(infinite, e.like(x, 0), value)


def ldexp(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    return e.b.mul(x, e.b.exp2(y))


def nan_to_num(
    e: Emitter,
    x: ir.Value,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> ir.Value:
    if not dtype_of(x).is_floating_point:
        return x
    info = torch.finfo(e.storage or dtype_of(x))
    for wrong, number in (
        (e.b.compare("ne", x, x), 0.0 if nan is None else nan),
        (e.b.compare("eq", x, e.like(x, math.inf)), info.max if posinf is None else posinf),
        (e.b.compare("eq", x, e.like(x, -math.inf)), info.min if neginf is None else neginf),
    ):
        x = e.b.select(wrong, e.like(x, number), x)
    return x


def angle(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    zero = e.like(x, 0)
    turned = e.b.select(e.b.compare("lt", x, zero), e.like(x, math.pi), zero)
    return e.b.select(e.b.compare("ne", x, x), e.b.stop_gradient(x), turned)


def is_infinite(number: float) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        if not dtype_of(x).is_floating_point:
            return e.full(e.out.shape, 0, torch.bool)
        return e.b.compare("eq", x, e.like(x, number))

    return rule


ONE = """exp exp2 log log1p log2 log10 expm1 sin cos sinh cosh tanh asin acos atan asinh acosh atanh
sqrt lgamma digamma erf erfc erfinv special_erfcx special_ndtri special_log_ndtr"""

RULES: dict[Any, Any] = {
    **{getattr(aten, name).default: unary(name.removeprefix("special_")) for name in ONE.split()},
    aten.sigmoid.default: unary("logistic"),
    aten.atan2.default: binary("atan2"),
    aten.rsqrt.default: rsqrt,
    aten.tan.default: tan,
    aten.hypot.default: hypot,
    aten.logaddexp.default: logaddexp,
    aten.logaddexp2.default: logaddexp2,
    aten.xlogy.Tensor: times_log("log", 1),
    aten.xlogy.Scalar_Self: times_log("log", 1),
    aten.xlogy.Scalar_Other: times_log("log", 1),
    aten.special_xlog1py.default: times_log("log1p", 0),
    aten.special_xlog1py.self_scalar: times_log("log1p", 0),
    aten.special_xlog1py.other_scalar: times_log("log1p", 0),
    aten.special_entr.default: entropy,
    aten.special_ndtr.default: ndtr,
    aten.special_spherical_bessel_j0.default: spherical_bessel_j0,
    aten.polygamma.default: polygamma,
    aten.special_zeta.default: binary("zeta"),
    aten.special_zeta.other_scalar: binary("zeta"),
    aten.special_zeta.self_scalar: binary("zeta"),
    aten.logit.default: logit,
    aten.sinc.default: sinc,
    aten.ldexp.Tensor: ldexp,
    aten.rad2deg.default: times(180 / math.pi),
    aten.deg2rad.default: times(math.pi / 180),
    aten.nan_to_num.default: nan_to_num,
    aten.angle.default: angle,
    aten.isposinf.default: is_infinite(math.inf),
    aten.isneginf.default: is_infinite(-math.inf),
    aten.pow.Tensor_Scalar: power,
    aten.pow.Tensor_Tensor: power,
    aten.pow.Scalar: power,
    aten.square.default: lambda e, x: power(e, x, 2),
}
