"""torch.autograd carries compiled derivatives."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
from torch.testing import assert_close

F64 = torch.float64
pytestmark = pytest.mark.usefixtures("interpreted")


def network():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)]
    return torch.nn.Sequential(*layers).double()


def test_training_equals_eager():
    x, y = torch.randn(5, 3, dtype=F64), torch.tensor([0, 1, 1, 0, 1])
    losses = []
    for wrap in (pb.jit, lambda f: f):
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

        def loss_of(x, y, model=model):
            return torch.nn.functional.cross_entropy(model(x), y)

        compiled = wrap(loss_of)
        for _ in range(5):
            optimizer.zero_grad()
            loss = compiled(x, y)
            loss.backward()
            optimizer.step()
        losses.append([loss.detach(), *(p.detach() for p in model.parameters())])
    for ours, theirs in zip(*losses, strict=True):
        assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_double_backward():
    model = network()
    x = torch.randn(5, 3, dtype=F64, requires_grad=True)

    def penalty(f):
        (slope,) = torch.autograd.grad(f(x).pow(2).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.pow(2).sum(), [x, *model.parameters()])

    for ours, theirs in zip(penalty(pb.jit(model)), penalty(model), strict=True):
        assert_close(ours, theirs)


def test_gradcheck():
    def f(x, y):
        return (x * y).sin(), (x / (1 + y * y)).sum()

    x, y = (torch.randn(3, dtype=F64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(pb.jit(f), (x, y))
    assert torch.autograd.gradgradcheck(pb.jit(f), (x, y))


def test_what_requires_grad():
    f = pb.jit(lambda x, y: (x * y, x > 0, y * 2))
    x, y = torch.ones(3, requires_grad=True), torch.ones(3)
    product, mask, _ = f(x, y)
    assert product.grad_fn is not None
    assert not mask.requires_grad
    assert not f(y, y)[0].requires_grad
    with torch.no_grad():
        assert not f(x, y)[0].requires_grad


def test_captured_weights_keep_the_result_in_the_graph():
    model = network()
    x = torch.randn(3, dtype=F64)
    gradient = pb.grad(lambda x: model(x).sum())(x)
    assert gradient.requires_grad
    gradient.sum().backward()
    ours = [p.grad for p in model.parameters()]
    model.zero_grad()
    torch.func.grad(lambda x: model(x).sum())(x).sum().backward()
    for left, right in zip(ours, [p.grad for p in model.parameters()], strict=True):
        assert (
            (left is None or left.abs().sum() == 0)
            if right is None
            else (assert_close(left, right) is None)
        )


def test_only_what_needs_a_gradient_is_computed():
    f = pb.jit(lambda x, n: x * n)
    x = torch.ones(3, requires_grad=True)
    f(x, torch.arange(3)).sum().backward()
    assert_close(x.grad, torch.arange(3.0))


def test_vjp_and_linearize_run_the_forward_half_once():
    x = torch.randn(3, dtype=F64)
    out, vjp_fn = pb.vjp(torch.tanh, x)
    assert_close(out, x.tanh())
    for factor in (1.0, 2.0):
        assert_close(vjp_fn(factor * x)[0], factor * x * (1 - x.tanh() ** 2))
    x.zero_()  # the residuals are those of the forward run
    assert not torch.equal(vjp_fn(torch.ones(3, dtype=F64))[0], torch.ones(3, dtype=F64))
    out, jvp_fn = pb.linearize(torch.tanh, x)
    assert_close(jvp_fn(torch.ones_like(x)), torch.ones_like(x))


def test_vjp_of_numpy_gives_numpy():
    x = torch.randn(3, dtype=F64).numpy()
    out, vjp_fn = pb.vjp(torch.sin, x)
    assert type(out).__module__ == type(vjp_fn(x)[0]).__module__ == "numpy"
    model = network()
    assert type(pb.vjp(model, x)[0]).__module__ == "numpy"


def test_vjp_stays_in_the_graph():
    x = torch.randn(3, dtype=F64, requires_grad=True)
    out, vjp_fn = pb.vjp(torch.sin, x)
    (ct,) = vjp_fn(torch.ones(3, dtype=F64))
    assert out.requires_grad
    assert ct.requires_grad
    assert_close(torch.autograd.grad(ct.sum(), x)[0], -x.detach().sin())
