"""Real programs, each written for torch.func's names and for JAX: what suite.py measures.

`torch` gets the namespace of the transforms (torch.func or pullback) and returns the function to
call; `jax` returns the same function in jax.numpy; `inputs` are numpy arrays. Sizes are those of
a user on a small machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

Array = np.ndarray


@dataclass(frozen=True)
class Bench:
    name: str
    torch: Callable[[Any], Callable[..., Any]]
    jax: Callable[[Any, Any], Callable[..., Any]]
    inputs: tuple[Array, ...]
    #: Largest relative error against the f64 result, of the scale of each output.
    tolerance: float = 1e-4


PROGRAMS: dict[str, Bench] = {}


def normal(*shape: int, seed: int = 0, scale: float = 1.0, dtype: Any = np.float32) -> Array:
    generator = np.random.default_rng([seed, *shape])
    return (scale * generator.standard_normal(shape)).astype(dtype)


def add(bench: Bench) -> None:
    PROGRAMS[bench.name] = bench


# -- networks ------------------------------------------------------------------------------------


def layers(*sizes: int) -> tuple[Array, ...]:
    arrays = []
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        arrays.append(normal(fan_in, fan_out, seed=number, scale=1 / math.sqrt(fan_in)))
        arrays.append(normal(fan_out, seed=number, scale=0.1))
    return tuple(arrays)


def network(np_: Any, weights: Any, x: Any) -> Any:
    """tanh layers, in torch or jax.numpy."""
    *hidden, w, b = weights
    for inner_w, inner_b in zip(hidden[::2], hidden[1::2], strict=True):
        x = np_.tanh(x @ inner_w + inner_b)
    return x @ w + b


def _training(api: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(torch, weights, x), y)

    def step(*arguments: torch.Tensor) -> Any:
        *weights, x, y = arguments
        grads = api.grad(loss)(tuple(weights), x, y)
        return tuple(w - 0.1 * g for w, g in zip(weights, grads, strict=True))

    return step


def _training_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.log_softmax(network(jnp, weights, x))
        return -jnp.mean(jnp.take_along_axis(logits, y[:, None], 1))

    def step(*arguments: Any) -> Any:
        *weights, x, y = arguments
        grads = jax.grad(loss)(tuple(weights), x, y)
        return tuple(w - 0.1 * g for w, g in zip(weights, grads, strict=True))

    return step


LABELS = np.random.default_rng(7).integers(0, 10, 256)
add(
    Bench(
        "mlp training step",
        _training,
        _training_jax,
        (*layers(784, 512, 512, 10), normal(256, 784), LABELS),
    )
)


def _per_sample(api: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(torch, weights, x), y)

    def clipped(*arguments: torch.Tensor) -> Any:
        *weights, xs, ys = arguments
        grads = api.vmap(api.grad(loss), in_dims=(None, 0, 0))(tuple(weights), xs, ys)
        norms = sum((g.flatten(1) ** 2).sum(1) for g in grads)
        scale = torch.clamp(1 / torch.sqrt(norms), max=1.0)
        return tuple(torch.tensordot(scale, g, 1) for g in grads)

    return clipped


def _per_sample_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        return -jax.nn.log_softmax(network(jnp, weights, x))[y]

    def clipped(*arguments: Any) -> Any:
        *weights, xs, ys = arguments
        grads = jax.vmap(jax.grad(loss), (None, 0, 0))(tuple(weights), xs, ys)
        norms = sum((g.reshape(len(g), -1) ** 2).sum(1) for g in grads)
        scale = jnp.minimum(1 / jnp.sqrt(norms), 1.0)
        return tuple(jnp.tensordot(scale, g, 1) for g in grads)

    return clipped


add(
    Bench(
        "dp-sgd per-sample gradients",
        _per_sample,
        _per_sample_jax,
        (*layers(64, 128, 10), normal(256, 64), LABELS),
    )
)


def _ensemble(api: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(torch, weights, x), y)

    def gradients(*arguments: torch.Tensor) -> Any:
        *weights, x, y = arguments
        return api.vmap(api.grad(loss), in_dims=(0, None, None))(tuple(weights), x, y)

    return gradients


def _ensemble_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.log_softmax(network(jnp, weights, x))
        return -jnp.mean(jnp.take_along_axis(logits, y[:, None], 1))

    def gradients(*arguments: Any) -> Any:
        *weights, x, y = arguments
        return jax.vmap(jax.grad(loss), (0, None, None))(tuple(weights), x, y)

    return gradients


add(
    Bench(
        "ensemble of 16 networks",
        _ensemble,
        _ensemble_jax,
        (
            *(np.stack([w * (1 + i / 16) for i in range(16)]) for w in layers(64, 64, 10)),
            normal(128, 64),
            LABELS[:128],
        ),
    )
)


def _kernel(api: Any) -> Callable[..., Any]:
    def outputs(weights: Any, x: torch.Tensor) -> torch.Tensor:
        return network(torch, weights, x)[0]

    def tangent_kernel(*arguments: torch.Tensor) -> torch.Tensor:
        *weights, xs = arguments
        rows = api.vmap(api.grad(outputs), in_dims=(None, 0))(tuple(weights), xs)
        return sum(torch.tensordot(r.flatten(1), r.flatten(1), ([1], [1])) for r in rows)

    return tangent_kernel


def _kernel_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def outputs(weights: Any, x: Any) -> Any:
        return network(jnp, weights, x)[0]

    def tangent_kernel(*arguments: Any) -> Any:
        *weights, xs = arguments
        rows = jax.vmap(jax.grad(outputs), (None, 0))(tuple(weights), xs)
        return sum(r.reshape(len(r), -1) @ r.reshape(len(r), -1).T for r in rows)

    return tangent_kernel


add(
    Bench(
        "neural tangent kernel",
        _kernel,
        _kernel_jax,
        (*layers(32, 128, 128, 1), normal(64, 32)),
    )
)


def _physics(api: Any) -> Callable[..., Any]:
    def field_(weights: Any, point: torch.Tensor) -> torch.Tensor:
        return network(torch, weights, point)[0]

    def residual_loss(weights: Any, points: torch.Tensor) -> torch.Tensor:
        second = api.vmap(api.hessian(field_, argnums=1), in_dims=(None, 0))(weights, points)
        laplacian = second.diagonal(dim1=1, dim2=2).sum(1)
        return ((laplacian + torch.sin(points).sum(1)) ** 2).mean()

    def step(*arguments: torch.Tensor) -> Any:
        *weights, points = arguments
        return api.grad(residual_loss)(tuple(weights), points)

    return step


def _physics_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def field_(weights: Any, point: Any) -> Any:
        return network(jnp, weights, point)[0]

    def residual_loss(weights: Any, points: Any) -> Any:
        second = jax.vmap(jax.hessian(field_, argnums=1), (None, 0))(weights, points)
        laplacian = jnp.diagonal(second, axis1=1, axis2=2).sum(1)
        return ((laplacian + jnp.sin(points).sum(1)) ** 2).mean()

    def step(*arguments: Any) -> Any:
        *weights, points = arguments
        return jax.grad(residual_loss)(tuple(weights), points)

    return step


add(
    Bench(
        "physics-informed network",
        _physics,
        _physics_jax,
        (*layers(2, 32, 32, 1), normal(256, 2)),
        tolerance=1e-3,
    )
)


def _attention(api: Any) -> Callable[..., Any]:
    def block(weights: Any, x: torch.Tensor) -> torch.Tensor:
        wq, wk, wv, wo, w1, w2 = weights
        split = (*x.shape[:2], 4, -1)
        q, k, v = ((x @ w).reshape(split).transpose(1, 2) for w in (wq, wk, wv))
        scores = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), -1)
        x = x + (scores @ v).transpose(1, 2).reshape(x.shape) @ wo
        x = F.layer_norm(x, x.shape[-1:])
        return x + F.gelu(x @ w1, approximate="tanh") @ w2

    def loss(weights: Any, x: torch.Tensor) -> torch.Tensor:
        return (block(weights, x) ** 2).mean()

    def gradient(*arguments: torch.Tensor) -> Any:
        *weights, x = arguments
        return api.grad(loss)(tuple(weights), x)

    return gradient


def _attention_jax(jax: Any, jnp: Any) -> Callable[..., Any]:
    def block(weights: Any, x: Any) -> Any:
        wq, wk, wv, wo, w1, w2 = weights
        split = (*x.shape[:2], 4, -1)
        q, k, v = ((x @ w).reshape(split).swapaxes(1, 2) for w in (wq, wk, wv))
        scores = jax.nn.softmax(q @ k.swapaxes(2, 3) / math.sqrt(q.shape[-1]), -1)
        x = x + (scores @ v).swapaxes(1, 2).reshape(x.shape) @ wo
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        x = (x - mean) / jnp.sqrt(var + 1e-5)
        return x + jax.nn.gelu(x @ w1, approximate=True) @ w2

    def loss(weights: Any, x: Any) -> Any:
        return (block(weights, x) ** 2).mean()

    def gradient(*arguments: Any) -> Any:
        *weights, x = arguments
        return jax.grad(loss)(tuple(weights), x)

    return gradient


add(
    Bench(
        "transformer block gradient",
        _attention,
        _attention_jax,
        (
            *(normal(128, 128, seed=i, scale=0.09) for i in range(4)),
            normal(128, 512, scale=0.09),
            normal(512, 128, scale=0.04),
            normal(8, 64, 128),
        ),
    )
)
