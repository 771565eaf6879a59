"""What "torch's numbers" means in these tests."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten_with_path, tree_structure

# Relative to the largest element, per order of derivative; see the tolerances.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def assert_same(actual: Any, expected: Any, order: int = 1) -> None:
    """Equal structure, shapes and dtypes; floats within ``order`` times the tolerance."""
    assert tree_structure(actual) == tree_structure(expected)
    found = tree_flatten_with_path(actual)[0]
    for (path, a), (_, e) in zip(found, tree_flatten_with_path(expected)[0], strict=True):
        assert isinstance(a, torch.Tensor), f"{path}: {type(a)}"
        assert (a.shape, a.dtype) == (e.shape, e.dtype), f"{path}: {a.shape}, {a.dtype}"
        a, e = a.detach(), e.detach()
        if not a.is_floating_point():
            assert torch.equal(a, e), f"{path}: {a} instead of {e}"
            continue
        scale = e[e.isfinite()].abs().max().item() if e.isfinite().any() else 1.0
        limit = order * TOLERANCE[e.dtype] * max(scale, 1e-30)
        torch.testing.assert_close(
            a, e, rtol=0, atol=limit, equal_nan=True, msg=lambda m, p=path: f"{p}: {m}"
        )
