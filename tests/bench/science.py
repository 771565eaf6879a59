"""More of what suite.py measures: programs of scientific computing, in f64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .programs import Array, Bench, add, normal


def wide(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    return normal(*shape, seed=seed, scale=scale, dtype=np.float64)


def _rosenbrock(x: Any) -> Any:
    a, b = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    return (100 * a * a + b * b).sum()


add(
    Bench(
        "rosenbrock hessian, 100",
        lambda api: api.hessian(_rosenbrock),
        lambda jax, jnp: jax.hessian(_rosenbrock),
        (wide(100),),
    )
)


def _energy(positions: Any, where: Callable[..., Any], eye: Any) -> Any:
    """Lennard-Jones energy of atoms; `eye` masks the pairs of an atom with itself."""
    difference = positions[:, None, :] - positions[None, :, :]
    squared = where(eye, 1.0, (difference * difference).sum(-1))
    sixth = 1 / (squared * squared * squared)
    return where(eye, 0.0, 4 * (sixth * sixth - sixth)).sum() / 2


def lattice(count: int) -> Array:
    side = round(count ** (1 / 3)) + 1
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3), -1).reshape(-1, 3)[:count]
    return 1.1 * grid + wide(count, 3, scale=0.05)


def _torch_energy(positions: torch.Tensor) -> torch.Tensor:
    eye = torch.eye(len(positions), dtype=torch.bool)

    def where(mask: torch.Tensor, x: Any, y: torch.Tensor) -> torch.Tensor:
        return torch.where(mask, torch.tensor(x, dtype=y.dtype), y)

    return _energy(positions, where, eye)


def _jax_energy(jnp: Any) -> Callable[..., Any]:
    return lambda p: _energy(p, jnp.where, jnp.eye(len(p), dtype=bool))


add(
    Bench(
        "lennard-jones forces, 256 atoms",
        lambda api: api.grad(_torch_energy),
        lambda jax, jnp: jax.grad(_jax_energy(jnp)),
        (lattice(256),),
        tolerance=1e-9,
    )
)
add(
    Bench(
        "lennard-jones hessian, 20 atoms",
        lambda api: api.hessian(_torch_energy),
        lambda jax, jnp: jax.hessian(_jax_energy(jnp)),
        (lattice(20),),
        tolerance=1e-9,
    )
)


def _mixture(np_: Any, log_sum_exp: Callable[..., Any]) -> Callable[..., Any]:
    def likelihood(weights: Any, means: Any, log_scales: Any, points: Any) -> Any:
        scaled = (points[:, None, :] - means[None]) * np_.exp(-log_scales)[None]
        inner = -0.5 * (scaled * scaled).sum(-1) - log_scales.sum(-1)[None]
        mixed = weights - log_sum_exp(weights, 0)
        return log_sum_exp(inner + mixed[None], 1).mean()

    return likelihood


add(
    Bench(
        "mixture-model gradient",
        lambda api: api.grad(_mixture(torch, torch.logsumexp), argnums=(0, 1, 2)),
        lambda jax, jnp: jax.grad(_mixture(jnp, jax.nn.logsumexp), argnums=(0, 1, 2)),
        (wide(8), wide(8, 4, seed=1), wide(8, 4, seed=2, scale=0.1), wide(2000, 4, seed=3)),
        tolerance=1e-9,
    )
)


def _projection(np_: Any, cross: Callable[..., Any]) -> Any:
    """A point seen by a camera of rotation vector, translation and two distortions (BAL)."""

    def project(camera: Any, point: Any) -> Any:
        rotation, translation, focal, k1, k2 = (
            camera[:3],
            camera[3:6],
            camera[6],
            camera[7],
            camera[8],
        )
        squared = (rotation * rotation).sum() + 1e-20
        angle = np_.sqrt(squared)
        axis = rotation / angle
        moved = (
            point * np_.cos(angle)
            + cross(axis, point) * np_.sin(angle)
            + axis * (axis * point).sum() * (1 - np_.cos(angle))
        ) + translation
        flat = -moved[:2] / moved[2]
        radius = (flat * flat).sum()
        return focal * (1 + k1 * radius + k2 * radius * radius) * flat

    return project


def _cross(stack: Callable[..., Any]) -> Callable[..., Any]:
    def cross(a: Any, b: Any) -> Any:
        return stack(
            [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
        )

    return cross


def _bundle(transforms: Any, np_: Any) -> Callable[..., Any]:
    project = _projection(np_, _cross(np_.stack))
    return transforms.vmap(transforms.jacfwd(project, argnums=(0, 1)))


add(
    Bench(
        "bundle-adjustment jacobians, 1000",
        lambda api: _bundle(api, torch),
        _bundle,
        (
            np.concatenate([wide(1000, 6, scale=0.3), 1 + 0.1 * wide(1000, 3)], 1),
            wide(1000, 3, seed=1) + np.array([0, 0, 5.0]),
        ),
        tolerance=1e-9,
    )
)


def _regression(np_: Any, log_sigmoid: Callable[..., Any]) -> Callable[..., Any]:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        margin = y * (x @ weights)
        return -log_sigmoid(margin).mean() + 0.01 * (weights * weights).sum()

    return loss


add(
    Bench(
        "logistic-regression hessian, 64",
        lambda api: api.hessian(_regression(torch, torch.nn.functional.logsigmoid)),
        lambda jax, jnp: jax.hessian(_regression(jnp, jax.nn.log_sigmoid)),
        (wide(64, scale=0.1), wide(1000, 64, seed=1), np.sign(wide(1000, seed=2))),
        tolerance=1e-9,
    )
)


def _process(np_: Any, cholesky: Callable[..., Any], solve: Callable[..., Any]) -> Any:
    """Negative log marginal likelihood of a Gaussian process with an RBF kernel."""

    def evidence(parameters: Any, x: Any, y: Any) -> Any:
        length, scale, noise = np_.exp(parameters[0]), np_.exp(parameters[1]), parameters[2]
        distance = ((x[:, None] - x[None]) ** 2).sum(-1)
        kernel = scale * np_.exp(-0.5 * distance / length)
        kernel = kernel + np_.exp(noise) * np_.eye(len(y), dtype=y.dtype)
        factor = cholesky(kernel)
        white = solve(factor, y[:, None])
        return 0.5 * (white * white).sum() + np_.log(factor.diagonal()).sum()

    return evidence


def _torch_solve(factor: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.linalg.solve_triangular(factor, y, upper=False)


add(
    Bench(
        "gaussian-process gradient, 200",
        lambda api: api.grad(_process(torch, torch.linalg.cholesky, _torch_solve)),
        lambda jax, jnp: jax.grad(
            _process(
                jnp,
                jnp.linalg.cholesky,
                lambda f, y: jax.scipy.linalg.solve_triangular(f, y, lower=True),
            )
        ),
        (wide(3, scale=0.1), wide(200, 2, seed=1), wide(200, seed=2)),
        tolerance=1e-6,
    )
)
