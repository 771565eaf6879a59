"""Random bodies of scans, with branches, compiled: values, gradients and batches in f64.

What a step reads and overwrites differs from program to program; the lowering must never write a
carried value that somebody still reads.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch

from .control_programs import either, unrolled_scan

SEEDS = range(8)
F64 = torch.float64
WEIGHT = torch.linspace(-1, 1, 9, dtype=F64).reshape(3, 3)
PLACES = torch.tensor([2, 0, 0])
OPERATIONS: list[Callable[..., torch.Tensor]] = [
    lambda cond, u, v: u + v,
    lambda cond, u, v: u * v * 0.5,
    lambda cond, u, v: torch.sin(u),
    lambda cond, u, v: WEIGHT @ u,
    lambda cond, u, v: u.sum() * v * 0.3,
    lambda cond, u, v: u.flip(0) - v,
    lambda cond, u, v: torch.cat([u[1:], v[:1]]),
    lambda cond, u, v: u.index_add(0, PLACES, v),
    lambda cond, u, v: cond(u.sum() > v.sum(), lambda u, v: u.cos() * v, lambda u, v: v - u, u, v),
]


def program(seed: int) -> tuple[Callable[..., Any], int]:
    """A function of a scan, a cond, a start and xs; and the number of steps."""
    choose = random.Random(seed)
    carries, steps, reverse = choose.randint(1, 3), choose.randint(2, 4), choose.random() < 0.5
    calls = [
        (choose.choice(OPERATIONS), choose.random(), choose.random())
        for _ in range(choose.randint(2, 6))
    ]
    picks = [choose.random() for _ in range(carries + 1)]

    def run(scan: Any, cond: Any, x: torch.Tensor, xs: torch.Tensor) -> torch.Tensor:
        def step(carry: Any, row: torch.Tensor) -> Any:
            values = [*carry, row]
            for operation, a, b in calls:
                u, v = values[int(a * len(values))], values[int(b * len(values))]
                values.append(operation(cond, u, v))
            *new, y = (values[int(pick * len(values))] for pick in picks)
            return tuple(new), y

        start = tuple(x * (i + 1) for i in range(carries))
        carry, ys = scan(step, start, xs, reverse=reverse)
        return torch.cat([*carry, ys.reshape(-1)])

    return run, steps


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_unrolled(seed: int) -> None:
    run, steps = program(seed)
    make = torch.Generator().manual_seed(seed)
    x = torch.randn(3, generator=make, dtype=F64)
    xs = torch.randn(steps, 3, generator=make, dtype=F64)

    def everything(api: Any, scan: Any, cond: Any) -> Callable[..., Any]:
        def f(x: torch.Tensor, xs: torch.Tensor) -> torch.Tensor:
            return run(scan, cond, x, xs)

        def weighted(x: torch.Tensor, xs: torch.Tensor) -> torch.Tensor:
            out = f(x, xs)
            return (out * torch.linspace(-1, 1, out.numel(), dtype=F64)).sum()

        return lambda x, xs: (
            f(x, xs),
            *api.grad(weighted, argnums=(0, 1))(x, xs),
            api.vmap(f, in_dims=(0, None))(torch.stack([x, -x]), xs),
        )

    found = pullback.jit(everything(pullback, pullback.scan, pullback.cond))(x, xs)
    expected = everything(torch.func, unrolled_scan, either)(x, xs)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
