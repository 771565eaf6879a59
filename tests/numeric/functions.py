"""Functions of one vector for the nests of transforms: each op somewhere, smooth at POINT."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

Tensor = torch.Tensor
POINT = (0.3, -0.7, 1.1)


def wave(x: Tensor) -> Tensor:
    return torch.sin(x) * torch.cos(2 * x)


def polynomial(x: Tensor) -> Tensor:
    return x * x * x - 2 * x * x + x


def quadratic(x: Tensor) -> Tensor:
    matrix = torch.tensor([[2.0, -1.0, 0.5], [0.3, 1.0, 0.0], [0.0, 0.7, 3.0]], dtype=x.dtype)
    return x @ matrix @ x


def layer(x: Tensor) -> Tensor:
    weight = torch.tensor([[0.1, -0.4, 0.9], [1.2, 0.2, -0.3]], dtype=x.dtype)
    return torch.tanh(weight @ x + 0.1)


def cross_entropy(x: Tensor) -> Tensor:
    return -F.log_softmax(x, dim=0)[1]


def attention(x: Tensor) -> Tensor:
    scores = torch.outer(x, x)
    return torch.softmax(scores, dim=1) @ x


def log_sum_exp(x: Tensor) -> Tensor:
    return torch.logsumexp(torch.stack([x, 2 * x]), dim=1)


def norm(x: Tensor) -> Tensor:
    return torch.sqrt((x * x).sum() + 1)


def ratio(x: Tensor) -> Tensor:
    return x / (2 + torch.exp(x))


def power(x: Tensor) -> Tensor:
    return (x * x + 1) ** 1.5


def general_power(x: Tensor) -> Tensor:
    return torch.pow(torch.exp(x), torch.sigmoid(x))


def logarithm(x: Tensor) -> Tensor:
    return torch.log(1 + x * x)


def rectified(x: Tensor) -> Tensor:
    return torch.relu(x) * x + torch.maximum(x, 0.1 * x * x)


def piecewise(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.sin(x), x * x * x)


def largest(x: Tensor) -> Tensor:
    return torch.amax(torch.outer(x, x) + torch.sin(x), dim=1)


def picked(x: Tensor) -> Tensor:
    return x[torch.tensor([2, 0, 2, 1])] * torch.exp(x[0])


def windows(x: Tensor) -> Tensor:
    padded = F.pad(x, (1, 2))
    return padded[1:] * padded[:-1] + padded[::2].sum()


def joined(x: Tensor) -> Tensor:
    return torch.cat([x, torch.sin(x[1:]), x.sum().reshape(1) ** 2])


def rearranged(x: Tensor) -> Tensor:
    square = torch.outer(x, torch.cos(x))
    return (square.T @ square).reshape(9)[1:7].reshape(2, 3).permute(1, 0)


def batched_product(x: Tensor) -> Tensor:
    cube = torch.outer(x, x).unsqueeze(0) * x.reshape(3, 1, 1)
    return torch.bmm(cube, cube.transpose(1, 2)).sum(dim=(0, 1))


def detached(x: Tensor) -> Tensor:
    return x * torch.exp(x).detach() + x * x


def scattered(x: Tensor) -> Tensor:
    index = torch.tensor([1, 1, 0])
    return torch.zeros(4, dtype=x.dtype).index_add(0, index, x * x) + x.sum()


def pairwise(x: Tensor) -> Tensor:
    distance = (x.unsqueeze(0) - x.unsqueeze(1)) ** 2 + 1
    return (1 / distance).sum()


def normalised(x: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / torch.sqrt((centred * centred).mean() + 0.01)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    f.__name__: f
    for f in (
        wave,
        polynomial,
        quadratic,
        layer,
        cross_entropy,
        attention,
        log_sum_exp,
        norm,
        ratio,
        power,
        general_power,
        logarithm,
        rectified,
        piecewise,
        largest,
        picked,
        windows,
        joined,
        rearranged,
        batched_product,
        detached,
        scattered,
        pairwise,
        normalised,
    )
}
