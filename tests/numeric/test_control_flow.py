"""Loops and branches under nests of transforms, compiled in f64, equal the unrolled programs."""

from __future__ import annotations

from pathlib import Path

import pullback
import pytest
import torch

from .checks import close
from .control_programs import POINT, PROGRAMS, ours, unrolled
from .nests import nest, order

NESTS = [
    (),
    ("vmap",),
    ("jvp",),
    ("vjp",),
    ("vmap", "vjp"),
    ("vjp", "vmap"),
    ("jvp", "vjp"),
    ("vjp", "jvp"),
    ("vjp", "vjp"),
    ("jacfwd", "jacrev"),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_equals_unrolled(program, tmp_path: Path) -> None:
    """All nests in one library: one compile tells as much as many."""

    def everything(x: torch.Tensor) -> list[torch.Tensor]:
        return [nest(pullback, ours(program), names)(x) for names in NESTS]

    compiled = pullback.compile(everything, POINT, out=tmp_path)
    for names, found in zip(NESTS, compiled(POINT), strict=True):
        expected = nest(torch.func, unrolled(program), names)(POINT)
        try:
            close(found.numpy(), expected.numpy(), order=max(1, order(names)), scale=1)
        except AssertionError as error:
            raise AssertionError(f"{' of '.join(names)}: {error}") from None
