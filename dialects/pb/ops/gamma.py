"""The gamma function's logarithm, its derivatives, and the zeta function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Elementwise
from ..opdef import ZERO, Tangent, register
from .functions import Function, Slope, in_f64

if TYPE_CHECKING:
    from ..builder import Builder


def lgamma(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


def digamma(x: float) -> float:
    if math.isinf(x):
        return x if x > 0 else math.nan
    if x == 0:
        return -math.copysign(math.inf, x)
    if x < 0:
        cut = x - round(x)
        return digamma(1 - x) - math.pi / math.tan(math.pi * cut) if cut else math.nan
    total = 0.0
    while x < 20:
        total, x = total - 1 / x, x + 1
    series = sum(
        c / x ** (2 * k + 2) for k, c in enumerate((1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132))
    )
    return total + math.log(x) - 0.5 / x - series


def zeta(s: float, q: float) -> float:
    """Euler-Maclaurin; the coefficients are Bernoulli numbers over factorials."""
    if math.isnan(s) or math.isnan(q):
        return math.nan
    if s <= 1:
        return math.inf if s == 1 else math.nan
    if q <= 0:
        if q == math.floor(q):
            return math.inf
        if s != math.floor(s):
            return math.nan
    if math.isinf(q):
        return 0.0
    total = 0.0
    while q < 15:
        total, q = total + q**-s, q + 1
    total += q**-s * (q / (s - 1) + 0.5)
    term = s * q ** (-s - 1)
    for k, c in enumerate((1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)):
        total += c * term
        term *= (s + 2 * k + 1) * (s + 2 * k + 2) / q**2
    return total


def cotangent_derivative(order: int) -> list[float]:
    """The polynomial in c = cot(y) that the derivative number `order` of cot(y) is."""
    poly = [0.0, 1.0]
    for _ in range(order):
        slope = [k * a for k, a in enumerate(poly)][1:]  # cot' = -(1 + cot^2)
        poly = [-(a + b) for a, b in zip([*slope, 0.0, 0.0], [0.0, 0.0, *slope], strict=True)]
    return poly


@register(gen.LgammaOp)
class Lgamma(Slope):
    def slope(self, b: Builder) -> ir.Value:
        return b.digamma(self.x)

    def reference(self, x: Any) -> Any:
        return in_f64(lgamma, x)


@register(gen.DigammaOp)
class Digamma(Slope):
    def slope(self, b: Builder) -> ir.Value:
        return b.polygamma(self.x, 1)

    def reference(self, x: Any) -> Any:
        return in_f64(digamma, x)


@register(gen.PolygammaOp)
class Polygamma(Elementwise):
    """(-1)^(n+1) n! zeta(n + 1, x); reflected for x < 1/2."""

    cost = 60

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return b.mul(x_dot, b.polygamma(self.x, self.order.value + 1))

    def reference(self, x: Any) -> Any:
        n = self.order.value
        factor = (-1) ** (n + 1) * math.factorial(n)
        return in_f64(lambda v: factor * zeta(n + 1.0, v), x)

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        n = self.order.value

        def number(value: float) -> ir.Value:
            return m.constant(x.type, value)

        low = m.compare("lt", x, number(0.5))
        up = m.select(low, m.sub(number(1), x), x)
        factor = (-1) ** (n + 1) * math.factorial(n)
        found = m.mul(m.call("zeta", number(n + 1), up), number(factor))
        angle = m.mul(m.sub(x, m.round(x)), number(math.pi))
        cot = m.div(m.cos(angle), m.sin(angle))
        total = number(0)
        for coefficient in reversed(cotangent_derivative(n)):
            total = m.add(m.mul(total, cot), number(coefficient))
        # (-1)^n times the value at 1 - x, less the derivative of pi cot(pi x)
        turned = m.sub(m.mul(found, number((-1) ** n)), m.mul(total, number(math.pi ** (n + 1))))
        pole = m.all(m.compare("eq", m.round(x), x), m.compare("le", x, number(0)))
        turned = m.select(pole, number(math.copysign(math.inf, factor)), turned)
        return m.select(low, turned, found)


@register(gen.ZetaOp)
class Zeta(Function):
    cost = 200

    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        if x_dot is not ZERO:
            raise self.missing("jvp", " for its first operand")
        slope = b.mul(b.neg(self.x), b.zeta(b.add(self.x, b.full_like(self.x, 1)), self.y))
        return b.mul(y_dot, slope)

    def reference(self, x: Any, y: Any) -> Any:
        return in_f64(zeta, x, np.broadcast_to(y, x.shape))
