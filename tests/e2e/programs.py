"""Whole programs that need no torch.autograd, each a function of the namespace that it uses.

As in ``whirlwind.py``, ``program(func, dtype)`` returns a pytree of tensors.
"""

from __future__ import annotations

from typing import Any

import torch

from .whirlwind import normal

Params = dict[str, torch.Tensor]


def regression_net(params: Params, x: torch.Tensor) -> torch.Tensor:
    hidden = torch.tanh(x @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def regression_loss(params: Params, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((regression_net(params, x) - y) ** 2).mean()


def regression_params(dtype: torch.dtype) -> Params:
    return {
        "w1": normal(dtype, 1, 8, seed=1),
        "b1": normal(dtype, 8, seed=2),
        "w2": 0.3 * normal(dtype, 8, 1, seed=3),
        "b2": normal(dtype, 1, seed=4),
    }


def meta_gradient(func: Any, dtype: torch.dtype, first_order: bool) -> Any:
    """MAML: the gradient of a loss after five gradient steps of each of four tasks."""

    def adapted_loss(params: Params, x1: Any, y1: Any, x2: Any, y2: Any) -> torch.Tensor:
        for _ in range(5):
            step = func.grad(regression_loss)(params, x1, y1)
            if first_order:
                step = {name: value.detach() for name, value in step.items()}
            params = {name: value - 0.05 * step[name] for name, value in params.items()}
        return regression_loss(params, x2, y2)

    def meta_loss(params: Params, *tasks: torch.Tensor) -> torch.Tensor:
        return func.vmap(adapted_loss, in_dims=(None, 0, 0, 0, 0))(params, *tasks).mean()

    x1, x2 = normal(dtype, 4, 10, 1, seed=5), normal(dtype, 4, 10, 1, seed=6)
    phase = normal(dtype, 4, 1, 1, seed=7)
    tasks = (x1, torch.sin(x1 + phase), x2, torch.sin(x2 + phase))
    return func.grad_and_value(meta_loss)(regression_params(dtype), *tasks)


def maml(func: Any, dtype: torch.dtype) -> Any:
    return meta_gradient(func, dtype, first_order=False)


def first_order_maml(func: Any, dtype: torch.dtype) -> Any:
    return meta_gradient(func, dtype, first_order=True)


def cluster(dtype: torch.dtype) -> torch.Tensor:
    """Seven atoms near a cubic grid, about one bond length apart."""
    grid = torch.cartesian_prod(*[torch.arange(2, dtype=torch.float64)] * 3)[:7]
    return (1.1 * grid).to(dtype) + 0.05 * normal(dtype, 7, 3)


def lennard_jones(func: Any, dtype: torch.dtype) -> Any:
    first, second = torch.triu_indices(7, 7, 1)

    def energy(positions: torch.Tensor) -> torch.Tensor:
        apart = positions[first] - positions[second]
        s6 = 1.0 / (apart * apart).sum(-1) ** 3
        return 4.0 * (s6 * s6 - s6).sum()

    def forces(positions: torch.Tensor) -> torch.Tensor:
        return -func.grad(energy)(positions)

    at = cluster(dtype)
    return forces(at), func.hessian(energy)(at), func.jacfwd(forces)(at)


def straight_through(func: Any, dtype: torch.dtype) -> Any:
    """Quantised weights whose gradient passes the rounding as if it were not there."""

    def quantise(w: torch.Tensor) -> torch.Tensor:
        return w + (torch.round(4 * w) / 4 - w).detach()

    def loss(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ quantise(w)).pow(2).sum()

    w, x = normal(dtype, 5), normal(dtype, 3, 5, seed=1)
    return func.grad_and_value(loss)(w, x), func.hessian(loss)(w, x)


def no_grad(func: Any, dtype: torch.dtype) -> Any:
    """no_grad ends reverse mode only: 48 against 96 (``test_programs.py``)."""

    def f(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            c = x**2
        return (x**3 * c).sum()

    x = torch.full((1,), 2.0, dtype=dtype)
    return func.jacrev(func.jacrev(f))(x), func.hessian(f)(x), func.grad(f)(x)


def softmax_regression(func: Any, dtype: torch.dtype) -> Any:
    """Per-sample gradients and the Hessian of a linear layer with cross-entropy."""

    def loss(params: Params, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = params["weight"] @ x + params["bias"]
        return torch.nn.functional.cross_entropy(logits, label)

    def mean_loss(params: Params, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return func.vmap(loss, in_dims=(None, 0, 0))(params, x, labels).mean()

    params = {"weight": normal(dtype, 3, 4), "bias": normal(dtype, 3, seed=1)}
    x, labels = normal(dtype, 6, 4, seed=2), torch.tensor([0, 1, 2, 2, 1, 0])
    per_sample = func.vmap(func.grad(loss), in_dims=(None, 0, 0))(params, x, labels)
    return per_sample, func.hessian(mean_loss)(params, x, labels)


# With the order of derivative that each reaches.
PROGRAMS = {
    program.__name__: (program, order)
    for program, order in (
        (maml, 6),
        (first_order_maml, 1),
        (lennard_jones, 2),
        (straight_through, 2),
        (no_grad, 2),
        (softmax_regression, 2),
    )
}
