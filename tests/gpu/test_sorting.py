"""Sorting on GPUs: the order is torch's stable one, for all keys; how many kernels it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pullback.pipelines.gpu import ptxas
from pullback.pipelines.gpu.plan import Launch, walk

from .device import Device, device

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
DTYPES = [*FLOATS, torch.int32, torch.int64, torch.bool]


def keys(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """With every special value, and many that are equal."""
    generator = torch.Generator().manual_seed(sum(shape))
    if dtype is torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    if not dtype.is_floating_point:
        x = torch.randint(-50, 50, shape, generator=generator).to(dtype)
        info = torch.iinfo(dtype)
        special: list[float] = [info.min, info.max, 0]
    else:
        x = (torch.randn(shape, generator=generator) * 8).round().div(4).to(dtype)
        special = [math.nan, -math.nan, math.inf, -math.inf, -0.0, 0.0]
    for n, value in enumerate(special):
        x.view(-1)[n :: 7 + n] = value
    return x


def arrays(x: torch.Tensor) -> np.ndarray:
    bits = x.view(torch.int16) if x.dtype is torch.bfloat16 else x
    return bits.numpy().view(np.uint16) if x.dtype is torch.bfloat16 else bits.numpy()


def check(x: torch.Tensor, dim: int = -1, descending: bool = False) -> Device:
    def order(x: torch.Tensor) -> torch.Tensor:
        return torch.sort(x, dim=dim, stable=True, descending=descending)[1]

    found = device(order, x)
    [result] = found([arrays(x)])
    assert torch.equal(torch.from_numpy(result), order(x))
    return found


@pytest.mark.parametrize("size", [0, 1, 2, 17, 33, 1000, 1025, 4096, 4099])
def test_sizes(size: int) -> None:
    check(keys(torch.float32, size))


@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("size", [61, 2053, 4099])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: torch.dtype, size: int, descending: bool) -> None:
    check(keys(dtype, size), descending=descending)


@pytest.mark.parametrize("shape", [(1000, 3), (5, 1031), (2, 4500, 2)], ids=str)
def test_rows(shape: tuple[int, ...]) -> None:
    for dim in range(len(shape)):
        check(keys(torch.float32, *shape), dim)


@pytest.mark.parametrize("make", [torch.zeros, torch.ones, torch.arange], ids=lambda f: f.__name__)
def test_equal_and_ordered_keys(make) -> None:
    x = make(5003).float()
    check(x)
    check(x, descending=True)
    check(-x)


def test_every_float_has_its_place() -> None:
    """All 65536 of 16 bits, as f16 and as bf16."""
    bits = torch.arange(1 << 16, dtype=torch.int32) * 40503 % (1 << 16)
    for dtype in (torch.float16, torch.bfloat16):
        check(bits.to(torch.int16).view(dtype))


def test_passes_over_memory() -> None:
    """Of 32 bits: four digits of three kernels each, near 24 bytes an element and digit."""
    size = 100_003
    found = check(keys(torch.float32, size))
    names = [name for name, _ in found.counters]
    assert sum(name.startswith("radix") for name in names) == 12
    moved = sum(c.read_bytes + c.written_bytes for _, c in found.counters)
    assert moved <= 96 * size
    for name, counters in found.counters:
        assert counters.most <= 4 * counters.total / counters.threads, name


@pytest.mark.parametrize("shape", [(1000, 50), (30, 1000), (1, 4096)], ids=str)
def test_short_rows_are_gone_through_once(shape: tuple[int, int]) -> None:
    found = check(keys(torch.float64, *shape))
    [(name, counters)] = found.counters
    assert name == "sort_rows"
    assert sum(counters.unique_bytes()) == 16 * shape[0] * shape[1]
    assert counters.most <= 2 * counters.total / counters.threads
    # LLVM writes a position of 64 bits as two halves, beside each other.
    assert counters.sectors <= 1.6 * counters.ideal_sectors
    if ptxas.find() is not None:
        figures = ptxas.assemble(found.compilation.ptx, 90).figures.values()
        assert all(f.spilled == 0 and f.shared <= 48 << 10 for f in figures)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool], ids=str)
def test_at_a_million(dtype: torch.dtype) -> None:
    """By the plan: many blocks, and no registers that do not fit."""
    found = device(lambda x: torch.sort(x, stable=True)[1], torch.zeros(1 << 20, dtype=dtype))
    launches = [step for step in walk(found.plan.steps) if isinstance(step, Launch)]
    kernels = found.plan.kernels
    for step in launches:
        small = kernels[step.kernel].startswith("radix_scan")
        assert step.block[0] == 256 and step.grid[0] >= (1 if small else 256)
    if ptxas.find() is not None:
        for architecture in ptxas.ARCHITECTURES:
            figures = ptxas.assemble(found.compilation.ptx, architecture).figures.values()
            assert all(f.spilled == 0 and f.shared <= 48 << 10 for f in figures)
