"""Libraries for GPUs through their C entry and the runtime, on the fake driver."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pullback.runtime.driver import CudaError
from pullback.runtime.errors import ArgumentTypeError, ArgumentValueError

from .arrays import ByInterface
from .driver import ILLEGAL_ADDRESS, OUT_OF_MEMORY, Driver, compiler

Built = Callable[..., Any]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_arrays_of_the_host(built: Built, driver: Driver) -> None:
    def f(x: torch.Tensor, y: torch.Tensor) -> Any:
        return torch.softmax(x, -1) @ y, {"sum": x.sum()}

    x, y = normal(33, 17), normal(17, 5, seed=1)
    function = built(f, x, y)
    product, rest = function(x.numpy(), y.numpy())
    expected, expected_rest = f(x, y)
    np.testing.assert_allclose(product, expected.numpy(), rtol=1e-12)
    np.testing.assert_allclose(rest["sum"], expected_rest["sum"].numpy(), rtol=1e-12)
    assert isinstance(function(x, y)[0], torch.Tensor)
    kept = len(driver.memory.leaks())
    function(x, y)
    assert len(driver.memory.leaks()) == kept  # the arena, and nothing of a call


def test_arrays_of_the_device_are_read_where_they_are(built: Built, driver: Driver) -> None:
    x = normal(65)
    function = built(lambda x: torch.sin(x) * 2, x)
    driver.contexts.append(0xC0)
    result = function(ByInterface(driver, x.numpy()))
    assert not driver.calls["cuMemcpyHtoDAsync_v2"]
    assert result.__cuda_array_interface__["shape"] == (65,)
    np.testing.assert_allclose(result.numpy(), torch.sin(x).numpy() * 2, rtol=1e-12)
    moved = function(ByInterface(driver, x.numpy(), offset=8))
    np.testing.assert_allclose(moved.numpy(), result.numpy(), rtol=0)
    del result, moved
    driver.contexts.pop()


def test_errors_in_the_data(built: Built, driver: Driver) -> None:
    x, index = normal(5), torch.tensor([0, 4, 2])
    function = built(lambda x, i: x[i], x, index)
    np.testing.assert_allclose(function(x, index), x[index])
    with pytest.raises(IndexError):
        function(x, torch.tensor([0, 5, 2]))
    np.testing.assert_allclose(function(x, index), x[index])
    driver.contexts.append(0xC0)
    bad = ByInterface(driver, np.array([9, 0, 0]))
    function(ByInterface(driver, x.numpy()), bad)
    with pytest.raises(IndexError):
        function.synchronize()
    driver.contexts.pop()


@pytest.mark.parametrize(("size", "small"), [(7, True), (300, True), (80_000, False)])
def test_loops_and_branches(built: Built, size: int, small: bool) -> None:
    """Small ones are kernels of one block, which decides; of large ones the host reads a byte."""
    import pullback

    def f(x: torch.Tensor) -> torch.Tensor:
        def halve(v: torch.Tensor) -> torch.Tensor:
            return v / 2

        x = pullback.fori_loop(0, 3, lambda i, v: v * 1.5, x)
        x = pullback.while_loop(lambda v: v.abs().max() > 1, halve, x)
        return pullback.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, x)

    for seed in range(3 if small else 1):
        x = normal(size, seed=seed) * 10
        function = built(f, x)
        assert function.manifest["target"]["graph_capturable"] is small
        np.testing.assert_allclose(function(x), f(x), rtol=1e-12)


@pytest.mark.parametrize("mode", ["embed", "args", "file"])
def test_parameters(built: Built, mode: str) -> None:
    weight, x = normal(6, 4, seed=1), normal(3, 6)
    function = built(lambda x: torch.tanh(x @ weight), x, params=mode)
    more = [weight] if mode == "args" else []
    for _ in range(2):
        np.testing.assert_allclose(function(x, *more), torch.tanh(x @ weight), rtol=1e-12)


def test_arguments_that_do_not_fit(built: Built, driver: Driver) -> None:
    x = normal(4)
    function = built(lambda x: x + 1, x)
    with pytest.raises(ArgumentValueError, match="shape"):
        function(normal(5))
    with pytest.raises(ArgumentTypeError, match="dtype"):
        function(ByInterface(driver, np.zeros(4, np.float32)))
    with pytest.raises(ArgumentTypeError):
        function(x, x)


NEEDED = [
    "cuCtxGetDevice",
    "cuDeviceGetAttribute",
    "cuLibraryLoadData",
    "cuLibraryGetKernel",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuStreamSynchronize",
    "cuCtxPushCurrent_v2",
]


@pytest.mark.parametrize("name", NEEDED)
def test_errors_of_the_driver(built: Built, driver: Driver, name: str) -> None:
    x = normal(4)
    function = built(lambda x: x + 1, x)
    driver.fail[name] = OUT_OF_MEMORY
    with pytest.raises(CudaError, match="OUT_OF_MEMORY"):
        function(x)
    driver.fail.clear()
    assert len(driver.memory.leaks()) <= 1
    np.testing.assert_allclose(function(x), x + 1)


def test_a_kernel_that_traps(built: Built, driver: Driver) -> None:
    function = built(lambda x: x + 1, normal(4))
    driver.fail["cuLaunchKernel"] = ILLEGAL_ADDRESS
    with pytest.raises(CudaError, match="ILLEGAL_ADDRESS"):
        function(normal(4))


@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_stands_alone(built: Built, language: str) -> None:
    function = built(lambda x, i: x[i], normal(5), torch.tensor([0]))
    header = function.path.with_suffix(".h")
    standard = {"c": "c89", "c++": "c++11"}[language]
    tool = compiler()
    assert tool is not None
    command = [tool, f"-x{language}", f"-std={standard}", "-pedantic", "-Wall", "-Werror"]
    subprocess.run([*command, "-fsyntax-only", str(header)], check=True)
    text = header.read_text()
    for expected in ("device memory", "call->stream", "-1201", "first int of the workspace"):
        assert expected in text
