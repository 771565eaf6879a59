"""The aten rules: values, Jacobians and Hessians of single calls against torch."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
import torch.func as tf
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # of torch.func
]

D = torch.float64
GENERATOR = torch.Generator().manual_seed(7)


def normal(*shape):
    return torch.randn(shape, dtype=D, generator=GENERATOR)


X, Z, P = normal(4, 5), normal(4, 5), normal(4, 5).abs() + 0.5
EDGES = torch.tensor([0.0, -1.0, 1.0, 0.5, 2.0], dtype=D)
Y, MASK = normal(5, 3), normal(4, 5) > 0
ROWS, GRID = torch.tensor([2, 0, 3]), torch.randint(0, 5, (4, 3), generator=GENERATOR)
IGNORED = GRID[0, 0].item()
N = torch.randint(-7, 7, (4, 5), generator=GENERATOR)
M = torch.tensor([[-2, 1, 3, -1, 2]]).expand(4, 5).contiguous()


def same(ours, theirs, tolerance=1e-9):
    for left, right in zip(tree_leaves(ours), tree_leaves(theirs), strict=True):
        assert_close(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)


ANYWHERE = """exp sin cos tan tanh sinh cosh exp2 neg abs sigmoid relu square sign floor ceil round
trunc frac expm1 sum mean var std amax prod diag trace tril triu flatten t diagonal norm"""
POSITIVE = "sqrt log log2 log10 rsqrt reciprocal log1p"
ALONG = "sum mean var std amax amin prod logsumexp softmax log_softmax cumsum cumprod"


def along(name, dim):
    return lambda x: getattr(torch, name)(x, dim)


SMOOTH = {
    **{name: (getattr(torch, name), (X,)) for name in ANYWHERE.split()},
    **{name: (getattr(torch, name), (P,)) for name in POSITIVE.split()},
    **{f"{name} over {d}": (along(name, d), (X,)) for name in ALONG.split() for d in (0, -1)},
    "relu at 0": (torch.relu, (EDGES,)),
    "abs at 0": (torch.abs, (EDGES,)),
    "clamp edges": (lambda x: x.clamp(-1, 0.5), (EDGES,)),
    "clamp by tensors": (lambda x, y: x.clamp(y - 1, y + 1), (X, Z)),
    "hardtanh edges": (F.hardtanh, (EDGES,)),
    "pow 2": (lambda x: x**2, (X,)),
    "pow 5": (lambda x: x**5, (X,)),
    "pow -2": (lambda x: x**-2, (P,)),
    "pow half": (lambda x: x**0.5, (P,)),
    "pow 1.7": (lambda x: x**1.7, (P,)),
    "pow 0": (lambda x: x**0, (EDGES,)),
    "pow tensors": (lambda x, y: x**y, (P, Z)),
    "pow of a number": (lambda x: 2**x, (X,)),
    "maximum with ties": (torch.maximum, (EDGES, EDGES.clone())),
    "minimum": (torch.minimum, (X, Z)),
    "where": (lambda x, y: torch.where(MASK, x, y), (X, Z)),
    "alpha": (lambda x, y: torch.add(x, y, alpha=2.5) - torch.sub(y, x, alpha=3), (X, Z)),
    "numbers first": (lambda x: 3 - x + 2 / x, (P,)),
    "broadcasting": (lambda x, y: x * y[:, 0] + y.t()[0], (X, Y)),
    "largest and its ties": (lambda x: x.max(0).values, (EDGES.abs(),)),
    "amax ties": (lambda x: x.amax(0), (EDGES.abs(),)),
    "smallest": (lambda x: x.min(1).values, (X,)),
    "std of equals": (lambda x: x.std(1), (torch.ones(2, 3, dtype=D),)),
    "norm of zeros": (torch.norm, (torch.zeros(3, dtype=D),)),
    "norm 1": (lambda x: torch.linalg.vector_norm(x, 1), (X,)),
    "norm inf": (lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1), (X,)),
    "product with a zero": (torch.prod, (EDGES,)),
    "hypot": (torch.hypot, (X, Z)),
    "logaddexp": (torch.logaddexp, (X, Z)),
    "xlogy": (torch.xlogy, (X, P)),
    "lerp": (lambda x: torch.lerp(x, Z, 0.3), (X,)),
    "addcmul": (lambda x: torch.addcmul(x, Z, x, value=0.5), (X,)),
    "remainder": (lambda x: x % 0.7, (X,)),
    "mm": (torch.mm, (X, Y)),
    "mv": (torch.mv, (X, EDGES)),
    "dot": (torch.dot, (EDGES, EDGES + 1)),
    "matmul": (lambda a, b: a @ b, (normal(2, 3, 4), normal(4, 2))),
    "bmm": (torch.bmm, (normal(2, 3, 2), normal(2, 2, 3))),
    "addmm": (lambda a, b: torch.addmm(a[:, :3], a, b, beta=0.5, alpha=2), (X, Y)),
    "einsum": (lambda a, b: torch.einsum("ij,jk->ki", a, b), (X, Y)),
    "linear": (lambda x, w: F.linear(x, w.t(), w[0]), (X, Y)),
    "bilinear": (lambda a, w: F.bilinear(a, a, w), (X[:2, :2], normal(2, 2, 2))),
    "views": (lambda x: x.view(2, 10).reshape(-1).unflatten(0, (5, 4)).unsqueeze(1), (X,)),
    "permute": (lambda x: x[None].permute(2, 0, 1).movedim(0, -1), (X,)),
    "expand": (lambda x: x[:, None].expand(4, 3, 5), (X,)),
    "cat and stack": (lambda x: torch.stack([torch.cat([x, x * 2], 1)] * 2, -1), (X,)),
    "split": (lambda x: (*x.split(2, 1), *x.chunk(2), *x.unbind(0)), (X,)),
    "slices": (lambda x: (x[1:, ::2], x[-1, 1:-1], x[..., None, 2]), (X,)),
    "flip and roll": (lambda x: x.flip(0, 1) + x.roll(2, 1), (X,)),
    "repeat": (lambda x: x.repeat(2, 1), (X[:2, :2],)),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 0), (X,)),
    "diagonals": (lambda x: x.diagonal(-1) * 2, (X,)),
    "pad": (lambda x: F.pad(x, (1, 2, 0, -1), value=3.0), (X,)),
    "outer": (torch.outer, (EDGES, EDGES)),
    "index": (lambda x: x[ROWS], (X,)),
    "index later": (lambda x: x[:, ROWS, None], (X,)),
    "index both": (lambda x: x[ROWS, ROWS], (X,)),
    "index apart": (lambda x: x[None].expand(2, 4, 5)[ROWS[:2] % 2, :, ROWS[:2]], (X,)),
    "index negative": (lambda x: x[torch.tensor([-1, 0])], (X,)),
    "index_select": (lambda x: x.index_select(1, ROWS), (X,)),
    "gather": (lambda x: x.gather(1, GRID), (X,)),
    "gather fewer": (lambda x: x.gather(0, GRID[:2] % 4), (X,)),
    "take_along_dim": (lambda x: torch.take_along_dim(x, GRID, 1), (X,)),
    "scatter_add": (lambda x, s: x.scatter_add(1, GRID, s), (X, normal(4, 3))),
    "scatter_add fewer": (lambda x, s: x.scatter_add(0, GRID[:2] % 4, s), (X, normal(2, 3))),
    "scatter": (lambda x, s: x.scatter(1, ROWS[None], s), (X, normal(1, 3))),
    "index_add": (lambda x, s: x.index_add(1, ROWS, s, alpha=2.0), (X, normal(4, 3))),
    "index_put": (lambda x, s: x.index_put((ROWS,), s), (X, normal(3, 5))),
    "index_put more": (lambda x, s: x.index_put((ROWS,), s, accumulate=True), (X, normal(3, 5))),
    "masked_fill": (lambda x: x.masked_fill(MASK, 2.0), (X,)),
    "embedding": (lambda w: F.embedding(GRID, w), (Y,)),
    "cross_entropy": (lambda x: F.cross_entropy(x, GRID[:, 0]), (X,)),
    "cross_entropy with all": (
        lambda x: F.cross_entropy(
            x, GRID[:, 0], weight=P[0], ignore_index=IGNORED, label_smoothing=0.1
        ),
        (X,),
    ),
    "cross_entropy of probabilities": (lambda x: F.cross_entropy(x, P), (X,)),
    "nll_loss": (lambda x: F.nll_loss(x, GRID[:, 0], reduction="none"), (X,)),
    "losses": (lambda x: (F.mse_loss(x, Z), F.l1_loss(x, Z), F.huber_loss(x, Z)), (X,)),
    "binary losses": (
        lambda x: (
            F.binary_cross_entropy_with_logits(x, MASK.double()),
            F.binary_cross_entropy(x.sigmoid(), MASK.double()),
        ),
        (X,),
    ),
    "kl_div": (lambda x: F.kl_div(x.log_softmax(1), Z.softmax(1), reduction="sum"), (X,)),
    "softplus far out": (F.softplus, (X * 50,)),
    "softplus at 0": (F.softplus, (EDGES * 0,)),
    "logsigmoid": (F.logsigmoid, (X * 100,)),
    "mish": (F.mish, (X * 100,)),
    "elu": (F.elu, (X * 300,)),
    "celu": (lambda x: F.celu(x, 0.7), (X * 300,)),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), (X,)),
    "activations": (lambda x: F.silu(x) + F.selu(x) + F.relu6(x) + F.leaky_relu(x), (X,)),
    "layer_norm": (lambda x, w: F.layer_norm(x, (5,), w, w), (X, EDGES)),
    "group_norm": (lambda x: F.group_norm(x[:, :4], 2), (X,)),
    "batch_norm": (lambda x: F.batch_norm(x, EDGES, P[0]), (X,)),
    "batch_norm in training": (lambda x: F.batch_norm(x, None, None, training=True), (X,)),
    "normalize": (F.normalize, (X,)),
    "cosine_similarity": (lambda x: F.cosine_similarity(x, Z), (X,)),
    "attention": (lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None]), (X,)),
    "pdist": (torch.pdist, (X,)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_value_and_jacobians(name):
    function, args = SMOOTH[name]
    expected = function(*args)
    same(pb.jit(function)(*args), expected)
    argnums = tuple(range(len(args)))
    expected = tf.jacrev(function, argnums)(*args)
    same(pb.jacrev(function, argnums)(*args), expected)
    same(pb.jacfwd(function, argnums)(*args), expected)


SECOND = ["tanh", "pow 1.7", "softmax over -1", "layer_norm", "cross_entropy", "prod", "gelu"]


@pytest.mark.parametrize("name", SECOND)
def test_hessian(name):
    function, args = SMOOTH[name]

    def energy(x):
        return sum((leaf**2).sum() for leaf in tree_leaves(function(x, *args[1:])))

    same(pb.hessian(energy)(args[0]), tf.hessian(energy)(args[0]), 1e-8)


DISCRETE = {
    "floor division": (lambda a: a // M, N),
    "remainder": (lambda a: a % M, N),
    "fmod": (lambda a: torch.fmod(a, M), N),
    "truncating division": (lambda a: torch.div(a, M, rounding_mode="trunc"), N),
    "least integer": (lambda a: a // -1, torch.tensor([-(2**63), 5])),
    "true division": (lambda a: a / M, N),
    "promotion": (lambda a: (a + 1.5, a * torch.tensor(2.5, dtype=D), a > 0.5, a + True), N),
    "0-dim promotion": (lambda a: a.float() * torch.tensor(2.0, dtype=D) + 1, X),
    "sums": (lambda a: (a.sum(1), (a > 0).sum(), a.amax(0), a.amin(0), a.abs()), N),
    "positions": (lambda a: (a.argmax(1), a.argmin(), a.max(1)[1], a.min(0)[1]), N),
    "truth": (lambda a: (a.any(1), a.all(), ~a, a & a.logical_not() | a ^ a), MASK),
    "casts": (lambda a: a.float().long().bool().int(), X * 3),
    "powers": (lambda a: a**3, N),
    "order": (lambda a: (torch.minimum(a, M), torch.maximum(a, M), a.clamp(0, 3)), N),
    "one_hot": (lambda a: F.one_hot(a, 6), GRID),
    "ranges": (
        lambda a: (torch.arange(5), torch.arange(1.0, 2.0, 0.2), torch.linspace(0, 1, 5), a),
        N,
    ),
    "made": (
        lambda a: (torch.full((3,), 2.5), a.new_zeros(3), torch.ones_like(a), torch.eye(2, 3)),
        X,
    ),
    "classes of numbers": (
        lambda a: (a.isnan(), a.isinf(), a.isfinite(), a.amax(), a.argmax(), a.max(0)[0]),
        torch.tensor([1.0, float("nan"), float("inf"), -float("inf")]),
    ),
    "rounding of large numbers": (
        lambda a: (a.floor(), a.ceil(), a.round(), a.trunc()),
        torch.tensor([2.5, 3.5, -2.5, -0.5, 1e30, -1e30, float("inf"), float("nan")], dtype=D),
    ),
    "in place": (lambda a: (a + 0).mul_(2).sub_(1).pow_(2).clamp_(0, 9).sqrt_().relu_(), X),
    "later writes win": (
        lambda a: torch.zeros(4, dtype=D).index_put((torch.tensor([1, 1, 3, 1, 0]),), a),
        EDGES,
    ),
    "mask writes": (lambda a: a.clone().masked_fill_(a > 0, 1.0), X),
    "triangles": (lambda a: a[tuple(torch.triu_indices(4, 4, 1))], X),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_value(name):
    function, arg = DISCRETE[name]
    same(pb.jit(function)(arg), function(arg))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers(kind):
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(3, 2, 2, batch_first=True, bidirectional=True).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    enabled = torch._C._get_mkldnn_enabled()
    assert_close(pb.jit(lambda x: layer(x)[0])(x), layer(x)[0])
    assert torch._C._get_mkldnn_enabled() == enabled
