"""Calls on the bits of numbers: bit logic, shifts, signs and neighbours of floats."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .elementwise import logical_and, logical_not, logical_or, logical_xor
from .emitter import Emitter, Operand, dtype_of

aten = torch.ops.aten
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
_MANTISSA = {torch.float32: 23, torch.float64: 52}


def bitwise(name: str, on_bool: Any) -> Any:
    def rule(e: Emitter, x: Operand, y: Operand) -> ir.Value:
        if e.out.dtype is torch.bool:
            return on_bool(e, *e.operands(x, y))
        return getattr(e.b, name)(*e.operands(x, y))

    return rule


def bitwise_not(e: Emitter, x: ir.Value) -> ir.Value:
    return logical_not(e, x) if e.out.dtype is torch.bool else e.b.bit_xor(x, e.like(x, -1))


def signbit(e: Emitter, x: ir.Value) -> ir.Value:
    if dtype_of(x) is torch.bool:
        return e.like(x, 0)
    bits = e.b.bitcast(x) if dtype_of(x).is_floating_point else x
    return e.b.compare("lt", bits, e.like(bits, 0))


def copysign(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    """x or -x; at 0 the derivative is 0, as torch has it."""
    x, y = e.operands(x, y)
    flipped = e.b.compare("ne", signbit(e, x), signbit(e, y))
    zero = e.b.compare("eq", x, e.like(x, 0))
    x = e.b.select(zero, e.b.stop_gradient(x), x)
    return e.b.select(flipped, e.b.neg(x), x)


def nextafter(e: Emitter, x: Operand, y: Operand) -> ir.Value:
    """The float beside x in the direction of y: one step of its bits.

    The derivative is that of x, where x is not y.
    """
    x, y = e.operands(x, y)
    infinite = e.b.compare("eq", e.b.maximum(x, e.b.neg(x)), e.like(x, float("inf")))
    fixed = e.b.add(infinite, e.b.compare("eq", x, y))
    moving = e.b.select(fixed, e.like(x, 0), x)
    still = e.b.sub(e.b.stop_gradient(moving), moving)  # 0, and derivative -1
    x, y = e.b.stop_gradient(x), e.b.stop_gradient(y)
    bits = e.b.bitcast(x)
    one, zero = e.like(bits, 1), e.like(x, 0)
    away = e.b.compare("eq", e.b.compare("lt", x, y), e.b.compare("gt", x, zero))
    moved = e.b.bitcast(e.b.select(away, e.b.add(bits, one), e.b.sub(bits, one)))
    tiny = e.b.bitcast(one)
    from_zero = e.b.select(e.b.compare("gt", y, zero), tiny, e.b.neg(tiny))
    moved = e.b.select(e.b.compare("eq", x, zero), from_zero, moved)
    moved = e.b.select(e.b.compare("eq", x, y), y, moved)
    missing = e.b.add(e.b.compare("ne", x, x), e.b.compare("ne", y, y))
    return e.b.sub(e.b.select(missing, e.b.add(x, y), moved), still)


def frexp(e: Emitter, x: ir.Value) -> list[ir.Value]:
    """x = mantissa 2^exponent, 1/2 <= |mantissa| < 1."""
    dtype = dtype_of(x)
    mantissa, top = _MANTISSA[dtype], 255 if dtype is torch.float32 else 2047
    info = torch.finfo(dtype)
    fixed = e.b.stop_gradient(x)
    size = e.b.maximum(fixed, e.b.neg(fixed))
    denormal = e.b.compare("lt", size, e.like(x, info.tiny))
    scaled = e.b.select(denormal, e.b.mul(size, e.like(x, 2.0 ** (mantissa + 2))), size)
    bits = e.b.bitcast(scaled)
    exponent = e.b.shift_right(bits, e.like(bits, mantissa))
    lowered = e.b.select(denormal, e.like(bits, mantissa + 2), e.like(bits, 0))
    exponent = e.b.sub(exponent, e.b.add(lowered, e.like(bits, top // 2 - 1)))
    ordinary = e.b.mul(
        e.b.compare("gt", size, e.like(x, 0)), e.b.compare("le", size, e.like(x, info.max))
    )
    exponent = e.b.select(ordinary, exponent, e.like(bits, 0))
    half = e.b.shift_right(exponent, e.like(bits, 1))
    for part in (half, e.b.sub(exponent, half)):  # in two steps: neither overflows
        x = e.b.mul(x, e.b.exp2(e.b.neg(e.convert(part, dtype))))
    return [x, e.convert(exponent, torch.int32)]


def shift(name: str) -> Any:
    def rule(e: Emitter, x: Operand, y: Operand) -> ir.Value:
        if e.out.dtype not in (torch.int32, torch.int64):
            raise NotImplementedError(f"shifts of {e.out.dtype}")
        return getattr(e.b, name)(*e.operands(x, y))

    return rule


_LOGIC = {
    "and": bitwise("bit_and", logical_and),
    "or": bitwise("bit_or", logical_or),
    "xor": bitwise("bit_xor", logical_xor),
}
_SHIFTS = {"left": shift("shift_left"), "right": shift("shift_right")}
_FORMS = ("Tensor", "Scalar", "Scalar_Tensor")
_OLD = {"left": aten.__lshift__, "right": aten.__rshift__}

RULES: dict[Any, Any] = {
    **{
        getattr(getattr(aten, f"bitwise_{name}"), form): rule
        for name, rule in _LOGIC.items()
        for form in _FORMS
    },
    **{
        getattr(getattr(aten, f"bitwise_{name}_shift"), form): rule
        for name, rule in (("left", _SHIFTS["left"]), ("right", _SHIFTS["right"]))
        for form in ("Tensor", "Tensor_Scalar", "Scalar_Tensor")
    },
    **{getattr(_OLD[name], form): _SHIFTS[name] for name in _OLD for form in ("Tensor", "Scalar")},
    aten.bitwise_not.default: bitwise_not,
    aten.signbit.default: signbit,
    aten.copysign.Tensor: copysign,
    aten.copysign.Scalar: copysign,
    aten.nextafter.default: nextafter,
    aten.frexp.Tensor: frexp,
}
