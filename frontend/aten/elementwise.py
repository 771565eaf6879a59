"""Arithmetic, comparisons, choices and casts: one result element per operand element."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, Operand, dtype_of, result_type, shape

aten = torch.ops.aten


def add(e: Emitter, x: Operand, y: Operand, alpha: float = 1) -> ir.Value:
    x, y = e.operands(x, y)
    return e.b.add(x, scaled(e, y, alpha))


def sub(e: Emitter, x: Operand, y: Operand, alpha: float = 1) -> ir.Value:
    x, y = e.operands(x, y)
    return e.b.sub(x, scaled(e, y, alpha))


def rsub(e: Emitter, x: Operand, y: Operand, alpha: float = 1) -> ir.Value:
    return sub(e, y, x, alpha)


def scaled(e: Emitter, x: ir.Value, alpha: float) -> ir.Value:
    return x if alpha == 1 else e.b.mul(x, e.like(x, alpha))


def mul(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    return e.b.mul(*e.operands(x, y))


def true_divide(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    return e.b.div(*e.operands(x, y))


def reciprocal(e: Emitter, x: Operand) -> ir.Value:
    (x,) = e.operands(x)
    return e.b.div(e.like(x, 1), x)


def unary(name: str) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        return getattr(e.b, name)(*e.operands(x))

    return rule


def neg(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.neg(x)


def absolute(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.maximum(x, e.b.neg(x))  # equal at 0, where a tie gives derivative 0


def rsqrt(e: Emitter, x: ir.Value) -> ir.Value:
    root = e.b.sqrt(*e.operands(x))
    return e.b.div(e.like(root, 1), root)


def tan(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    return e.b.div(e.b.sin(x), e.b.cos(x))


def logarithm(base: float) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        (x,) = e.operands(x)
        log = e.b.log(x)
        return e.b.div(log, e.b.log(e.like(x, base)))

    return rule


def log1p(e: Emitter, x: ir.Value) -> ir.Value:
    """log(1 + x), plus what the rounding of 1 + x lost; the derivative is that of the log."""
    (x,) = e.operands(x)
    one = e.like(x, 1)
    near = e.b.add(one, x)
    return corrected(e, e.b.log(near), e.b.div(e.b.sub(x, e.b.sub(near, one)), near))


def corrected(e: Emitter, rough: ir.Value, lost: ir.Value) -> ir.Value:
    """``rough`` with its derivatives, plus the error of its value, where that is finite."""
    lost = e.b.stop_gradient(lost)
    finite = e.b.compare("lt", absolute(e, lost), e.like(lost, float("inf")))
    return e.b.add(rough, e.b.select(finite, lost, e.like(lost, 0)))


def expm1(e: Emitter, x: ir.Value) -> ir.Value:
    """exp(x) - 1 for the derivatives; the value is that of tanh(x / 2) (exp(x) + 1)."""
    (x,) = e.operands(x)
    grown, one = e.b.exp(x), e.like(x, 1)
    half = e.b.tanh(e.b.mul(x, e.like(x, 0.5)))
    rough = e.b.sub(grown, one)
    return corrected(e, rough, e.b.sub(e.b.mul(half, e.b.add(grown, one)), rough))


def sinh(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    return e.b.mul(e.b.sub(expm1(e, x), expm1(e, e.b.neg(x))), e.like(x, 0.5))


def cosh(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    return e.b.mul(e.b.add(e.b.exp(x), e.b.exp(e.b.neg(x))), e.like(x, 0.5))


def hypot(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    return e.b.sqrt(e.b.add(e.b.mul(x, x), e.b.mul(y, y)))


def logaddexp(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    top = e.b.stop_gradient(e.b.maximum(x, y))
    infinite = e.b.compare("eq", absolute(e, top), e.like(top, float("inf")))
    top = e.b.select(infinite, e.like(top, 0), top)
    parts = [e.b.exp(e.b.sub(part, top)) for part in (x, y)]
    rough = e.b.log(e.b.add(*parts))
    apart = e.b.stop_gradient(e.b.neg(absolute(e, e.b.sub(x, y))))
    return e.b.add(corrected(e, rough, e.b.sub(log1p(e, e.b.exp(apart)), rough)), top)


def xlogy(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    zero = e.like(x, 0)
    void = e.b.mul(e.b.compare("eq", x, zero), e.b.compare("eq", y, y))
    return e.b.mul(x, e.b.log(e.b.select(void, e.like(x, 1), y)))


def exp2(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = e.operands(x)
    return e.b.pow(e.like(x, 2), x)


def power(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    if isinstance(y, ir.Value) or dtype_of(x) is torch.bool:
        return e.b.pow(*e.operands(x, y))
    (x,) = e.operands(x)
    one = e.like(x, 1)
    if y in (0.5, -0.5):
        root = e.b.sqrt(x)
        return root if y > 0 else e.b.div(one, root)
    if not abs(y) <= 64 or y != int(y):
        return e.b.pow(x, e.like(x, y))
    if y < 0:  # the reciprocal comes first: what is squared must not overflow before its time
        x = e.b.div(one, x)
    # Whole powers by squaring, as exact as pow and with derivatives that need no logarithm.
    result, square, left = None, x, abs(int(y))
    while left:
        if left % 2:
            result = square if result is None else e.b.mul(result, square)
        left //= 2
        square = e.b.mul(square, square) if left else square
    return one if result is None else result


def square(e: Emitter, x: ir.Value) -> ir.Value:
    return power(e, x, 2)


def maximum(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    return e.b.maximum(*e.operands(x, y))


def minimum(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    if e.out.dtype.is_floating_point:
        return e.b.neg(e.b.maximum(e.b.neg(x), e.b.neg(y)))
    if e.out.dtype is torch.bool:
        return e.b.mul(x, y)
    return e.b.select(e.b.compare("lt", x, y), x, y)


def clamp(e: Emitter, x: ir.Value, low: Operand = None, high: Operand = None) -> ir.Value:
    (x,) = e.operands(x)
    for bound, predicate in ((low, "lt"), (high, "gt")):
        if bound is not None:  # the bound itself counts as inside: derivative 1
            known = not isinstance(bound, ir.Value) and bound == bound
            (bound,) = e.operands(bound)
            outside = e.b.compare(predicate, x, bound)
            if not known:  # NaN as a bound gives NaN
                outside = e.b.add(outside, e.b.compare("ne", bound, bound))
            x = e.b.select(outside, bound, x)
    return x


def clamp_min(e: Emitter, x: ir.Value, low: Operand) -> ir.Value:
    return clamp(e, x, low, None)


def clamp_max(e: Emitter, x: ir.Value, high: Operand) -> ir.Value:
    return clamp(e, x, None, high)


def comparison(predicate: str) -> Any:
    def rule(e: Emitter, x: Operand, y: Operand) -> ir.Value:
        x, y = e.operands(x, y, dtype=result_type(x, y))
        return e.b.compare(predicate, x, y)

    return rule


def where(e: Emitter, condition: ir.Value, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    return e.b.select(e.tensor(condition, e.out.shape, torch.bool), x, y)


def masked_fill(e: Emitter, x: ir.Value, mask: ir.Value, value: Operand) -> ir.Value:
    return where(e, mask, value, x)


def to_bool(e: Emitter, *xs: ir.Value) -> list[ir.Value]:
    return e.operands(*xs, dtype=torch.bool)


def logical_and(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.mul(*to_bool(e, x, y))


def logical_or(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.add(*to_bool(e, x, y))


def logical_xor(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.compare("ne", *to_bool(e, x, y))


def logical_not(e: Emitter, x: ir.Value) -> ir.Value:
    (x,) = to_bool(e, x)
    return e.b.compare("eq", x, e.like(x, 0))


def bitwise(rule: Any) -> Any:
    def on_bool(e: Emitter, *xs: Operand) -> ir.Value:
        if e.out.dtype is not torch.bool:
            raise NotImplementedError("bitwise operations on integers")
        return rule(e, *xs)

    return on_bool


def isnan(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.compare("ne", x, x)


def isinf(e: Emitter, x: ir.Value) -> ir.Value:
    if not dtype_of(x).is_floating_point:
        return e.like(e.convert(x, torch.bool), 0)
    return e.b.compare("eq", absolute(e, x), e.like(x, float("inf")))


def isfinite(e: Emitter, x: ir.Value) -> ir.Value:
    if not dtype_of(x).is_floating_point:
        return e.full(shape(x), 1, torch.bool)
    return e.b.compare("lt", absolute(e, x), e.like(x, float("inf")))


def cast(e: Emitter, x: ir.Value, **_: Any) -> ir.Value:
    return e.convert(x, e.out.dtype)


def same(e: Emitter, x: ir.Value, **_: Any) -> ir.Value:
    return x


def addcmul(e: Emitter, x: Operand, y: Operand, z: Operand, value: float = 1) -> ir.Value:
    x, y, z = e.operands(x, y, z)
    return e.b.add(x, scaled(e, e.b.mul(y, z), value))


def addcdiv(e: Emitter, x: Operand, y: Operand, z: Operand, value: float = 1) -> ir.Value:
    x, y, z = e.operands(x, y, z)
    return e.b.add(x, scaled(e, e.b.div(y, z), value))


def lerp(e: Emitter, x: Operand, y: Operand, weight: Operand) -> ir.Value:
    x, y, weight = e.operands(x, y, weight)
    return e.b.add(x, e.b.mul(weight, e.b.sub(y, x)))


_COMPARISONS = {name: comparison(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}

RULES: dict[Any, Any] = {
    aten.add.Tensor: add,
    aten.add.Scalar: add,
    aten.sub.Tensor: sub,
    aten.sub.Scalar: sub,
    aten.rsub.Tensor: rsub,
    aten.rsub.Scalar: rsub,
    aten.mul.Tensor: mul,
    aten.mul.Scalar: mul,
    aten.div.Tensor: true_divide,
    aten.div.Scalar: true_divide,
    aten.reciprocal.default: reciprocal,
    aten.neg.default: neg,
    aten.positive.default: same,
    aten.abs.default: absolute,
    aten.exp.default: unary("exp"),
    aten.exp2.default: exp2,
    aten.log.default: unary("log"),
    aten.log1p.default: log1p,
    aten.expm1.default: expm1,
    aten.sinh.default: sinh,
    aten.cosh.default: cosh,
    aten.hypot.default: hypot,
    aten.logaddexp.default: logaddexp,
    aten.xlogy.Tensor: xlogy,
    aten.xlogy.Scalar_Self: xlogy,
    aten.xlogy.Scalar_Other: xlogy,
    aten.log2.default: logarithm(2.0),
    aten.log10.default: logarithm(10.0),
    aten.sin.default: unary("sin"),
    aten.cos.default: unary("cos"),
    aten.tan.default: tan,
    aten.tanh.default: unary("tanh"),
    aten.sqrt.default: unary("sqrt"),
    aten.rsqrt.default: rsqrt,
    aten.sigmoid.default: unary("logistic"),
    aten.pow.Tensor_Scalar: power,
    aten.pow.Tensor_Tensor: power,
    aten.pow.Scalar: power,
    aten.square.default: square,
    aten.maximum.default: maximum,
    aten.minimum.default: minimum,
    aten.clamp.default: clamp,
    aten.clamp.Tensor: clamp,
    aten.clamp_min.default: clamp_min,
    aten.clamp_min.Tensor: clamp_min,
    aten.clamp_max.default: clamp_max,
    aten.clamp_max.Tensor: clamp_max,
    **{getattr(aten, name).Tensor: rule for name, rule in _COMPARISONS.items()},
    **{getattr(aten, name).Scalar: rule for name, rule in _COMPARISONS.items()},
    aten.where.self: where,
    aten.where.ScalarSelf: where,
    aten.where.ScalarOther: where,
    aten.where.Scalar: where,
    aten.masked_fill.Scalar: masked_fill,
    aten.masked_fill.Tensor: masked_fill,
    aten.logical_and.default: logical_and,
    aten.logical_or.default: logical_or,
    aten.logical_xor.default: logical_xor,
    aten.logical_not.default: logical_not,
    aten.bitwise_and.Tensor: bitwise(logical_and),
    aten.bitwise_or.Tensor: bitwise(logical_or),
    aten.bitwise_xor.Tensor: bitwise(logical_xor),
    aten.bitwise_not.default: bitwise(logical_not),
    aten.isnan.default: isnan,
    aten.isinf.default: isinf,
    aten.isfinite.default: isfinite,
    aten._to_copy.default: cast,
    aten.copy.default: lambda e, x, source, _=False: e.operands(source)[0],
    aten.clone.default: same,
    aten.addcmul.default: addcmul,
    aten.addcdiv.default: addcdiv,
    aten.lerp.Scalar: lerp,
    aten.lerp.Tensor: lerp,
}
