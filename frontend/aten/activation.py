"""Activation functions and losses, written so that neither a value nor a derivative overflows."""

from __future__ import annotations

import math
from typing import Any

import torch
from mlir import ir

from .elementwise import absolute
from .emitter import Emitter, count, shape

aten = torch.ops.aten


def positive(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.compare("gt", x, e.like(x, 0))


def relu(e: Emitter, x: ir.Value) -> ir.Value:
    zero = e.like(x, 0)
    return e.b.select(e.b.compare("le", x, zero), zero, x)


def leaky_relu(e: Emitter, x: ir.Value, slope: float = 0.01) -> ir.Value:
    return e.b.select(positive(e, x), x, e.b.mul(x, e.like(x, slope)))


def prelu(e: Emitter, x: ir.Value, weight: ir.Value) -> ir.Value:
    (weight,) = e.operands(weight)
    up = positive(e, x)
    # The other side gets a finite argument: an infinite x would make the derivative NaN.
    return e.b.select(up, x, e.b.mul(weight, e.b.select(up, e.like(x, 0), x)))


def elu(
    e: Emitter, x: ir.Value, alpha: float = 1, scale: float = 1, input_scale: float = 1
) -> ir.Value:
    # Both branches get an argument on which they are finite: an infinite exp of the branch that
    # is not taken would make the derivative NaN.
    up = positive(e, x)
    low = e.b.select(up, e.like(x, 0), e.b.mul(x, e.like(x, input_scale)))
    curve = e.b.select(e.b.compare("lt", x, e.like(x, 0)), e.b.expm1(low), low)
    low = e.b.mul(curve, e.like(x, alpha * scale))
    return e.b.select(up, e.b.mul(x, e.like(x, scale)), low)


def celu(e: Emitter, x: ir.Value, alpha: float = 1) -> ir.Value:
    return elu(e, x, alpha, 1, 1 / alpha)


def softplus(e: Emitter, x: ir.Value, beta: float = 1, threshold: float = 20) -> ir.Value:
    scaled = e.b.mul(x, e.like(x, beta))
    linear = e.b.compare("gt", scaled, e.like(x, threshold))
    low = e.b.exp(e.b.select(linear, e.like(x, 0), scaled))
    curve = e.b.div(e.b.log1p(low), e.like(x, beta))
    return e.b.select(linear, x, curve)


def log_sigmoid(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.neg(softplus(e, e.b.neg(x), threshold=40))


def log_sigmoid_forward(e: Emitter, x: ir.Value) -> list[ir.Value]:
    return [log_sigmoid(e, x), e.full(e.outs[1].shape, 0, e.outs[1].dtype)]


def silu(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.mul(x, e.b.logistic(x))


def mish(e: Emitter, x: ir.Value) -> ir.Value:
    return e.b.mul(x, e.b.tanh(softplus(e, x)))


def gelu(e: Emitter, x: ir.Value, approximate: str = "none") -> ir.Value:
    if approximate != "tanh":
        normal = e.b.erf(e.b.mul(x, e.like(x, math.sqrt(0.5))))
        return e.b.mul(e.b.mul(x, e.like(x, 0.5)), e.b.add(normal, e.like(x, 1)))
    cube = e.b.mul(e.b.mul(x, x), x)
    inner = e.b.add(x, e.b.mul(cube, e.like(x, 0.044715)))
    bent = e.b.tanh(e.b.mul(inner, e.like(x, math.sqrt(2 / math.pi))))
    return e.b.mul(e.b.mul(x, e.like(x, 0.5)), e.b.add(bent, e.like(x, 1)))


def hardtanh(e: Emitter, x: ir.Value, low: float = -1, high: float = 1) -> ir.Value:
    # Derivative 0 at the edges, unlike clamp.
    bottom, top = e.like(x, low), e.like(x, high)
    x = e.b.select(e.b.compare("ge", x, top), top, x)
    return e.b.select(e.b.compare("le", x, bottom), bottom, x)


def hardsigmoid(e: Emitter, x: ir.Value) -> ir.Value:
    moved = hardtanh(e, e.b.add(x, e.like(x, 3)), 0, 6)
    return e.b.div(moved, e.like(x, 6))


def hardswish(e: Emitter, x: ir.Value) -> ir.Value:
    low, high = e.b.compare("le", x, e.like(x, -3)), e.b.compare("ge", x, e.like(x, 3))
    zero = e.like(x, 0)
    # The product gets a finite argument: an infinite x would make the derivative NaN.
    inner = e.b.select(e.b.add(low, high), zero, x)
    curve = e.b.div(e.b.mul(inner, e.b.add(inner, e.like(x, 3))), e.like(x, 6))
    none = e.b.stop_gradient(e.b.mul(x, zero))  # torch's NaN at -inf
    return e.b.select(high, x, e.b.select(low, none, curve))


def threshold(e: Emitter, x: ir.Value, limit: float, value: float) -> ir.Value:
    return e.b.select(e.b.compare("le", x, e.like(x, limit)), e.like(x, value), x)


def smooth_l1_loss(
    e: Emitter, x: ir.Value, y: ir.Value, reduction: int = 1, beta: float = 1
) -> ir.Value:
    """Quadratic up to ``beta``, where each branch gets a number on which it is finite."""
    common = torch.broadcast_shapes(shape(x), shape(y))
    x, y = (e.tensor(t, common, e.out.dtype) for t in (x, y))
    far, zero = e.b.sub(x, y), e.like(x, 0)
    inside = e.b.compare("lt", absolute(e, far), e.like(x, beta))
    near = e.b.select(inside, far, zero)
    curve = e.b.div(e.b.mul(e.b.mul(near, near), e.like(x, 0.5)), e.like(x, beta or 1))
    line = e.b.sub(absolute(e, far), e.like(x, 0.5 * beta))
    losses = e.b.select(inside, curve, line)
    if reduction == 0:
        return losses
    total = e.b.reduce_sum(losses, list(range(len(common))))
    return total if reduction == 2 else e.b.div(total, e.like(total, count(common)))


def huber_loss(
    e: Emitter, x: ir.Value, y: ir.Value, reduction: int = 1, delta: float = 1
) -> ir.Value:
    loss = smooth_l1_loss(e, x, y, reduction, delta)
    return e.b.mul(loss, e.like(loss, delta))


RULES: dict[Any, Any] = {
    aten.relu.default: relu,
    aten.leaky_relu.default: leaky_relu,
    aten._prelu_kernel.default: prelu,
    aten.elu.default: elu,
    aten.celu.default: celu,
    aten.softplus.default: softplus,
    aten.log_sigmoid.default: log_sigmoid,
    aten.log_sigmoid_forward.default: log_sigmoid_forward,
    aten.silu.default: silu,
    aten.mish.default: mish,
    aten.gelu.default: gelu,
    aten.hardtanh.default: hardtanh,
    aten.hardsigmoid.default: hardsigmoid,
    aten.hardswish.default: hardswish,
    aten.huber_loss.default: huber_loss,
    aten.smooth_l1_loss.default: smooth_l1_loss,
    aten.threshold.default: threshold,
}
