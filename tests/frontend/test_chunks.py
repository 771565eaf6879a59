"""chunk_size: a loop over chunks, with the values of the whole and less memory."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
import torch.func as tf
from pullback.frontend.trace import trace
from pullback.runtime.manifest import read
from torch.testing import assert_close

F64 = torch.float64
X = torch.linspace(-1, 2, 28, dtype=F64).reshape(7, 4)
x = X[3]


def cubic(x):
    return (x**3).sum() * x.sum()


def twisted(x, y):
    return {"p": x * y.sin(), "s": (x * x).sum(), "q": x.outer(y)}


CASES = {
    "vmap": (lambda t, **n: t.vmap(torch.sin, **n)(X), 7),
    "vmap dims": (lambda t, **n: t.vmap(lambda a: (a, a[0]), 1, (1, 0), **n)(X.T), 7),
    "vmap unbatched": (lambda t, **n: t.vmap(torch.dot, (0, None), **n)(X, x), 7),
    "vmap of grad": (lambda t, **n: t.vmap(t.grad(cubic), **n)(X), 7),
    "vmap of vmap": (lambda t, **n: t.vmap(t.vmap(torch.sin, **n), 1, 1, **n)(X), 7),
    "grad of vmap": (lambda t, **n: t.grad(lambda X: t.vmap(cubic, **n)(X).sum())(X), 7),
    "jvp of vmap": (lambda t, **n: t.jvp(t.vmap(cubic, **n), (X,), (X.cos(),)), 7),
    "jacrev": (lambda t, **n: t.jacrev(twisted, (0, 1), **n)(x, x.cos()), 16),
    "jacrev of jacrev": (lambda t, **n: t.jacrev(t.jacrev(torch.sin, **n), **n)(x), 16),
    "vmap of jacrev": (lambda t, **n: t.vmap(t.jacrev(lambda x: x.cumsum(0) ** 2, **n))(X), 4),
}


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 20])
@pytest.mark.parametrize("name", CASES)
def test_as_torch(name, chunk_size, interpreted):
    call, _size = CASES[name]
    assert_close(call(pb, chunk_size=chunk_size), call(tf))


OURS = {  # torch.func has the option for none of these
    "jacfwd": lambda t, **n: t.jacfwd(twisted, (0, 1), **n)(x, x.cos()),
    "hessian": lambda t, **n: t.hessian(cubic, **n)(x),
    "hessian of a vector": lambda t, **n: t.hessian(lambda x: x**3, **n)(x),
    "vmap of hessian": lambda t, **n: t.vmap(t.hessian(cubic, **n))(X),
}


@pytest.mark.parametrize("chunk_size", [1, 3, 20])
@pytest.mark.parametrize("name", OURS)
def test_ours(name, chunk_size, interpreted):
    assert_close(OURS[name](pb, chunk_size=chunk_size), OURS[name](tf))
    with pytest.raises(ValueError, match="should be greater than 0"):
        OURS[name](pb, chunk_size=0)


def test_the_program_does_not_grow():
    def nodes(count):
        function = pb.vmap(pb.grad(cubic), chunk_size=2)
        return str(trace(function, (torch.zeros(count, 3),), {}).graph).count("\n")

    assert nodes(8) == nodes(1000)


@pytest.mark.parametrize(
    "transform", [pb.jacrev, pb.jacfwd, pb.hessian, lambda f, **n: pb.vmap(pb.grad(f), **n)]
)
def test_memory(transform, tmp_path):
    torch.manual_seed(0)
    weights = [torch.randn(48, 48, dtype=F64) / 7 for _ in range(2)]

    def net(x):
        for weight in weights:
            x = (weight @ x).tanh()
        return x

    def loss(x):
        return net(x).square().sum()

    function = net if transform in (pb.jacrev, pb.jacfwd) else loss
    given = torch.zeros(48, dtype=F64)
    given = given if transform in (pb.jacrev, pb.jacfwd, pb.hessian) else torch.zeros(96, 48)

    def workspace(chunk_size):
        made = transform(function, chunk_size=chunk_size)
        library = pb.compile(made, given.double(), out=tmp_path, name=f"chunk{chunk_size}")
        return read(library.path)["workspace"]["bytes"]

    assert workspace(2) < 0.7 * workspace(None)
