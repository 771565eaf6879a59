"""Inputs of every layout, inputs that do not fit, indices out of range; jit and artifacts."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pullback
import pytest
import torch
from torch.nn import functional

from .compare import assert_same
from .conftest import Artifact
from .whirlwind import normal

F64 = torch.float64


def affine(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x @ x.T) * 2 + b


def misaligned(tensor: torch.Tensor) -> torch.Tensor:
    memory = np.empty(tensor.numel() * 8 + 3, np.uint8)[3:]
    array = memory.view(np.float64).reshape(tensor.shape)
    array[...] = tensor.numpy()
    return torch.from_numpy(array)


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.T.contiguous().T,
    "every second column": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "rows of a larger tensor": lambda x: torch.cat([x, x, x])[3:6],
    "broadcast": lambda x: x[:1].expand(3, 4),
    "broadcast scalar": lambda x: x[0, 0].expand(3, 4),
    "misaligned": misaligned,
    "conjugated twice": lambda x: x.conj().conj(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, artifact: Artifact) -> None:
    x, b = LAYOUTS[layout](normal(F64, 3, 4)), normal(F64, 3, seed=1)
    expected = affine(x, b)
    assert_same(pullback.jit(affine)(x, b), expected)
    compiled = artifact(affine, torch.ones(3, 4, dtype=F64), torch.ones(3, dtype=F64))
    assert_same(compiled(x, b), expected)
    from_numpy = compiled(x.numpy(), b.numpy())
    assert isinstance(from_numpy, np.ndarray)
    assert_same(torch.from_numpy(from_numpy), expected)


def scaled_sum(x: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (x * s).sum(0), x.exp()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()])
def test_zero_dimensions_and_zero_sizes(shape: tuple[int, ...], artifact: Artifact) -> None:
    x, s = torch.ones(shape, dtype=F64), torch.tensor(2.0, dtype=F64)
    expected = scaled_sum(x, s)
    assert_same(pullback.jit(scaled_sum)(x, s), expected)
    assert_same(artifact(scaled_sum, x, s)(x, s), expected)
    gradient = torch.func.grad(lambda s: scaled_sum(x, s)[0].sum())(s)
    assert_same(pullback.grad(lambda s: scaled_sum(x, s)[0].sum())(s), gradient)


def test_matmul_over_nothing_is_zero() -> None:
    x = torch.ones(3, 0, dtype=F64)
    assert_same(pullback.jit(lambda x: x @ x.T)(x), torch.zeros(3, 3, dtype=F64))
    assert_same(pullback.vmap(torch.sin)(torch.ones(0, 3)), torch.ones(0, 3))


@pytest.mark.parametrize(
    ("x", "expected", "got"),
    [
        (torch.ones(4, 3, dtype=F64), "f64[3, 4]", "f64[4, 3]"),
        (torch.ones(12, dtype=F64), "f64[3, 4]", "f64[12]"),
        (torch.ones(3, 4), "f64[3, 4]", "f32[3, 4]"),
        (torch.ones(3, 4, dtype=torch.int64), "f64[3, 4]", "i64[3, 4]"),
        (torch.ones(3, 4, dtype=F64, device="meta"), "cpu", "meta"),
        ("text", "f64[3, 4]", "str"),
        (np.ones((3, 4), np.float32), "f64[3, 4]", "f32[3, 4]"),
    ],
    ids=["shape", "rank", "f32", "i64", "device", "no tensor", "numpy"],
)
def test_a_wrong_argument_names_argument_expected_and_got(
    artifact: Artifact, x: Any, expected: str, got: str
) -> None:
    compiled = artifact(affine, torch.ones(3, 4, dtype=F64), torch.ones(3, dtype=F64))
    with pytest.raises(pullback.ArgumentError) as caught:
        compiled(x, torch.ones(3, dtype=F64))
    message = str(caught.value)
    assert "'x'" in message
    assert expected in message
    assert got in message


def test_damaged_and_foreign_libraries_are_refused(artifact: Artifact, tmp_path: Path) -> None:
    compiled = artifact(affine, torch.ones(3, 4, dtype=F64), torch.ones(3, dtype=F64), name="good")
    whole = (tmp_path / "good.so").read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    bad = tmp_path / "bad.so"
    for content in (whole[:-1], whole[: len(whole) // 2], b"", changed, b"no library"):
        bad.write_bytes(content)
        with pytest.raises(pullback.ArtifactError, match=re.escape(str(bad))):
            pullback.load(bad)
    # A library of someone else, and a header that is not the library's own.
    mapped = Path("/proc/self/maps").read_text().splitlines()
    libc = next(line.split()[-1] for line in mapped if "libc.so" in line)
    shutil.copy(libc, bad)
    with pytest.raises(pullback.ArtifactError, match=re.escape(str(bad))):
        pullback.load(bad)
    header = tmp_path / "good.h"
    header.write_text(header.read_text() + "\n")
    with pytest.raises(pullback.ArtifactError, match="header"):
        pullback.load(tmp_path / "good.so")
    assert compiled is not None


# --- indices ----------------------------------------------------------------------------------


def dead(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    table[index]
    return table * 2


INDEXING: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "getitem": lambda t, i: t[i],
    "pair": lambda t, i: t[i, i % 2],
    "index_select": lambda t, i: t.index_select(0, i),
    "gather": lambda t, i: t.gather(0, i[:, None].expand(3, 2)),
    "embedding": lambda t, i: functional.embedding(i, t),
    "cross_entropy": lambda t, i: functional.cross_entropy(t[:3], i % 9),
    "dead": dead,
}


@pytest.mark.parametrize("wrong", [5, 8, -6, 2**40, -(2**62)])
@pytest.mark.parametrize("name", INDEXING)
def test_an_index_out_of_range_raises_torchs_error(name: str, wrong: int) -> None:
    function = INDEXING[name]
    table, index = normal(F64, 5, 2), torch.tensor([0, wrong, 1])
    with pytest.raises((IndexError, RuntimeError)) as of_torch:
        function(table, index)
    with pytest.raises(type(of_torch.value)) as caught:
        pullback.jit(function)(table, index)
    line = inspect.getsourcelines(function)[1] + (name == "dead")
    assert f"{Path(__file__).name}:{line}" in str(caught.value)


@pytest.mark.parametrize("good", [[0, 4, 1], [-1, -5, 0]])
@pytest.mark.parametrize("name", ["getitem", "pair", "dead"])
def test_an_index_in_range_is_wrapped(name: str, good: list[int]) -> None:
    table, index = normal(F64, 5, 2), torch.tensor(good)
    assert_same(pullback.jit(INDEXING[name])(table, index), INDEXING[name](table, index))


def row_sum(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return (table[index] ** 2).sum()


TRANSFORMED: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "grad": lambda func: func.grad(row_sum),
    "hessian": lambda func: func.hessian(row_sum),
    "vmap over indices": lambda func: func.vmap(row_sum, in_dims=(None, 0)),
    "vmap over tables": lambda func: func.vmap(
        lambda index, table: row_sum(table, index), in_dims=(None, 0)
    ),
    "per-sample gradients": lambda func: func.vmap(func.grad(row_sum), in_dims=(None, 0)),
    "gradient of a dead gather": lambda func: func.grad(lambda t, i: dead(t, i).sum()),
    "vmap of a dead gather": lambda func: func.vmap(dead, in_dims=(None, 0)),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_indices_under_transforms(name: str) -> None:
    first = "tables" in name
    table = normal(F64, *((2,) if first else ()), 5, 2)
    index = torch.tensor([0, 4, 1]) if first or "vmap" not in name else torch.tensor([[0, 4, 1]])
    if name == "per-sample gradients":
        index = torch.tensor([[0, 4, 1], [1, 1, -1]])

    def args(index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (index, table) if first else (table, index)

    compiled = pullback.jit(TRANSFORMED[name](pullback))
    assert_same(compiled(*args(index)), TRANSFORMED[name](torch.func)(*args(index)), order=2)
    with pytest.raises(IndexError, match=rf"{Path(__file__).name}:\d+"):
        compiled(*args(index + 5))


def test_an_artifacts_index_error_has_the_users_line(artifact: Artifact) -> None:
    compiled = artifact(row_sum, normal(F64, 5, 2), torch.tensor([0, 1]))
    line = inspect.getsourcelines(row_sum)[1] + 1
    with pytest.raises(IndexError, match=f"{Path(__file__).name}:{line}"):
        compiled(np.ones((5, 2)), np.array([0, 5]))
