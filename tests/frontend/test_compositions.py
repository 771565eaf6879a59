"""Calls that the frontend writes with others: against torch, and against their definitions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import pullback
import pytest
import torch
import torch.nn.functional as F
from pullback.frontend import recurrences

pytestmark = pytest.mark.filterwarnings("ignore:.* is compiled for the")
F64 = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def same(f: Callable[..., Any], *args: torch.Tensor) -> None:
    """Value and derivative in the arguments of f64 are torch's."""
    leaves = [a.clone().requires_grad_() if a.dtype is F64 else a for a in args]
    expected = f(*leaves)
    ct = torch.linspace(-1.0, 2.0, expected.numel(), dtype=F64).reshape(expected.shape)
    wrt = [i for i, a in enumerate(args) if a.dtype is F64]
    grads = torch.autograd.grad(expected, [leaves[i] for i in wrt], ct)

    def both(*args: torch.Tensor) -> Any:
        def of(*chosen: torch.Tensor) -> torch.Tensor:
            given = [*args]
            for i, x in zip(wrt, chosen, strict=True):
                given[i] = x
            return f(*given)

        value, pull = pullback.vjp(of, *(args[i] for i in wrt))
        return value, pull(ct)

    value, found = pullback.jit(both)(*args)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(found, grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


# --- losses ---------------------------------------------------------------------------------------

LABELS = torch.tensor([[1, 1, 2, 3], [4, 2, 2, 1], [3, 0, 0, 0]])
INPUTS, TARGETS = [9, 8, 3], [4, 3, 1]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("joined", [False, True])
def test_ctc_loss(reduction: str, tensors: bool, joined: bool) -> None:
    labels = torch.cat([row[:n] for row, n in zip(LABELS, TARGETS, strict=True)])
    labels = labels if joined else LABELS
    x = draw(9, 3, 5)
    if tensors:
        same(
            lambda x, y, m, n: F.ctc_loss(x.log_softmax(-1), y, m, n, reduction=reduction),
            *(x, labels, torch.tensor(INPUTS), torch.tensor(TARGETS)),
        )
    else:
        same(
            lambda x, y: F.ctc_loss(x.log_softmax(-1), y, INPUTS, TARGETS, reduction=reduction),
            *(x, labels),
        )


def test_ctc_loss_of_one_sequence_and_of_none() -> None:
    one = torch.tensor(2)
    sizes = torch.tensor(4), torch.tensor(1)
    same(lambda x, y, *n: F.ctc_loss(x.log_softmax(-1), y, *n), draw(4, 3), one[None], *sizes)
    # Three equal labels need five steps: the loss is infinite, or 0 on demand.
    short = torch.tensor([[1, 1, 1]])
    same(lambda x: F.ctc_loss(x, short, [4], [3], zero_infinity=True), draw(4, 1, 3))
    lost = pullback.jit(lambda x: F.ctc_loss(x, short, [4], [3]))(draw(4, 1, 3))
    assert lost.item() == float("inf")


def test_ctc_loss_has_second_derivatives() -> None:
    def loss(x: torch.Tensor) -> torch.Tensor:
        return F.ctc_loss(x.log_softmax(-1), LABELS[:2], [6, 5], [4, 3], reduction="sum")

    x, v = draw(6, 2, 5), draw(6, 2, 5, seed=1)
    grad = pullback.jit(pullback.grad(loss))
    found = pullback.jit(lambda x: pullback.jvp(pullback.grad(loss), (x,), (v,))[1])(x)
    expected = (grad(x + 1e-5 * v) - grad(x - 1e-5 * v)) / 2e-5
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_ctc_loss_checks_lengths() -> None:
    x, lengths = draw(5, 1, 3).log_softmax(-1), torch.tensor([2])
    f = pullback.jit(lambda x, n: F.ctc_loss(x, LABELS[:1], torch.tensor([5]), n))
    f(x, lengths)
    with pytest.raises(RuntimeError, match="target_lengths"):
        f(x, lengths + 3)


def test_gaussian_nll_loss() -> None:
    x, y, var = draw(3, 4), draw(3, 4, seed=1), draw(3, 4, seed=2) ** 2
    var[0, 0] = 1e-9  # below eps: a constant with the derivative of the variance
    for full, reduction in itertools.product([False, True], ["none", "mean"]):
        same(
            lambda x, y, v, f=full, r=reduction: F.gaussian_nll_loss(x, y, v, f, reduction=r),
            *(x, y, var),
        )
    same(lambda x, y, v: F.gaussian_nll_loss(x, y, v), x, y, var[:, 0])
    f = pullback.jit(F.gaussian_nll_loss)
    with pytest.raises(ValueError, match="negative"):
        f(x, y, -var)


# --- recurrences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_gcd_and_lcm(kind: torch.dtype) -> None:
    x = torch.tensor([0, 0, 5, 12, -18, 46368, 7, -1], dtype=kind)
    y = torch.tensor([0, 7, 0, 18, 12, 28657, 7, 9], dtype=kind)
    for f in torch.gcd, torch.lcm:
        found = pullback.jit(f)(x, y)
        assert found.dtype == kind and torch.equal(found, f(x, y))
    assert torch.equal(pullback.jit(torch.gcd)(x[:, None], y), torch.gcd(x[:, None], y))


@pytest.mark.parametrize("name", recurrences.FAMILIES)
def test_polynomials(name: str) -> None:
    f = getattr(torch.special, name)
    x = torch.tensor([-1.0, -0.7, 0.0, 0.3, 1.0, 1.5], dtype=F64)
    n = torch.tensor([-1.0, 0.0, 1.0, 2.0, 5.0, 9.0], dtype=F64)
    found = pullback.jit(f)(x[:, None], n)
    torch.testing.assert_close(found, f(x[:, None], n), rtol=1e-12, atol=1e-12)
    for degree in (0, 1, 4):
        value = pullback.jit(lambda x, d=degree: f(x, d))(x)
        torch.testing.assert_close(value, f(x, degree), rtol=1e-12, atol=1e-12)
    slope = pullback.jit(pullback.vmap(pullback.grad(lambda x: f(x, 4))))(x)
    step = 1e-5
    torch.testing.assert_close(slope, (f(x + step, 4) - f(x - step, 4)) / (2 * step))


# --- windows --------------------------------------------------------------------------------------


def test_narrow_from_a_tensor() -> None:
    f = pullback.jit(lambda x, s: x.narrow(1, s, 3))
    x = draw(2, 5)
    for start in (0, 2, -4):
        assert torch.equal(f(x, torch.tensor(start)), x.narrow(1, torch.tensor(start), 3))
    with pytest.raises(RuntimeError, match="out of bounds"):
        f(x, torch.tensor(3))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 4), (11, 5), (7, 2)])
def test_antialiased_interpolation(mode: str, size: tuple[int, int]) -> None:
    x = draw(2, 1, 7, 9)
    same(lambda x: F.interpolate(x, size, mode=mode, antialias=True), x)
    same(lambda x: F.interpolate(x, scale_factor=0.6, mode=mode, antialias=True), x)


def test_fractional_pooling() -> None:
    x, draws = draw(2, 3, 9, 8), draw(2, 3, 2).sigmoid()
    same(lambda x: F.fractional_max_pool2d(x, 3, (4, 3), _random_samples=draws), x)
    x, draws = draw(1, 2, 5, 6, 7), draw(1, 2, 3).sigmoid()
    same(lambda x: F.fractional_max_pool3d(x, 2, (3, 3, 4), _random_samples=draws), x)


# --- reflectors, Bessel functions -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (3, 3), (2, 5)])
def test_reflectors(shape: tuple[int, int]) -> None:
    x = draw(2, *shape)
    for ours, theirs in zip(pullback.jit(torch.geqrf)(x), torch.geqrf(x), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_ormqr(left: bool, transpose: bool) -> None:
    a, tau = torch.geqrf(draw(4, 3))
    x = draw(4, 2, seed=1) if left else draw(2, 4, seed=1)
    same(lambda a, tau, x: torch.ormqr(a, tau, x, left, transpose), a, tau, x)


@pytest.mark.parametrize("order", [0, 1])
def test_bessel(order: int) -> None:
    plain, scaled = [(torch.i0, torch.special.i0e), (torch.special.i1, torch.special.i1e)][order]
    points = [-700.0, -20.5, -3.0, -1e-3, 0.0, 1e-8, 0.5, 7.0, 19.9, 20.1, 45.0, 712.0, 1e5]
    x = torch.tensor(points, dtype=F64)
    weights = [mpmath.exp(-abs(p)) for p in points]
    exact = [mpmath.besseli(order, p) for p in points]
    small = torch.tensor([float(v * w) for v, w in zip(exact, weights, strict=True)], dtype=F64)
    torch.testing.assert_close(pullback.jit(scaled)(x), small, rtol=3e-15, atol=0)
    large = torch.tensor([float(v) for v in exact[:-1]], dtype=F64)
    torch.testing.assert_close(pullback.jit(plain)(x[:-1]), large, rtol=2e-13, atol=0)
    slopes = [mpmath.besseli(1 - order, p) for p in points[:-2]]
    if order:
        over = [v / p if p else 0.5 for v, p in zip(exact, points, strict=True)]
        slopes = [s - o for s, o in zip(slopes, over[:-2], strict=True)]
    slope = pullback.jit(pullback.vmap(pullback.grad(plain)))(x[:-2])
    expected = torch.tensor([float(v) for v in slopes], dtype=F64)
    torch.testing.assert_close(slope, expected, rtol=2e-13, atol=1e-16)
