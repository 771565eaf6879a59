"""Every example of torch.func's whirlwind tour with pullback in its place gives torch's numbers."""

from __future__ import annotations

import pullback
import pytest
import torch

from .compare import assert_same
from .whirlwind import EXAMPLES


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr")  # torch.func.linearize
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, dtype: torch.dtype) -> None:
    example = EXAMPLES[name]
    order = 2 if "hessian" in name or "second" in name else 1
    assert_same(example(pullback, dtype), example(torch.func, dtype), order)


def test_captured_weights_that_require_grad_keep_the_result_in_the_graph() -> None:
    example = EXAMPLES["vmap_of_a_model_with_captured_weights"]
    assert example(torch.func, torch.float64).requires_grad
    assert example(pullback, torch.float64).requires_grad


def test_gradients_are_those_of_calculus() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    assert_same(pullback.vmap(pullback.grad(torch.sin))(x), x.cos())
    assert_same(pullback.vmap(pullback.grad(pullback.grad(torch.sin)))(x), -x.sin())
