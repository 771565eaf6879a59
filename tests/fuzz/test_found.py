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


def put_in_its_dtype(api: Any) -> Any:
    """The source of a *_scatter is converted, as by copy_."""

    def f(x: torch.Tensor) -> Any:
        part, square = x.float(), torch.outer(x, x)
        return (
            x.select_scatter(part[1], 0, 0),
            x.slice_scatter(part[:2], 0, 0, 2),
            torch.diagonal_scatter(square, part),
            torch.as_strided_scatter(square, part, (3,), (2,)),
        )

    return getattr(api, "jit", lambda f: f)(f)(X), api.jvp(f, (X,), (X,))


def variance_of_nothing(api: Any) -> Any:
    x = torch.zeros(0, 3)
    return api.jvp(lambda x: x.var(0), (x,), (x,))


def single_target(api: Any) -> Any:
    loss = torch.nn.functional.cross_entropy
    return getattr(api, "jit", lambda f: f)(loss)(X, torch.tensor([1]))


PROGRAMS = [
    *(passed_on, swapped, no_indices, no_channels, nothing_to_look_up, scalar_softmax),
    *(put_in_its_dtype, variance_of_nothing, single_target),
]


@pytest.mark.filterwarnings("ignore:var")
@pytest.mark.parametrize("program", PROGRAMS)
def test_found(program: Any) -> None:
    torch.testing.assert_close(program(pullback), program(REFERENCE), equal_nan=True)


def test_strides_of_results() -> None:
    """rsqrt of a transposed tensor lies transposed in memory, which as_strided reads."""
    x = torch.arange(1.0, 10.0).reshape(3, 3)
    f = pullback.jit(lambda x: torch.rsqrt(x).as_strided((2,), (1,)))
    torch.testing.assert_close(f(x), torch.rsqrt(x).flatten()[:2])
    with pytest.raises(pullback.CaptureError, match="as_strided"):
        f(x.mT)


def test_kron_of_any_strides() -> None:
    x, y = torch.rand(2, 3), torch.rand(2)
    f = lambda x, y: (torch.kron(x.mT, x), x.mT.kron(y))  # noqa: E731
    z = x.mT.contiguous()
    expected = torch.kron(z, x), torch.kron(z, y)
    torch.testing.assert_close(pullback.jit(f)(x, y), expected)


def test_source_of_another_size() -> None:
    f = pullback.jit(lambda x, u: x.select_scatter(u, 0, 0))
    with pytest.raises(RuntimeError, match="expected src to have a size equal to the slice"):
        f(X, X[:2])


def test_heaviside_at_zero() -> None:
    """torch has no derivative of it; a derivative that is silently zero would be wrong."""
    x, at_zero = torch.tensor([-1.0, 0.0, 2.0, 0.0]), torch.tensor([0.5, 1.5, 2.5, -1.0])
    f = lambda x, v: (torch.heaviside(x, v) * v).sum()  # noqa: E731
    by_x, by_v = pullback.grad(f, (0, 1))(x, at_zero)
    torch.testing.assert_close(by_x, torch.zeros(4))
    torch.testing.assert_close(by_v, torch.tensor([0.0, 3.0, 1.0, -2.0]))


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
