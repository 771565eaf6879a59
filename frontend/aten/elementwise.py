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


def neg(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.neg(x)


def absolute(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.maximum(x, e.b.neg(x))  # equal at 0, where a tie gives derivative 0


def integer_power(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    """By squaring, wrapping; 1 / x rounded towards zero where the power is negative."""
    zero, one = e.like(x, 0), e.like(x, 1)
    result, square = one, x
    for bit in range(63 if e.out.dtype is torch.int64 else 31):
        odd = e.b.compare("ne", e.b.bit_and(y, e.like(y, 1 << bit)), zero)
        result = e.b.mul(result, e.b.select(odd, square, one))
        square = e.b.mul(square, square)
    unit = e.b.compare("le", e.b.mul(x, x), one)
    inverse = e.b.select(e.b.mul(unit, e.b.compare("ne", x, zero)), result, zero)
    return e.b.select(e.b.compare("lt", y, zero), inverse, result)


def power(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    if not e.out.dtype.is_floating_point and (isinstance(y, ir.Value) or y > 64):
        return integer_power(e, *e.operands(x, y))
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


def maximum(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    return e.b.maximum(*e.operands(x, y))


def minimum(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    if e.out.dtype.is_floating_point:
        return e.b.neg(e.b.maximum(e.b.neg(x), e.b.neg(y)))
    if e.out.dtype is torch.bool:
        return e.b.mul(x, y)
    return e.b.select(e.b.compare("lt", x, y), x, y)


def fmax(sign: str) -> Any:
    """The other one of a NaN; the derivative of a tie is the first's."""

    def rule(e: Emitter, x: Operand, y: Operand) -> ir.Value:
        x, y = e.operands(x, y)
        first = e.b.compare(sign, x, y)
        if e.out.dtype.is_floating_point:
            first = e.b.add(first, e.b.compare("ne", y, y))
        return e.b.select(first, x, y)

    return rule


def heaviside(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    """At zero it is y, and so is its derivative there; torch has none."""
    x, y = e.operands(x, y)
    zero = e.like(x, 0)
    step = e.convert(e.b.compare("gt", x, zero), e.out.dtype)
    step = e.b.select(e.b.compare("eq", x, zero), y, step)
    if not e.out.dtype.is_floating_point:
        return step
    return e.b.select(e.b.compare("ne", x, x), e.b.stop_gradient(x), step)


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
    if not e.out.dtype.is_floating_point:
        return x
    # NaN stays, without a derivative.
    return e.b.select(e.b.compare("ne", x, x), e.b.stop_gradient(x), x)


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
    """From the nearer end, as torch: exact at both, and the same where one is infinite."""
    x, y, weight = e.operands(x, y, weight)
    step, rest = e.b.sub(y, x), e.b.sub(e.like(weight, 1), weight)
    near = e.b.compare("lt", e.b.stop_gradient(absolute(e, weight)), e.like(weight, 0.5))
    return e.b.select(near, e.b.add(x, e.b.mul(weight, step)), e.b.sub(y, e.b.mul(step, rest)))


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
    aten.maximum.default: maximum,
    aten.minimum.default: minimum,
    aten.fmax.default: fmax("ge"),
    aten.fmin.default: fmax("le"),
    aten.heaviside.default: heaviside,
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
    aten.isnan.default: isnan,
    aten.isinf.default: isinf,
    aten.isfinite.default: isfinite,
    aten._to_copy.default: cast,
    aten.copy.default: lambda e, x, source, _=False: e.operands(source)[0],
    aten.clone.default: same,
    aten.lift_fresh_copy.default: same,  # torch.tensor([...]) in an exported program
    aten.addcmul.default: addcmul,
    aten.addcdiv.default: addcdiv,
    aten.lerp.Scalar: lerp,
    aten.lerp.Tensor: lerp,
}
