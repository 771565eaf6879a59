"""bf16 and f16 of loop bodies, made from f32 and back with integer arithmetic.

Half types are storage: 16 bits in memory, f32 as soon as something is computed. The conversions
are written out, for LLVM would call a library function where the CPU has no instruction. Rounding
is to nearest even; a NaN stays one.
"""

from __future__ import annotations

from typing import Any

from mlir import ir
from mlir.dialects import arith


def is_half(element: ir.Type) -> bool:
    return isinstance(element, (ir.BF16Type, ir.F16Type))


class _Bits:
    """Arithmetic on i32, or on vectors of them."""

    def __init__(self, like: ir.Type) -> None:
        shape = like.shape if isinstance(like, ir.VectorType) else None
        self._shape = shape
        self.i16, self.i32 = (self.wide(ir.IntegerType.get_signless(n)) for n in (16, 32))
        self.f32 = self.wide(ir.F32Type.get())

    def wide(self, element: ir.Type) -> ir.Type:
        return element if self._shape is None else ir.VectorType.get(self._shape, element)

    def number(self, value: int) -> ir.Value:
        scalar = ir.IntegerType.get_signless(32)
        attribute: Any = ir.IntegerAttr.get(scalar, value - (value >> 31 << 32))
        if self._shape is not None:
            attribute = ir.DenseElementsAttr.get_splat(self.i32, attribute)
        return arith.ConstantOp(self.i32, attribute).result

    def add(self, x: ir.Value, value: int) -> ir.Value:
        return arith.addi(x, self.number(value & 0xFFFFFFFF))

    def mask(self, x: ir.Value, value: int) -> ir.Value:
        return arith.andi(x, self.number(value))

    def right(self, x: ir.Value, count: int) -> ir.Value:
        return arith.shrui(x, self.number(count))

    def left(self, x: ir.Value, count: int) -> ir.Value:
        return arith.shli(x, self.number(count))

    def above(self, x: ir.Value, value: int) -> ir.Value:
        return arith.cmpi(arith.CmpIPredicate.ugt, x, self.number(value))

    def floats(self, x: ir.Value) -> ir.Value:
        return arith.bitcast(self.f32, x)

    def of_floats(self, x: ir.Value) -> ir.Value:
        return arith.bitcast(self.i32, x)


def widened(x: ir.Value, element: ir.Type) -> ir.Value:
    """An element of a half type as f32."""
    b = _Bits(x.type)
    bits = arith.extui(b.i32, arith.bitcast(b.i16, x))
    if isinstance(element, ir.BF16Type):
        return b.floats(b.left(bits, 16))
    sign = b.left(b.mask(bits, 0x8000), 16)
    moved = b.left(b.mask(bits, 0x7FFF), 13)
    normal = b.add(moved, (127 - 15) << 23)
    special = b.add(normal, (128 - 16) << 23)  # infinities and NaN: the largest exponent
    # A subnormal is a normal f32: its fraction behind the exponent of 2^-14, less 2^-14.
    least = b.floats(b.number(113 << 23))
    small = b.of_floats(arith.subf(b.floats(b.add(normal, 1 << 23)), least))
    result = arith.select(b.above(moved, 0x0F7FFFFF), special, normal)
    result = arith.select(b.above(moved, 0x007FFFFF), result, small)
    return b.floats(arith.ori(sign, result))


def narrowed(x: ir.Value, element: ir.Type) -> ir.Value:
    """An f32 rounded to a half type."""
    b = _Bits(x.type)
    bits = b.of_floats(x)
    rounded = _to_bf16(b, bits) if isinstance(element, ir.BF16Type) else _to_f16(b, bits)
    return arith.bitcast(b.wide(element), arith.trunci(b.i16, rounded))


def _to_bf16(b: _Bits, bits: ir.Value) -> ir.Value:
    odd = b.mask(b.right(bits, 16), 1)
    rounded = b.right(arith.addi(b.add(bits, 0x7FFF), odd), 16)
    quiet = arith.ori(b.right(bits, 16), b.number(0x40))
    return arith.select(b.above(b.mask(bits, 0x7FFFFFFF), 0x7F800000), quiet, rounded)


def _to_f16(b: _Bits, bits: ir.Value) -> ir.Value:
    sign = b.right(b.mask(bits, 0x80000000), 16)
    size = b.mask(bits, 0x7FFFFFFF)
    odd = b.mask(b.right(size, 13), 1)
    rebased = b.add(size, ((15 - 127) << 23) + 0xFFF)
    normal = b.right(arith.addi(rebased, odd), 13)
    # Below 2^-14: adding 0.5 makes the addition itself round to multiples of 2^-24.
    one_half = 126 << 23
    shifted = arith.addf(b.floats(size), b.floats(b.number(one_half)))
    small = b.add(b.of_floats(shifted), -one_half)
    quiet = arith.ori(b.number(0x7E00), b.mask(b.right(size, 13), 0x3FF))
    result = arith.select(b.above(size, (113 << 23) - 1), normal, small)
    result = arith.select(b.above(size, (143 << 23) - 1), b.number(0x7C00), result)
    result = arith.select(b.above(size, 0x7F800000), quiet, result)
    return arith.ori(sign, result)
