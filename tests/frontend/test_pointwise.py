"""Pointwise functions, losses and partial sums against torch: to second order, and under vmap."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
import torch.func as tf
import torch.nn.functional as F
from torch.testing import assert_close

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # of torch.func
]

D = torch.float64
X = torch.tensor([[0.3, -1.2, 2.5, -0.4], [0.0, 1.0, -1.0, 0.9], [3.0, -7.5, 0.1, 1.7]], dtype=D)
U = torch.sigmoid(X)
Y = X.flip(0) * 0.7 + 0.1
EDGES = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e3, -1e3, float("inf"), -float("inf"), float("nan")])
EDGES = EDGES.to(D)
LABELS = torch.tensor([1, 0, 3])
SIGNS = torch.tensor([[1.0, -1, 1, 1], [-1, 1, 1, -1], [1, 1, -1, -1]], dtype=D)

ANY = "atan asinh erf erfc sinh cosh expm1 sinc exp2 deg2rad nan_to_num"
ABOVE = "acosh lgamma digamma log2 log10"
CURVES = "softplus celu elu selu mish silu hardswish logsigmoid softsign glu"
#: Smooth where tried, with derivatives in torch.
SMOOTH = {
    **{
        name: (getattr(torch, name), X)
        for name in ANY.split()
    },
    **{name: (getattr(torch, name), U) for name in ["asin", "acos", "atanh", "logit", "erfinv"]},
    **{name: (getattr(torch, name), U + 1) for name in ABOVE.split()},
    **{
        name: (getattr(torch.special, name), X)
        for name in ["erfcx", "ndtr", "log_ndtr"]
    },
    "entr": (torch.special.entr, U),
    "ndtri": (torch.special.ndtri, U),
    "trigamma": (lambda x: torch.polygamma(1, x), U),
    "polygamma": (lambda x: torch.polygamma(2, x), U + 0.5),
    "zeta": (lambda x: torch.special.zeta(2.5, x), U + 1),
    "atan2": (lambda x: torch.atan2(x, Y), X),
    "hypot": (lambda x: torch.hypot(x, Y), X),
    "logaddexp2": (lambda x: torch.logaddexp2(x, Y), X),
    "xlog1py": (lambda x: torch.special.xlog1py(Y, x), U),
    "copysign": (lambda x: torch.copysign(x, Y), X),
    "frexp": (lambda x: torch.frexp(x)[0], X),
    "ldexp": (lambda x: torch.ldexp(x, LABELS[:, None]), X),
    "fmod": (lambda x: torch.fmod(x, Y), X),
    "remainder": (lambda x: torch.remainder(Y, x + 0.05), X),
    "gelu": (F.gelu, X),
    "gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), X),
    **{
        name: (getattr(F, name), X)
        for name in CURVES.split()
    },
    "cumprod": (lambda x: x.cumprod(1), X),
    "cumsum": (lambda x: x.cumsum(0), X),
    "logcumsumexp": (lambda x: x.logcumsumexp(1), X),
    "cummax": (lambda x: x.cummax(1)[0], X),
    "cummin": (lambda x: x.cummin(0)[0], X),
    "trapezoid": (lambda x: torch.cumulative_trapezoid(x, dx=0.5), X),
    "norm 3": (lambda x: torch.linalg.vector_norm(x, 3, dim=1), X),
    "norm 0.5": (lambda x: torch.linalg.vector_norm(x, 0.5, dim=0), Y),
    "norm -inf": (lambda x: torch.linalg.vector_norm(x, -float("inf"), dim=1), X),
    "dist": (lambda x: torch.dist(x, Y, 3), X),
    "cdist 1": (lambda x: torch.cdist(x, Y, p=1), X),
    "pdist": (lambda x: F.pdist(x, 3), X),
    "multi margin": (lambda x: F.multi_margin_loss(x, LABELS, p=2, weight=U[0]), X),
    "multilabel margin": (
        lambda x: F.multilabel_margin_loss(x, torch.tensor([[3, 0, -1, 1]] * 3)), X,
    ),
    "soft margin": (lambda x: F.soft_margin_loss(x, SIGNS), X),
    "hinge embedding": (lambda x: F.hinge_embedding_loss(x, SIGNS, margin=0.35), X),
    "poisson": (lambda x: F.poisson_nll_loss(x, U, full=True), X),
    "kl_div": (lambda x: F.kl_div(x, U, reduction="batchmean"), X),
    "triplet": (lambda x: F.triplet_margin_loss(x, Y, U), X),
    "cosine embedding": (lambda x: F.cosine_embedding_loss(x, Y, SIGNS[:, 0]), X),
    "multilabel soft margin": (lambda x: F.multilabel_soft_margin_loss(x, U.round()), X),
}  # fmt: skip


#: torch has no second derivative of these, or no batching rule.
ONCE = {"multi margin", "multilabel margin", "pdist", "zeta", "cdist 1", "soft margin"}
#: torch's derivative is a series cut short, or has a constant of f32.
ROUGH = {"digamma", "trigamma", "polygamma"}


def scalar(function):
    return lambda x: function(x).sin().sum()


@pytest.mark.parametrize("name", SMOOTH)
def test_two_orders_and_a_batch(name):
    function, x = SMOOTH[name]
    loss = scalar(function)
    v = Y.cos()

    def all_of(t):
        def both(x):
            slope = t.grad(loss)
            return function(x), slope(x), t.jvp(slope, (x,), (v,))[1]

        batch = t.vmap(function)(torch.stack([x, x.flip(1)]))
        return (*both(x), batch)

    if name in ONCE:
        ours = pb.jit(lambda x: (function(x), pb.grad(loss)(x)))(x)
        theirs = (function(x), tf.grad(loss)(x))
    else:
        ours, theirs = pb.jit(lambda x: all_of(pb))(x), all_of(tf)
    for left, right in zip(ours, theirs, strict=True):
        limit = 1e-6 if name in ROUGH else 1e-9
        assert_close(left, right, rtol=limit, atol=limit, equal_nan=True)


SPECIAL = """expm1 log1p log2 log10 sinh cosh asinh acosh atanh asin acos atan erf erfc erfinv
lgamma digamma nan_to_num sinc signbit sgn floor ceil round trunc isposinf isneginf angle"""
ACTIVATIONS = """gelu softplus celu elu selu silu hardtanh hardswish hardsigmoid hardshrink 
softshrink tanhshrink logsigmoid relu6 softsign"""


@pytest.mark.parametrize(
    "function",
    [getattr(torch, name) for name in SPECIAL.split()]
    + [getattr(F, name) for name in ACTIVATIONS.split()],
    ids=(SPECIAL + " " + ACTIVATIONS).split(),
)
def test_special_points(function):
    assert_close(pb.jit(function)(EDGES), function(EDGES), equal_nan=True, rtol=1e-12, atol=1e-12)
    if not function(EDGES).is_floating_point():
        return
    finite = EDGES[[2, 4]] if function is torch.digamma else EDGES[:6]  # torch's poles are large
    ours = pb.jit(pb.grad(lambda x: function(x).sum()))(finite)
    theirs = tf.grad(lambda x: function(x).sum())(finite)
    assert_close(ours, theirs, equal_nan=True, rtol=1e-7, atol=1e-7)


INTEGERS = torch.tensor([[5, -7, 0], [2**40, -(2**62), 63]])
SHIFTS = torch.tensor([[1, 3, 70], [62, -1, 2]])


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: (a & b, a | b, a ^ b, ~a, a & 6),
        lambda a, b: (a << b, a >> b, a << 2, 1 << b),
        lambda a, b: (a ** b.abs(), torch.pow(a, 3), torch.pow(3, b.abs())),
        lambda a, b: (torch.fmax(a, b), torch.heaviside(a.double(), b.double())),
        lambda a, b: (torch.copysign(a, b), a.double().nextafter(b.double()), a.signbit()),
        lambda a, b: (*torch.frexp(a.double()), *torch.aminmax(b, dim=1), a.count_nonzero(0)),
        lambda a, b: (*a.cummax(1), *b.cummin(0), a.cumsum(1), b.cumprod(1)),
    ],
)
def test_bits_and_integers(function):
    ours, theirs = pb.jit(function)(INTEGERS, SHIFTS), function(INTEGERS, SHIFTS)
    for left, right in zip(ours, theirs, strict=True):
        assert_close(left, right, rtol=0, atol=0)


def test_neighbours_of_floats():
    x, y = torch.meshgrid(torch.cat([EDGES, EDGES * 5e-324]), EDGES, indexing="ij")
    exactly = {"equal_nan": True, "rtol": 0, "atol": 0}
    assert_close(pb.jit(torch.nextafter)(x, y), torch.nextafter(x, y), **exactly)
    assert_close(pb.jit(torch.floor_divide)(x, y), torch.floor_divide(x, y), equal_nan=True)
    assert_close(pb.jit(torch.remainder)(x, y), torch.remainder(x, y), equal_nan=True)
    mantissa, exponent = pb.jit(torch.frexp)(x)
    expected = torch.frexp(x)
    finite = x.isfinite()
    assert_close(mantissa, expected[0], **exactly)
    assert_close(exponent[finite], expected[1][finite])


def test_margin_losses_of_one_number():
    x, target = X[0, 0], torch.tensor(0)
    for function in (F.multi_margin_loss, F.multilabel_margin_loss):
        ours = pb.jit(lambda x, f=function: f(x, target))(x)
        assert_close(ours, function(x, target))


@pytest.mark.parametrize("p", [1, 2])
def test_margin_losses_leave_out_nan(p):
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([[0.5, nan, -1.0], [inf, inf, 0.25], [nan, 0.5, 2.0]], dtype=D)
    label, labels = torch.tensor([0, 1, 0]), torch.tensor([[0, -1, 1], [1, 2, -1], [2, -1, -1]])
    for function in (
        lambda x: F.multi_margin_loss(x, label, p=p, reduction="none"),
        lambda x: F.multilabel_margin_loss(x, labels, reduction="none"),
    ):
        ours, pull = pb.vjp(function, x)
        expected, torchs = tf.vjp(function, x)
        assert_close(ours, expected, equal_nan=True)
        assert_close(pull(torch.ones(3, dtype=D)), torchs(torch.ones(3, dtype=D)), equal_nan=True)


def test_distance_of_large_numbers():
    x, y = torch.tensor(1e30), torch.tensor(-1e29)
    assert_close(pb.jit(torch.dist)(x, y), torch.dist(x, y))
    assert_close(pb.grad(torch.dist)(x, y), tf.grad(torch.dist)(x, y))


def test_limits_of_losses_and_partial_sums():
    ends = torch.tensor([0.0, 1.0, 0.5, 1e-30], dtype=D)
    other = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=D)
    loss = F.binary_cross_entropy
    assert_close(pb.jit(loss)(ends, other), loss(ends, other))
    slope = pb.jit(pb.grad(lambda x: loss(x, other)))(ends)
    assert slope.isfinite().all()
    x = torch.tensor([1.0, -float("inf"), float("inf"), 1e30, 2.0], dtype=D)
    assert_close(pb.jit(lambda x: x.logcumsumexp(0))(x), x.logcumsumexp(0))
    slope = pb.jit(pb.grad(lambda x: F.hardswish(x).sum()))(EDGES[:7])
    assert_close(slope, tf.grad(lambda x: F.hardswish(x).sum())(EDGES[:7]))
