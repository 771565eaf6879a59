"""Wrong calls of the transforms fail as torch.func's do: with the same exception types."""

from __future__ import annotations

import pullback
import pytest
import torch

pytestmark = pytest.mark.usefixtures("interpreted")

NAMES = {
    "torch": torch,
    "x": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
    "X": torch.arange(12.0, dtype=torch.float64).reshape(3, 4),
    "i": torch.arange(3),
    "s": torch.tensor(2.0, dtype=torch.float64),
    "square": lambda x: (x**2).sum(),
    "product": lambda x, y: (x * y).sum(),
}

CALLS = """
T.grad(lambda x: x)(x)
T.grad(lambda x: (x.sum(),))(x)
T.grad(lambda x: 2.0)(x)
T.grad(lambda x: x.sum().to(torch.complex64))(x)
T.grad(square)(1.0)
T.grad(square)(i)
T.grad(square)([x, 1])
T.grad(square, argnums=1)(x)
T.grad(product, argnums=(0, 0))(x, x)
T.grad(product, argnums=(0, -2))(x, x)
T.grad(product, argnums=())(x, x)
T.grad(product, argnums=[0])(x, x)
T.grad(product, argnums=0.5)(x, x)
T.grad(product, argnums=1)(x, 2.0)
T.grad(square)(x=x)
T.grad(3)(x)
T.grad(square, has_aux=True)(x)
T.grad(lambda x: (x.sum(), "text"), has_aux=True)(x)
T.vmap(square, in_dims=[0])(X)
T.vmap(square, in_dims=1.0)(X)
T.vmap(square, in_dims=None)(X)
T.vmap(square, in_dims=2)(X)
T.vmap(square, in_dims=(0, 0))(X)
T.vmap(square, in_dims=(0.5,))(X)
T.vmap(square)(s)
T.vmap(square)()
T.vmap(square)(2.0)
T.vmap(product)(X, 2.0)
T.vmap(product)(X, X.T)
T.vmap(lambda t: t["a"], in_dims=({"b": 0},))({"a": X})
T.vmap(lambda x: x, out_dims=2)(X)
T.vmap(lambda x: x, out_dims=None)(X)
T.vmap(lambda x: (x, x), out_dims=(0,))(X)
T.vmap(lambda x: {"a": x}, out_dims={"b": 1})(X)
T.vmap(lambda x: x, out_dims="a")(X)
T.vmap(lambda x: 2.0)(X)
T.vmap(lambda x: (x, None))(X)
T.vmap(square, randomness="bad")(X)
T.vmap(square, chunk_size=0)(X)
T.vmap(lambda x: x.item())(X)
T.vmap(lambda x: x if x.sum() > 0 else -x)(X)
T.vmap(lambda x: x[x > 0])(X)
T.vmap(3)(X)
T.vmap(square, bad=1)(X)
T.jvp(square, x, x)
T.jvp(square, (x,), (x, x))
T.jvp(square, (x,), (X,))
T.jvp(square, (x,), (1.0,))
T.jvp(square, (i,), (i,))
T.jvp(square, (x,), (i,))
T.jvp(square, (), ())
T.jvp(lambda x: 2.0, (x,), (x,))
T.jvp(lambda x: torch.ones(2), (x,), (x,), strict=True)
T.jvp(square, (x,), (x,), has_aux=True)
T.vjp(square, 1.0)
T.vjp(square, i)
T.vjp(lambda x: x > 0, x)
T.vjp(lambda x: 2.0, x)
T.vjp(lambda x: (), x)
T.vjp(lambda x: x * 2, x)[1](X)
T.vjp(lambda x: x * 2, x)[1](1.0)
T.vjp(lambda x: x * 2, x)[1]((x,))
T.vjp(lambda x: x * 2, x)[1](x, x)
T.vjp(lambda x: (x * 2, x.sum()), x)[1](x)
T.vjp(lambda x: x * 2, x, has_aux=True)
T.jacrev(square)(i)
T.jacrev(lambda x: x > 0)(x)
T.jacrev(product, argnums=2)(x, x)
T.jacrev(product)(x, y=x)
T.jacrev(square, chunk_size=0)(x)
T.jacrev(square)(x.to(torch.complex64))
T.jacrev(square, 0, True)(x)
T.jacfwd(square)(i)
T.jacfwd(lambda x: 2.0)(x)
T.jacfwd(product, argnums=(0, 0))(x, x)
T.jacfwd(product)(x, y=x)
T.jacfwd(square, randomness="bad")(x)
T.hessian(square)(i)
T.hessian(product)(x, y=x)
T.linearize(square, x)[1](X)
T.linearize(square, x)[1](x.float())
T.linearize(square, x)[1](x, x)
T.vmap(T.grad(lambda x: x))(X)
T.grad(lambda x: (x + undefined).sum())(x)
T.vmap(lambda x, y: x.sum())(X)
""".strip().split("\n")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", CALLS)
def test_exception_type(call):
    with pytest.raises(Exception, match="") as expected:
        eval(call, {**NAMES, "T": torch.func})
    with pytest.raises(Exception, match="") as found:
        eval(call, {**NAMES, "T": pullback})
    assert isinstance(found.value, type(expected.value)), (found.value, expected.value)
