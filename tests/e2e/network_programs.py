"""Programs with the layers of networks, as ``programs.py`` has them: training, per-sample
gradients, ensembles, kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .whirlwind import normal

Params = dict[str, torch.Tensor]


def made(make: Callable[[], nn.Module], dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """The module with weights that do not depend on what was made before it."""
    module = make().to(dtype)
    with torch.no_grad():
        for number, weight in enumerate(module.parameters()):
            weight.copy_(0.3 * normal(dtype, *weight.shape, seed=100 * seed + number))
    return module.requires_grad_(False)


def conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.GroupNorm(2, 6),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def images(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return normal(dtype, 4, 1, 8, 8, seed=7), torch.tensor([0, 2, 1, 2])


def steps(func: Any, loss: Callable[..., torch.Tensor], params: Params, *data: Any) -> Any:
    """Three steps of gradient descent: the losses and the last parameters."""
    losses = []
    for _ in range(3):
        gradient, value = func.grad_and_value(loss)(params, *data)
        losses.append(value)
        params = {name: value - 0.1 * gradient[name] for name, value in params.items()}
    return losses, params


def conv_net_training(func: Any, dtype: torch.dtype) -> Any:
    net = made(conv_net, dtype)

    def loss(params: Params, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(func.functional_call(net, params, (x,)), labels)

    return steps(func, loss, dict(net.named_parameters()), *images(dtype))


def private_gradients(func: Any, dtype: torch.dtype) -> Any:
    """DP-SGD: each example's gradient is clipped before they are added up."""
    net = made(conv_net, dtype)

    def loss(params: Params, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = func.functional_call(net, params, (x[None],))
        return F.cross_entropy(logits, label[None])

    params = dict(net.named_parameters())
    each = func.vmap(func.grad(loss), in_dims=(None, 0, 0))(params, *images(dtype))
    squares = sum(g.flatten(1).pow(2).sum(1) for g in each.values())
    scale = (0.5 / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    return {name: torch.tensordot(scale, g, 1) for name, g in each.items()}, squares


def transformer_block(func: Any, dtype: torch.dtype) -> Any:
    """The gradient of a training step, and the Hessian times it."""
    block = made(lambda: nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, norm_first=True), dtype)
    x, target = normal(dtype, 5, 2, 8, seed=8), normal(dtype, 5, 2, 8, seed=9)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=dtype)

    def loss(params: Params) -> torch.Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            out = func.functional_call(block, params, (x,), {"src_mask": mask})
        return F.mse_loss(out, target)

    params = dict(block.named_parameters())
    gradient = func.grad(loss)(params)

    def along(params: Params) -> torch.Tensor:
        slope = func.grad(loss)(params)
        return sum((slope[name] * gradient[name]).sum() for name in slope)  # type: ignore[return-value]

    return gradient, func.grad(along)(params)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.recurrent = nn.LSTM(3, 4, 2, batch_first=True)
        self.out = nn.Linear(4, 5)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.out(self.recurrent(self.embedding(words))[0])


def lstm_training(func: Any, dtype: torch.dtype) -> Any:
    net = made(Tagger, dtype)
    words = torch.tensor([[0, 3, 6, 2], [1, 1, 5, 0]])
    tags = torch.tensor([[4, 0, 1, 2], [3, 3, 0, 1]])

    def loss(params: Params, words: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        logits = func.functional_call(net, params, (words,))
        return F.cross_entropy(logits.flatten(0, 1), tags.flatten())

    return steps(func, loss, dict(net.named_parameters()), words, tags)


def ensemble(func: Any, dtype: torch.dtype) -> Any:
    """Three conv nets at once, on the same images and on images of their own."""
    nets = [made(conv_net, dtype, seed) for seed in range(3)]
    params, buffers = func.stack_module_state(nets)
    params = {name: value.detach() for name, value in params.items()}
    skeleton = nets[0]

    def loss(params: Params, buffers: Params, x: torch.Tensor, labels: torch.Tensor):
        logits = func.functional_call(skeleton, (params, buffers), (x,))
        return F.cross_entropy(logits, labels)

    x, labels = images(dtype)
    shared = func.vmap(func.grad(loss), in_dims=(0, 0, None, None))(params, buffers, x, labels)
    own = torch.stack([x, x * 0.5, -x]), torch.stack([labels, labels.flip(0), labels])
    return shared, func.vmap(func.grad_and_value(loss))(params, buffers, *own)


def tangent_kernel(func: Any, dtype: torch.dtype) -> Any:
    """The empirical neural tangent kernel of a conv net, by Jacobians and by vjp and jvp."""
    net = made(
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 2)
        ),
        dtype,
    )
    params = dict(net.named_parameters())

    def of_one(params: Params, x: torch.Tensor) -> torch.Tensor:
        return func.functional_call(net, params, (x[None],))[0]

    x = normal(dtype, 3, 1, 6, 6, seed=11)
    jacobians = func.vmap(func.jacrev(of_one), in_dims=(None, 0))(params, x)
    by_jacobians = sum(torch.einsum("naf,mbf->nmab", j, j) for j in map(flat, jacobians.values()))

    def between(x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        def column(v: torch.Tensor) -> torch.Tensor:
            (pulled,) = func.vjp(lambda p: of_one(p, x1), params)[1](v)
            return func.jvp(lambda p: of_one(p, x2), (params,), (pulled,))[1]

        return func.vmap(column)(torch.eye(2, dtype=dtype))

    by_products = func.vmap(func.vmap(between, (None, 0)), (0, None))(x, x)
    return by_jacobians, by_products


def flat(jacobian: torch.Tensor) -> torch.Tensor:
    return jacobian.flatten(2)


# With the order of derivative that each reaches.
NETWORK_PROGRAMS = {
    program.__name__: (program, order)
    for program, order in (
        (conv_net_training, 4),
        (private_gradients, 2),
        (transformer_block, 2),
        (lstm_training, 4),
        (ensemble, 2),
        (tangent_kernel, 2),
    )
}
