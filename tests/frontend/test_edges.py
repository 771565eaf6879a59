"""Values and derivatives where a formula is easily wrong: kinks, small and large numbers."""

from __future__ import annotations

import itertools

import pullback as pb
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("interpreted")

INF = float("inf")


def orders(api, f, x):
    """Value, first and second derivative of an elementwise function."""
    first = api.grad(lambda x: f(x).sum())
    return f(x), first(x), api.grad(lambda x: first(x).sum())(x)


KINKS = {
    "hardswish": (F.hardswish, [-4.0, -3.0, 0.0, 3.0, 4.0]),
    "relu6": (F.relu6, [-1.0, 0.0, 6.0, 7.0]),
    "elu": (F.elu, [-1.0, -1e-9, 0.0, 1.0]),
    "selu": (F.selu, [-1.0, -1e-9, 0.0, 1.0]),
    "celu": (lambda x: F.celu(x, 2.0), [-1.0, -1e-9, 0.0, 1.0]),
    "smooth_l1": (
        lambda x: F.smooth_l1_loss(x, torch.zeros_like(x), reduction="none", beta=0.5),
        [-INF, -1.0, -0.5, 0.0, 0.25, INF],
    ),
    "huber": (
        lambda x: F.huber_loss(x, torch.zeros_like(x), reduction="none", delta=2.0),
        [-INF, -1.0, 0.0, 0.25, 5.0, INF],
    ),
    "expm1": (torch.expm1, [-7.0, -1e-9, 1e-9, 7.0, 90.0, INF]),
    "sinh": (torch.sinh, [-90.0, -1e-9, 1e-9, 90.0]),
    "inverse square": (lambda x: x**-2, [-INF, -1e-20, 1e-9, 1e-100, 2.0, 1e20, INF]),
    "power": (lambda x: x**INF, [0.5, 2.0]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", KINKS)
def test_kinks(name, dtype):
    f, points = KINKS[name]
    x = torch.tensor(points, dtype=torch.float64).to(dtype)
    rtol, atol = (1e-10, 1e-14) if dtype == torch.float64 else (1e-4, 1e-7)
    expected, found = orders(torch.func, f, x), orders(pb, pb.jit(f), x)
    for order, (a, e) in enumerate(zip(found, expected, strict=True)):
        if name == "power" and order:
            continue  # torch has infinity times zero
        assert_close(a, e, rtol=rtol, atol=atol, equal_nan=True)


REST = [-INF, -100.3, -7.0, -1.0, -0.7, -0.1, 0.0, 0.1, 0.3, 0.7, 1.0, 6.28, 7.0, 1e9, INF]
DIVISIONS = {
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "floor_divide": torch.floor_divide,
    "truncated": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", DIVISIONS)
def test_remainders_are_exact(name, dtype):
    pairs = torch.tensor(list(itertools.product(REST, REST)), dtype=torch.float64).to(dtype)
    if name == "floor_divide":
        pairs = pairs[pairs[:, 0].isfinite()]  # torch gives NaN there, we infinity as Python
    x, y = pairs.unbind(1)
    f = DIVISIONS[name]
    assert_close(pb.jit(f)(x, y), f(x, y), rtol=0, atol=0, equal_nan=True)


def test_xlogy_of_zero_and_infinity():
    x, y = torch.tensor([0.0, 0.0, 0.0, 2.0]), torch.tensor([INF, float("nan"), 0.0, 3.0])
    assert_close(pb.jit(torch.xlogy)(x, y), torch.xlogy(x, y), equal_nan=True)


def test_bounds_that_are_nan():
    x, bound = torch.tensor([1.0, 2.0, float("nan")]), torch.tensor([float("nan"), 1.0, 1.0])
    for f in (
        lambda x, b: torch.clamp(x, max=b),
        lambda x, b: torch.clamp(x, min=b),
        lambda x, b: torch.clamp(x, max=float("nan")) + b,
    ):
        assert_close(pb.jit(f)(x, bound), f(x, bound), equal_nan=True)


def test_logaddexp_of_a_small_part():
    x, y = torch.tensor([-20.0, -INF, 3.0]), torch.tensor([0.0, -INF, 3.0])
    assert_close(pb.jit(torch.logaddexp)(x, y), torch.logaddexp(x, y), rtol=1e-5, atol=0)


SCALAR = torch.tensor(2.0, dtype=torch.float64)
VECTOR = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
ZERO_DIM = {
    "gather": (lambda x, i: x.gather(0, i), VECTOR),
    "gather from a scalar": (lambda x, i: x.gather(0, i * 0), SCALAR),
    "scatter_add": (lambda x, i: x.scatter_add(0, i, x[0]), VECTOR),
    "scatter_add to a scalar": (lambda x, i: x.scatter_add(0, i * 0, x), SCALAR),
    "index_add to a scalar": (lambda x, i: x.index_add(0, i * 0, x), SCALAR),
    "scatter": (lambda x, i: x.scatter(0, i, x[0]), VECTOR),
    "scatter a number": (lambda x, i: x.scatter(0, i, 7.0), VECTOR),
    "take": (lambda x, i: x.take(i), VECTOR),
    "flip": (lambda x, i: x.flip(0), SCALAR),
    "cosine similarity": (lambda x, i: F.cosine_similarity(x, x, dim=-1), SCALAR),
}


@pytest.mark.parametrize("name", ZERO_DIM)
def test_zero_dimensional(name):
    f, x = ZERO_DIM[name]
    index = torch.tensor(1)
    assert_close(pb.jit(f)(x, index), f(x, index))


def test_derivatives_of_a_scalar_argument():
    f = torch.sin
    for transform in ("jacrev", "jacfwd", "hessian"):
        ours, theirs = getattr(pb, transform)(f), getattr(torch.func, transform)(f)
        assert_close(ours(SCALAR), theirs(SCALAR))


def test_the_maximum_of_nothing():
    with pytest.raises(IndexError):
        pb.jit(lambda x: x.max(0))(torch.zeros(0, 3))
