"""Floor, round, remainders and integer division. Their derivatives are zero, as torch's."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, Operand, dtype_of

aten = torch.ops.aten

_WHOLE = {torch.float32: 2.0**23, torch.float64: 2.0**52}  # from here on all floats are whole


def _with_whole(e: Emitter, x: ir.Value, rule: Any) -> ir.Value:
    """``rule(small, truncated small)``; large, infinite and NaN values stay as they are."""
    if not dtype_of(x).is_floating_point:
        return x
    x = e.b.stop_gradient(x)
    magnitude = e.b.maximum(x, e.b.neg(x))
    small = e.b.compare("lt", magnitude, e.like(x, _WHOLE[dtype_of(x)]))
    inside = e.b.select(small, x, e.like(x, 0))
    truncated = e.convert(e.convert(inside, torch.int64), dtype_of(x))
    return e.b.select(small, rule(inside, truncated), x)


def trunc(e: Emitter, x: ir.Value) -> ir.Value:
    return _with_whole(e, x, lambda x, whole: whole)


def floor(e: Emitter, x: ir.Value) -> ir.Value:
    def rule(x: ir.Value, whole: ir.Value) -> ir.Value:
        return e.b.sub(whole, e.convert(e.b.compare("gt", whole, x), dtype_of(x)))

    return _with_whole(e, x, rule)


def ceil(e: Emitter, x: ir.Value) -> ir.Value:
    def rule(x: ir.Value, whole: ir.Value) -> ir.Value:
        return e.b.add(whole, e.convert(e.b.compare("lt", whole, x), dtype_of(x)))

    return _with_whole(e, x, rule)


def round_even(e: Emitter, x: ir.Value) -> ir.Value:
    if not dtype_of(x).is_floating_point:
        return x
    low = floor(e, x)
    rest, half = e.b.sub(e.b.stop_gradient(x), low), e.like(x, 0.5)
    halved = e.b.mul(low, half)
    odd = e.b.compare("ne", floor(e, halved), halved)
    tie_up = e.b.mul(e.b.compare("eq", rest, half), odd)
    up = e.b.add(e.b.compare("gt", rest, half), tie_up)
    return e.b.add(low, e.convert(up, dtype_of(x)))


def frac(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.sub(x, trunc(e, x))


def sign(e: Emitter, x: ir.Value) -> ir.Value:
    zero = e.like(x, 0)
    up = e.convert(e.b.compare("gt", x, zero), dtype_of(x))
    return e.b.sub(up, e.convert(e.b.compare("lt", x, zero), dtype_of(x)))


def _integer_quotient(e: Emitter, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Quotient towards zero and remainder. A zero divisor is an error of the call."""
    zero, one = e.like(y, 0), e.like(y, 1)
    is_zero = e.b.compare("eq", y, zero)
    flag = e.convert(is_zero, torch.int64)
    flag = e.b.check_index(flag, 1, "RuntimeError: ZeroDivisionError", wrap=False)
    # Adding the checked flag, which is 0, ties the check to the quotient.
    divisor = e.b.add(e.b.select(is_zero, one, y), e.convert(flag, dtype_of(y)))
    minus = e.b.compare("eq", divisor, e.like(y, -1))  # the least integer / -1 would overflow
    quotient = e.b.div(x, e.b.select(minus, one, divisor))
    quotient = e.b.select(minus, e.b.neg(x), quotient)
    return quotient, e.b.sub(x, e.b.mul(quotient, divisor))


def _floor_correction(e: Emitter, rest: ir.Value, y: ir.Value) -> ir.Value:
    """Whether rounding down differs from rounding towards zero."""
    zero = e.like(rest, 0)
    negative_rest = e.b.compare("lt", rest, zero)
    differ = e.b.compare("ne", negative_rest, e.b.compare("lt", y, zero))
    return e.b.mul(e.b.compare("ne", rest, zero), differ)


def _halves(e: Emitter, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """x as a sum of two numbers of half the digits (Veltkamp): products of these are exact."""
    grown = e.b.mul(x, e.like(x, 2.0**27 + 1))
    high = e.b.sub(grown, e.b.sub(grown, x))
    return high, e.b.sub(x, high)


def _lost(e: Emitter, x: ir.Value, y: ir.Value, product: ir.Value) -> ir.Value:
    """What the rounding of ``product`` = x y lost (Dekker)."""
    (xh, xl), (yh, yl) = _halves(e, x), _halves(e, y)
    lost = e.b.sub(e.b.mul(xh, yh), product)
    lost = e.b.add(e.b.add(lost, e.b.mul(xh, yl)), e.b.mul(xl, yh))
    return e.b.stop_gradient(e.b.add(lost, e.b.mul(xl, yl)))


def _quotient(e: Emitter, x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
    """x / y towards zero, and what is left of x: exact, as C's fmod, for quotients below 2^52."""
    if dtype_of(x) is torch.float32:  # in f64 even the product with the quotient is exact
        wide = [e.convert(t, torch.float64) for t in (x, y)]
        quotient, rest = (e.convert(t, torch.float32) for t in _quotient(e, *wide))
        return quotient, rest
    zero = e.like(x, 0)
    quotient = trunc(e, e.b.div(x, y))
    product = e.b.mul(quotient, y)
    lost = _lost(e, quotient, y, product)
    finite = e.b.compare("eq", e.b.sub(lost, lost), zero)
    rest = e.b.sub(e.b.sub(x, product), e.b.select(finite, lost, zero))
    rest = e.b.select(e.b.compare("eq", quotient, zero), x, rest)  # y may be infinite
    # The division may have been rounded up to a whole number: then the rest changes sign.
    over = e.b.mul(e.b.compare("lt", rest, zero), e.b.compare("gt", x, zero))
    under = e.b.mul(e.b.compare("gt", rest, zero), e.b.compare("lt", x, zero))
    wrong = e.b.add(over, under)
    down = e.b.compare("gt", quotient, zero)
    step = e.b.select(down, e.like(x, 1), e.like(x, -1))
    rest = e.b.add(rest, e.b.select(wrong, e.b.mul(step, y), zero))
    return e.b.sub(quotient, e.b.select(wrong, step, zero)), rest


def floor_divide(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    exact = _quotient if e.out.dtype.is_floating_point else _integer_quotient
    quotient, rest = exact(e, x, y)
    return e.b.sub(quotient, e.convert(_floor_correction(e, rest, y), dtype_of(x)))


def divide(e: Emitter, x: Operand, y: Operand, rounding_mode: str | None = None) -> ir.Value:
    if rounding_mode == "floor":
        return floor_divide(e, x, y)
    x, y = e.operands(x, y)
    if rounding_mode is None:
        return e.b.div(x, y)
    if e.out.dtype.is_floating_point:
        return trunc(e, e.b.div(x, y))
    return _integer_quotient(e, x, y)[0]


def remainder(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    exact = _quotient if e.out.dtype.is_floating_point else _integer_quotient
    _, rest = exact(e, x, y)
    return e.b.select(_floor_correction(e, rest, y), e.b.add(rest, y), rest)


def fmod(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    exact = _quotient if e.out.dtype.is_floating_point else _integer_quotient
    return exact(e, x, y)[1]


RULES: dict[Any, Any] = {
    aten.trunc.default: trunc,
    aten.floor.default: floor,
    aten.ceil.default: ceil,
    aten.round.default: round_even,
    aten.frac.default: frac,
    aten.sign.default: sign,
    aten.floor_divide.default: floor_divide,
    aten.floor_divide.Scalar: floor_divide,
    aten.div.Tensor_mode: divide,
    aten.div.Scalar_mode: divide,
    aten.remainder.Tensor: remainder,
    aten.remainder.Scalar: remainder,
    aten.remainder.Scalar_Tensor: remainder,
    aten.fmod.Tensor: fmod,
    aten.fmod.Scalar: fmod,
}
