"""Float arithmetic for the bodies of the math functions, on scalars or vectors of one type."""

from __future__ import annotations

from mlir import ir
from mlir.dialects import arith, math

from .scalars import constant, like, width


class Body:
    """Arithmetic on one float type (scalar or vector) at the insertion point."""

    def __init__(self, type_: ir.Type) -> None:
        self.type = type_
        self.bits = width(type_)
        self.integer = like(type_, ir.IntegerType.get_signless(self.bits))
        self.mantissa = 52 if self.bits == 64 else 23
        self.bias = 1023 if self.bits == 64 else 127
        # Adding this rounds to an integer, found in the low bits.
        self.magic = 1.5 * 2.0**self.mantissa

    def f(self, number: float | ir.Value) -> ir.Value:
        return number if isinstance(number, ir.Value) else constant(self.type, number)

    def i(self, number: int) -> ir.Value:
        return constant(self.integer, number)

    def add(self, x: float | ir.Value, y: float | ir.Value) -> ir.Value:
        return arith.addf(self.f(x), self.f(y))

    def sub(self, x: float | ir.Value, y: float | ir.Value) -> ir.Value:
        return arith.subf(self.f(x), self.f(y))

    def mul(self, x: float | ir.Value, y: float | ir.Value) -> ir.Value:
        return arith.mulf(self.f(x), self.f(y))

    def div(self, x: float | ir.Value, y: float | ir.Value) -> ir.Value:
        return arith.divf(self.f(x), self.f(y))

    def fma(self, x: float | ir.Value, y: float | ir.Value, z: float | ir.Value) -> ir.Value:
        return math.fma(self.f(x), self.f(y), self.f(z))

    def abs(self, x: ir.Value) -> ir.Value:
        return math.absf(x)

    def less(self, x: float | ir.Value, y: float | ir.Value) -> ir.Value:
        return arith.cmpf(arith.CmpFPredicate.OLT, self.f(x), self.f(y))

    def equal(self, x: float | ir.Value, y: float | ir.Value) -> ir.Value:
        return arith.cmpf(arith.CmpFPredicate.OEQ, self.f(x), self.f(y))

    def select(self, c: ir.Value, x: float | ir.Value, y: float | ir.Value) -> ir.Value:
        return arith.select(c, self.f(x), self.f(y))

    def as_integer(self, x: ir.Value) -> ir.Value:
        return arith.bitcast(self.integer, x)

    def as_float(self, x: ir.Value) -> ir.Value:
        return arith.bitcast(self.type, x)

    def polynomial(self, x: ir.Value, coefficients: str) -> ir.Value:
        terms = [float.fromhex(c) for c in coefficients.split()]
        result = self.f(terms[-1])
        for term in reversed(terms[:-1]):
            result = self.fma(result, x, term)
        return result

    def round(self, x: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The nearest integer as a float, and as an integer (its low bits)."""
        shifted = self.add(x, self.magic)
        return self.sub(shifted, self.magic), self.as_integer(shifted)

    def power_of_two(self, n: ir.Value) -> ir.Value:
        """2^n for integers n in the normal range (the low bits of n)."""
        exponent = arith.addi(n, self.i(self.bias))
        return self.as_float(arith.shli(exponent, self.i(self.mantissa)))

    def two_sum(self, high: ir.Value, low: ir.Value) -> tuple[ir.Value, ir.Value]:
        """high + low exactly, as sum and error; |high| >= |low|."""
        total = self.add(high, low)
        return total, self.sub(low, self.sub(total, high))
