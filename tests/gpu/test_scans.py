"""What is combined along a dimension on GPUs: torch's values; how often memory is gone through."""

from __future__ import annotations

import numpy as np
import pullback
import pytest
import torch
from pullback.pipelines.gpu import ptxas
from pullback.pipelines.gpu.plan import Launch, walk

from .device import Device, device

DTYPES = [torch.float32, torch.float64, torch.int32, torch.int64, torch.float16, torch.bool]


def numbers(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(-9, 9, shape, generator=generator).to(dtype)


def check(x: torch.Tensor, dim: int = 0) -> Device:
    found = device(lambda x: torch.cumsum(x, dim), x)
    [result] = found([x.numpy()])
    got, wanted = torch.from_numpy(result), torch.cumsum(x.double(), dim)
    if not x.dtype.is_floating_point:
        assert torch.equal(got.double(), wanted)
        return found
    # As from sums in f64, rounded once.
    scale = torch.cumsum(x.double().abs(), dim)
    error = torch.finfo(x.dtype).eps * wanted.abs() + 1e-14 * scale + 1e-7 * (x.itemsize < 4)
    assert ((got.double() - wanted).abs() <= error).all()
    return found


@pytest.mark.parametrize("size", [0, 1, 2, 17, 33, 256, 257, 1000, 1025, 4099, 50_021])
def test_sizes(size: int) -> None:
    check(numbers(torch.float32, size))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [61, 4099])
def test_dtypes(dtype: torch.dtype, size: int) -> None:
    check(numbers(dtype, size))


@pytest.mark.parametrize("shape", [(1003, 5), (3, 2311), (2, 700, 3), (130, 31), (9, 300)], ids=str)
def test_rows(shape: tuple[int, ...]) -> None:
    for dim in range(len(shape)):
        check(numbers(torch.float32, *shape), dim)


@pytest.mark.parametrize("size", [5, 100, 777, 5003])
def test_from_the_end(size: int) -> None:
    """The transpose of a sum from the start."""
    x, w = numbers(torch.float64, size), numbers(torch.float64, size + 1)[1:].contiguous()
    function = pullback.grad(lambda x, w: (torch.cumsum(x, 0) * w).sum())
    [result] = device(function, x, w)([x.numpy(), w.numpy()])
    np.testing.assert_allclose(result, w.flip(0).cumsum(0).flip(0).numpy(), rtol=0, atol=1e-11)


def test_infinities_stay_where_they_are() -> None:
    x = torch.ones(5000)
    x[3001] = torch.inf
    [result] = device(lambda x: torch.cumsum(x, 0), x)([x.numpy()])
    assert np.isfinite(result[:3001]).all() and (result[3001:] == np.inf).all()
    x[4001] = torch.nan
    [result] = device(lambda x: torch.cumsum(x, 0), x)([x.numpy()])
    assert (result[3001:4001] == np.inf).all() and np.isnan(result[4001:]).all()


def extrema(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, ...]:
    return (*torch.cummax(x, dim), *torch.cummin(x, dim))


OTHERS = {
    "product": lambda x, dim: torch.cumprod(x, dim),
    "logsumexp": lambda x, dim: torch.logcumsumexp(x, dim),
    "extrema": extrema,
}
SHAPES = [(0,), (1,), (17,), (257,), (2053,), (9001,), (3, 33), (130, 5), (3, 700), (2, 70, 3)]


def others(kind: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers whose products stay numbers, and of which many are equal."""
    x = numbers(torch.float64, *shape)
    if kind == "extrema":
        return x.mul(4).round().to(dtype)
    return (1 + x / 64 if kind == "product" else x * 9).to(dtype)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_extrema_and_logarithms(kind: str, shape: tuple[int, ...]) -> None:
    function = OTHERS[kind]
    dtype = (torch.float32, torch.float64)[sum(shape) % 2]
    x = others(kind, dtype, shape)
    for dim in range(len(shape)):
        found = device(lambda x, dim=dim: function(x, dim), x)([x.numpy()])
        wanted = function(x, dim)
        for got, want in zip(found, [wanted] if torch.is_tensor(wanted) else wanted, strict=True):
            # One after the other, as torch adds them, logarithms round at every step.
            limit = 0.0 if kind == "extrema" else 3000 * torch.finfo(dtype).eps
            torch.testing.assert_close(torch.from_numpy(got), want, rtol=limit, atol=limit)


@pytest.mark.parametrize("kind", ["product", "logsumexp"])
@pytest.mark.parametrize("shape", [(1000,), (4099,), (3, 70, 2)], ids=str)
def test_derivatives_are_recurrences(kind: str, shape: tuple[int, ...]) -> None:
    """From the end, with the factor of the place behind; a zero is a number like others."""
    x, w = others(kind, torch.float64, shape), numbers(torch.float64, *shape)
    dim = len(shape) // 2
    if kind == "product":
        x.select(dim, shape[dim] // 3).zero_()

    def function(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (OTHERS[kind](x, dim) * w).sum()

    [got] = device(pullback.grad(function), x, w)([x.numpy(), w.numpy()])
    wanted = torch.func.grad(function)(x, w)
    torch.testing.assert_close(torch.from_numpy(got), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("length", [40, 5000])
def test_ends_of_numbers(kind: str, length: int) -> None:
    x, function = others(kind, torch.float64, (length,)), OTHERS[kind]
    for place, end in ((0, -torch.inf), (7, torch.inf), (length // 2, -torch.inf), (31, torch.nan)):
        x[place] = end
        wanted = function(x, 0)
        found = device(lambda x: function(x, 0), x)([x.numpy()])
        for got, want in zip(found, [wanted] if torch.is_tensor(wanted) else wanted, strict=True):
            torch.testing.assert_close(torch.from_numpy(got), want, equal_nan=True)


@pytest.mark.parametrize("shape", [(100_003,), (2000, 50), (100, 1000)], ids=str)
def test_memory_is_gone_through_as_often_as_must_be(shape: tuple[int, ...]) -> None:
    """Long rows: read twice, written once, in two kernels; others in one."""
    found = check(numbers(torch.float32, *shape), len(shape) - 1)
    long = len(shape) == 1
    assert len(found.counters) == 1 + long
    size = 4 * int(np.prod(shape))
    moved = sum(c.read_bytes + c.written_bytes for _, c in found.counters)
    assert moved <= (3.3 if long else 2.7) * size
    sectors, ideal = (
        sum(getattr(c, key) for _, c in found.counters) for key in ("sectors", "ideal_sectors")
    )
    assert sectors <= 1.5 * ideal
    for name, counters in found.counters:
        assert counters.most <= 4 * counters.total / counters.threads, name
        assert counters.shared_cycles <= 1.3 * counters.shared_requests, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
@pytest.mark.parametrize("shape", [(1 << 20,), (1 << 10, 1 << 10), (1 << 15, 32)], ids=str)
def test_at_a_million(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """By the plan: many blocks, and no registers that do not fit."""
    for dim in range(len(shape)):
        found = device(lambda x, dim=dim: torch.cumsum(x, dim), torch.zeros(shape, dtype=dtype))
        launches = [step for step in walk(found.plan.steps) if isinstance(step, Launch)]
        first, last = launches[0], launches[-1]
        assert min(first.grid[0], last.grid[0]) >= 64
        assert min(first.block[0], last.block[0]) >= 64
        if ptxas.find() is not None:
            for architecture in ptxas.ARCHITECTURES:
                figures = ptxas.assemble(found.compilation.ptx, architecture).figures.values()
                assert all(f.spilled == 0 and f.shared <= 48 << 10 for f in figures)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("shape", [(1 << 20,), (1 << 10, 1 << 10)], ids=str)
def test_others_at_a_million(kind: str, shape: tuple[int, ...]) -> None:
    """No step waits for all before it: a few launches, of many blocks."""
    function = OTHERS[kind]
    for dim in range(len(shape)):
        x = torch.zeros(shape, dtype=torch.float64)
        programs = [lambda x, dim=dim: function(x, dim)]
        if kind != "extrema":  # whose derivative is a scatter
            programs.append(pullback.grad(lambda x, dim=dim: function(x, dim).sum()))
        for program in programs:
            found = device(program, x)
            launches = [step for step in walk(found.plan.steps) if isinstance(step, Launch)]
            assert len(launches) <= 16
            assert max(launch.grid[0] for launch in launches) >= 64
            if ptxas.find() is not None:
                figures = ptxas.assemble(found.compilation.ptx, ptxas.ARCHITECTURES[-1]).figures
                for name, f in figures.items():
                    assert f.spilled == 0 and f.shared <= 48 << 10, name


def test_beside_what_it_is_made_of() -> None:
    """Columns that are put into a larger tensor, where they lie apart, are read as a whole."""
    x = numbers(torch.float32, 5, 6)

    def both(x: torch.Tensor) -> torch.Tensor:
        y = torch.sin(x.T)
        return torch.cat([y, torch.cumsum(y, 1)], 1)

    [result] = device(both, x)([x.numpy()])
    torch.testing.assert_close(torch.from_numpy(result), both(x))
