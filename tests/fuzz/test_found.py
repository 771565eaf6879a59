"""Programs that the fuzzer has found wrong once, shrunk."""

from __future__ import annotations

from typing import Any

import pullback
import pytest
import torch
from pullback.frontend import compile as compiling
from pullback.pipelines import cpu

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


def no_indices(api: Any) -> Any:
    """An index without elements may have any rank."""
    index = torch.zeros((0, 3), dtype=torch.int64)
    updates = torch.zeros((0, 3), dtype=X.dtype)

    def f(x: torch.Tensor) -> Any:
        kinds = x.scatter(0, index, 0.5), x.scatter_add(0, index, updates), x.gather(0, index)
        return *kinds, x.scatter_reduce(0, index, updates, "amax")

    return api.jvp(f, (X,), (X,))


def no_channels(api: Any) -> Any:
    x, w = torch.zeros(1, 0, 3), torch.zeros(2, 0, 3)
    return getattr(api, "jit", lambda f: f)(torch.nn.functional.conv1d)(x, w)


def nothing_to_look_up(api: Any) -> Any:
    """torch does not look at indices where other dimensions are empty."""
    index = torch.tensor([3])

    def f(x: torch.Tensor) -> Any:
        put, added = x.clone(), x.index_add(0, index, x)
        put[index] = 0.5
        return x[index], put, added

    return getattr(api, "jit", lambda f: f)(f)(torch.zeros(1, 0))


def scalar_softmax(api: Any) -> Any:
    """It is constant: zero times the infinite slope of a root is zero here."""

    def f(x: torch.Tensor) -> torch.Tensor:
        slope = api.jacrev(lambda u: u.softmax(0))(x) + api.jacrev(lambda u: u.log_softmax(0))(x)
        return torch.where(slope > 0, slope.sqrt(), slope)

    return getattr(api, "jit", lambda f: f)(api.grad(f))(torch.tensor(0.5))


PROGRAMS = [passed_on, swapped, no_indices, no_channels, nothing_to_look_up, scalar_softmax]


@pytest.mark.parametrize("program", PROGRAMS)
def test_found(program: Any) -> None:
    torch.testing.assert_close(program(pullback), program(REFERENCE))


def test_strides_of_results() -> None:
    """rsqrt of a transposed tensor lies transposed in memory, which as_strided reads."""
    x = torch.arange(1.0, 10.0).reshape(3, 3)
    f = pullback.jit(lambda x: torch.rsqrt(x).as_strided((2,), (1,)))
    torch.testing.assert_close(f(x), torch.rsqrt(x).flatten()[:2])
    with pytest.raises(pullback.CaptureError, match="as_strided"):
        f(x.mT)


def test_half_vectors_are_chosen_by_their_bits() -> None:
    """LLVM's code generator ends the process at vectors of bf16 of odd lengths."""
    x = torch.tensor([[1.0, -0.5, 1.0], [-1.0, -0.0, 0.5]], dtype=torch.bfloat16)

    def f(x: torch.Tensor) -> torch.Tensor:
        rows = pullback.scan(lambda c, u: (torch.tanh(c + u), c * u), x[0], x)[1]
        return torch.where(rows > 0, rows, x)

    lowered = compiling.lower(pullback.jacrev(pullback.jacfwd(f)), (x,), {})
    module = lowered.module()
    with module.context:
        assert "bfloat" not in cpu.show(module, lowered.interface, "llvm")
