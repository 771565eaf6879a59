"""Floor, round, remainders and integer division. Their derivatives are zero, as torch's."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, Operand, dtype_of

aten = torch.ops.aten


def rounded(name: str) -> Any:
    def rule(e: Emitter, x: ir.Value) -> ir.Value:
        return getattr(e.b, name)(x) if dtype_of(x).is_floating_point else x

    return rule


floor, ceil, trunc = rounded("floor"), rounded("ceil"), rounded("trunc")


def round_even(e: Emitter, x: ir.Value, decimals: int = 0) -> ir.Value:
    if not dtype_of(x).is_floating_point:
        return x
    if not decimals:
        return e.b.round(x)
    power = e.like(x, 10.0 ** abs(decimals))
    if decimals > 0:
        return e.b.div(e.b.round(e.b.mul(x, power)), power)
    return e.b.mul(e.b.round(e.b.div(x, power)), power)


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


def floor_divide(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    if not e.out.dtype.is_floating_point:
        quotient, rest = _integer_quotient(e, x, y)
        return e.b.sub(quotient, e.convert(_floor_correction(e, rest, y), dtype_of(x)))
    zero, one = e.like(x, 0), e.like(x, 1)
    x, y = e.b.stop_gradient(x), e.b.stop_gradient(y)
    plain, rest = e.b.div(x, y), e.b.fmod(x, y)
    quotient = e.b.div(e.b.sub(x, rest), y)
    quotient = e.b.sub(quotient, e.convert(_floor_correction(e, rest, y), dtype_of(x)))
    low = e.b.floor(quotient)
    high = e.b.compare("gt", e.b.sub(quotient, low), e.like(x, 0.5))
    low = e.b.add(low, e.b.select(high, one, zero))
    low = e.b.select(e.b.compare("eq", quotient, zero), e.b.mul(plain, zero), low)
    return e.b.select(e.b.compare("eq", y, zero), plain, low)


def divide(e: Emitter, x: Operand, y: Operand, rounding_mode: str | None = None) -> ir.Value:
    if rounding_mode == "floor":
        return floor_divide(e, x, y)
    x, y = e.operands(x, y)
    if rounding_mode is None:
        return e.b.div(x, y)
    if e.out.dtype.is_floating_point:
        return trunc(e, e.b.div(x, y))
    return _integer_quotient(e, x, y)[0]


def _rest(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.fmod(x, y) if e.out.dtype.is_floating_point else _integer_quotient(e, x, y)[1]


def remainder(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    x, y = e.operands(x, y)
    rest = _rest(e, x, y)
    return e.b.select(_floor_correction(e, rest, y), e.b.add(rest, y), rest)


def fmod(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    return _rest(e, *e.operands(x, y))


RULES: dict[Any, Any] = {
    aten.trunc.default: trunc,
    aten.floor.default: floor,
    aten.ceil.default: ceil,
    aten.round.default: round_even,
    aten.round.decimals: round_even,
    aten.frac.default: frac,
    aten.sign.default: sign,
    aten.sgn.default: sign,
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
