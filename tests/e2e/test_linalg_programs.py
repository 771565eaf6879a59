"""Small programs of dense linear algebra, in f64, against torch.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch

F64 = torch.float64


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64)


X, Y = normal(12, 2), normal(12, seed=1)


def evidence(parameters: torch.Tensor) -> torch.Tensor:
    """The log marginal likelihood of a Gaussian process (Rasmussen and Williams, 2.30)."""
    scale, length, noise = parameters.exp().unbind()
    distance = ((X[:, None] - X[None]) ** 2).sum(-1)
    kernel = scale * torch.exp(-distance / (2 * length**2)) + noise * torch.eye(12, dtype=F64)
    factor = torch.linalg.cholesky(kernel)
    weights = torch.cholesky_solve(Y[:, None], factor)[:, 0]
    return -0.5 * Y @ weights - factor.diagonal().log().sum()


def evidence_by_logdet(parameters: torch.Tensor) -> torch.Tensor:
    scale, length, noise = parameters.exp().unbind()
    distance = ((X[:, None] - X[None]) ** 2).sum(-1)
    kernel = scale * torch.exp(-distance / (2 * length**2)) + noise * torch.eye(12, dtype=F64)
    return -0.5 * Y @ torch.linalg.solve(kernel, Y) - 0.5 * torch.logdet(kernel)


def project(camera: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """A point seen by a camera: rotation vector (Rodrigues), translation, focal length."""
    turn, shift, focal = camera[:3], camera[3:6], camera[6]
    angle = torch.sqrt((turn * turn).sum())
    axis = turn / angle
    cosine, sine = torch.cos(angle), torch.sin(angle)
    crossed = torch.linalg.cross(axis, point)
    rotated = point * cosine + crossed * sine + axis * (axis @ point) * (1 - cosine)
    x, y, z = (rotated + shift).unbind()
    return focal * torch.stack([x / z, y / z])


CAMERAS, POINTS = normal(5, 7, seed=2) + 2, normal(5, 3, seed=3)


MODEL = torch.eye(3, dtype=F64) + 0.1 * normal(3, 3, seed=4)
SEEN, STATE, FOUND = normal(2, 3, seed=5), normal(3, seed=6), normal(2, seed=7)


def filtered(noise: torch.Tensor) -> torch.Tensor:
    """One step of a Kalman filter: minus the log likelihood of what is measured."""
    covariance = MODEL @ MODEL.mT + noise[0].exp() * torch.eye(3, dtype=F64)
    innovation = SEEN @ covariance @ SEEN.mT + noise[1].exp() * torch.eye(2, dtype=F64)
    gain = torch.linalg.solve(innovation, SEEN @ covariance).mT
    residual = FOUND - SEEN @ MODEL @ STATE
    updated = MODEL @ STATE + gain @ residual
    cost = residual @ torch.linalg.inv(innovation) @ residual + torch.linalg.slogdet(innovation)[1]
    return cost + (updated**2).sum()


SPREAD = normal(3, 2, 2, seed=8)


def mixture(means: torch.Tensor) -> torch.Tensor:
    """The log likelihood of data under Gaussians of full covariance."""
    factor = torch.linalg.cholesky(SPREAD @ SPREAD.mT + torch.eye(2, dtype=F64))
    centred = (X[None] - means[:, None]).mT
    white = torch.linalg.solve_triangular(factor, centred, upper=False)
    logs = -0.5 * (white**2).sum(1) - torch.log(factor.diagonal(dim1=1, dim2=2)).sum(1)[:, None]
    return torch.logsumexp(logs, 0).sum()


def natural(parameters: torch.Tensor, f: Any) -> torch.Tensor:
    """The direction of natural gradient of a small network's squared error."""

    def model(p: torch.Tensor) -> torch.Tensor:
        return torch.tanh(X @ p[:6].reshape(2, 3)) @ p[6:9]

    jacobian = f.jacrev(model)(parameters)
    gram = jacobian @ jacobian.mT + 0.1 * torch.eye(12, dtype=F64)
    return jacobian.mT @ torch.linalg.solve(gram, model(parameters) - Y)


THETA = torch.tensor([0.1, -0.2, -1.0], dtype=F64)
MEANS, WEIGHTS = normal(3, 2, seed=9), normal(9, seed=10)
PROGRAMS: dict[str, Callable[[Any], torch.Tensor]] = {
    "evidence, gradient": lambda f: f.grad(evidence)(THETA),
    "evidence, hessian": lambda f: f.hessian(evidence)(THETA),
    "evidence by logdet, hessian": lambda f: f.hessian(evidence_by_logdet)(THETA),
    "bundle adjustment": lambda f: f.vmap(f.jacfwd(project, argnums=0))(CAMERAS, POINTS),
    "kalman filter": lambda f: f.grad(filtered)(THETA[:2]),
    "mixture": lambda f: f.hessian(mixture)(MEANS),
    "natural gradient": lambda f: (
        natural(WEIGHTS, f) if f is torch.func else f.jit(lambda w: natural(w, f))(WEIGHTS)
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str) -> None:
    program = PROGRAMS[name]
    torch.testing.assert_close(program(pullback), program(torch.func), rtol=1e-8, atol=1e-9)


def test_a_covariance_that_is_none() -> None:
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        pullback.grad(lambda x: torch.linalg.cholesky(x).sum())(-torch.eye(3, dtype=F64))


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 30.0])
def test_matrix_exp(scale: float) -> None:
    """Value and cotangent, also where the matrix is scaled down several times."""
    a = scale * (normal(2, 3, 3, seed=11) - 2 * torch.eye(3, dtype=F64))
    ct = normal(2, 3, 3, seed=12)

    def both(f: Any, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, pull = f.vjp(torch.linalg.matrix_exp, a)
        return value, pull(ct)[0]

    for found, wanted in zip(both(pullback, a), both(torch.func, a), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-9 * float(wanted.abs().max()))


def test_matrix_exp_of_a_large_norm() -> None:
    matrix = torch.diag(torch.tensor([-1e4, -1.0], dtype=F64))
    found = pullback.jit(torch.linalg.matrix_exp)(matrix)
    torch.testing.assert_close(found, torch.linalg.matrix_exp(matrix))
