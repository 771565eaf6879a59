"""Loops and branches with small bodies: one kernel, with the results of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch
from pullback.frontend import compile as frontend
from pullback.pipelines.gpu.pipeline import Options
from pullback.pipelines.gpu.plan import For, If, Launch, While, walk

from .device import Device, device
from .driver import Driver
from .fibers import machine
from .fibers.compare import Opinions
from .ptx.program import Program
from .ptx.trap import Trap
from .test_mutations import _BARRIER

Function = Callable[..., Any]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def root(x: torch.Tensor) -> torch.Tensor:
    """By Newton's method, until nothing changes much."""
    return pullback.while_loop(
        lambda c: (c * c - x).abs().amax() > 1e-12,
        lambda c: 0.5 * (c + x / c),
        torch.ones_like(x),
        max_steps=40,
    )


def kalman(z: torch.Tensor, m: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    def step(carry: Any, seen: torch.Tensor) -> Any:
        m, p = carry
        p = p + 0.1 * torch.eye(4, dtype=p.dtype)
        gain = p / (1 + p.trace())
        m = m + gain @ (seen - m)
        return (m, p - gain @ p), m

    return pullback.scan(step, (m, p), z)[1]


def runge_kutta(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    def step(x: torch.Tensor, _: Any) -> Any:
        slope = lambda y: torch.tanh(y @ w)  # noqa: E731
        a = slope(x)
        b = slope(x + 0.05 * a)
        return x + 0.1 * b, x.sum()

    return pullback.scan(step, x, None, length=12)[0]


def nested(x: torch.Tensor) -> torch.Tensor:
    """A branch in a loop in a loop, and a loop in a branch."""

    def inner(_: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return pullback.cond(v.sum() > 0, lambda u: u * 0.7 - 0.1, lambda u: u.cos(), v)

    def outer(_: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return pullback.fori_loop(0, 3, inner, v) + v.mean()

    v = pullback.fori_loop(0, 4, outer, x)
    return pullback.cond(
        v.amax() > 0.2, lambda u: pullback.fori_loop(0, 2, lambda i, t: t * t + i, u), torch.sin, v
    )


def looked_up(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return pullback.scan(lambda c, i: (c + x[i], c), torch.zeros_like(x[0]), index)[1]


CASES: dict[str, tuple[Function, list[torch.Tensor]]] = {
    "while": (root, [normal(100).abs() + 0.1]),
    "many elements": (root, [normal(2000).abs() + 0.1]),
    "while, derivative": (
        pullback.grad(lambda x: root(x).square().sum()), [normal(10).abs() + 0.1]
    ),
    "scan": (kalman, [normal(17, 4), normal(4, seed=1), torch.eye(4, dtype=torch.float64)]),
    "scan, gradient": (
        pullback.grad(lambda *args: kalman(*args).square().sum(), (0, 1)),
        [normal(9, 4), normal(4, seed=1), torch.eye(4, dtype=torch.float64)],
    ),
    "long sums": (runge_kutta, [normal(2, 40), normal(40, 40, seed=1) / 6]),
    "long sums, gradient": (
        pullback.grad(lambda x, w: runge_kutta(x, w).sum(), 1),
        [normal(2, 33), normal(33, 33, seed=1) / 6],
    ),
    "nested": (nested, [normal(37)]),
    "nested, the other way": (nested, [-normal(37).abs()]),
    "batched predicates": (
        pullback.vmap(root), [normal(5, 7).abs() + 0.1]
    ),
    "indices": (looked_up, [normal(6, 5), torch.tensor([0, 3, 5, 2])]),
}  # fmt: skip


def resident(found: Device) -> list[str]:
    """The loops and branches that are kernels; none is left to the host."""
    steps = list(walk(found.plan.steps))
    assert not any(isinstance(step, For | While | If) for step in steps)
    names = [found.plan.kernels[step.kernel] for step in steps if isinstance(step, Launch)]
    return [name for name in names if name.startswith(("loop", "while", "branch"))]


@pytest.mark.parametrize("name", CASES)
def test_results(name: str) -> None:
    function, arguments = CASES[name]
    found = device(function, *arguments)
    assert resident(found) and found.plan.capturable
    results = found([x.numpy() for x in arguments])
    expected = pullback.jit(function)(*arguments)
    for result, wanted in zip(
        results, expected if isinstance(expected, tuple) else [expected], strict=True
    ):
        torch.testing.assert_close(torch.from_numpy(result), wanted, rtol=1e-11, atol=1e-12)


def test_an_error_in_the_data(built: Callable[..., Any], driver: Driver) -> None:
    function, (x, index) = CASES["indices"]
    found = built(function, x, index)
    torch.testing.assert_close(torch.as_tensor(found(x, index)), function(x, index))
    with pytest.raises(IndexError, match=r"index|out of range"):
        found(x, torch.tensor([0, 3, 6, 2]))
    torch.testing.assert_close(torch.as_tensor(found(x, index)), function(x, index))


def test_large_bodies_are_launched() -> None:
    found = device(runge_kutta, normal(300, 300), normal(300, 300))
    assert any(isinstance(step, For) for step in found.plan.steps)


@pytest.mark.parametrize(("name", "least"), [("scan", 3), ("nested", 4), ("long sums", 2)])
def test_barriers(name: str, least: int) -> None:
    """Without them threads race, unless each reads only what it wrote itself."""
    function, arguments = CASES[name]
    found = device(function, *arguments)
    ptx, arrays = found.compilation.ptx, [x.numpy() for x in arguments]
    caught = 0
    for place in _BARRIER.finditer(ptx):
        found.program = Program(ptx[: place.start()] + ptx[place.end() :])
        try:
            found(arrays)
        except Trap:
            caught += 1
    assert caught >= least


@pytest.mark.skipif(not machine.available(), reason="fibers need x86 and a C compiler")
@pytest.mark.parametrize("name", CASES)
def test_threads_in_any_order(name: str) -> None:
    """As fibers, one after the other and backwards: the bits of the interpreter."""
    function, arguments = CASES[name]
    lowered = frontend.lower(function, tuple(arguments), {})
    opinions = Opinions(lowered.module(), lowered.interface, Options())
    opinions([x.numpy() for x in arguments])
