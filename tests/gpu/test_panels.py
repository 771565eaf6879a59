"""Large matrices in halves: small ones here, as if a block did no more than 33 rows alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch
from pullback.frontend import compile as frontend
from pullback.pipelines.gpu import panels, pipeline

from .test_factorisations import (
    DTYPES,
    F64,
    all_systems,
    lu,
    message,
    names,
    near,
    normal,
    positive,
    run,
)
from .test_parallel import BLOCKS, THREADS, shares


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "_ALONE", 33)


def alone(found: Any, kernel: str) -> int:
    return sum(name.startswith(kernel) for name in names(found))


@pytest.mark.usefixtures("small")
@DTYPES
@pytest.mark.parametrize("batch", [1, 2])
def test_cholesky(batch: int, dtype: torch.dtype) -> None:
    """What stands above the diagonal does not count."""
    x = positive(batch, 70)
    above = x + normal(batch, 70, 70).triu(1)
    factor, found = run(lambda x: torch.linalg.cholesky_ex(x)[0], above, dtype=dtype)
    near(factor, torch.linalg.cholesky(x), dtype)
    assert torch.equal(factor, factor.tril())
    assert alone(found, "cholesky") == 3  # of 32, 16 and 22 rows


@pytest.mark.usefixtures("small")
@DTYPES
def test_triangular_solve(dtype: torch.dtype) -> None:
    a, b = positive(2, 70), normal(2, 70, 3)

    *results, _ = run(all_systems, a, b, dtype=dtype)
    for got, want in zip(results, all_systems(a, b), strict=True):
        near(got, want, dtype)


@pytest.mark.usefixtures("small")
@DTYPES
@pytest.mark.parametrize("shape", [(70, 70), (90, 50), (50, 90), (40, 34)], ids=str)
def test_lu(shape: tuple[int, int], dtype: torch.dtype) -> None:
    found = lu(shape, 2, dtype)
    assert alone(found, "lu") + alone(found, "matrices") > 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("transposed", [False, True])
def test_solve(transposed: bool) -> None:
    x, y = normal(2, 70, 70), normal(2, 70, 3)

    def solve(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve(x.mT if transposed else x, y)

    gradient = pullback.grad(lambda x, y: (solve(x, y) ** 2).sum(), (0, 1))
    wanted = torch.func.grad(lambda x, y: (solve(x, y) ** 2).sum(), (0, 1))(x, y)
    *results, _ = run(gradient, x, y, dtype=F64)
    for got, want in zip(results, wanted, strict=True):
        near(got, want, F64, by=1000)


ERRORS: dict[str, Callable[..., Any]] = {
    "cholesky": torch.linalg.cholesky,
    "solve": lambda x: torch.linalg.solve(x, x[..., :2]),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("row", [3, 40, 69])
def test_errors_are_the_cpus(name: str, row: int, built: Any) -> None:
    good, function = positive(2, 70), ERRORS[name]
    bad = good.clone()
    bad[1, row] = bad[1, :, row] = 0
    compiled = built(function, good)
    near(torch.from_numpy(compiled(good).numpy()), function(good), F64, by=50)
    assert message(compiled, bad) == message(pullback.jit(function), bad)


LARGE: dict[str, Callable[..., Any]] = {
    "cholesky": lambda x: torch.linalg.cholesky_ex(x)[0],
    "solve": lambda x: torch.linalg.solve_triangular(x, x.mT, upper=False),
    "lu": lambda x: tuple(torch.linalg.lu_factor_ex(x)[:2]),
}


@pytest.mark.parametrize("name", LARGE)
def test_most_work_is_the_grids(name: str) -> None:
    """Of a million elements in one matrix: by plans and the text of kernels, nothing runs."""
    lowered = frontend.lower(LARGE[name], (torch.empty(1024, 1024),), {})
    module = lowered.module()
    with module.context:
        c = pipeline.compiled(module, lowered.interface, until="outlined")
        found = [(part, part.steps * times) for part, times in shares(c)]
    whole = sum(work for _, work in found)
    many = sum(w for part, w in found if part.grid >= BLOCKS and part.block >= THREADS)
    assert many > 0.7 * whole


def test_many_matrices_have_a_block_each() -> None:
    lowered = frontend.lower(LARGE["cholesky"], (torch.empty(64, 200, 200),), {})
    module = lowered.module()
    with module.context:
        plan = pipeline.compiled(module, lowered.interface, until="outlined").plan
    assert plan is not None
    assert [name.rstrip("_0123456789") for name in plan.kernels].count("cholesky") == 1
