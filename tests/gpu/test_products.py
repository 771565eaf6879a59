"""Products of matrices and convolutions in tiles: ragged sizes, all layouts, what is fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from .device import Device, device


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def check(
    function: Callable[..., Any], *wide: torch.Tensor, dtype: torch.dtype = torch.float32
) -> Device:
    arguments = [x.to(dtype) for x in wide]
    found = device(function, *arguments)
    result = torch.from_numpy(found([x.numpy() for x in arguments])[0])
    wanted = function(*(x.double() for x in arguments))
    tolerance = 1e-5 if dtype is torch.float32 else 1e-13
    scale = max(wanted.abs().max().item(), 1.0)
    torch.testing.assert_close(result.double(), wanted, rtol=0, atol=tolerance * scale)
    return found


def names(found: Device) -> list[str]:
    return [name for name, _ in found.counters]


SIZES = [(33, 65, 40), (130, 20, 67), (4, 513, 64), (1, 300, 200), (257, 9, 17), (64, 64, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_ragged_sizes(size: tuple[int, int, int], dtype: torch.dtype) -> None:
    m, k, n = size
    check(torch.matmul, normal(m, k), normal(k, n, seed=1), dtype=dtype)


LAYOUTS: dict[str, tuple[Callable[..., Any], tuple[int, int], tuple[int, int]]] = {
    "left transposed": (lambda x, y: x.T @ y, (48, 36), (48, 40)),
    "right transposed": (lambda x, y: x @ y.T, (36, 48), (40, 48)),
    "both transposed": (lambda x, y: x.T @ y.T, (48, 36), (40, 48)),
    "a slice": (lambda x, y: x[1:, ::2] @ y[:, 3:], (37, 96), (48, 43)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    function, left, right = LAYOUTS[name]
    found = check(function, normal(*left), normal(*right, seed=1))
    assert any(kernel.startswith("product") for kernel in names(found))


def test_batches() -> None:
    check(torch.matmul, normal(5, 33, 40), normal(5, 40, 37, seed=1))
    check(lambda x, y: torch.einsum("bik,jkb->bij", x, y), normal(3, 33, 40), normal(35, 40, 3))


def test_long_sums_are_cut_in_parts_with_equal_bits() -> None:
    x, y = normal(16, 2000).float(), normal(2000, 16, seed=1).float()
    found = check(torch.matmul, x, y)
    assert names(found)[1].endswith("parts")
    arguments = [x.numpy(), y.numpy()]
    np.testing.assert_array_equal(found(arguments)[0], found(arguments)[0])


def test_what_follows_is_computed_before_the_store() -> None:
    def layer(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ w + b) * 2

    found = check(layer, normal(65, 48), normal(48, 70, seed=1), normal(70, seed=2))
    assert len(names(found)) == 1


def test_traffic_is_what_the_tiles_imply() -> None:
    n = 192
    found = check(torch.matmul, normal(n, n), normal(n, n, seed=1))
    [(name, counters)] = found.counters
    rows, columns = map(int, name.removeprefix("product_").split("x"))
    implied = 4 * (n * n * (n // rows) + n * n * (n // columns) + n * n)
    assert counters.read_bytes + counters.written_bytes <= 1.3 * implied


CONVOLUTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]] = {
    "padding": (lambda x, w: F.conv2d(x, w, padding=1), (2, 3, 13, 11), (8, 3, 3, 3)),
    "stride": (lambda x, w: F.conv2d(x, w, stride=2, padding=2), (2, 4, 17, 17), (6, 4, 5, 5)),
    "dilation": (lambda x, w: F.conv2d(x, w, dilation=2), (1, 4, 19, 15), (8, 4, 3, 3)),
    "groups": (lambda x, w: F.conv2d(x, w, groups=2), (3, 8, 12, 12), (10, 4, 3, 3)),
    "one dimension": (lambda x, w: F.conv1d(x, w, padding=3), (4, 6, 101), (9, 6, 7)),
    "three dimensions": (lambda x, w: F.conv3d(x, w), (1, 2, 9, 9, 9), (4, 2, 3, 3, 3)),
    "transposed": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2),
        (2, 6, 9, 9),
        (6, 5, 3, 3),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    function, image, taps = CONVOLUTIONS[name]
    check(function, normal(*image), normal(*taps, seed=1))
