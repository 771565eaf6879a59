"""Scatters on GPUs: torch's values, the work shared by all threads, the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pullback.pipelines.gpu import ptxas
from pullback.pipelines.gpu.plan import Launch, walk

from .device import Device, device

DTYPES = [torch.float32, torch.float64, torch.int32, torch.int64, torch.bool]
HALVES = [torch.float16, torch.bfloat16]


def add(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x.index_put((i,), y, accumulate=True)


def put(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x.index_put((i,), y)


def highest(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    at = i.reshape(-1, *[1] * (y.ndim - 1)).expand_as(y)
    return x.scatter_reduce(0, at, y, "amax", include_self=True)


WAYS = {"add": add, "put": put, "highest": highest}


def numbers(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype is torch.bool:
        return torch.randint(0, 5, shape, generator=generator) == 0
    if not dtype.is_floating_point:
        return torch.randint(-1000, 1000, shape, generator=generator).to(dtype)
    return torch.randn(shape, generator=generator).to(dtype)


def places(count: int, rows: int, seed: int = 9) -> torch.Tensor:
    return torch.randint(0, rows, (count,), generator=torch.Generator().manual_seed(seed))


def arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [
        t.view(torch.int16).numpy().view(np.uint16) if t.dtype is torch.bfloat16 else t.numpy()
        for t in tensors
    ]


def check(
    way: Callable[..., torch.Tensor], x: torch.Tensor, i: torch.Tensor, y: torch.Tensor
) -> Device:
    """Exact where no sum is rounded; sums as exact as their size allows."""
    found = device(way, x, i, y)
    [result] = found(arrays(x, i, y))
    if x.dtype is torch.bool:
        assert set(np.unique(result.view(np.uint8))) <= {0, 1}
    got = torch.from_numpy(result.view(np.int16)).view(x.dtype) if x.dtype in HALVES else None
    got = torch.from_numpy(result) if got is None else got
    if way is not add or not x.dtype.is_floating_point:
        torch.testing.assert_close(got, way(x, i, y), rtol=0, atol=0, equal_nan=True)
        return found
    exact = way(x.double(), i, y.double())
    size = way(x.double().abs(), i, y.double().abs())
    error = (got.double() - exact).abs()
    steps = 64 if x.dtype in DTYPES else 1  # halves are rounded once
    assert (error <= steps * torch.finfo(x.dtype).eps * size).all()
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [0, 1, 2, 17, 33, 64, 65, 1000, 1025, 4099])
def test_sizes(way: str, count: int) -> None:
    x, y = numbers(torch.float32, 37), numbers(torch.float32, count, seed=1)
    check(WAYS[way], x, places(count, 37), y)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=str)
@pytest.mark.parametrize("count", [50, 1031])
def test_dtypes(way: str, dtype: torch.dtype, count: int) -> None:
    """Values are combined, not what lies in memory; in crowded places and in others."""
    if way != "put" and dtype is torch.bool:
        pytest.skip("neither sums nor maxima of truth values are lowered to scatters")
    for rows in (11, 701):
        x, y = numbers(dtype, rows), numbers(dtype, count, seed=1)
        check(WAYS[way], x, places(count, rows), y)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["one", "ordered", "reversed", "pieces", "ends"])
def test_where_updates_go(way: str, where: str) -> None:
    """Runs of all lengths, over the ends of pieces and within them."""
    n = 3001
    index = torch.arange(n)
    i = {
        "one": index * 0 + 5,
        "ordered": index // 31,
        "reversed": (n - 1 - index) // 33,
        "pieces": index // 32,
        "ends": (index > 40).long() + (index > 2950).long(),
    }[where]
    check(WAYS[way], numbers(torch.float32, 100), i, numbers(torch.float32, n, seed=1))


@pytest.mark.parametrize("way", WAYS)
def test_rows_of_updates(way: str) -> None:
    x, y = numbers(torch.float32, 300, 5), numbers(torch.float32, 500, 5, seed=1)
    check(WAYS[way], x, places(500, 300), y)


@pytest.mark.parametrize("count", [40, 301])
def test_batches(count: int) -> None:
    def rows(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.vmap(add)(x, i, y)

    x, y = numbers(torch.float32, 6, 50), numbers(torch.float32, 6, count, seed=1)
    i = places(6 * count, 50).reshape(6, count)
    [result] = device(rows, x, i, y)(arrays(x, i, y))
    torch.testing.assert_close(torch.from_numpy(result), rows(x, i, y), rtol=1e-5, atol=1e-5)


def test_special_values() -> None:
    """NaN is the maximum; -0 and nothing but -0 is -0."""
    x = torch.tensor([-0.0, -0.0, 1.0, -torch.inf])
    y = torch.tensor([-0.0, 0.0, torch.nan, -1.0]).repeat(40)
    i = torch.arange(4).repeat(40)
    check(highest, x, i, y)
    [result] = device(add, x, i, y)(arrays(x, i, y))
    assert np.signbit(result[0]) and not np.signbit(result[1]) and np.isnan(result[2])
    assert result[3] == -np.inf


def same_bits(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> None:
    found = device(add, x, i, y)
    first, second = (found(arrays(x, i, y))[0] for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("where", ["spread", "one"])
def test_sums_are_shared_and_repeated(where: str) -> None:
    n = 20_000
    i = places(n, 1000) if where == "spread" else torch.full((n,), 17)
    x, y = numbers(torch.float32, 1000), numbers(torch.float32, n, seed=1)
    found = check(add, x, i, y)
    total = sum(c.total for _, c in found.counters)
    for name, counters in found.counters:
        if counters.total >= total / 20:
            assert counters.most <= 4 * counters.total / counters.threads, name
    moved = sum(c.read_bytes + c.written_bytes for _, c in found.counters)
    assert moved <= 128 * n
    same_bits(x, i, y)


MILLION = 1 << 20
LARGE: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    # x, updates, and kernels at most: four are the check of the positions, one copies x
    "into few": ((10,), (MILLION,), 13),
    "into many": ((MILLION // 4,), (MILLION,), 19),
    "embedding": ((50_000, 64), (10_000, 64), 15),
}


@pytest.mark.parametrize("name", LARGE)
def test_at_a_million(name: str) -> None:
    """By the plan: how many kernels, of how many threads; and no registers that do not fit."""
    shape, updates, most = LARGE[name]
    arguments: list[Any] = [torch.zeros(shape), torch.zeros(updates[0], dtype=torch.int64)]
    found = device(add, *arguments, torch.zeros(updates))
    launches = [step for step in walk(found.plan.steps) if isinstance(step, Launch)]
    assert len(launches) <= most
    first = next(s for s in launches if found.plan.kernels[s.kernel] == "scatter_runs")
    assert first.grid[0] * first.block[0] >= MILLION // 32 // 2
    assert all(step.block[0] >= 32 for step in launches)
    if ptxas.find() is not None:
        for architecture in ptxas.ARCHITECTURES:
            figures = ptxas.assemble(found.compilation.ptx, architecture).figures.values()
            assert all(f.spilled == 0 for f in figures)
