"""vjp_fn and jvp_fn made outside of a trace and used inside another."""

from __future__ import annotations

import pullback
import torch


def test_vmap_of_a_vjp_function_is_the_jacobian() -> None:
    w, x = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    def f(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ w)

    expected = torch.func.jacrev(f)(x)
    _, vjp_fn = pullback.vjp(f, x)
    (by_rows,) = pullback.vmap(vjp_fn)(torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(by_rows, expected)
    _, jvp_fn = pullback.linearize(f, x)
    by_columns = pullback.vmap(jvp_fn, out_dims=1)(torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(by_columns, expected)
