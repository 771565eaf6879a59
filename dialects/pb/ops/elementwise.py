"""Elementwise arithmetic and functions. Subgradients follow torch (derivatives.yaml)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Bilinear, Elementwise, Linear, defining, negated, splat
from ..opdef import ZERO, Tangent, register
from ..types import is_float

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.AddOp)
class Add(Elementwise, Linear):
    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        return b.add(x_dot, y_dot)

    def transpose(self, b: Builder, ct: ir.Value, x: Any, y: Any) -> Sequence[Tangent | None]:
        return ct if x is None else None, ct if y is None else None

    def reference(self, x: Any, y: Any) -> Any:
        return x + y

    def simplify(self, b: Builder) -> ir.Value | None:
        if is_float(self.x):
            if (y := negated(b, self.y)) is not None:
                return b.sub(self.x, y)
            if (x := negated(b, self.x)) is not None:
                return b.sub(self.y, x)
        elif splat(self.y) == 0:
            return self.x
        return self.hoist_broadcast(b)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.add(x, y)


@register(gen.SubOp)
class Sub(Elementwise, Linear):
    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        return b.sub(x_dot, y_dot)

    def transpose(self, b: Builder, ct: ir.Value, x: Any, y: Any) -> Sequence[Tangent | None]:
        return ct if x is None else None, b.neg(ct) if y is None else None

    def reference(self, x: Any, y: Any) -> Any:
        return x - y

    def simplify(self, b: Builder) -> ir.Value | None:
        number = splat(self.y)
        if number == 0 and not np.signbit(number):  # x - 0.0 keeps -0.0, x - -0.0 does not
            return self.x
        if is_float(self.x) and (y := negated(b, self.y)) is not None:
            return b.add(self.x, y)
        return self.hoist_broadcast(b)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.sub(x, y)


@register(gen.MulOp)
class Mul(Elementwise, Bilinear):
    def transpose(self, b: Builder, ct: ir.Value, x: Any, y: Any) -> Sequence[Tangent | None]:
        return (b.mul(ct, y), None) if x is None else (None, b.mul(ct, x))

    def reference(self, x: Any, y: Any) -> Any:
        return x * y

    def simplify(self, b: Builder) -> ir.Value | None:
        for x, y in ((self.x, self.y), (self.y, self.x)):
            number = splat(y)
            if number == 1:
                return x
            if number == -1:
                return b.neg(x)
            if is_float(x) and (inner := defining(x, gen.NegOp)) is not None:
                return b.neg(b.mul(inner.x, y))
        return self.hoist_broadcast(b)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.mul(x, y)


@register(gen.DivOp)
class Div(Elementwise):
    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        quotient = b.mul(y_dot, ZERO if y_dot is ZERO else b.div(self.result, self.y))
        return b.sub(b.div(x_dot, self.y), quotient)

    def transpose(self, b: Builder, ct: ir.Value, x: Any, y: Any) -> Sequence[Tangent | None]:
        return b.div(ct, y), None

    def reference(self, x: Any, y: Any) -> Any:
        if x.dtype.kind == "f":
            return x / y
        safe = np.where(y == 0, 1, y)
        quotient = np.sign(x) * np.sign(safe) * (np.abs(x) // np.abs(safe))
        return np.where(y == 0, 0, quotient).astype(x.dtype)

    def simplify(self, b: Builder) -> ir.Value | None:
        return self.x if splat(self.y) == 1 else self.hoist_broadcast(b)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.div(x, y)


@register(gen.PowOp)
class Pow(Elementwise):
    cost = 30

    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        x, y = self.x, self.y
        zero = b.zeros_like(x)
        x_part = y_part = ZERO
        if x_dot is not ZERO:
            slope = b.mul(y, b.pow(x, b.sub(y, b.full_like(y, 1))))
            # No derivative where y is 0, also where x is 0 and where the tangent is NaN.
            flat = b.compare("eq", y, zero)
            x_part = b.select(flat, ZERO, b.mul(x_dot, b.select(flat, zero, slope)))
        if y_dot is not ZERO:
            flat = b.mul(b.compare("eq", x, zero), b.compare("ge", y, zero))
            slope = b.select(flat, zero, b.mul(self.result, b.log(x)))
            y_part = b.mul(y_dot, slope)
        return b.add(x_part, y_part)

    def reference(self, x: Any, y: Any) -> Any:
        return np.power(x, y)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.pow(x, y)


@register(gen.MaximumOp)
class Maximum(Elementwise):
    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        x, y = self.x, self.y
        tie = b.compare("eq", x, y)
        half = b.full_like(x, 0.5)

        def part(dot: Tangent, smaller: ir.Value) -> Tangent:
            if dot is ZERO:
                return ZERO
            return b.select(smaller, ZERO, b.select(tie, b.mul(dot, half), dot))

        return b.add(
            part(x_dot, b.compare("lt", x, y)),
            part(y_dot, b.compare("lt", y, x)),
        )

    def reference(self, x: Any, y: Any) -> Any:
        return np.maximum(x, y)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.maximum(x, y)


@register(gen.NegOp)
class Neg(Elementwise, Linear):
    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (b.neg(ct),)

    def reference(self, x: Any) -> Any:
        return -x

    def simplify(self, b: Builder) -> ir.Value | None:
        inner = defining(self.x, gen.NegOp)
        return inner.x if inner is not None else self.hoist_broadcast(b)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.neg(x)


@register(gen.ExpOp)
class Exp(Elementwise):
    cost = 12

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.mul(x_dot, self.result)

    def reference(self, x: Any) -> Any:
        return np.exp(x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.exp(x)


@register(gen.LogOp)
class Log(Elementwise):
    cost = 12

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.div(x_dot, self.x)

    def reference(self, x: Any) -> Any:
        return np.log(x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.log(x)


@register(gen.SinOp)
class Sin(Elementwise):
    cost = 15

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.mul(x_dot, b.cos(self.x))

    def reference(self, x: Any) -> Any:
        return np.sin(x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.sin(x)


@register(gen.CosOp)
class Cos(Elementwise):
    cost = 15

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.neg(b.mul(x_dot, b.sin(self.x)))

    def reference(self, x: Any) -> Any:
        return np.cos(x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.cos(x)


@register(gen.TanhOp)
class Tanh(Elementwise):
    cost = 15

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        square = b.mul(self.result, self.result)
        return b.mul(x_dot, b.sub(b.full_like(square, 1), square))

    def reference(self, x: Any) -> Any:
        return np.tanh(x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.tanh(x)


@register(gen.SqrtOp)
class Sqrt(Elementwise):
    cost = 4

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.div(x_dot, b.mul(self.result, b.full_like(self.result, 2)))

    def reference(self, x: Any) -> Any:
        return np.sqrt(x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.sqrt(x)


@register(gen.LogisticOp)
class Logistic(Elementwise):
    cost = 15

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        rest = b.sub(b.full_like(self.result, 1), self.result)
        return b.mul(x_dot, b.mul(self.result, rest))

    def reference(self, x: Any) -> Any:
        # exp of a non-positive number only: no overflow on either side
        small = np.exp(-np.abs(x))
        return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.logistic(x)
