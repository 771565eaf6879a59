"""Functions with a derivative of their own, against torch.func, JAX's contract and formulas."""

from __future__ import annotations

from typing import Any

import pullback
import pytest
import torch

X = torch.linspace(-1.0, 1.5, 4, dtype=torch.float64)
XS = torch.linspace(-1.0, 1.5, 12, dtype=torch.float64).reshape(3, 4)
V = torch.tensor([0.3, -1.0, 2.0, 0.5], dtype=torch.float64)


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


class Exp(torch.autograd.Function):
    """A derivative three times too large, so that a test sees whose rule was used."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return 3 * grad * y

    @staticmethod
    def jvp(ctx, x_dot):
        (y,) = ctx.saved_tensors
        return 3 * x_dot * y


class Scaled(torch.autograd.Function):
    """Two results, a number, a constant among the arguments, an integer result."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, w, power, name="unused"):
        return x**power * w, (x > 0).to(torch.int64), w.sum()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, w, ctx.power, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx, grad, _, grad_sum):
        x, w = ctx.saved_tensors
        assert ctx.needs_input_grad[2:] == (False, False)
        x_bar = 5 * grad * ctx.power * x ** (ctx.power - 1) * w
        return x_bar, (7 * grad * x**ctx.power).sum() + grad_sum + 0 * w, None, None


class Old(torch.autograd.Function):
    """The style of before setup_context, with an intermediate value kept on ctx."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.s, ctx.scale = torch.sin(x), scale
        ctx.save_for_backward(x)
        return ctx.s * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * grad * torch.cos(x) * ctx.scale + 0 * ctx.s, None


exp_bound_before = Exp.apply


def uses_exp(x):
    return exp_bound_before(x * V).sin().sum()


def uses_scaled(x, w=V):
    y, positive, total = Scaled.apply(x, w, 3)
    return (y * positive).sum() + total


@pytest.mark.parametrize("f", [uses_exp, uses_scaled], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "transform",
    [
        lambda t, f: f,
        lambda t, f: t.grad(f),
        lambda t, f: t.vmap(f),
        lambda t, f: t.vmap(t.grad(f)),
        lambda t, f: t.grad(lambda x: t.vmap(f)(x).sum()),
        lambda t, f: t.jacrev(f),
        lambda t, f: t.jacrev(t.jacrev(f)),
        lambda t, f: t.vmap(t.jacrev(t.grad(f))),
        lambda t, f: lambda x: t.vjp(lambda x: t.vjp(f, x)[1](f(x))[0], x)[1](x)[0],
    ],
    ids=["value", "grad", "vmap", "vmap_grad", "grad_vmap", "jacrev", "jacrev2", "vmap_hess", "vv"],
)
def test_function_as_torch_func(f, transform):
    for x in (X, XS):
        try:
            expected = transform(torch.func, f)(x)
        except (RuntimeError, ValueError):
            continue  # the transform is for the other rank
        close(transform(pullback, f)(x), expected)


def test_forward_mode():
    expected = torch.func.jvp(uses_exp, (X,), (V,))
    close(pullback.jvp(uses_exp, (X,), (V,)), expected)
    close(pullback.jacfwd(uses_exp)(X), torch.func.jacfwd(uses_exp)(X))
    close(pullback.hessian(uses_exp)(X), torch.func.hessian(uses_exp)(X))
    close(pullback.jacfwd(pullback.jacfwd(uses_exp))(X), torch.func.hessian(uses_exp)(X))


def test_arguments_shared_by_a_batch():
    def loss(x, w):
        return torch.stack([r.sum() for r in Scaled.apply(x, w, 2)[::2]]).sum()

    for in_dims in ((0, None), (None, 0), (1, None)):
        w = torch.outer(torch.arange(1.0, 4.0, dtype=torch.float64), V) if in_dims[1] == 0 else V
        x = X if in_dims[0] is None else (XS.T if in_dims[0] == 1 else XS)

        def total(x, w, in_dims=in_dims):
            return pullback.vmap(loss, in_dims=in_dims)(x, w).sin().sum()

        def loop(x, w, in_dims=in_dims):  # torch.func.vmap has another derivative here than this
            pairs = [
                (
                    x if in_dims[0] is None else x.select(in_dims[0], i),
                    w if in_dims[1] is None else w[i],
                )
                for i in range(3)
            ]
            return torch.stack([loss(*pair) for pair in pairs]).sin().sum()

        found = pullback.grad(total, argnums=(0, 1))(x, w)
        close(found, torch.func.grad(loop, argnums=(0, 1))(x, w))


def test_old_style():
    def f(x):
        return Old.apply(x, 1.5).sum()

    close(pullback.jit(f)(X), (1.5 * X.sin()).sum())
    close(pullback.grad(f)(X), 3 * X.cos())
    close(pullback.vmap(pullback.grad(f))(XS), 3 * XS.cos())
    close(pullback.jacrev(pullback.grad(f))(X), torch.diag(-3 * X.sin()))


def test_in_torch_graph():
    x = X.clone().requires_grad_()
    pullback.jit(uses_exp)(x).backward()
    assert x.grad is not None
    close(x.grad, torch.func.grad(uses_exp)(X))


def test_straight_through():
    class Round(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.round(x)

        @staticmethod
        def backward(ctx, grad):
            return grad

    close(pullback.grad(lambda x: (Round.apply(x) ** 2).sum())(X), 2 * X.round())


def test_reversal():
    class Reversal(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, grad):
            return -grad

    close(pullback.grad(lambda x: (Reversal.apply(x) ** 2).sum())(X), -2 * X)
    close(pullback.vmap(pullback.grad(lambda x: Reversal.apply(x) ** 2))(X), -2 * X)


def test_torch_errors():
    class NoJvp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad

    class TooMany(NoJvp):
        @staticmethod
        def backward(ctx, grad):
            return grad, grad

    class WrongShape(NoJvp):
        @staticmethod
        def backward(ctx, grad):
            return grad[:2]

    class Once(NoJvp):
        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return grad * 2

    class Dirty(NoJvp):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x

    with pytest.raises(NotImplementedError, match=r"NoJvp .* reverse mode only"):
        pullback.jvp(NoJvp.apply, (X,), (V,))
    with pytest.raises(RuntimeError, match=r"incorrect number of gradients .expected 1, got 2"):
        pullback.grad(lambda x: TooMany.apply(x).sum())(X)
    with pytest.raises(RuntimeError, match="invalid gradient at index 0"):
        pullback.grad(lambda x: WrongShape.apply(x).sum())(X)
    close(pullback.grad(lambda x: Once.apply(x).sum())(X), torch.full_like(X, 2))
    with pytest.raises(RuntimeError, match="no derivative"):
        pullback.jacrev(pullback.grad(lambda x: (Once.apply(x) ** 2).sum()))(X)
    with pytest.raises(pullback.CaptureError, match="mark_dirty"):
        pullback.jit(lambda x: Dirty.apply(x * 1))(X)


FACTOR = torch.tensor(3.0, dtype=torch.float64)
NUMBER = 1.0


class Closing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * FACTOR * NUMBER

    @staticmethod
    def backward(ctx, grad):
        return grad * FACTOR


def test_globals_of_the_rules(monkeypatch):
    f = pullback.grad(lambda x: Closing.apply(x).sum())
    g = pullback.jit(lambda x: Closing.apply(x))
    close(f(X), torch.full_like(X, 3))
    close(g(X), 3 * X)
    monkeypatch.setitem(globals(), "FACTOR", torch.tensor(5.0, dtype=torch.float64))
    monkeypatch.setitem(globals(), "NUMBER", 2.0)
    close(f(X), torch.full_like(X, 5))
    close(g(X), 10 * X)


# --- custom_vjp and custom_jvp ----------------------------------------------------------------


@pullback.custom_vjp
def pair(x, y):
    return {"a": torch.sin(x) * y, "b": (y, torch.arange(2))}


def pair_fwd(x, y):
    return pair(x, y), {"x": x, "cos": torch.cos(x), "y": y}


def pair_bwd(kept, ct):
    y_bar = (ct["a"] * torch.sin(kept["x"])).sum() + ct["b"][0]
    return 2 * ct["a"] * kept["cos"] * kept["y"], y_bar


pair.defvjp(pair_fwd, pair_bwd)


def loss(x, y):
    out = pair(x, y)
    return (out["a"] ** 2).sum() + out["b"][0]


def test_custom_vjp():
    y = torch.tensor(0.7, dtype=torch.float64)
    x = X

    def by_hand(x, y):
        return 4 * torch.sin(x) * y * torch.cos(x) * y

    close(pullback.jit(loss)(x, y), (torch.sin(x) * y).pow(2).sum() + y)
    close(pullback.grad(loss)(x, y), by_hand(x, y))
    grads = pullback.grad(loss, argnums=(0, 1))(x, y)
    close(grads[1], (2 * torch.sin(x) ** 2 * y).sum() + 1)
    close(pullback.vmap(pullback.grad(loss), in_dims=(0, None))(XS, y), by_hand(XS, y))
    # A second derivative differentiates the rules; fwd calls the function, which has the rule.
    twice = 4 * y * torch.cos(x) * (2 * torch.cos(x) * y) - 4 * (torch.sin(x) * y) ** 2
    close(pullback.jacrev(pullback.grad(loss))(x, y), torch.diag(twice))
    total = pullback.grad(
        lambda x, y: pullback.vmap(loss, in_dims=(0, None))(x, y).sum(), argnums=(0, 1)
    )(XS, y)
    close(total[1], (2 * torch.sin(XS) ** 2 * y).sum() + 3)
    with pytest.raises(TypeError, match="pair has a custom derivative for reverse mode only"):
        pullback.jvp(loss, (x, y), (x, y))
    out = pullback.jit(pair)(x=x, y=y)
    assert out["b"][1].tolist() == [0, 1]


def test_custom_vjp_nondiff_and_none():
    @pullback.custom_vjp
    def clip(x, low, high):
        return x.clone()

    clip.nondiff_argnums = (1, 2)
    clip.defvjp(
        lambda x, low, high: (x.clone(), None),
        lambda low, high, _, g: (torch.clamp(g, low, high),),
    )
    close(pullback.grad(lambda x: (clip(x, -1, 1) ** 2).sum())(X), torch.clamp(2 * X, -1, 1))

    @pullback.custom_vjp
    def first(x, tree):
        return x * tree["w"] + tree["n"]

    first.defvjp(lambda x, tree: (first(x, tree), x), lambda x, g: (g, None))
    tree = {"w": V, "n": torch.arange(4)}
    close(pullback.grad(lambda x: first(x, tree).sum())(X), torch.ones_like(X))
    grads = pullback.grad(lambda w: first(X, {"w": w, "n": torch.arange(4)}).sum())(V)
    close(grads, torch.zeros_like(V))


def test_custom_vjp_closure_is_an_error():
    def f(x):
        @pullback.custom_vjp
        def g(y):
            return y * x

        g.defvjp(lambda y: (y * x, None), lambda _, ct: (ct * x,))
        return g(V).sum()

    with pytest.raises(RuntimeError, match="closes over a value that is differentiated"):
        pullback.grad(f)(X)
    close(pullback.jit(f)(X), (V * X).sum())


@pullback.custom_jvp
def softplus(x):
    return torch.log1p(torch.exp(x))


@softplus.defjvp
def softplus_jvp(primals, tangents):
    (x,) = primals
    return softplus(x), 3 * torch.sigmoid(x) * tangents[0]


def test_custom_jvp():
    s = torch.sigmoid(X)
    close(pullback.jit(softplus)(X), torch.log1p(torch.exp(X)))
    close(pullback.jvp(softplus, (X,), (V,))[1], 3 * s * V)
    close(pullback.grad(lambda x: softplus(x).sum())(X), 3 * s)
    close(pullback.vmap(pullback.grad(softplus))(X), 3 * s)
    close(pullback.grad(lambda x: pullback.vmap(softplus)(x).sum())(X), 3 * s)
    close(pullback.hessian(lambda x: softplus(x).sum())(X), torch.diag(3 * s * (1 - s)))
    x = X.clone().requires_grad_()
    softplus(x).sum().backward()
    close(x.grad, 3 * s)


def test_custom_jvp_per_argument_and_in_a_loop():
    @pullback.custom_jvp
    def times(x, y):
        return x * y

    times.defjvps(lambda t, out, x, y: 2 * t * y, None)

    def f(x, y):
        for _ in range(3):
            x = times(x, y)
        return x.sum()

    close(pullback.grad(f, argnums=(0, 1))(X, V), (8 * V**3, torch.zeros_like(V)))
    close(pullback.jacfwd(f)(X, V), 8 * V**3)


def test_custom_errors():
    @pullback.custom_vjp
    def f(x):
        return x * 2

    with pytest.raises(AttributeError, match="No VJP defined for custom_vjp function f"):
        pullback.grad(lambda x: f(x).sum())(X)
    f.defvjp(lambda x: x * 2, lambda _, g: (g,))
    with pytest.raises(TypeError, match="must produce a pair"):
        pullback.grad(lambda x: f(x).sum())(X)
    f.defvjp(lambda x: (x * 2, None), lambda _, g: g)
    with pytest.raises(TypeError, match=r"same container .pytree. structure"):
        pullback.grad(lambda x: f(x).sum())(X)
    f.defvjp(lambda x: (x * 2, None), lambda _, g: (g[:1],))
    with pytest.raises(ValueError, match="same shapes"):
        pullback.grad(lambda x: f(x).sum())(X)
    f.defvjp(lambda x: ((x * 2,), None), lambda _, g: (g,))
    with pytest.raises(TypeError, match="container structure"):
        pullback.grad(lambda x: f(x).sum())(X)

    @pullback.custom_jvp
    def g(x):
        return x * 2

    with pytest.raises(AttributeError, match="No JVP defined for custom_jvp function g"):
        pullback.jit(g)(X)
    g.defjvp(lambda primals, tangents: primals[0])
    with pytest.raises(TypeError, match="pair"):
        pullback.jit(g)(X)
