"""Programs that the fuzzer has found wrong once, shrunk."""

from __future__ import annotations

from typing import Any

import pullback
import pytest
import torch

from .reference import REFERENCE

X = torch.tensor([0.5, -0.875, -0.25], dtype=torch.float64)


def passed_on(api: Any) -> Any:
    """Branches that return their operands: the copies of one came before the writes of another."""

    def f(x: torch.Tensor) -> torch.Tensor:
        return api.cond(x.mean() > 0.1, lambda u, v: v, lambda u, v: u, x, x * 0.5).sum()

    return [api.vjp(f, sign * X)[1](torch.ones((), dtype=X.dtype)) for sign in (1, -1)]


def swapped(api: Any) -> Any:
    def f(pred: torch.Tensor, x: torch.Tensor) -> Any:
        zero = torch.zeros_like(X)
        return api.cond(pred, lambda u: (u, zero), lambda u: (zero, u), x.expand(3))

    run = getattr(api, "jit", lambda f: f)(f)
    return [run(torch.tensor(pred), X[0]) for pred in (True, False)]


@pytest.mark.parametrize("program", [passed_on, swapped])
def test_found(program: Any) -> None:
    torch.testing.assert_close(program(pullback), program(REFERENCE))
