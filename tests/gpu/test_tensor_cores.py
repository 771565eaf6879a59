"""Products of f16 and bf16, and of f32 as tf32 on request, by tensor cores: sizes and layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pullback
import pytest
import torch
from pullback.pipelines.gpu import ptxas
from pullback.pipelines.gpu.pipeline import Options

from .device import Device, device
from .test_products import CONVOLUTIONS, LAYOUTS, SIZES, names, normal

KINDS = {"f16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32}
#: Between a number and the next one, by the number.
STEP = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7, torch.float32: 2.0**-22}


def rounded(x: torch.Tensor, kind: str) -> torch.Tensor:
    """Numbers that tensor cores take as they are."""
    if kind != "tf32":
        return x.to(KINDS[kind])
    bits = x.float().view(torch.int32)
    return (bits & ~0x1FFF).view(torch.float32)


def to_numpy(x: torch.Tensor) -> np.ndarray:
    return x.view(torch.uint16).numpy() if x.dtype is torch.bfloat16 else x.numpy()


def from_numpy(x: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(x).view(dtype)


def check(function: Callable[..., Any], kind: str, *wide: torch.Tensor) -> Device:
    """Products are exact; the sum in f32 and the rounding of the result are all that differs."""
    arguments = [rounded(x, kind) for x in wide]
    found = device(function, *arguments, options=Options(tf32=True))
    result = from_numpy(found([to_numpy(x) for x in arguments])[0], KINDS[kind])
    wanted = function(*(x.double() for x in arguments))
    scale = max(wanted.abs().max().item(), 1.0)
    torch.testing.assert_close(
        result.double(), wanted, rtol=STEP[KINDS[kind]], atol=3e-6 * scale, check_dtype=False
    )
    return found


def by_cores(found: Device, kind: str) -> bool:
    return any(name.startswith(f"product_{kind}") for name in names(found))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [*SIZES, (128, 64, 128), (96, 40, 200), (64, 1000, 32)])
def test_sizes(size: tuple[int, int, int], kind: str) -> None:
    m, k, n = size
    found = check(torch.matmul, kind, normal(m, k), normal(k, n, seed=1))
    assert by_cores(found, kind) == (min(m, n) >= 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, kind: str) -> None:
    function, left, right = LAYOUTS[name]
    assert by_cores(check(function, kind, normal(*left), normal(*right, seed=1)), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_copies_are_16_bytes_in_all_layouts(turned: tuple[int, int], kind: str) -> None:
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x.T if turned[0] else x) @ (y.T if turned[1] else y)

    found = check(function, kind, normal(64, 64), normal(64, 64, seed=1))
    assert "cp.async.cg.shared.global" in found.compilation.ptx
    assert "cp.async.ca" not in found.compilation.ptx
    [(_, counters)] = found.counters
    # Fragments come without conflicts; a copied row goes around the banks more than once.
    assert counters.shared_cycles <= 1.25 * counters.shared_requests


@pytest.mark.parametrize("kind", KINDS)
def test_batches(kind: str) -> None:
    found = check(torch.matmul, kind, normal(3, 33, 40), normal(3, 40, 37, seed=1))
    assert by_cores(found, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, kind: str) -> None:
    function, image, taps = CONVOLUTIONS[name]
    check(function, kind, normal(*image), normal(*taps, seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_is_computed_before_the_store(kind: str) -> None:
    def layer(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ w) + b

    found = device(
        layer,
        *(torch.zeros(size, dtype=KINDS[kind]) for size in ((65, 48), (48, 70), (70,))),
        options=Options(tf32=True),
    )
    assert len(found.plan.kernels) == 1


def image_layer(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.nn.functional.conv2d(x, w, b, padding=1))


IMAGES = (4, 16, 12, 12), (32, 16, 3, 3), (32,)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_layer_is_one_kernel(kind: str) -> None:
    images = [normal(*shape, seed=n) for n, shape in enumerate(IMAGES)]
    found = check(image_layer, kind, *images)
    assert len(names(found)) == 1 and by_cores(found, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_an_image_layer_are_by_cores(kind: str) -> None:
    zeros = [torch.zeros(shape, dtype=KINDS[kind]) for shape in IMAGES]
    loss = pullback.grad(lambda *args: image_layer(*args).sum(), (0, 1))
    found = device(loss, *zeros, options=Options(tf32=True))
    products = [kernel for kernel in found.plan.kernels if "product" in str(kernel)]
    assert len([k for k in products if f"product_{kind}" in str(k) and "parts" not in str(k)]) == 3


def test_f32_is_rounded_only_on_request() -> None:
    x, y = normal(64, 64).float(), normal(64, 64, seed=1).float()
    exact = x.double() @ y.double()
    plain = device(torch.matmul, x, y)
    assert "mma" not in plain.compilation.ptx
    errors = []
    for options in (Options(), Options(tf32=True)):
        found = device(torch.matmul, x, y, options=options)
        result = torch.from_numpy(found([x.numpy(), y.numpy()])[0]).double()
        errors.append(((result - exact).abs().max() / exact.abs().max()).item())
    assert errors[0] < 1e-6 < 1e-4 < errors[1] < 1e-2


def test_halves_overflow_and_nan() -> None:
    x = torch.full((64, 64), 300.0, dtype=torch.float16)
    y = torch.full((64, 64), 300.0, dtype=torch.float16)
    x[3, 5], y[7, 9] = float("nan"), float("-inf")
    found = device(torch.matmul, x, y)
    result = torch.from_numpy(found([x.numpy(), y.numpy()])[0])
    torch.testing.assert_close(result, x @ y, equal_nan=True)


def test_mixed_types_are_not_by_cores() -> None:
    x, y = normal(64, 64).half(), normal(64, 64, seed=1).bfloat16()
    found = device(lambda x, y: x.float() @ y.float(), x, y)
    result = from_numpy(found([to_numpy(x), to_numpy(y)])[0], torch.float32)
    torch.testing.assert_close(result.double(), x.double() @ y.double(), rtol=0, atol=1e-5)


@pytest.mark.skipif(ptxas.find() is None, reason="ptxas is not installed")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [100, 512, 1000, 4096])
def test_no_register_lies_on_the_stack(size: int, kind: str) -> None:
    x = torch.zeros(size, size, dtype=KINDS[kind], device="meta")
    found = device(lambda x, y: torch.tanh(x @ y), x, x, options=Options(tf32=True))
    for architecture in ptxas.ARCHITECTURES:
        [figures] = ptxas.assemble(found.compilation.ptx, architecture).figures.values()
        assert figures.spilled == 0
        assert figures.registers <= 128
