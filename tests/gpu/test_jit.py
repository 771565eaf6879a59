"""``jit`` and ``compile`` with the target ``cuda``: as on the CPU, on the fake driver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pullback
import pytest
import torch
from torch.testing import assert_close

from .driver import Driver


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_values_and_gradients(driver: Driver) -> None:
    weight = torch.linspace(-1, 1, 12).reshape(3, 4).requires_grad_()
    numbers = [float(i) for i in range(5000)]

    @pullback.jit(target="cuda")
    def loss(x: torch.Tensor) -> torch.Tensor:
        offsets = torch.tensor(numbers)  # too large for a constant
        return (torch.tanh(x @ weight) ** 2).sum() + offsets[-1]

    x = torch.linspace(0, 1, 6).reshape(2, 3)
    found = loss(x)
    assert_close(found, (torch.tanh(x @ weight) ** 2).sum() + 4999)
    found.backward()
    expected = torch.autograd.grad((torch.tanh(x @ weight) ** 2).sum(), weight)
    assert_close(weight.grad, expected[0])
    assert driver.launches


def test_each_target_has_its_own_programs(driver: Driver) -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return x * 2

    x = np.arange(3.0)
    np.testing.assert_array_equal(pullback.jit(f)(x), x * 2)
    assert not driver.launches
    np.testing.assert_array_equal(pullback.jit(f, target="cuda")(x), x * 2)
    assert len(driver.launches) == 1
    np.testing.assert_array_equal(pullback.jit(f)(x), x * 2)
    assert len(driver.launches) == 1


def test_random_numbers_and_loops(driver: Driver) -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        return pullback.fori_loop(0, 3, lambda i, v: v + torch.rand(4, dtype=x.dtype), x)

    x = torch.zeros(4, dtype=torch.float64)
    torch.manual_seed(3)
    expected = pullback.jit(f)(x)
    torch.manual_seed(3)
    assert_close(pullback.jit(f, target="cuda")(x), expected, rtol=0, atol=0)


def test_compile(driver: Driver, tmp_path: Path) -> None:
    x = torch.linspace(0, 3, 7, dtype=torch.float64)
    made = pullback.compile(
        pullback.grad(lambda x: (x**3).sum()), x, name="cubes", out=tmp_path, target="cuda"
    )
    assert_close(made(x), 3 * x**2)
    assert_close(pullback.load(tmp_path / "cubes.so")(x), 3 * x**2)


def test_targets_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="target must be"):
        pullback.jit(lambda x: x, target="tpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target must be"):
        pullback.compile(lambda x: x, torch.ones(2), out=tmp_path, target="tpu")  # type: ignore[arg-type]
