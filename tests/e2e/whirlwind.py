"""The examples of torch.func's whirlwind tour, each a function of the namespace that it uses.

``example(func, dtype)`` with ``func`` = pullback or torch.func returns a pytree of tensors. Random
numbers are drawn from a seeded generator, so both namespaces see the same.
"""

from __future__ import annotations

from typing import Any

import torch

BATCH, FEATURES = 3, 5


def normal(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=seeded(seed)).to(dtype)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(weights: torch.Tensor, feature_vec: torch.Tensor) -> torch.Tensor:
    assert feature_vec.dim() == 1
    return feature_vec.dot(weights).relu()


def compute_loss(
    weights: torch.Tensor, example: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    y = model(weights, example)
    return ((y - target) ** 2).mean()


def grad(func: Any, dtype: torch.dtype) -> Any:
    return func.grad(lambda x: torch.sin(x))(normal(dtype))


def grad_of_a_builtin(func: Any, dtype: torch.dtype) -> Any:
    return func.grad(torch.sin)(normal(dtype))


def second_order_grad(func: Any, dtype: torch.dtype) -> Any:
    return func.grad(func.grad(torch.sin))(normal(dtype))


def vmap_of_a_model_with_captured_weights(func: Any, dtype: torch.dtype) -> Any:
    weights = normal(dtype, FEATURES).requires_grad_()

    def captured(feature_vec: torch.Tensor) -> torch.Tensor:
        return model(weights, feature_vec)

    return func.vmap(captured)(normal(dtype, BATCH, FEATURES, seed=1))


def per_sample_gradients(func: Any, dtype: torch.dtype) -> Any:
    weights = normal(dtype, FEATURES).requires_grad_()
    examples = normal(dtype, BATCH, FEATURES, seed=1)
    targets = normal(dtype, BATCH, seed=2)
    return func.vmap(func.grad(compute_loss), in_dims=(None, 0, 0))(weights, examples, targets)


def vjp(func: Any, dtype: torch.dtype) -> Any:
    outputs, vjp_fn = func.vjp(torch.sin, normal(dtype, 3))
    return outputs, vjp_fn(normal(dtype, 3, seed=1)), vjp_fn(normal(dtype, 3, seed=2))


def jvp(func: Any, dtype: torch.dtype) -> Any:
    x, y = normal(dtype, 5), normal(dtype, 5, seed=1)
    ones = torch.ones(5, dtype=dtype)
    return func.jvp(lambda x, y: x * y, (x, y), (ones, ones))


def linearize(func: Any, dtype: torch.dtype) -> Any:
    output, jvp_fn = func.linearize(torch.sin, normal(dtype, 3))
    return output, jvp_fn(normal(dtype, 3, seed=1)), jvp_fn(normal(dtype, 3, seed=2))


def jacrev(func: Any, dtype: torch.dtype) -> Any:
    return func.jacrev(torch.sin)(normal(dtype, 5))


def batched_jacobian(func: Any, dtype: torch.dtype) -> Any:
    return func.vmap(func.jacrev(torch.sin))(normal(dtype, 64, 5))


def jacfwd(func: Any, dtype: torch.dtype) -> Any:
    return func.jacfwd(torch.sin)(normal(dtype, 5))


def sum_of_sines(x: torch.Tensor) -> torch.Tensor:
    return x.sin().sum()


def hessian_by_jacrev_of_jacrev(func: Any, dtype: torch.dtype) -> Any:
    return func.jacrev(func.jacrev(sum_of_sines))(normal(dtype, 5))


def hessian_by_jacfwd_of_jacrev(func: Any, dtype: torch.dtype) -> Any:
    return func.jacfwd(func.jacrev(sum_of_sines))(normal(dtype, 5))


def hessian_by_name(func: Any, dtype: torch.dtype) -> Any:
    return func.hessian(sum_of_sines)(normal(dtype, 5))


EXAMPLES = {
    example.__name__: example
    for example in (
        grad,
        grad_of_a_builtin,
        second_order_grad,
        vmap_of_a_model_with_captured_weights,
        per_sample_gradients,
        vjp,
        jvp,
        linearize,
        jacrev,
        batched_jacobian,
        jacfwd,
        hessian_by_jacrev_of_jacrev,
        hessian_by_jacfwd_of_jacrev,
        hessian_by_name,
    )
}
