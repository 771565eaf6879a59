"""The transforms accept and refuse what torch.func does, with its exceptions."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
import torch.func as tf
from torch.testing import assert_close
from torch.utils._pytree import tree_flatten

pytestmark = pytest.mark.filterwarnings("ignore:Attempted to insert")  # torch's linearize
F64 = torch.float64


def vector(size=3):
    return torch.linspace(-1.0, 2.0, size, dtype=F64)


def same(ours, theirs):
    left, left_spec = tree_flatten(ours)
    right, right_spec = tree_flatten(theirs)
    assert left_spec == right_spec
    for a, b in zip(left, right, strict=True):
        assert_close(a, b, rtol=1e-10, atol=1e-10)


def total(x):
    return x.sin().sum()


def twisted(x, y):
    return {"p": x * y.sin(), "s": (x * x).sum()}


RESULTS = {
    "grad": lambda t: t.grad(total)(vector()),
    "grad of 0-dim": lambda t: t.grad(lambda x: x**3)(torch.tensor(2.0)),
    "grad negative argnums": lambda t: t.grad(lambda x, y: (x * y * y).sum(), argnums=-1)(
        vector(), vector()
    ),
    "grad argnums order": lambda t: t.grad(lambda x, y: (x * y * y).sum(), argnums=(1, 0))(
        vector(), vector()
    ),
    "grad pytree": lambda t: t.grad(lambda p: (p["a"] * p["b"][0]).sum())(
        {"a": vector(), "b": [vector()]}
    ),
    "grad kwargs": lambda t: t.grad(lambda x, *, k: (x * k).sum())(vector(), k=vector()),
    "grad unused": lambda t: t.grad(lambda x, y: x.sum(), argnums=(0, 1))(vector(), vector()),
    "grad integer output": lambda t: t.grad(lambda x: (x > 0).sum())(vector()),
    "grad aux": lambda t: t.grad(lambda x: (x.sum(), {"y": x * 2}), has_aux=True)(vector()),
    "grad_and_value": lambda t: t.grad_and_value(total)(vector()),
    "grad_and_value aux": lambda t: t.grad_and_value(lambda x: (x.sum(), x * 2), has_aux=True)(
        vector()
    ),
    "vjp": lambda t: t.vjp(twisted, vector(), vector())[1]({"p": vector(), "s": vector(4)[0]}),
    "vjp aux": lambda t: t.vjp(lambda x: (x * x, x.cos()), vector(), has_aux=True)[2],
    "jvp": lambda t: t.jvp(twisted, (vector(), vector()), (vector(), vector() + 1)),
    "jvp integer output": lambda t: t.jvp(lambda x: (x, x > 0), (vector(),), (vector(),)),
    "jvp aux": lambda t: t.jvp(lambda x: (x * x, x), (vector(),), (vector(),), has_aux=True),
    "linearize": lambda t: t.linearize(torch.tanh, vector())[1](vector()),
    "jacrev": lambda t: t.jacrev(twisted, argnums=(0, 1))(vector(), vector()),
    "jacrev aux": lambda t: t.jacrev(lambda x: (x * x, x), has_aux=True)(vector()),
    "jacfwd": lambda t: t.jacfwd(twisted, argnums=(0, 1))(vector(), vector()),
    "jacfwd aux": lambda t: t.jacfwd(lambda x: (x * x, x), has_aux=True)(vector()),
    "hessian": lambda t: t.hessian(lambda x: (x.sin() * x).sum())(vector()),
    "hessian vector": lambda t: t.hessian(lambda x: x**3)(vector()),
    "hessian argnums": lambda t: t.hessian(lambda x, y: (x * y).prod(), argnums=(0, 1))(
        vector() + 3, vector() + 4
    ),
    "vmap": lambda t: t.vmap(lambda x, y: x @ y, in_dims=(1, None))(
        vector(6).reshape(3, 2), vector()
    ),
    "vmap nested dims": lambda t: t.vmap(lambda d, s: d["a"] * s, in_dims=({"a": 0}, None))(
        {"a": vector()}, vector()
    ),
    "vmap out_dims": lambda t: t.vmap(lambda x: (x * 2, x.sum()), out_dims=(-1, 0))(
        vector(6).reshape(2, 3)
    ),
    "vmap unbatched output": lambda t: t.vmap(lambda x, y: y, in_dims=(0, None))(
        vector(), vector()
    ),
    "vmap out_dim None": lambda t: t.vmap(lambda x, y: y, in_dims=(0, None), out_dims=None)(
        vector(), vector()
    ),
    "vmap size 0": lambda t: t.vmap(lambda x: x * 2)(torch.zeros(0, 3)),
    "vmap kwargs are not mapped": lambda t: t.vmap(lambda x, k: x * k)(vector(), k=vector()),
    "vmap nested": lambda t: t.vmap(t.vmap(lambda x: x * x))(vector(6).reshape(2, 3)),
    "vmap of hessian": lambda t: t.vmap(t.hessian(lambda x: x.prod()))(vector(6).reshape(2, 3)),
    "grad of vmap": lambda t: t.grad(lambda x: t.vmap(torch.sin)(x).sum())(vector()),
    "third derivative": lambda t: t.grad(t.grad(t.grad(torch.sin)))(torch.tensor(0.3)),
    "no perturbation confusion": lambda t: t.grad(lambda x: x * t.grad(lambda y: x + y * y)(x + 1))(
        torch.tensor(2.0)
    ),
    "vjp inside": lambda t: t.grad(lambda x: t.vjp(torch.sin, x)[1](x)[0].sum())(vector()),
    "linearize inside": lambda t: t.grad(lambda x: t.jvp(torch.sin, (x,), (x,))[1].sum())(vector()),
}


@pytest.mark.parametrize("name", RESULTS)
def test_result(name, interpreted):
    same(RESULTS[name](pb), RESULTS[name](tf))


x3, x4, i3 = torch.zeros(3), torch.zeros(4), torch.arange(3)

REFUSALS = {
    "vector output": lambda t: t.grad(lambda x: x)(x3),
    "one-element output": lambda t: t.grad(lambda x: x[:1])(x3),
    "tuple output": lambda t: t.grad(lambda x: (x.sum(), x.sum()))(x3),
    "float output": lambda t: t.grad(lambda x: 1.0)(x3),
    "float argument": lambda t: t.grad(lambda x: x)(1.0),
    "integer argument": lambda t: t.grad(lambda x: x.sum())(i3),
    "object in a pytree": lambda t: t.grad(lambda p: p[0].sum())((x3, 1)),
    "argnums too large": lambda t: t.grad(lambda x: x.sum(), argnums=2)(x3),
    "argnums twice": lambda t: t.grad(lambda x, y: x.sum(), argnums=(0, -2))(x3, x3),
    "argnums empty": lambda t: t.grad(lambda x: x.sum(), argnums=())(x3),
    "argnums a float": lambda t: t.grad(lambda x: x.sum(), argnums=(0.0,))(x3),
    "argnums a list": lambda t: t.grad(lambda x: x.sum(), argnums=[0])(x3),
    "aux missing": lambda t: t.grad(lambda x: x.sum(), has_aux=True)(x3),
    "aux a string": lambda t: t.grad(lambda x: (x.sum(), "s"), has_aux=True)(x3),
    "jacrev kwargs": lambda t: t.jacrev(lambda x, k: x)(x3, k=1),
    "jacrev chunk_size": lambda t: t.jacrev(lambda x: x, chunk_size=0),
    "jacrev complex": lambda t: t.jacrev(lambda x: x)(x3.to(torch.complex64)),
    "jacfwd complex": lambda t: t.jacfwd(lambda x: x)(x3.to(torch.complex64)),
    "jacfwd integer": lambda t: t.jacfwd(lambda x: x)(i3),
    "jvp list": lambda t: t.jvp(lambda x: x, [x3], [x3]),
    "jvp structure": lambda t: t.jvp(lambda x: x, (x3,), (x3, x3)),
    "jvp shape": lambda t: t.jvp(lambda x: x, (x3,), (x4,)),
    "jvp integer": lambda t: t.jvp(lambda x: x, (i3,), (i3,)),
    "jvp empty": lambda t: t.jvp(lambda: x3, (), ()),
    "jvp float output": lambda t: t.jvp(lambda x: 1.0, (x3,), (x3,)),
    "jvp strict": lambda t: t.jvp(lambda x: torch.ones(2), (x3,), (x3,), strict=True),
    "vjp output": lambda t: t.vjp(lambda x: None, x3),
    "vjp bool output": lambda t: t.vjp(lambda x: x > 0, x3),
    "vjp cotangent structure": lambda t: t.vjp(lambda x: x, x3)[1]((x3,)),
    "vjp cotangent shape": lambda t: t.vjp(lambda x: x, x3)[1](x4),
    "linearize shape": lambda t: t.linearize(torch.sin, x3)[1](x4),
    "linearize structure": lambda t: t.linearize(torch.sin, x3)[1](x3, x3),
    "vmap in_dims a list": lambda t: t.vmap(lambda x: x, in_dims=[0])(x3),
    "vmap in_dims a float": lambda t: t.vmap(lambda x: x, in_dims=(0.0,))(x3),
    "vmap in_dims structure": lambda t: t.vmap(lambda x: x, in_dims=(0, 0))(x3),
    "vmap in_dims range": lambda t: t.vmap(lambda x: x, in_dims=1)(x3),
    "vmap nothing mapped": lambda t: t.vmap(lambda x: x, in_dims=None)(x3),
    "vmap all None": lambda t: t.vmap(lambda x: x, in_dims=(None,))(x3),
    "vmap no inputs": lambda t: t.vmap(lambda: x3)(),
    "vmap scalar": lambda t: t.vmap(lambda x: x)(torch.tensor(1.0)),
    "vmap number": lambda t: t.vmap(lambda x, n: x)(x3, 3),
    "vmap sizes": lambda t: t.vmap(lambda x, y: x)(x3, x4),
    "vmap output None": lambda t: t.vmap(lambda x: None)(x3),
    "vmap output float": lambda t: t.vmap(lambda x: 1.0)(x3),
    "vmap out_dims type": lambda t: t.vmap(lambda x: x, out_dims=0.5)(x3),
    "vmap out_dims structure": lambda t: t.vmap(lambda x: x, out_dims=(0, 0))(x3),
    "vmap out_dims range": lambda t: t.vmap(lambda x: x, out_dims=1)(x3),
    "vmap out_dim None": lambda t: t.vmap(lambda x: x, out_dims=None)(x3),
    "vmap randomness": lambda t: t.vmap(lambda x: x, randomness="some")(x3),
    "vmap chunk_size": lambda t: t.vmap(lambda x: x, chunk_size=0)(x3),
}
# Same type, other words: torch's text is about its own machinery, or formats a structure.
OTHER_TEXT = {
    "jvp shape",
    "jvp structure",
    "jvp integer",
    "jacrev kwargs",
    "jacfwd integer",
    "vjp cotangent structure",
    "vjp cotangent shape",
    "linearize structure",
    "integer argument",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name, interpreted):
    with pytest.raises(Exception) as theirs:
        REFUSALS[name](tf)
    with pytest.raises(type(theirs.value)) as ours:
        REFUSALS[name](pb)
    if name not in OTHER_TEXT:
        assert " ".join(str(ours.value).split()) == " ".join(str(theirs.value).split())


def test_chunk_size_changes_nothing(interpreted):
    x = vector(5)
    same(pb.jacrev(torch.sin, chunk_size=2)(x), pb.jacrev(torch.sin)(x))
    same(pb.vmap(torch.sin, chunk_size=2)(x), pb.vmap(torch.sin)(x))


def test_transformed_method(interpreted):
    class Model:
        scale = 2.0

        @pb.grad
        def loss(x):
            return (x * x).sum()

        def energy(self, x):
            return self.scale * (x * x).sum()

    assert_close(pb.grad(Model().energy)(vector()), 4 * vector())
    with pytest.raises(TypeError, match="expected a function"):
        pb.grad(3)


def test_text_and_name():
    made = pb.vmap(pb.grad(total, argnums=0), in_dims=(None, 0))
    assert made.text == "vmap(grad(f), in_dims=(None, 0))"
    assert pb.hessian(total).text == "hessian(f)"
    assert made.__name__ == "total"
