"""torch.func and torch.autograd.functional called inside compiled functions become ours."""

from __future__ import annotations

import threading

import pullback as pb
import pytest
import torch
import torch.func as tf
from torch._functorch import eager_transforms
from torch.autograd import functional as af
from torch.func import functionalize, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from torch.utils._pytree import tree_flatten

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    pytest.mark.filterwarnings("ignore:Attempted to insert"),  # torch's linearize
]
F64 = torch.float64
X = torch.arange(12.0, dtype=F64).reshape(4, 3) / 4
x, y = torch.tensor([0.5, -1.0, 2.0], dtype=F64), torch.tensor([1.0, 0.3, -2.0], dtype=F64)


def cubic(x):
    return (x**3).sum() * x.sum()


def twisted(x, y):
    return x * y.sin(), (x * x).sum()


def product(x, y):
    return (x * y).prod()


made_before = jacrev(lambda x: x.sin() * x.sum())

FUNCTIONS = {
    "by name": lambda x: grad(cubic)(x),
    "by module": lambda x: tf.grad(cubic)(x),
    "torch.vmap": lambda x: torch.vmap(torch.sin)(x),
    "made before": lambda x: made_before(x),
    "grad_and_value": lambda x: tf.grad_and_value(cubic)(x),
    "grad with aux": lambda x: grad(lambda x: (x.sum(), x), has_aux=True)(x),
    "vmap of grad": lambda x: vmap(grad(cubic))(X * x),
    "vmap chunks": lambda x: vmap(torch.sin, chunk_size=2, out_dims=1)(X * x),
    "vmap dims": lambda x: vmap(lambda a, b: a * b, in_dims=(1, None), out_dims=1)(X, x[0]),
    "jacrev argnums": lambda x: jacrev(twisted, argnums=(1, 0))(x, y),
    "jacrev chunks": lambda x: jacrev(torch.sin, chunk_size=2)(x),
    "jacrev aux": lambda x: jacrev(lambda x: (x * x, x), has_aux=True)(x),
    "jacfwd argnums": lambda x: jacfwd(twisted, argnums=(1, 0))(x, y),
    "jacfwd aux": lambda x: jacfwd(lambda x: (x * x, x), has_aux=True)(x),
    "hessian": lambda x: hessian(cubic)(x),
    "hessian argnums": lambda x: hessian(product, argnums=(0, 1))(x, y),
    "vmap of hessian": lambda x: vmap(hessian(cubic))(X * x),
    "vjp": lambda x: vjp(twisted, x, y)[1]((y, x[0])),
    "jvp": lambda x: jvp(twisted, (x, y), (y, x)),
    "jvp of grad": lambda x: jvp(grad(cubic), (x,), (y,)),
    "linearize": lambda x: linearize(twisted, x, y)[1](y, x),
    "functionalize": lambda x: functionalize(lambda x: x.clone().mul_(2))(x),
    "rearrange": lambda x: tf.rearrange(X * x, "a b -> b a"),
    "jacobian": lambda x: af.jacobian(twisted, (x, y)),
    "jacobian of one": lambda x: af.jacobian(torch.sin, x),
    "jacobian to a tuple": lambda x: af.jacobian(lambda x: (x.sin(),), x),
    "functional.hessian": lambda x: af.hessian(cubic, x),
    "functional.hessian of two": lambda x: af.hessian(product, (x, y)),
    "functional.vjp": lambda x: af.vjp(twisted, (x, y), (y, x[0])),
    "functional.vjp of a scalar": lambda x: af.vjp(cubic, x),
    "functional.jvp": lambda x: af.jvp(twisted, (x, y), (y, x)),
    "vhp": lambda x: af.vhp(cubic, x, y),
    "hvp": lambda x: af.hvp(cubic, x, y),
}


def same(ours, theirs):
    left, left_spec = tree_flatten(ours)
    right, right_spec = tree_flatten(theirs)
    assert left_spec == right_spec
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inside_jit(name):
    same(pb.jit(FUNCTIONS[name])(x), FUNCTIONS[name](x))


@pytest.mark.parametrize("name", ["by name", "made before", "hessian", "vmap chunks"])
def test_inside_our_transform(name):
    same(pb.jacrev(FUNCTIONS[name])(x), tf.jacrev(FUNCTIONS[name])(x))


def test_linear_function_inside():
    """torch.func does not see through its own linearize, so it is compared with its jvp."""
    expected = tf.jacrev(lambda x: jvp(twisted, (x, y), (y, x))[1])(x)
    same(pb.jacrev(FUNCTIONS["linearize"])(x), expected)


def test_a_single_output_needs_no_dense_basis():
    from pullback.frontend.trace import trace

    graph = str(trace(FUNCTIONS["hessian"], (x,), {}).graph)
    assert "basis" in graph and "diagonal" not in graph


@pytest.mark.parametrize(
    "call",
    [
        lambda x: grad(lambda x: x)(x),
        lambda x: vmap(torch.sin, in_dims=2)(x),
        lambda x: jacfwd(cubic, argnums=3)(x),
        lambda x: af.hessian(torch.sin, x),
        lambda x: af.vjp(torch.sin, x),
        lambda x: af.jvp(torch.sin, x, X),
        lambda x: af.jacobian(torch.sin, 1.0),
    ],
)
def test_wrong_calls_inside(call):
    with pytest.raises(Exception) as expected:
        call(x)
    with pytest.raises(type(expected.value)):
        pb.jit(call)(x)


def test_ensemble_inside():
    models = [torch.nn.Linear(3, 2, dtype=F64) for _ in range(3)]

    def ensemble(x):
        params, buffers = tf.stack_module_state(models)
        call = tf.functional_call
        return vmap(lambda p, b, x: call(models[0], (p, b), x), (0, 0, None))(params, buffers, x)

    same(pb.jit(ensemble)(x).detach(), ensemble(x).detach())


def test_strict_is_refused():
    with pytest.raises(pb.CaptureError, match="strict=True"):
        pb.jit(lambda x: af.jacobian(torch.sin, x, strict=True))(x)


def test_no_graph_is_a_constant():
    through = pb.grad(lambda x: af.jacobian(torch.sin, x, create_graph=True).sum())(x)
    same(through, -x.sin())
    same(pb.grad(lambda x: af.jacobian(torch.sin, x).sum())(x), torch.zeros_like(x))


def test_torch_is_left_alone():
    before = eager_transforms.grad_and_value_impl
    seen, found = [], []

    def traced(x):
        seen.append(eager_transforms.grad_and_value_impl)
        thread = threading.Thread(target=lambda: found.append(tf.hessian(cubic)(X[1])))
        thread.start()
        thread.join()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pb.jit(traced)(x)
    assert seen != [before] and eager_transforms.grad_and_value_impl is before
    same(found[0], tf.hessian(cubic)(X[1]))
