"""Sorting, reads and writes at computed positions: each call, its derivatives and its vmap
against torch."""

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
    pytest.mark.filterwarnings("ignore:index_reduce|scatter_reduce"),
]

D, NAN, INF = torch.float64, float("nan"), float("inf")
GENERATOR = torch.Generator().manual_seed(11)


def normal(*shape):
    return torch.randn(shape, dtype=D, generator=GENERATOR)


def integers(high, *shape):
    return torch.randint(0, high, shape, generator=GENERATOR)


X, Y, V = normal(4, 5), normal(4, 5), normal(7)
TIES = torch.tensor([1.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0], dtype=D)
NANS = torch.tensor([1.0, NAN, 3.0, -INF, NAN, INF, 2.0], dtype=D)
ZEROS = torch.tensor([0.0, 2.0, 0.0, 3.0, 0.0, 5.0, 4.0], dtype=D)
ROWS, COLUMNS = torch.tensor([2, 0, -1]), torch.tensor([1, -2, 4])
FEW, CELLS = integers(4, 3, 5), integers(5, 4, 2)
GROUPS = torch.tensor([0, 2, 0, 2, 1, 0, 2])
LEVELS = torch.tensor([0.0, 0.25, 0.6, 1.0], dtype=D)
MASK = Y > 0
BAGGED = torch.tensor([3, 3, 1, 2, 0, 1, 2])
EDGES = torch.tensor([-1.0, 0.0, 0.5, 0.5, 2.0], dtype=D)


def same(ours, theirs, tolerance=1e-9):
    for left, right in zip(tree_leaves(ours), tree_leaves(theirs), strict=True):
        assert_close(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)


def reduced(how, include_self=True):
    return lambda x, y: x.scatter_reduce(0, GROUPS, y, how, include_self=include_self)


def rows_reduced(how, include_self=True):
    index = torch.tensor([1, 0, 1])
    return lambda x, y: x.index_reduce(0, index, y, how, include_self=include_self)


REDUCTIONS = [
    (how, own) for how in ("sum", "prod", "mean", "amax", "amin") for own in (True, False)
]
#: Floating-point arguments; values, Jacobians, Hessians and vmap.
SMOOTH = {
    "sort": (lambda x: torch.sort(x, 0)[0], (X,)),
    "sort descending": (lambda x: x.sort(-1, descending=True)[0], (X,)),
    "sort stable": (lambda x: torch.sort(x, stable=True).values, (TIES,)),
    "msort": (torch.msort, (X,)),
    "sort of a number": (lambda x: x.sum().sort()[0], (X,)),
    "topk": (lambda x: x.topk(3, 1)[0], (X,)),
    "topk smallest": (lambda x: x.topk(2, 0, largest=False)[0], (X,)),
    "kthvalue": (lambda x: x.kthvalue(2, 1)[0], (X,)),
    "median": (torch.median, (X,)),
    "median of ties": (torch.median, (TIES,)),
    "median along": (lambda x: x.median(0)[0], (X,)),
    "nanmedian": (torch.nanmedian, (NANS,)),
    "mode": (lambda x: x.mode(0)[0], (TIES,)),
    "quantile": (lambda x: x.quantile(LEVELS, 1), (X,)),
    "quantile of all": (lambda x: x.quantile(0.3), (X,)),
    **{
        f"quantile {how}": (
            lambda x, how=how: x.quantile(LEVELS, 0, keepdim=True, interpolation=how),
            (X,),
        )
        for how in ("lower", "higher", "nearest", "midpoint")
    },
    "quantile of its level": (lambda x, q: x.quantile(q, 0), (X, torch.tensor(0.3, dtype=D))),
    "slices": (lambda x: x[1:, ::2] * x[:3, [0, 2, 4]], (X,)),
    "new axes": (lambda x: x[..., None, 1:3, None], (X,)),
    "advanced": (lambda x: x[ROWS, COLUMNS], (X,)),
    "advanced, apart": (lambda x: x[None, ROWS, :, None][..., 0], (X,)),
    "advanced around a slice": (lambda x: x.reshape(2, 2, 5)[[0, 1, 1], :, [4, 0, -1]], (X,)),
    "advanced, broadcast": (lambda x: x[ROWS[:, None], COLUMNS], (X,)),
    "known mask": (lambda x: x[torch.tensor([True, False, True, True])], (X,)),
    "known mask and index": (lambda x: x[[True, False, True, False], 1:], (X,)),
    "take": (lambda x: x.take(torch.tensor([[0, 19], [-3, 7]])), (X,)),
    "take_along_dim": (lambda x: torch.take_along_dim(x, FEW, 0), (X,)),
    "gather": (lambda x: x.gather(1, CELLS), (X,)),
    "gather, smaller": (lambda x: x.gather(1, CELLS[:2]), (X,)),
    "index_select": (lambda x: x.index_select(1, torch.tensor([4, 0, 4])), (X,)),
    "index_put": (lambda x, y: x.index_put((ROWS, COLUMNS), y[0, :3]), (X, Y)),
    "index_put adds": (lambda x, y: x.index_put((GROUPS,), y, accumulate=True), (V, TIES)),
    "assignment": (lambda x, y: put(x, (ROWS, slice(1, 3)), y[:3, :2]), (X, Y)),
    "assignment apart": (lambda x, y: put(x[None], (0, ROWS, ..., 1), y[0, :3]), (X, Y)),
    "assignment of a number": (lambda x: put(x, ([0, 1], [2, 2]), 7.0), (X,)),
    "mask assignment": (lambda x: put(x, MASK, 3.0), (X,)),
    "row mask assignment": (lambda x, y: put(x, MASK[:, 0], y[0]), (X, Y)),
    "column mask assignment": (lambda x, y: put(x, (slice(None), MASK[0]), y[:, :1]), (X, Y)),
    "computed mask": (lambda x, y: put(x, x > 0, y.sum()), (X, Y)),
    "known mask assignment": (
        lambda x, y: put(x, torch.tensor([True, False, True, False]), y[:2]),
        (X, Y),
    ),
    "index_add": (lambda x, y: x.index_add(1, COLUMNS % 5, y[:, :3], alpha=2), (X, Y)),
    "index_copy": (lambda x, y: x.index_copy(0, torch.tensor([3, 0]), y[:2]), (X, Y)),
    "index_fill": (lambda x: x.index_fill(1, torch.tensor([0, -1]), 2.5), (X,)),
    "index_fill by a tensor": (
        lambda x, y: x.index_fill(1, torch.tensor([0, 3]), y.sum()),
        (X, Y),
    ),
    "scatter": (lambda x, y: x.scatter(1, torch.tensor([[0, 3], [1, 2]]), y[:2, :2]), (X, Y)),
    "scatter of a number": (lambda x: x.scatter(0, FEW, 2.0), (X,)),
    "scatter_add": (lambda x, y: x.scatter_add(0, FEW, y[:3]), (X, Y)),
    **{f"scatter_reduce {how} {own}": (reduced(how, own), (V, V + 1)) for how, own in REDUCTIONS},
    **{
        f"index_reduce {how} {own}": (rows_reduced(how, own), (X, Y[:3]))
        for how, own in REDUCTIONS
        if how != "sum"
    },
    "scatter_reduce amax of the lowest": (
        lambda x, y: x.scatter_reduce(0, GROUPS, y, "amax", include_self=False),
        (V, torch.where(GROUPS == 2, -INF, TIES)),
    ),
    "scatter_reduce amax of ties": (reduced("amax"), (TIES, TIES)),
    "put": (lambda x, y: x.put(torch.tensor([1, -1, 5]), y[0, :3]), (X, Y)),
    "put adds": (lambda x, y: x.put(GROUPS, y, accumulate=True), (X, V)),
    "masked_fill": (lambda x, y: x.masked_fill(MASK, y.sum()), (X, Y)),
    "masked_scatter": (lambda x, y: x.masked_scatter(MASK, y), (X, Y)),
    "embedding": (lambda w: F.embedding(CELLS % 4, w), (X,)),
    **{
        f"embedding_bag {mode}": (
            lambda w, mode=mode: F.embedding_bag(
                BAGGED, w, torch.tensor([0, 3, 3, 5]), mode=mode, padding_idx=2
            ),
            (X,),
        )
        for mode in ("sum", "mean", "max")
    },
    "weighted embedding_bag": (
        lambda w, v: F.embedding_bag(FEW, w, per_sample_weights=v[:3], mode="sum"),
        (X, Y),
    ),
    "repeat_interleave": (
        lambda x: x.repeat_interleave(torch.tensor([2, 0, 1, 3]), 0, output_size=6),
        (X,),
    ),
    "copies of views": (lambda x: torch.view_copy(x, (5, 4)) * torch.permute_copy(x, (1, 0)), (X,)),
    "select_scatter": (lambda x, y: x.select_scatter(y[0], 0, -1), (X, Y)),
    "slice_scatter": (lambda x, y: x.slice_scatter(y[:, :2], 1, 1, 4, 2), (X, Y)),
    "diagonal_scatter": (lambda x, y: x.diagonal_scatter(y[0, :4], 1), (X, Y)),
    "as_strided": (lambda x: torch.as_strided(x, (3, 2), (2, 3), 1), (X,)),
}


def put(x, index, value):
    x = x.clone()
    x[index] = value
    return x


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name):
    function, args = SMOOTH[name]
    argnums = tuple(range(len(args)))
    same(pb.jit(function)(*args), function(*args))
    same(pb.jacrev(function, argnums)(*args), tf.jacrev(function, argnums)(*args))
    tangents = tuple(torch.cos(2 * arg).nan_to_num() for arg in args)

    def push(*args):
        return tf.jvp(function, args, tangents)[1]

    expected = tf.jacrev(function, argnums)(*args)
    moved = pb.jvp(function, args, tangents)[1]
    flat = [
        torch.tensordot(j.reshape(*moved.shape, -1), t.reshape(-1), 1)
        for j, t in zip(tree_leaves(expected), tangents, strict=True)
    ]
    same(moved, sum(flat))


@pytest.mark.parametrize("name", SMOOTH)
def test_batched(name):
    """vmap over all arguments, and of the second derivative of a nonlinear function of the call."""
    function, args = SMOOTH[name]

    def total(*args):
        return (function(*args) ** 2).sum()

    stacks = [torch.stack([arg, arg * 1.5, arg.flip(0)]) for arg in args]
    lanes = [[stack[i].clone() for stack in stacks] for i in range(3)]
    same(pb.vmap(function)(*stacks), torch.stack([function(*lane) for lane in lanes]))
    ours, theirs = pb.grad(total), tf.grad(total)
    same(pb.vmap(ours)(*stacks), torch.stack([theirs(*lane) for lane in lanes]))
    # torch has no second derivative of a bag
    expected = pb.jacrev(ours) if "bag" in name else tf.jacrev(theirs)
    same(pb.jacfwd(ours)(*args), expected(*args))


EMPTY = torch.empty(0, dtype=torch.long)
#: Anything goes in, and integers may come out; values only.
DISCRETE = {
    "sort": (lambda x: torch.sort(x, stable=True), (TIES,)),
    "sort with NaN": (lambda x: (x.sort(), x.sort(descending=True)[0], x.argsort()[:5]), (NANS,)),
    "sort of integers": (lambda i: i.sort(0, descending=True)[0], (FEW,)),
    "sort of truth": (lambda m: torch.sort(m, stable=True, dim=1), (MASK,)),
    "sort of nothing": (lambda x: x[:0].sort(), (X,)),
    "argsort": (
        lambda x: (x.argsort(1), torch.argsort(x, dim=0, descending=True, stable=True)),
        (X,),
    ),
    "topk": (lambda x: (x.topk(3), x.topk(4, sorted=False, largest=False)[1].sort()[0]), (X,)),
    "topk with NaN": (lambda x: (x.topk(3)[0], x.topk(5, largest=False)[0]), (NANS,)),
    "kthvalue": (lambda x: x.kthvalue(3, 0, keepdim=True), (X,)),
    "median": (lambda x: (x.median(1), x.nanmedian(0, keepdim=True)), (X,)),
    "median with NaN": (lambda x: (x.median(0)[0], x.median(), x.nanmedian(0)), (NANS,)),
    "mode": (lambda x: (x.mode(0), x.reshape(1, 7).mode(1, keepdim=True)), (TIES,)),
    "quantile with NaN": (lambda x: (x.quantile(LEVELS), x.nanquantile(LEVELS)), (NANS,)),
    "searchsorted": (
        lambda v: (torch.searchsorted(EDGES, v), torch.searchsorted(EDGES, v, right=True)),
        (X,),
    ),
    "searchsorted with NaN": (lambda v: torch.searchsorted(EDGES, v, side="right"), (NANS,)),
    "searchsorted in rows": (lambda v: torch.searchsorted(X.sort(1)[0], v, out_int32=True), (Y,)),
    "searchsorted with sorter": (lambda v: torch.searchsorted(V, v, sorter=V.argsort()), (X,)),
    "searchsorted of a number": (lambda v: torch.searchsorted(v.sort()[0], 0.3), (V,)),
    "bucketize": (
        lambda v: (torch.bucketize(v, EDGES), torch.bucketize(v, EDGES, right=True)),
        (X,),
    ),
    "isin": (
        lambda i: (torch.isin(i, CELLS), torch.isin(i, 2), torch.isin(i, CELLS, invert=True)),
        (FEW,),
    ),
    "nonzero_static": (
        lambda m: (m.nonzero_static(size=4), (~m).nonzero_static(size=30, fill_value=9)),
        (MASK,),
    ),
    "histc": (lambda x: (x.histc(5), x.histc(4, -1, 1)), (X,)),
    "bincount": (lambda i: torch.bincount(i, minlength=5), (GROUPS,)),
    "weighted bincount": (lambda i: torch.bincount(i, V, minlength=3), (GROUPS,)),
    "scatter adds": (lambda x: x.scatter(0, FEW, 2.0, reduce="add"), (X,)),
    "later writes win": (lambda x: (x.scatter(0, GROUPS, V), x.index_copy(0, GROUPS, V)), (V,)),
    "scatter_reduce prod with zeros": (lambda x: reduced("prod")(x, x), (ZEROS,)),
    "scatter_reduce amax with NaN": (lambda x: reduced("amax")(V, x), (NANS,)),
    "scatter_reduce of integers": (
        lambda i: [reduced(how)(i, i - 5) for how, _ in REDUCTIONS[::2]],
        (GROUPS * 3,),
    ),
    "nothing": (
        lambda x: (
            x[EMPTY], x.index_add(0, EMPTY, x[:0]), put(x, EMPTY, 1.0), x.gather(0, FEW[:0])
        ),
        (X,),
    ),
    "shapes": (
        lambda x: (
            x.roll((1, -2), (0, 1)), x.rot90(), x.fliplr(), x.tile(2, 2), x.repeat_interleave(2, 1),
            torch.block_diag(x, x), torch.kron(x, x), x.movedim(0, 1), x.unfold(1, 3, 2),
            x.tensor_split(3, 1), x.chunk(2), torch.cartesian_prod(x[0], x[1]),
            torch.combinations(x[0]), torch.meshgrid(x[0], x[1], indexing="ij"), x.diag_embed(1),
            torch.diagflat(x[0], -1), x.unflatten(1, (5, 1)), x.tril(-1), torch.hstack([x, x]),
            torch.dstack([x, x]), torch.column_stack([x, x]), x.narrow(1, 1, 2), x.swapaxes(0, 1),
            torch.broadcast_tensors(x, x[:1]), x.expand_as(x[None]), x.hsplit(5), x.vsplit(2),
        ),
        (X,),
    ),
    "images": (
        lambda x: (
            F.pixel_shuffle(x.reshape(1, 4, 1, 5), 2), F.pixel_unshuffle(x.reshape(1, 1, 2, 10), 2),
            F.channel_shuffle(x.reshape(1, 4, 5, 1), 2), F.unfold(x[None, None], 2, stride=2),
            F.fold(F.unfold(x[None, None], 2, padding=1), (4, 5), 2, padding=1),
        ),
        (X,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DISCRETE)
def test_value(name):
    function, args = DISCRETE[name]
    same(pb.jit(function)(*args), function(*args))


INDEXED = {
    "index": lambda x, i: x[i],
    "assignment": lambda x, i: put(x, i, V[:3, None]),
    "gather": lambda x, i: x.gather(0, i[:, None].expand(3, 5)),
    "scatter": lambda x, i: x.scatter(0, i[:, None].expand(3, 5), Y),
    "scatter_add": lambda x, i: x.scatter_add(0, i[:, None].expand(3, 5), Y),
    "scatter_reduce": lambda x, i: x.scatter_reduce(0, i[:, None].expand(3, 5), Y, "amin"),
    "index_copy": lambda x, i: x.index_copy(0, i, Y[:3]),
    "index_fill": lambda x, i: x.index_fill(0, i, 2.0),
    "index_add": lambda x, i: x.index_add(0, i, Y[:3]),
    "put": lambda x, i: x.put(i, V[:3]),
    "take": lambda x, i: x.take(i),
    "embedding": lambda x, i: F.embedding(i, x),
    "one_hot": lambda x, i: F.one_hot(i, 4),
}


@pytest.mark.parametrize("name", INDEXED)
def test_batched_indices(name):
    function, index = INDEXED[name], torch.stack([FEW[i, :3] for i in range(3)])
    xs = torch.stack([X, X + 1, -X])
    for dims in ((0, 0), (None, 0), (0, None)):
        given = [t if d == 0 else t[0] for t, d in zip((xs, index), dims, strict=True)]
        lanes = [
            [t[k] if d == 0 else t for t, d in zip(given, dims, strict=True)] for k in range(3)
        ]
        looped = torch.stack([function(*lane) for lane in lanes])
        same(pb.vmap(function, dims)(*given), looped)


def test_duplicates_have_the_derivative_of_what_is_left():
    grid = torch.tensor([1, 1, 2, 1])

    def write(x, y):
        return put(x, grid, y) ** 2

    def left(x, y):
        return torch.stack([x[0], y[3], y[2], x[3]]) ** 2

    args = V[:4], V[3:]
    same(pb.jacrev(write, (0, 1))(*args), tf.jacrev(left, (0, 1))(*args))
    same(pb.jacfwd(write, (0, 1))(*args), tf.jacrev(left, (0, 1))(*args))


def test_product_of_several_zeros_to_second_order():
    def total(x):
        return (torch.ones(3, dtype=D).scatter_reduce(0, GROUPS, x, "prod") * LEVELS[1:]).sum()

    def written_out(x):
        products = [x[0] * x[2] * x[5], x[4], x[1] * x[3] * x[6]]
        return (torch.stack(products) * LEVELS[1:]).sum()

    same(pb.hessian(total)(ZEROS), tf.hessian(written_out)(ZEROS))


def test_padding_row_gets_no_gradient():
    def rows(w):
        return (F.embedding(CELLS % 4, w, padding_idx=1) ** 2).sum()

    same(pb.grad(rows)(X), tf.grad(rows)(X))


def test_as_strided_scatter():
    # torch's own derivative under vmap counts from the start of the batch
    def ours(x, y):
        return x.as_strided_scatter(y[:3, :2], (3, 2), (5, 1), 2) ** 2

    def written_out(x, y):
        place = torch.tensor([[2, 3], [7, 8], [12, 13]])
        return x.reshape(-1).index_put((place,), y[:3, :2]).reshape(4, 5) ** 2

    same(pb.jit(ours)(X, Y), ours(X, Y))
    same(pb.jacrev(ours, (0, 1))(X, Y), tf.jacrev(written_out, (0, 1))(X, Y))
    same(pb.jacfwd(ours, (0, 1))(X, Y), tf.jacrev(written_out, (0, 1))(X, Y))


def test_many_positions():
    index = torch.randperm(3000, generator=GENERATOR)
    x = normal(3000)
    same(pb.jit(lambda x, y: put(x, index, y))(x, 2 * x), put(x, index, 2 * x))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: torch.unique_consecutive(x),
        lambda x: torch.bincount(x.long().reshape(-1)),
        lambda x: put(x, x > 0, x.reshape(-1)[:3]),
        lambda x: F.one_hot(x.long()),
    ],
)
def test_shapes_that_depend_on_values(call):
    with pytest.raises(pb.PullbackError, match=r"help|torch\.where"):
        pb.jit(call)(X)


def test_writing_into_nothing() -> None:
    """index_fill of a tensor without elements is that tensor, as in torch."""
    index = torch.tensor([1, 0])
    found = pb.jit(lambda x: x.index_fill(-1, index, 0.5))(torch.ones(0, 2)[:, :2])
    assert found.shape == (0, 2)
