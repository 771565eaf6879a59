"""In-place writes, into fresh tensors and through views, alone and under transforms."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("interpreted")

X = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [0.1, 3.0, -2.0]], dtype=torch.float64)


def zeros_like(x):
    y = torch.zeros_like(x)
    y[0] = x[1] * x[0]
    return y


def ones_like(x):
    y = torch.ones_like(x)
    y[1:] *= x[1:] ** 2
    return y


def full_like(x):
    y = torch.full_like(x, 2.0)
    y[:, 0] = x.sum(0)
    return y * x


def empty_like(x):
    y = torch.empty_like(x)
    y[:] = x**3
    return y


def new_zeros(x):
    y = x.new_zeros(2)
    y[0] = x.prod()
    y[1] = y[0] * 2
    return y


def parts(x):
    y = torch.zeros_like(x)
    y[0].copy_(x[0] ** 2)
    y[1].add_(x[1])
    return y * x


def transposed(x):
    y = torch.zeros_like(x)
    y.T[0] = x[0] ** 2
    return y


def diagonal(x):
    y = x * x
    y.diagonal().add_(x[0])
    return y


def side_diagonals(x):
    y = x @ x
    y.diagonal(1).mul_(x[0, 0])
    y.diagonal(-2).zero_()
    return y


def diagonal_of_a_cube(x):
    y = x[None] * x[:, None]
    y.diagonal(0, 0, 1)[:] = x
    return y


def one_number(x):
    y = x.sum().clone()
    y[y > 0] = 0.5
    return y * x


WRITES = [
    zeros_like,
    ones_like,
    full_like,
    empty_like,
    new_zeros,
    parts,
    transposed,
    diagonal,
    side_diagonals,
    diagonal_of_a_cube,
    one_number,
]


@pytest.mark.parametrize("f", WRITES, ids=lambda f: f.__name__)
def test_write(f):
    def total(x):
        return (f(x) ** 2).sum()

    assert_close(pb.jit(f)(X), f(X))
    gradient = torch.func.grad(total)
    assert_close(pb.grad(total)(X), gradient(X))
    batch = torch.stack([X, X.mT, -X])
    assert_close(pb.vmap(f)(batch), torch.stack([f(x) for x in batch]))
    assert_close(pb.vmap(pb.grad(total))(batch), torch.stack([gradient(x) for x in batch]))
