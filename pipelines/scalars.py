"""Scalar arithmetic for loop bodies: what the `scalar` rule of an op is written with.

An i1 here is a truth value; in memory it is a byte (see pb_to_linalg.py).
Elements may also be vectors: the bodies of the math functions are emitted once for each width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mlir import ir
from mlir.dialects import arith, math

from . import half
from .threefry import random_bits

_FLOAT_PREDICATES = {
    "eq": arith.CmpFPredicate.OEQ,
    "ne": arith.CmpFPredicate.UNE,
    "lt": arith.CmpFPredicate.OLT,
    "le": arith.CmpFPredicate.OLE,
    "gt": arith.CmpFPredicate.OGT,
    "ge": arith.CmpFPredicate.OGE,
}
_INTEGER_PREDICATES = {
    "eq": arith.CmpIPredicate.eq,
    "ne": arith.CmpIPredicate.ne,
    "lt": arith.CmpIPredicate.slt,
    "le": arith.CmpIPredicate.sle,
    "gt": arith.CmpIPredicate.sgt,
    "ge": arith.CmpIPredicate.sge,
}
_TRUTH_PREDICATES = _INTEGER_PREDICATES | {
    "lt": arith.CmpIPredicate.ult,
    "le": arith.CmpIPredicate.ule,
    "gt": arith.CmpIPredicate.ugt,
    "ge": arith.CmpIPredicate.uge,
}

_LOGIC = {"and": arith.andi, "or": arith.ori, "xor": arith.xori}


def element(type_: ir.Type) -> ir.Type:
    """The type itself, or that of the elements of a vector."""
    return type_.element_type if isinstance(type_, ir.VectorType) else type_


def like(type_: ir.Type, new_element: ir.Type) -> ir.Type:
    """`new_element` as a scalar or as a vector of the width of `type_`."""
    if isinstance(type_, ir.VectorType):
        return ir.VectorType.get(type_.shape, new_element)
    return new_element


def is_float(value: ir.Value) -> bool:
    return isinstance(element(value.type), ir.FloatType)


def is_truth(value: ir.Value) -> bool:
    type_ = element(value.type)
    return isinstance(type_, ir.IntegerType) and type_.width == 1


def width(type_: ir.Type) -> int:
    bits = element(type_)
    assert isinstance(bits, (ir.IntegerType, ir.FloatType))
    return bits.width


def constant(type_: ir.Type, number: float | int) -> ir.Value:
    scalar = element(type_)
    if isinstance(scalar, ir.FloatType):
        attribute: Any = ir.FloatAttr.get(scalar, float(number))
    else:
        attribute = ir.IntegerAttr.get(scalar, int(number))
    if isinstance(type_, ir.VectorType):
        attribute = ir.DenseElementsAttr.get_splat(type_, attribute)
    return arith.ConstantOp(type_, attribute).result


class MathCalls(Protocol):
    """Where calls of exp, log, ... go: the library of math functions of the module."""

    def call(self, name: str, *operands: ir.Value) -> ir.Value: ...


class Scalars:
    """Arithmetic on elements at the current insertion point."""

    def __init__(self, functions: MathCalls) -> None:
        self._functions = functions

    def constant(self, type_: ir.Type, number: float | int) -> ir.Value:
        return constant(type_, number)

    # Arithmetic; on truth values + is or, * is and.

    def add(self, x: ir.Value, y: ir.Value) -> ir.Value:
        if is_float(x):
            return arith.addf(x, y)
        return arith.ori(x, y) if is_truth(x) else arith.addi(x, y)

    def sub(self, x: ir.Value, y: ir.Value) -> ir.Value:
        if is_float(x):
            return arith.subf(x, y)
        return arith.xori(x, y) if is_truth(x) else arith.subi(x, y)

    def mul(self, x: ir.Value, y: ir.Value) -> ir.Value:
        if is_float(x):
            return arith.mulf(x, y)
        return arith.andi(x, y) if is_truth(x) else arith.muli(x, y)

    def div(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Integers: truncated; x / 0 is 0 and INT_MIN / -1 wraps, for neither may trap."""
        if is_float(x):
            return arith.divf(x, y)
        if is_truth(x):
            return arith.andi(x, y)
        zero, one = constant(x.type, 0), constant(x.type, 1)
        by_zero = arith.cmpi(arith.CmpIPredicate.eq, y, zero)
        by_minus_one = arith.cmpi(arith.CmpIPredicate.eq, y, constant(y.type, -1))
        unsafe = arith.ori(by_zero, by_minus_one)
        quotient = arith.divsi(x, arith.select(unsafe, one, y))
        negated = arith.subi(zero, x)
        return arith.select(by_zero, zero, arith.select(by_minus_one, negated, quotient))

    def neg(self, x: ir.Value) -> ir.Value:
        if is_float(x):
            return arith.negf(x)
        return x if is_truth(x) else arith.subi(constant(x.type, 0), x)

    def maximum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """NaN if either is NaN."""
        if is_float(x):
            return arith.maximumf(x, y)
        return arith.ori(x, y) if is_truth(x) else arith.maxsi(x, y)

    def sqrt(self, x: ir.Value) -> ir.Value:
        return math.sqrt(x)

    def pow(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._functions.call("pow", x, y)

    def exp(self, x: ir.Value) -> ir.Value:
        return self._functions.call("exp", x)

    def log(self, x: ir.Value) -> ir.Value:
        return self._functions.call("log", x)

    def sin(self, x: ir.Value) -> ir.Value:
        return self._functions.call("sin", x)

    def cos(self, x: ir.Value) -> ir.Value:
        return self._functions.call("cos", x)

    def tanh(self, x: ir.Value) -> ir.Value:
        return self._functions.call("tanh", x)

    def logistic(self, x: ir.Value) -> ir.Value:
        return self._functions.call("logistic", x)

    def call(self, name: str, *operands: ir.Value) -> ir.Value:
        """A function of the library of math functions."""
        return self._functions.call(name, *operands)

    # Rounding, and bits.

    def floor(self, x: ir.Value) -> ir.Value:
        return math.floor(x)

    def ceil(self, x: ir.Value) -> ir.Value:
        return math.ceil(x)

    def trunc(self, x: ir.Value) -> ir.Value:
        return math.trunc(x)

    def round(self, x: ir.Value) -> ir.Value:
        return math.roundeven(x)

    def bits(self, name: str, x: ir.Value, y: ir.Value) -> ir.Value:
        if name in _LOGIC:
            return _LOGIC[name](x, y)
        # By the width or more is undefined in LLVM.
        last = constant(x.type, width(x.type) - 1)
        inside = arith.cmpi(arith.CmpIPredicate.ule, y, last)
        if name == "shift_right":
            return arith.shrsi(x, arith.select(inside, y, last))
        zero = constant(x.type, 0)
        return arith.select(inside, arith.shli(x, arith.select(inside, y, zero)), zero)

    def random_bits(self, key: ir.Value, counter: ir.Value, bits: int) -> ir.Value:
        return random_bits(key, counter, bits)

    def bitcast(self, x: ir.Value, to: ir.Type) -> ir.Value:
        return arith.bitcast(like(x.type, to), x)

    # Comparison and choice.

    def compare(self, predicate: str, x: ir.Value, y: ir.Value) -> ir.Value:
        """Floats: ordered, and "ne" is true for NaN."""
        if is_float(x):
            return arith.cmpf(_FLOAT_PREDICATES[predicate], x, y)
        table = _TRUTH_PREDICATES if is_truth(x) else _INTEGER_PREDICATES
        return arith.cmpi(table[predicate], x, y)

    def select(self, condition: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
        if half.is_half(element(on_true.type)):
            # LLVM's code generator fails on vectors of bf16 that it cannot compute with.
            bits = like(on_true.type, ir.IntegerType.get_signless(16))
            chosen = (arith.bitcast(bits, value) for value in (on_true, on_false))
            return arith.bitcast(on_true.type, arith.select(condition, *chosen))
        return arith.select(condition, on_true, on_false)

    def all(self, *conditions: ir.Value) -> ir.Value:
        result = conditions[0]
        for condition in conditions[1:]:
            result = arith.andi(result, condition)
        return result

    # Conversion.

    def convert(self, x: ir.Value, to: ir.Type) -> ir.Value:
        """Floats to integers truncate (saturating, NaN to 0); to i1 is `!= 0`; integers wrap."""
        source = element(x.type)
        if source == to:
            return x
        if half.is_half(source):
            return self.convert(self.widened(x), to)
        if half.is_half(to):
            return self.narrowed(self.convert(x, ir.F32Type.get()), to)
        if is_float(x):
            if isinstance(to, ir.FloatType):
                emit = arith.extf if to.width > width(source) else arith.truncf
                return emit(like(x.type, to), x)
            return self._float_to_integer(x, to)
        if isinstance(to, ir.FloatType):
            emit = arith.uitofp if is_truth(x) else arith.sitofp
            return emit(like(x.type, to), x)
        if width(to) == 1:
            return self.compare("ne", x, constant(x.type, 0))
        if width(to) < width(source):
            return arith.trunci(like(x.type, to), x)
        emit = arith.extui if is_truth(x) else arith.extsi
        return emit(like(x.type, to), x)

    def widened(self, x: ir.Value) -> ir.Value:
        """A half float as f32."""
        return half.widened(x, element(x.type))

    def narrowed(self, x: ir.Value, to: ir.Type) -> ir.Value:
        """An f32 rounded to a half type."""
        return half.narrowed(x, to)

    def _float_to_integer(self, x: ir.Value, to: ir.Type) -> ir.Value:
        bits = width(to)
        if bits == 1:
            return self.compare("ne", x, constant(x.type, 0))
        # Out of range is undefined in LLVM: sort it out first, in the float type.
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
        inside = self.all(
            self.compare("ge", x, constant(x.type, low)),
            self.compare("lt", x, constant(x.type, high)),
        )
        target = like(x.type, to)
        exact = arith.fptosi(target, self.select(inside, x, constant(x.type, 0)))
        above = self.compare("ge", x, constant(x.type, high))
        below = self.compare("lt", x, constant(x.type, low))
        exact = self.select(above, constant(target, high - 1), exact)
        return self.select(below, constant(target, low), exact)

    def to_index(self, x: ir.Value) -> ir.Value:
        return arith.index_cast(ir.IndexType.get(), x)

    def from_index(self, x: ir.Value, to: ir.Type) -> ir.Value:
        """An index as an element of type `to`."""
        if isinstance(to, ir.IntegerType) and to.width > 1:
            return arith.index_cast(to, x)
        return self.convert(arith.index_cast(ir.IntegerType.get_signless(64), x), to)

    def position(self, indices: Sequence[ir.Value], shape: Sequence[int]) -> ir.Value:
        """The row-major position of `indices` in `shape`, as an index."""
        total = constant(ir.IndexType.get(), 0)
        for index, size in zip(indices, shape, strict=True):
            total = arith.addi(arith.muli(total, constant(total.type, size)), index)
        return total
