"""Functions of one or two numbers with bodies in the math library. Derivatives follow torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Elementwise
from ..opdef import ZERO, Op, Tangent, register

if TYPE_CHECKING:
    from ..builder import Builder


def scaled(b: Builder, x: Tangent, number: float) -> Any:
    return ZERO if x is ZERO else b.mul(x, b.full_like(x, number))


def plus(b: Builder, x: ir.Value, number: float) -> ir.Value:
    return b.add(x, b.full_like(x, number))


def in_f64(function: Callable[..., Any], *arrays: Any) -> Any:
    """A function of Python's math, for each element."""
    wide = [np.asarray(x, np.float64) for x in arrays]
    if not wide[0].size:
        return arrays[0]
    return np.vectorize(function, otypes=[np.float64])(*wide).astype(arrays[0].dtype)


class Function(Elementwise):
    """A function whose body the math library has under the op's own name."""

    cost = 20
    #: What numpy calls it, for the reference.
    numpy: ClassVar[str] = ""

    def reference(self, *arrays: Any) -> Any:
        return getattr(np, self.numpy)(*arrays)

    def scalar(self, m: Any, *elements: ir.Value) -> ir.Value:
        return m.call(self.operation.name.removeprefix("pb."), *elements)


class Slope(Function):
    """A function of one number, by its derivative."""

    def slope(self, b: Builder) -> ir.Value:
        raise NotImplementedError

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.mul(x_dot, self.slope(b))


class Inverse(Function):
    """The same, by what the derivative divides by."""

    def divisor(self, b: Builder) -> ir.Value:
        raise NotImplementedError

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.div(x_dot, self.divisor(b))


@register(gen.Exp2Op)
class Exp2(Slope):
    numpy = "exp2"

    def slope(self, b: Builder) -> ir.Value:
        return scaled(b, self.result, math.log(2))


@register(gen.Expm1Op)
class Expm1(Slope):
    numpy = "expm1"

    def slope(self, b: Builder) -> ir.Value:
        return plus(b, self.result, 1)


@register(gen.Log1pOp)
class Log1p(Inverse):
    numpy = "log1p"

    def divisor(self, b: Builder) -> ir.Value:
        return plus(b, self.x, 1)


@register(gen.Log2Op)
class Log2(Inverse):
    numpy = "log2"

    def divisor(self, b: Builder) -> ir.Value:
        return scaled(b, self.x, math.log(2))


@register(gen.Log10Op)
class Log10(Inverse):
    numpy = "log10"

    def divisor(self, b: Builder) -> ir.Value:
        return scaled(b, self.x, math.log(10))


@register(gen.SinhOp)
class Sinh(Slope):
    numpy = "sinh"

    def slope(self, b: Builder) -> ir.Value:
        return b.cosh(self.x)


@register(gen.CoshOp)
class Cosh(Slope):
    numpy = "cosh"

    def slope(self, b: Builder) -> ir.Value:
        return b.sinh(self.x)


def root_of(b: Builder, x: ir.Value, sign: int, number: float) -> ir.Value:
    """sqrt(sign x^2 + number)"""
    square = b.mul(x, x)
    return b.sqrt(plus(b, b.neg(square) if sign < 0 else square, number))


@register(gen.AsinhOp)
class Asinh(Inverse):
    numpy = "arcsinh"

    def divisor(self, b: Builder) -> ir.Value:
        return root_of(b, self.x, 1, 1)


@register(gen.AcoshOp)
class Acosh(Inverse):
    numpy = "arccosh"

    def divisor(self, b: Builder) -> ir.Value:
        return root_of(b, self.x, 1, -1)


@register(gen.AtanhOp)
class Atanh(Inverse):
    numpy = "arctanh"

    def divisor(self, b: Builder) -> ir.Value:
        return plus(b, b.neg(b.mul(self.x, self.x)), 1)


@register(gen.AsinOp)
class Asin(Inverse):
    numpy = "arcsin"

    def divisor(self, b: Builder) -> ir.Value:
        return root_of(b, self.x, -1, 1)


@register(gen.AcosOp)
class Acos(Inverse):
    numpy = "arccos"

    def divisor(self, b: Builder) -> ir.Value:
        return b.neg(root_of(b, self.x, -1, 1))


@register(gen.AtanOp)
class Atan(Inverse):
    numpy = "arctan"

    def divisor(self, b: Builder) -> ir.Value:
        return plus(b, b.mul(self.x, self.x), 1)


@register(gen.Atan2Op)
class Atan2(Function):
    """x is the ordinate, y the abscissa."""

    numpy = "arctan2"

    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        x, y = self.x, self.y
        square = b.add(b.mul(x, x), b.mul(y, y))
        origin = b.compare("eq", square, b.zeros_like(x))
        square = b.select(origin, b.full_like(x, 1), square)
        turned = b.sub(b.mul(x_dot, b.div(y, square)), b.mul(y_dot, b.div(x, square)))
        return b.select(origin, ZERO, turned)


@register(gen.ErfOp)
class Erf(Slope):
    def slope(self, b: Builder) -> ir.Value:
        return scaled(b, b.exp(b.neg(b.mul(self.x, self.x))), 2 / math.sqrt(math.pi))

    def reference(self, x: Any) -> Any:
        return in_f64(math.erf, x)


@register(gen.ErfcOp)
class Erfc(Slope):
    def slope(self, b: Builder) -> ir.Value:
        return scaled(b, b.exp(b.neg(b.mul(self.x, self.x))), -2 / math.sqrt(math.pi))

    def reference(self, x: Any) -> Any:
        return in_f64(math.erfc, x)


def scaled_erfc(x: float) -> float:
    if x < 20:
        return math.exp(x * x) * math.erfc(x) if x > -26.6 else math.inf
    result, term = 0.0, 1.0  # asymptotic: the terms shrink by 2 x^2 / (2k - 1)
    for k in range(1, 12):
        result, term = result + term, -term * (2 * k - 1) / (2 * x * x)
    return result / (x * math.sqrt(math.pi))


#: Beyond, the asymptotic series of erfcx is exact to f64: the derivative cancels there.
_FAR = 16.0


@register(gen.ErfcxOp)
class Erfcx(Slope):
    def slope(self, b: Builder) -> ir.Value:
        """2 x erfcx(x) - 2 / sqrt(pi); far out, 2 / sqrt(pi) times the sum from k = 1 on of
        (2k - 1)!! (-1 / (2 x^2))^k."""
        far = b.compare("gt", self.x, b.full_like(self.x, _FAR))
        near = b.mul(b.select(far, b.zeros_like(self.x), self.x), self.result)
        near = plus(b, scaled(b, near, 2), -2 / math.sqrt(math.pi))
        inverse = b.div(b.full_like(self.x, 1), b.select(far, self.x, b.full_like(self.x, _FAR)))
        step = scaled(b, b.mul(inverse, inverse), -0.5)
        total = b.full_like(step, 1)
        for k in range(10, 1, -1):
            total = plus(b, b.mul(scaled(b, step, 2 * k - 1), total), 1)
        series = scaled(b, b.mul(step, total), 2 / math.sqrt(math.pi))
        return b.select(far, series, near)

    def reference(self, x: Any) -> Any:
        return in_f64(scaled_erfc, x)


def inverse_erfc(q: float) -> float:
    """By bisection: erfc falls."""
    if not 0 < q < 2:
        return math.inf if q == 0 else -math.inf if q == 2 else math.nan
    if q > 1:
        return -inverse_erfc(2 - q)
    low, high = 0.0, 28.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if math.erfc(middle) > q else (low, middle)
    return high


def inverse_erf(x: float) -> float:
    if abs(x) > 0.5 or x != x:
        return math.copysign(inverse_erfc(1 - abs(x)), x) if abs(x) <= 1 else math.nan
    y = x * math.sqrt(math.pi) / 2
    for _ in range(12):  # Newton's method
        y -= (math.erf(y) - x) * math.exp(y * y) * math.sqrt(math.pi) / 2
    return y


@register(gen.ErfinvOp)
class Erfinv(Slope):
    def slope(self, b: Builder) -> ir.Value:
        return scaled(b, b.exp(b.mul(self.result, self.result)), math.sqrt(math.pi) / 2)

    def reference(self, x: Any) -> Any:
        return in_f64(inverse_erf, x)


@register(gen.NdtriOp)
class Ndtri(Slope):
    def slope(self, b: Builder) -> ir.Value:
        square = scaled(b, b.mul(self.result, self.result), 0.5)
        return scaled(b, b.exp(square), math.sqrt(2 * math.pi))

    def reference(self, x: Any) -> Any:
        def quantile(p: float) -> float:
            near = inverse_erf(2 * (p - 0.5)) if 0.25 < p < 0.75 else -inverse_erfc(2 * p)
            near = near if p < 0.75 else inverse_erfc(2 * (1 - p))
            return math.sqrt(2) * near if 0 <= p <= 1 else math.nan

        return in_f64(quantile, x)


@register(gen.LogNdtrOp)
class LogNdtr(Slope):
    def slope(self, b: Builder) -> ir.Value:
        """Density over distribution; each form where it and its derivatives are finite."""
        zero = b.zeros_like(self.x)
        below = b.compare("lt", self.x, zero)
        left, right = b.select(below, self.x, zero), b.select(below, zero, self.x)
        mirrored = b.erfcx(scaled(b, left, -math.sqrt(0.5)))
        near = b.div(b.full_like(zero, math.sqrt(2 / math.pi)), mirrored)
        density = scaled(b, b.exp(scaled(b, b.mul(right, right), -0.5)), math.sqrt(2 / math.pi))
        far = b.div(density, b.erfc(scaled(b, right, -math.sqrt(0.5))))
        return b.select(below, near, far)

    def reference(self, x: Any) -> Any:
        def log_ndtr(x: float) -> float:
            if x < -1:
                return (
                    math.log(scaled_erfc(-x * math.sqrt(0.5)) / 2) - x * x / 2
                    if x > -1e200
                    else -math.inf
                )
            return math.log1p(-math.erfc(x * math.sqrt(0.5)) / 2)

        return in_f64(log_ndtr, x)


@register(gen.FmodOp)
class Fmod(Function):
    numpy = "fmod"
    cost = 40

    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        quotient = ZERO if y_dot is ZERO else b.trunc(b.div(self.x, self.y))
        return b.sub(x_dot, b.mul(y_dot, quotient))


class Whole(Elementwise):
    """Rounds: the derivative is 0 everywhere, as torch has it."""

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return ZERO

    def reference(self, x: Any) -> Any:
        return getattr(np, self.operation.name.removeprefix("pb."))(x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return getattr(m, self.operation.name.removeprefix("pb."))(x)


@register(gen.FloorOp)
class Floor(Whole):
    pass


@register(gen.CeilOp)
class Ceil(Whole):
    pass


@register(gen.TruncOp)
class Trunc(Whole):
    pass


@register(gen.RoundOp)
class Round(Whole):
    pass


__all__ = ["Function", "Inverse", "Op", "Slope", "in_f64", "plus", "scaled"]
