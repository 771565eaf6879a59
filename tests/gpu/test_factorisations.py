"""Factorisations on GPUs against torch's in f64: one thread, one block, and many for a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pullback
import pytest
import torch

from .device import Device, device

F32, F64 = torch.float32, torch.float64
DTYPES = pytest.mark.parametrize("dtype", [F32, F64], ids=["f32", "f64"])
SIZES = pytest.mark.parametrize("n", [1, 2, 5, 17, 33, 64, 75])
BATCHES = pytest.mark.parametrize("batch", [1, 3])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64)


def positive(*shape: int) -> torch.Tensor:
    x = normal(*shape, shape[-1])
    return x @ x.mT / shape[-1] + torch.eye(shape[-1], dtype=F64)


def run(function: Callable[..., Any], *wide: torch.Tensor, dtype: torch.dtype) -> list[Any]:
    """The results in f64, and the device."""
    arguments = [x.to(dtype) for x in wide]
    found = device(function, *arguments)
    results = [torch.from_numpy(x) for x in found([x.numpy() for x in arguments])]
    return [*(x.double() if x.is_floating_point() else x for x in results), found]


def near(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype, by: float = 8) -> None:
    """As near as so many roundings for each row and column leave it, of the largest element."""
    limit = by * torch.finfo(dtype).eps * sum(want.shape[-2:]) * max(1, want.abs().max().item())
    torch.testing.assert_close(got, want, rtol=0, atol=limit)


def names(found: Device) -> list[str]:
    return [name for name, _ in found.counters]


@DTYPES
@BATCHES
@SIZES
def test_cholesky(n: int, batch: int, dtype: torch.dtype) -> None:
    x = positive(batch, n)
    factor, found = run(lambda x: torch.linalg.cholesky_ex(x)[0], x, dtype=dtype)
    near(factor, torch.linalg.cholesky(x), dtype)
    assert torch.equal(factor, factor.tril())
    assert any(name.startswith("cholesky") for name in names(found)) == (n > 8)


SYSTEMS = [
    {"upper": upper, "left": left, "unitriangular": unit}
    for upper in (False, True)
    for left in (False, True)
    for unit in (False, True)
]


@DTYPES
@pytest.mark.parametrize("columns", [1, 3, 40])
@pytest.mark.parametrize("n", [2, 5, 17, 64, 75])
def test_triangular_solve(n: int, columns: int, dtype: torch.dtype) -> None:
    """All eight kinds at once; what the other triangle holds does not count."""
    a, b = positive(2, n), normal(2, n, columns)

    def solve(a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
        found = []
        for options in SYSTEMS:
            y = b if options["left"] else b.mT
            found.append(torch.linalg.solve_triangular(a, y, **options))
        return found

    *results, _ = run(solve, a, b, dtype=dtype)
    for got, want in zip(results, solve(a, b), strict=True):
        near(got, want, dtype)


def test_right_hand_sides_are_spread_over_blocks() -> None:
    a, b = positive(1, 40).tril(), normal(1, 40, 300)
    y, found = run(lambda a, b: torch.linalg.solve_triangular(a, b, upper=False), a, b, dtype=F32)
    near(a @ y, b, F32)
    [step] = found.plan.steps
    assert step.grid[0] == 10


SHAPES = [
    (1, 1),
    (2, 2),
    (5, 5),
    (17, 17),
    (33, 33),
    (64, 64),
    (75, 75),
    (20, 45),
    (45, 20),
    (90, 70),
]


@DTYPES
@BATCHES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lu(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    """Pivots are LAPACK's, of the same rounded matrix."""
    x = normal(batch, *shape).to(dtype).double()
    factor, pivots, found = run(lambda x: torch.linalg.lu_factor_ex(x)[:2], x, dtype=dtype)
    want, places = torch.linalg.lu_factor(x)
    assert torch.equal(pivots, places)
    near(factor, want, dtype, by=50)
    p, lower, upper = torch.lu_unpack(factor, pivots)
    near(p @ lower @ upper, x, dtype, by=2)
    assert any(name.startswith("lu") for name in names(found)) == (max(shape) > 8)


def test_pivots_of_ties_and_nan() -> None:
    """The first of equal magnitudes, and what LAPACK does about no number: as on the CPU."""
    x = normal(4, 20, 20)
    x[0] = x[0].sign()
    x[1, 7, 0] = x[2, 0, 0] = torch.nan
    x[3, :, 5] = 0
    factor, pivots, _ = run(lambda x: torch.linalg.lu_factor_ex(x)[:2], x, dtype=F64)
    want = pullback.jit(lambda x: torch.linalg.lu_factor_ex(x)[:2])(x)
    assert torch.equal(pivots, torch.as_tensor(want[1]))
    torch.testing.assert_close(factor, torch.as_tensor(want[0]), rtol=0, atol=1e-9, equal_nan=True)


@DTYPES
@BATCHES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_qr(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    x = normal(batch, *shape)
    x[0, :, 0] = 0
    x[0, 0, 0] = 1
    q, r, full, more, found = run(
        lambda x: (*torch.linalg.qr(x), *torch.linalg.qr(x, mode="complete")), x, dtype=dtype
    )
    for left, right, want in (
        (q, r, torch.linalg.qr(x)),
        (full, more, torch.linalg.qr(x, mode="complete")),
    ):
        near(left @ right, x, dtype, by=4)
        near(left.mT @ left, torch.eye(left.shape[-1], dtype=F64).expand(batch, -1, -1), dtype)
        assert torch.equal(right, right.triu())
        signs = torch.sign(right.diagonal(dim1=-2, dim2=-1))
        assert torch.equal(signs, torch.sign(want[1].diagonal(dim1=-2, dim2=-1)))
    assert any(name.startswith("qr") for name in names(found)) == (max(shape) > 8)


def message(function: Callable[..., Any], bad: torch.Tensor) -> str:
    """Of the error that a call raises, without the line."""
    with pytest.raises(RuntimeError) as caught:
        function(bad)
    return str(caught.value).partition(" (")[0]


ERRORS: dict[str, Callable[..., Any]] = {
    "cholesky": torch.linalg.cholesky,
    "solve": lambda x: torch.linalg.solve(x, x[..., :2]),
    "inverse": torch.linalg.inv,
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("n", [3, 17, 75])
def test_errors_are_the_cpus(name: str, n: int, built: Any) -> None:
    """A matrix of a batch that has no factorisation, from its last row but one on."""
    good, function = positive(2, n), ERRORS[name]
    bad = good.clone()
    bad[1, n - 2 :, :] = bad[1, :, n - 2 :] = 0
    compiled = built(function, good)
    near(torch.from_numpy(compiled(good).numpy()), function(good), F64)
    assert message(compiled, bad) == message(pullback.jit(function), bad)
    assert np.isfinite(compiled(good).numpy()).all()


def likelihood(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of a Gaussian process: a factorisation and two solves."""
    factor = torch.linalg.cholesky_ex(x)[0]
    weights = torch.cholesky_solve(y[..., None], factor)[..., 0]
    return -0.5 * (y * weights).sum() - factor.diagonal(dim1=-2, dim2=-1).log().sum()


def solution(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (torch.linalg.solve_ex(x, y)[0] ** 2).sum() + torch.linalg.slogdet(x)[1].sum()


def least_squares(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    q, r = torch.linalg.qr(x)
    return (q.mT @ y[..., None]).sin().sum() + r.cos().sum()


LOSSES = {f.__name__: f for f in (likelihood, solution, least_squares)}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n", [4, 20, 70])
def test_derivatives(n: int, name: str) -> None:
    x, y = positive(2, n), normal(2, n)
    gradient = pullback.grad(LOSSES[name], argnums=(0, 1))
    *results, _ = run(gradient, x, y, dtype=F64)
    wanted = torch.func.grad(LOSSES[name], argnums=(0, 1))(x, y)
    for got, want in zip(results, wanted, strict=True):
        near(got, want, F64)
