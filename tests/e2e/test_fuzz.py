"""Random torch functions under random nests give torch's numbers, compiled."""

from __future__ import annotations

from typing import Any

import pullback
import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_structure

from .torch_programs import Maker

SEEDS = range(48)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}  # up to three orders of derivatives


def check(found: Any, expected: Any) -> None:
    assert tree_structure(found) == tree_structure(expected)
    for a, e in zip(tree_flatten(found)[0], tree_flatten(expected)[0], strict=True):
        assert a.shape == e.shape
        if not e.is_floating_point():
            assert torch.equal(a, e)
            continue
        a, e = a.to(e.dtype), e  # torch itself makes f64 of some f32 tangents of 0-dim tensors
        # A Jacobian may be finite where torch multiplies zero by infinity.
        kept = ~e.isnan()
        finite = e[kept & e.isfinite()]
        scale = max(1.0, finite.abs().max().item()) if finite.numel() else 1.0
        atol = TOLERANCE[a.dtype] * scale
        torch.testing.assert_close(a[kept], e[kept], rtol=0, atol=atol)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", SEEDS)
def test_random_function(seed: int) -> None:
    case = Maker(seed).case()
    try:
        expected = case.run(torch.func)
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        pytest.skip(f"torch cannot: {error}")
    check(case.run(pullback, pullback.jit), expected)
