"""More of what suite.py measures: convolutions, loops and recurrent networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .programs import LABELS, Bench, add, normal
from .science import wide


def _images(api: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        w1, w2, w3 = weights
        x = torch.relu(F.conv2d(x[None], w1, padding=1))
        x = F.max_pool2d(x, 2)
        x = torch.relu(F.conv2d(x, w2, padding=1))
        x = F.max_pool2d(x, 2)
        return F.cross_entropy(x.flatten(1) @ w3, y[None])

    def clipped(w1: Any, w2: Any, w3: Any, xs: torch.Tensor, ys: torch.Tensor) -> Any:
        grads = api.vmap(api.grad(loss), in_dims=(None, 0, 0))((w1, w2, w3), xs, ys)
        norms = sum((g.flatten(1) ** 2).sum(1) for g in grads)
        scale = torch.clamp(1 / torch.sqrt(norms), max=1.0)
        return tuple(torch.tensordot(scale, g, 1) for g in grads)

    return clipped


def _images_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def conv(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME")

    def pool(x: Any) -> Any:
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def loss(weights: Any, x: Any, y: Any) -> Any:
        w1, w2, w3 = weights
        x = pool(jax.nn.relu(conv(x[None], w1)))
        x = pool(jax.nn.relu(conv(x, w2)))
        return -jax.nn.log_softmax(x.reshape(1, -1) @ w3)[0, y]

    def clipped(w1: Any, w2: Any, w3: Any, xs: Any, ys: Any) -> Any:
        grads = jax.vmap(jax.grad(loss), (None, 0, 0))((w1, w2, w3), xs, ys)
        norms = sum((g.reshape(len(g), -1) ** 2).sum(1) for g in grads)
        scale = jnp.minimum(1 / jnp.sqrt(norms), 1.0)
        return tuple(jnp.tensordot(scale, g, 1) for g in grads)

    return clipped


add(
    Bench(
        "conv-net per-sample gradients",
        _images,
        _images_jax,
        (
            normal(16, 1, 3, 3, scale=0.3),
            normal(32, 16, 3, 3, scale=0.1),
            normal(32 * 7 * 7, 10, scale=0.03),
            normal(64, 1, 28, 28),
            LABELS[:64],
        ),
    )
)


def _scan(api: Any, step: Callable[..., Any], init: Any, xs: torch.Tensor) -> Any:
    """torch.func has no loop that can be differentiated: there the loop is unrolled."""
    if hasattr(api, "scan"):
        return api.scan(step, init, xs)
    outs = []
    for x in xs:
        init, out = step(init, x)
        outs.append(out)
    return init, torch.stack(outs)


def _rates(weights: Any, y: Any, tanh: Callable[..., Any]) -> Any:
    w1, w2 = weights
    return tanh(y @ w1) @ w2


def _runge_kutta(rate: Callable[[Any], Any], y: Any, h: float) -> Any:
    k1 = rate(y)
    k2 = rate(y + 0.5 * h * k1)
    k3 = rate(y + 0.5 * h * k2)
    k4 = rate(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def _ode(api: Any) -> Callable[..., Any]:
    def loss(weights: Any, y: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        def step(y: torch.Tensor, target: torch.Tensor) -> Any:
            y = _runge_kutta(lambda y: _rates(weights, y, torch.tanh), y, 0.02)
            return y, ((y - target) ** 2).sum()

        return _scan(api, step, y, targets)[1].mean()

    return lambda w1, w2, y, targets: api.grad(loss)((w1, w2), y, targets)


def _ode_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def loss(weights: Any, y: Any, targets: Any) -> Any:
        def step(y: Any, target: Any) -> Any:
            y = _runge_kutta(lambda y: _rates(weights, y, jnp.tanh), y, 0.02)
            return y, ((y - target) ** 2).sum()

        return jax.lax.scan(step, y, targets)[1].mean()

    return lambda w1, w2, y, targets: jax.grad(loss)((w1, w2), y, targets)


add(
    Bench(
        "neural ODE, 100 steps of RK4",
        _ode,
        _ode_jax,
        (wide(4, 32, scale=0.5), wide(32, 4, seed=1, scale=0.2), wide(4, seed=2), wide(100, 4)),
        tolerance=1e-9,
    )
)


def _lstm_step(np_: Any, sigmoid: Callable[..., Any], weights: Any, state: Any, x: Any) -> Any:
    w, u, b = weights
    h, c = state
    gates = x @ w + h @ u + b
    size = h.shape[-1]
    i, f, g, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np_.tanh(g)
    h = sigmoid(o) * np_.tanh(c)
    return (h, c), h


def _lstm(api: Any) -> Callable[..., Any]:
    def loss(weights: Any, xs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        *cell, out = weights
        zero = torch.zeros((xs.shape[1], out.shape[0]), dtype=xs.dtype)

        def step(state: Any, x: torch.Tensor) -> Any:
            return _lstm_step(torch, torch.sigmoid, cell, state, x)

        (h, _), _ = _scan(api, step, (zero, zero), xs)
        return F.cross_entropy(h @ out, y)

    return lambda w, u, b, out, xs, y: api.grad(loss)((w, u, b, out), xs, y)


def _lstm_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def loss(weights: Any, xs: Any, y: Any) -> Any:
        *cell, out = weights
        zero = jnp.zeros((xs.shape[1], out.shape[0]), xs.dtype)

        def step(state: Any, x: Any) -> Any:
            return _lstm_step(jnp, jax.nn.sigmoid, cell, state, x)

        (h, _), _ = jax.lax.scan(step, (zero, zero), xs)
        logits = jax.nn.log_softmax(h @ out)
        return -jnp.take_along_axis(logits, y[:, None], 1).mean()

    return lambda w, u, b, out, xs, y: jax.grad(loss)((w, u, b, out), xs, y)


add(
    Bench(
        "lstm gradient, 50 steps",
        _lstm,
        _lstm_jax,
        (
            normal(32, 256, scale=0.1),
            normal(64, 256, seed=1, scale=0.1),
            normal(256, scale=0.1),
            normal(64, 10, scale=0.1),
            normal(50, 32, 32),
            LABELS[:32],
        ),
    )
)
