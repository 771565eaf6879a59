"""What kernels move and how, counted by the interpreter, and how many threads share the work.

Sizes are near a million elements: the numbers are exact, and are no measurement of time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch
from pullback.pipelines.gpu.plan import Launch, walk
from torch.nn import functional as F

from .device import Device, device

ROWS, COLUMNS = 1000, 1024


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(function: Callable[..., Any], *arguments: torch.Tensor) -> Device:
    found = device(function, *arguments)
    found([x.numpy() for x in arguments])
    return found


MOVING: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], int]] = {
    # the function, shapes of its arguments, and the least bytes that it can move
    "elementwise": (lambda x, y: torch.tanh(x * y) + 1, [(1 << 20,)] * 2, 3 << 22),
    "odd length": (lambda x, y: torch.exp(x) - y, [(1_000_003,)] * 2, 3 * 4_000_012),
    "bias": (lambda x, b: torch.relu(x + b), [(ROWS, COLUMNS), (COLUMNS,)], 8 * ROWS * COLUMNS),
    "softmax": (lambda x: torch.softmax(x, 1), [(ROWS, COLUMNS)], 8 * ROWS * COLUMNS),
    "softmax vjp": (
        pullback.grad(lambda x, w: (torch.softmax(x, 1) * w).sum()),
        [(ROWS, COLUMNS)] * 2,
        12 * ROWS * COLUMNS,
    ),
    "layer norm": (
        lambda x, w, b: F.layer_norm(x, (COLUMNS,), w, b),
        [(ROWS, COLUMNS), (COLUMNS,), (COLUMNS,)],
        8 * ROWS * COLUMNS,
    ),
    "rows": (lambda x: x.sum(1), [(ROWS, COLUMNS)], 4 * ROWS * COLUMNS),
    "columns": (lambda x: x.amax(0), [(ROWS, COLUMNS)], 4 * ROWS * COLUMNS),
    "everything": (lambda x: x.sum(), [(ROWS, COLUMNS)], 4 * ROWS * COLUMNS),
    "transpose": (lambda x: x.T * 2, [(ROWS, COLUMNS)], 8 * ROWS * COLUMNS),
}


@pytest.mark.parametrize("name", MOVING)
def test_bytes_and_sectors(name: str) -> None:
    function, shapes, least = MOVING[name]
    found = run(function, *(normal(*shape, seed=n) for n, shape in enumerate(shapes)))
    counters = [c for _, c in found.counters]
    assert sum(sum(c.unique_bytes()) for c in counters) <= 1.1 * least
    if name not in ("bias", "layer norm"):  # whose rows read the same again, from a cache
        assert sum(c.read_bytes + c.written_bytes for c in counters) <= 1.1 * least
    sectors, ideal = (
        sum(getattr(c, key) for c in counters) for key in ("sectors", "ideal_sectors")
    )
    assert sectors <= 1.25 * ideal
    largest = max(counters, key=lambda c: c.total)
    assert largest.grid[0] >= 64 and largest.block[0] >= 64
    assert largest.most <= 4 * largest.total / largest.threads


MILLION = 1 << 20
SHARED: dict[str, tuple[Callable[..., Any], Callable[[int], list[torch.Tensor]]]] = {
    "sort": (lambda x: torch.sort(x)[0], lambda n: [normal(n)]),
    "cumsum": (lambda x: torch.cumsum(x, 0), lambda n: [normal(n)]),
    "index_add": (
        lambda x, y, i: x.index_add(0, i, y),
        lambda n: [normal(n // 4), normal(n, seed=1), torch.arange(n) * 7919 % (n // 4)],
    ),
    "conv2d": (
        lambda x, w: F.conv2d(x, w),
        lambda n: [normal(n // 4096, 4, 34, 34), normal(16, 4, 3, 3)],
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_no_thread_does_it_alone(name: str) -> None:
    """By the plan at a million elements, and by counting at fewer."""
    function, make = SHARED[name]
    plan = device(function, *make(MILLION)).plan
    launches = [step for step in walk(plan.steps) if isinstance(step, Launch)]
    assert max(launches, key=lambda step: step.grid[0]).grid[0] >= 64
    assert all(step.block[0] >= 64 for step in launches if step.grid[0] > 1)
    arguments = make(1 << 13)
    found = run(function, *arguments)
    total = sum(c.total for _, c in found.counters)
    for kernel, counters in found.counters:
        if counters.total >= total / 20:
            assert counters.most <= 4 * counters.total / counters.threads, kernel
