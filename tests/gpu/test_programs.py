"""torch.func's tour and real programs, through the C entry and the runtime, on the fake driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pullback
import pytest
import torch
import torch.func
from pullback.frontend import jit
from torch.utils._pytree import tree_leaves

from ..bench import gpu as programs
from ..e2e.compare import assert_same
from ..e2e.whirlwind import EXAMPLES
from .driver import Driver

DTYPES = [torch.float32, torch.float64]


class OnGpu:
    """pullback's names, compiled for GPUs."""

    def __getattr__(self, name: str) -> Any:
        transform = getattr(pullback, name)

        def make(function: Any, *args: Any, **options: Any) -> Any:
            made = transform(function, *args, **options)
            return pullback.jit(made, target="cuda") if callable(made) else made

        return make


@pytest.fixture(autouse=True)
def _own_cache(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled outlives the driver that it is loaded in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    jit._cache.clear()


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")
@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_whirlwind_tour(driver: Driver, name: str, dtype: torch.dtype) -> None:
    assert_same(EXAMPLES[name](OnGpu(), dtype), EXAMPLES[name](torch.func, dtype), order=2)
    assert driver.trap is None


#: Small forms of what bench/gpu.py measures.
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "network training step": (
        (33, 70), (33, 10), (70, 65), (65,), (65, 40), (40,), (40, 10), (10,),
    ),
    "attention gradient": ((3, 37, 16),) * 3,
    "Lennard-Jones Hessian": ((7, 3),),
    "mixture gradient": ((101, 3), (5, 3), (5, 3), (5,)),
    "conv-net per-sample gradients": (
        (3, 3, 9, 9), (3, 10), (5, 3, 3, 3), (6, 5, 3, 3), (6, 10),
    ),
    "softmax vjp": ((37, 1000), (37, 1000)),
    "layer norm vjp": ((65, 257), (257,), (257,), (65, 257)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize("name", SHAPES)
def test_real_programs(built: Callable[..., Any], driver: Driver, name: str, dtype: Any) -> None:
    program = next(p for p in programs.PROGRAMS if p.name == name)
    wide = [x.double() for x in programs.Program(name, program.make, SHAPES[name]).arguments("cpu")]
    arguments = [x.to(dtype) for x in wide]
    found = tree_leaves(built(program.make(pullback), *arguments)(*arguments))
    wanted = tree_leaves(program.make(torch.func)(*wide))
    for got, want in zip(found, wanted, strict=True):
        scale = want.abs().max().item()
        tolerance = (1e-12 if dtype is torch.float64 else 2e-5) * scale
        torch.testing.assert_close(got.double(), want, rtol=0, atol=tolerance)
    assert driver.trap is None


LAUNCHES = {
    "softmax vjp": 1,
    "layer norm vjp": 2,
    "network training step": 3 * 3 + 4,
}


@pytest.mark.parametrize("name", LAUNCHES)
def test_few_kernels(built: Callable[..., Any], driver: Driver, name: str) -> None:
    program = next(p for p in programs.PROGRAMS if p.name == name)
    arguments = programs.Program(name, program.make, SHAPES[name]).arguments("cpu")
    function = built(program.make(pullback), *arguments)
    kernels = function.manifest["target"]["kernels"]
    assert sum(kernel["launches"] for kernel in kernels) <= LAUNCHES[name]
