"""Control flow as called: pytrees, closures, plain Python, torch's own operators, wrong uses."""

from __future__ import annotations

import numpy as np
import pullback
import pytest
import torch
from pullback import CaptureError
from torch._higher_order_ops.scan import scan as torch_scan
from torch._higher_order_ops.while_loop import while_loop as torch_while
from torch.utils.checkpoint import checkpoint as torch_checkpoint

WEIGHT = torch.tensor([[0.5, -1.0], [2.0, 0.25]], dtype=torch.float64)
X = torch.tensor([0.3, -0.7], dtype=torch.float64)
XS = torch.linspace(-1, 1, 10, dtype=torch.float64).reshape(5, 2)


def test_scan_in_plain_python() -> None:
    def step(carry, x):
        carry = {"h": torch.tanh(WEIGHT @ carry["h"] + x), "n": carry["n"] + 1}
        return carry, (carry["h"].sum(), None)

    carry, (sums, nothing) = pullback.scan(step, {"h": X, "n": 0}, XS)
    h, expected = X, []
    for x in XS:
        h = torch.tanh(WEIGHT @ h + x)
        expected.append(h.sum())
    assert nothing is None and carry["n"].item() == 5
    torch.testing.assert_close(carry["h"], h)
    torch.testing.assert_close(sums, torch.stack(expected))


def test_closures_are_looked_up_again() -> None:
    scale = torch.tensor(2.0)
    f = pullback.jit(lambda x: pullback.scan(lambda c, _: (c * scale, None), x, length=3)[0])
    assert f(torch.tensor(1.0)).item() == 8
    scale.fill_(3)
    assert f(torch.tensor(1.0)).item() == 27


def test_tensors_without_elements() -> None:
    nothing = torch.zeros(0)
    carry, (ys, sums) = pullback.scan(
        lambda c, x: ((c[0] * 2, c[1] + 1), (x * 2, c[1])), (nothing, X), torch.zeros(3, 0)
    )
    assert carry[0].shape == (0,) and ys.shape == (3, 0)
    torch.testing.assert_close(carry[1], X + 3)
    torch.testing.assert_close(sums, torch.stack([X, X + 1, X + 2]))
    found = pullback.cond(torch.tensor(True), lambda x, y: (x, y), lambda x, y: (x, -y), nothing, X)
    assert found[0].shape == (0,)
    found = pullback.while_loop(lambda c: c[1].sum() < 5, lambda c: (c[0], c[1] + 1), (nothing, X))
    torch.testing.assert_close(found[1], X + 3)


def test_cond_in_plain_python() -> None:
    for value in (True, False):
        found = pullback.cond(torch.tensor(value), torch.sin, torch.cos, X)
        torch.testing.assert_close(found, torch.sin(X) if value else torch.cos(X))
        assert pullback.cond(value, lambda: 1, lambda: 2) == (1 if value else 2)


def test_fori_loop() -> None:
    found = pullback.fori_loop(2, 6, lambda i, c: c * i, X)
    torch.testing.assert_close(found, X * (2 * 3 * 4 * 5))
    torch.testing.assert_close(pullback.fori_loop(3, 3, lambda i, c: c * i, X), X)


def newton(x, max_steps=None):
    """The square root, by as many steps as it takes."""

    def step(y):
        return (y + x / y) / 2

    return pullback.while_loop(lambda y: (y * y - x).abs() > 1e-12 * x, step, x, max_steps)


def test_while_loop() -> None:
    x = torch.tensor(7.0, dtype=torch.float64)
    torch.testing.assert_close(newton(x), x.sqrt())
    torch.testing.assert_close(pullback.jvp(newton, (x,), (x,))[1], x.sqrt() / 2)
    xs = torch.tensor([2.0, 7.0, 1e6], dtype=torch.float64)
    torch.testing.assert_close(pullback.vmap(newton)(xs), xs.sqrt())
    bounded = lambda x: newton(x, max_steps=40)  # noqa: E731
    found = pullback.vmap(pullback.grad(bounded))(xs)
    torch.testing.assert_close(found, 0.5 / xs.sqrt())


def test_while_loop_without_a_bound_has_no_gradient() -> None:
    with pytest.raises(pullback.NotDifferentiableError) as caught:
        pullback.grad(newton)(torch.tensor(7.0))
    assert "test_control.py:" in line_of(caught.value)
    assert "max_steps" in str(caught.value)


def test_exceeding_max_steps() -> None:
    x = torch.tensor([7.0, 1e6], dtype=torch.float64)
    few = lambda x: newton(x, max_steps=6)  # noqa: E731
    torch.testing.assert_close(pullback.jit(few)(x[0]), x[0].sqrt())
    for call in (
        lambda: pullback.jit(few)(x[1]),
        lambda: pullback.grad(few)(x[1]),
        lambda: pullback.vmap(few)(x),
        lambda: pullback.vmap(pullback.grad(few))(x),
    ):
        with pytest.raises(RuntimeError, match=r"more than 6 steps .test_control\.py:"):
            call()


def test_while_in_a_branch_not_taken_does_not_run() -> None:
    def f(x):
        return pullback.cond(x > 0, newton, lambda x: x, x)

    xs = torch.tensor([4.0, -1.0], dtype=torch.float64)
    expected = torch.tensor([2.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(pullback.vmap(f)(xs), expected)


def test_fori_loop_with_tensors_for_bounds() -> None:
    def f(n):
        return pullback.fori_loop(1, n, lambda i, c: c * i, 1)

    assert pullback.jit(f)(torch.tensor(6)).item() == 120
    assert pullback.vmap(f)(torch.tensor([1, 3, 6])).tolist() == [1, 2, 120]


def test_carries_of_other_dtypes() -> None:
    def f(x):
        def step(carry, _):
            n, flag, x = carry
            x = torch.where(flag, x * n, x.sin())
            return (n + 1, ~flag, x), (n, flag)

        return pullback.scan(step, (1, True, x), length=4)

    (n, flag, x), (ns, flags) = pullback.jit(f)(X)
    expected = ((X * 1).sin() * 3).sin()
    torch.testing.assert_close(x, expected)
    assert n.item() == 5 and flag.item() is True
    assert ns.tolist() == [1, 2, 3, 4] and flags.tolist() == [True, False, True, False]


def test_grad_inside_a_body() -> None:
    def descend(x):
        def step(x, _):
            return x - 0.1 * pullback.grad(lambda x: (x**4).sum())(x), None

        return pullback.scan(step, x, length=3)[0]

    def expected(x):
        for _ in range(3):
            x = x - 0.1 * 4 * x**3
        return x

    torch.testing.assert_close(pullback.jit(descend)(X), expected(X))
    torch.testing.assert_close(pullback.jacrev(descend)(X), torch.func.jacrev(expected)(X))


def test_torch_operators() -> None:
    def f(x, xs):
        carry, ys = torch_scan(lambda c, x: ((c * x).sin(), {"y": c + x}), x, xs, reverse=True)
        chosen = torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))
        loop = torch_while(lambda n, x: n < 3, lambda n, x: (n + 1, x * 2), (torch.tensor(0), x))
        return carry, ys["y"], chosen, loop

    carry, ys, chosen, (n, x) = pullback.jit(f)(X, XS)
    assert n.item() == 3
    torch.testing.assert_close(x, X * 8)
    c, expected = X, []
    for x in reversed(XS):
        expected.append(c + x)
        c = (c * x).sin()
    torch.testing.assert_close(carry, c)
    torch.testing.assert_close(ys, torch.stack(expected[::-1]))
    torch.testing.assert_close(chosen, X.cos())


def test_errors_in_a_loop_are_recorded() -> None:
    table = torch.arange(3.0)

    def f(i):
        return pullback.scan(lambda n, _: (n + 1, table[n]), i, length=2)[1]

    assert pullback.jit(f)(torch.tensor(1)).tolist() == [1, 2]
    with pytest.raises(IndexError, match="out of bounds"):
        pullback.jit(f)(torch.tensor(2))


def test_errors_of_the_branch_not_taken_do_not_count() -> None:
    table = torch.arange(3.0)

    def f(i):
        return pullback.cond(i < 3, lambda i: table[i], lambda i: i.float(), i)

    assert pullback.vmap(f)(torch.tensor([1, 7])).tolist() == [1, 7]
    assert pullback.vmap(f)(torch.tensor([1, 2])).tolist() == [1, 2]
    with pytest.raises(IndexError):
        pullback.vmap(f)(torch.tensor([1, -7]))


def test_nan_of_the_branch_not_taken_does_not_spread() -> None:
    def f(x):
        return pullback.cond(x > 0, lambda x: x.sqrt() * x.log(), lambda x: 2 * x, x)

    xs = torch.tensor([4.0, 0.0, -1.0])
    found = pullback.vmap(pullback.grad(f))(xs)
    expected = [torch.func.grad(lambda x: x.sqrt() * x.log())(xs[0]), 2, 2]
    torch.testing.assert_close(found, torch.tensor(expected))


def line_of(error: CaptureError) -> str:
    return str(error).splitlines()[0]


@pytest.mark.parametrize(
    "call,text",
    [
        (lambda: pullback.scan(lambda c, x: (c.float(), x), X, XS), "different types: "),
        (lambda: pullback.scan(lambda c, x: (c[0], x), X, XS), "different types: "),
        (lambda: pullback.scan(lambda c, x: ((c, c), x), X, XS), "different structures"),
        (lambda: pullback.scan(lambda c, x: c, X, XS[:, :1]), "a pair: carry, y"),
        (lambda: pullback.scan(lambda c, x: (c, x), X, (XS, XS[1:])), "lengths: [4, 5]"),
        (lambda: pullback.scan(lambda c, x: (c, x), X, XS, length=3), "lengths: [3, 5]"),
        (lambda: pullback.scan(lambda c, x: (c, x), X), "needs xs, or a length"),
        (lambda: pullback.cond(X > 0, torch.sin, torch.cos, X), "one truth value, not bool[2]"),
        (lambda: pullback.cond(X.sum() > 0, torch.sum, torch.cos, X), "branches of cond return"),
        (lambda: pullback.while_loop(lambda c: c > 0, lambda c: c, X), "truth value, not bool[2]"),
        (lambda: pullback.while_loop(lambda c: c.sum(), lambda c: c, X), "value, not f64[]"),
        (lambda: pullback.while_loop(lambda c: c.any(), lambda c: c + 1.5, 1), "different types"),
        (lambda: pullback.while_loop(torch.any, lambda c: c, X, max_steps=-1), "max_steps"),
    ],
)
def test_wrong_uses(call, text: str) -> None:
    with pytest.raises(CaptureError) as caught:
        call()
    assert text in str(caught.value)
    assert "test_control.py:" in line_of(caught.value), line_of(caught.value)


def test_kalman_filter() -> None:
    a = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
    q, r = 0.01 * torch.eye(2, dtype=torch.float64), 0.5
    data = torch.sin(torch.linspace(0, 3, 20, dtype=torch.float64))

    def step(carry, z):
        mean, cov, a = carry
        mean, cov = a @ mean, a @ cov @ a.T + q
        gain = cov[:, 0] / (cov[0, 0] + r)
        residual = z - mean[0]
        mean, cov = mean + gain * residual, cov - torch.outer(gain, cov[0])
        return (mean, cov, a), residual**2 / (cov[0, 0] + r)

    def ours(a):
        start = (torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), a)
        return pullback.scan(step, start, data)[1].sum()

    def expected(a):
        carry = (torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), a)
        total = 0
        for z in data:
            carry, y = step(carry, z)
            total = total + y
        return total

    torch.testing.assert_close(pullback.grad(ours)(a), torch.func.grad(expected)(a))


def runge_kutta(steps: int):
    def loss(y, theta):
        def f(y):
            return torch.tanh(theta @ y)

        def step(y, _):
            h = 1 / steps
            k1 = f(y)
            k2 = f(y + h / 2 * k1)
            k3 = f(y + h / 2 * k2)
            k4 = f(y + h * k3)
            return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return pullback.scan(step, y, length=steps)[0].square().sum()

    return loss


def test_code_does_not_depend_on_steps(tmp_path) -> None:
    """A neural ODE: the gradient of 1000 steps of RK4 is the code of 10."""
    sizes = []
    for steps in (10, 1000):
        f = pullback.grad(runge_kutta(steps), argnums=(0, 1))
        library = pullback.compile(f, X, WEIGHT, out=tmp_path / str(steps), name="ode")
        sizes.append((tmp_path / str(steps) / "ode.so").stat().st_size)
        found = library(X, WEIGHT)
    assert sizes[1] < 1.2 * sizes[0]
    y, theta = X.clone().requires_grad_(), WEIGHT.clone().requires_grad_()

    def unrolled(y):
        for _ in range(1000):
            h = 1e-3
            k1 = torch.tanh(theta @ y)
            k2 = torch.tanh(theta @ (y + h / 2 * k1))
            k3 = torch.tanh(theta @ (y + h / 2 * k2))
            k4 = torch.tanh(theta @ (y + h * k3))
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y.square().sum()

    expected = torch.autograd.grad(unrolled(y), (y, theta))
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-9)


def chain(x):
    for _ in range(3):
        x = torch.exp(torch.sin(x @ x))
    return x


@pytest.mark.parametrize("around", [pullback.checkpoint, "torch"])
def test_checkpoint(around, tmp_path) -> None:
    """Values of each derivative, and residuals that are the arguments only."""
    x = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(3, 3)
    if around == "torch":

        def remade(x):
            return torch_checkpoint(chain, x, use_reentrant=True)
    else:
        remade = around(chain)
    for make in (
        lambda api, f: api.grad(lambda x: f(x).sum()),
        lambda api, f: api.grad(lambda x: api.grad(lambda x: f(x).sum())(x).sum()),
        lambda api, f: lambda x: api.vmap(api.grad(lambda x: f(x).sum()))(torch.stack([x, 2 * x])),
        lambda api, f: lambda x: api.jvp(f, (x,), (x,))[1],
    ):
        torch.testing.assert_close(make(pullback, remade)(x), make(torch.func, chain)(x))


def test_checkpoint_in_plain_python_and_with_keywords() -> None:
    def f(x, *, scale):
        return {"y": torch.sin(x) * scale}, scale

    out, scale = pullback.checkpoint(f)(X, scale=2.0)
    assert scale == 2.0
    torch.testing.assert_close(out["y"], torch.sin(X) * 2)


def test_checkpoint_saves_memory_in_a_scan(tmp_path) -> None:
    def loss(around):
        def step(h, _):
            for _ in range(10):
                h = torch.sin(torch.exp(-h * h))
            return h, None

        return lambda h: pullback.scan(around(step), h, length=50)[0].sum()

    h = torch.linspace(0, 1, 100, dtype=torch.float64)
    sizes, found = [], []
    for name, around in (("kept", lambda f: f), ("remade", pullback.checkpoint)):
        f = pullback.compile(pullback.grad(loss(around)), h, out=tmp_path / name, name="f")
        sizes.append(f.manifest["workspace"]["bytes"])
        found.append(f(h))
    torch.testing.assert_close(*found)
    assert sizes[1] < sizes[0] / 5, sizes
