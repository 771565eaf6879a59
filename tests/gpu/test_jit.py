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


def test_tf32_is_what_torch_was_told(driver: Driver) -> None:
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    product = pullback.jit(lambda x: x @ x, target="cuda")
    before = torch.get_float32_matmul_precision()
    found = []
    try:
        for precision in ("highest", "high", "highest"):
            torch.set_float32_matmul_precision(precision)
            found.append(product(x))
    finally:
        torch.set_float32_matmul_precision(before)
    assert_close(found[0], x @ x)
    assert 1e-4 < (found[1] - x @ x).abs().max() < 0.1
    assert torch.equal(found[0], found[2])


def test_tf32_of_compile(driver: Driver, tmp_path: Path) -> None:
    def product(x: torch.Tensor) -> torch.Tensor:
        return x @ x

    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    rounded = pullback.compile(product, x, out=tmp_path, target="cuda", tf32=True)
    assert 1e-4 < (rounded(x) - x @ x).abs().max() < 0.1
    with pytest.raises(ValueError, match="tf32"):
        pullback.compile(product, x, out=tmp_path, tf32=True)
