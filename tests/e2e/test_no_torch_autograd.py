"""The public examples and programs with torch's derivatives and CPU kernels taken away.

Only the carrier (``loss.backward()``) may use torch.autograd; the tests of training are elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch
from pullback.frontend import jit

from .compare import assert_same
from .engines import EngineUsedError, KernelUsedError, no_engines, no_kernels
from .programs import PROGRAMS, regression_loss, regression_params
from .whirlwind import EXAMPLES, normal


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests compile the same examples: here they are captured again."""
    monkeypatch.setattr(jit, "_cache", OrderedDict())


PUBLIC = {name: (example, 2) for name, example in EXAMPLES.items()} | PROGRAMS


class _Guarded:
    """pullback, with no kernels while one of its functions runs."""

    def __getattr__(self, name: str) -> Any:
        api = getattr(pullback, name)

        def transform(*args: Any, **kwargs: Any) -> Any:
            with no_kernels():
                return _guarded(api(*args, **kwargs))

        return transform


def _guarded(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(map(_guarded, result))
    if isinstance(result, torch.Tensor) or not callable(result):
        return result

    def call(*args: Any, **kwargs: Any) -> Any:
        with no_kernels():
            return _guarded(result(*args, **kwargs))

    return call


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr")  # torch.func.linearize
@pytest.mark.parametrize("name", PUBLIC)
def test_without_torchs_engines_and_kernels(name: str) -> None:
    program, order = PUBLIC[name]
    expected = program(torch.func, torch.float64)
    with no_engines():
        actual = program(_Guarded(), torch.float64)
    assert_same(actual, expected, order)


def test_a_second_call_runs_no_kernels_and_sees_new_numbers() -> None:
    step = pullback.jit(pullback.grad(regression_loss))
    params = regression_params(torch.float64)
    x, y = normal(torch.float64, 10, 1), normal(torch.float64, 10, 1, seed=1)
    step(params, x, y)
    with no_engines(), no_kernels():
        actual = step(params, y, x)
    assert_same(actual, torch.func.grad(regression_loss)(params, y, x))


@pytest.mark.parametrize(
    "use",
    [
        lambda x: torch.func.grad(torch.sin)(x),
        lambda x: torch.func.jvp(torch.sin, (x,), (x,)),
        lambda x: torch.func.vmap(torch.sin)(x[None]),
        lambda x: x.clone().requires_grad_().sin().backward(),
        lambda x: torch.autograd.grad(x.clone().requires_grad_().sin(), x),
    ],
    ids=["grad", "jvp", "vmap", "backward", "autograd.grad"],
)
def test_the_engines_are_closed(use: Callable[[torch.Tensor], Any]) -> None:
    with pytest.raises(EngineUsedError), no_engines():
        use(torch.ones(()))


def test_the_kernels_are_closed() -> None:
    x = torch.ones(3)
    for use in (lambda: x.sin(), lambda: torch.zeros(3), lambda: x.view(3).add_(1)):
        with pytest.raises(KernelUsedError), no_kernels():
            use()
    with no_kernels():
        x.detach()[1:].view(2)
