"""The arbiter: its differences are derivatives, and it tells who is wrong."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from . import judge as judging
from .arbiter import Differences
from .judge import judge
from .programs import Level, Program
from .reference import REFERENCE

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 3, generator=GENERATOR, dtype=torch.float64)
Y = torch.randn(3, generator=GENERATOR, dtype=torch.float64)
JVP = Level(
    "h{n} = lambda a, b, c: "
    "api.jvp(lambda a, b: {h}(a, b, c), (a, b), (torch.cos(a), torch.sin(b)))"
)
GRAD = Level("h{n} = api.grad(lambda a, b, c: total({h}(a, b, c)), 0)")
HESSIAN = Level("h{n} = api.hessian(lambda a, b, c: total({h}(a, b, c)), 0)")


def smooth(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (torch.sin(x) * y).sum(1) + (y**3).sum()


@pytest.mark.parametrize(
    "nest",
    [
        lambda api: api.jacrev(smooth, (0, 1))(X, Y),
        lambda api: api.hessian(lambda x, y: smooth(x, y).sum(), 1)(X, Y),
        lambda api: api.vmap(api.grad_and_value(lambda x: smooth(x[None], Y).sum()))(X),
        lambda api: api.jvp(lambda x: api.vjp(smooth, x, Y)[1](Y[:2])[1], (X,), (X,)),
        lambda api: api.linearize(api.jacfwd(smooth), X, Y)[1](X, Y),
    ],
)
def test_differences_are_derivatives(nest: Any) -> None:
    torch.testing.assert_close(nest(Differences(1e-3)), nest(REFERENCE), rtol=1e-6, atol=1e-6)


def program(line: str, *levels: Level, shape: tuple[int, ...] = (3,)) -> Program:
    a = torch.randn(shape, generator=GENERATOR, dtype=torch.float64)
    arguments = (a, Y, torch.tensor([1, 0, 1]))
    return Program(0, (("v3", f"v3 = {line}"),), arguments, levels)


@pytest.mark.parametrize(
    "faulty",
    [
        program("torch.nn.functional.layer_norm(a0, [3])", JVP, HESSIAN),
        program("a1.index_copy(0, a2, a0)", HESSIAN),
        program("a0.sort().values.scatter_reduce(0, a2[:1], a0.sort().values, 'amax')", GRAD),
    ],
)
def test_torch_is_wrong(faulty: Program) -> None:
    _, outcome, _ = judge(faulty)
    assert outcome.verdict == "torch wrong" and "differences give" in outcome.text


@pytest.mark.parametrize(
    ("line", "by", "verdict"),
    [
        ("torch.sin(a0) * a1", 1.001, "wrong"),
        ("torch.sin(a0) * a1", math.nan, "wrong"),
        ("(a0 * a1).exp().relu_()", 1, "measured"),  # torch.func cannot
        ("(a0 * a1).exp().relu_()", 1.01, "undecided"),
    ],
)
def test_pullback_is_judged(
    monkeypatch: pytest.MonkeyPatch, line: str, by: float, verdict: str
) -> None:
    class Wrong:
        def __getattr__(self, name: str) -> Any:
            return getattr(judging_with, name)

        @staticmethod
        def hessian(f: Any, argnums: Any) -> Any:
            made = judging_with.hessian(f, argnums)
            return lambda *args: made(*args) * by

    judging_with = judging.pullback
    monkeypatch.setattr(judging, "pullback", Wrong())
    _, outcome, _ = judge(program(line, HESSIAN))
    assert outcome.verdict == verdict and "differences" in outcome.text
