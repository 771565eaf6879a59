"""In-place writes, into fresh tensors and through views, alone and under transforms."""

from __future__ import annotations

import operator

import pullback as pb
import pytest
import torch
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("interpreted")

X = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [0.1, 3.0, -2.0]], dtype=torch.float64)


def zeros_like(x):
    y = torch.zeros_like(x)
    y[0] = x[1] * x[0]
    return y


def ones_like(x):
    y = torch.ones_like(x)
    y[1:] *= x[1:] ** 2
    return y


def full_like(x):
    y = torch.full_like(x, 2.0)
    y[:, 0] = x.sum(0)
    return y * x


def empty_like(x):
    y = torch.empty_like(x)
    y[:] = x**3
    return y


def new_zeros(x):
    y = x.new_zeros(2)
    y[0] = x.prod()
    y[1] = y[0] * 2
    return y


def parts(x):
    y = torch.zeros_like(x)
    y[0].copy_(x[0] ** 2)
    y[1].add_(x[1])
    return y * x


def transposed(x):
    y = torch.zeros_like(x)
    y.T[0] = x[0] ** 2
    return y


def diagonal(x):
    y = x * x
    y.diagonal().add_(x[0])
    return y


def side_diagonals(x):
    y = x @ x
    y.diagonal(1).mul_(x[0, 0])
    y.diagonal(-2).zero_()
    return y


def diagonal_of_a_cube(x):
    y = x[None] * x[:, None]
    y.diagonal(0, 0, 1)[:] = x
    return y


def one_number(x):
    y = x.sum().clone()
    y[y > 0] = 0.5
    return y * x


WRITES = [
    zeros_like,
    ones_like,
    full_like,
    empty_like,
    new_zeros,
    parts,
    transposed,
    diagonal,
    side_diagonals,
    diagonal_of_a_cube,
    one_number,
]


@pytest.mark.parametrize("f", WRITES, ids=lambda f: f.__name__)
def test_write(f):
    def total(x):
        return (f(x) ** 2).sum()

    assert_close(pb.jit(f)(X), f(X))
    gradient = torch.func.grad(total)
    assert_close(pb.grad(total)(X), gradient(X))
    batch = torch.stack([X, X.mT, -X])
    assert_close(pb.vmap(f)(batch), torch.stack([f(x) for x in batch]))
    assert_close(pb.vmap(pb.grad(total))(batch), torch.stack([gradient(x) for x in batch]))


# --- other ways to write ----------------------------------------------------------------------


def out(x):
    y, values, places = torch.empty_like(x), torch.empty(0, dtype=x.dtype), torch.empty(3).long()
    torch.mul(x, 2, out=y)
    torch.add(x, 1, out=y[:])
    torch.sort(x[0], out=(values, places))
    torch.sin(x[:, 0], out=y[1])
    torch.matmul(x, x, out=y.t())
    return y * values


def out_of_another_dtype(x):
    y = torch.empty(3, dtype=x.dtype)
    torch.gt(x[0], 0.3, out=y)
    return y * x


def other_names(x):
    y = x * 1
    y.transpose_(0, 1).add_(x)
    y.unsqueeze_(0)
    y[0, 0] *= 2
    y.squeeze_(0).t_()
    y.fill_diagonal_(0.25).clamp_(-1, 1).masked_fill_(x > 1, 3.0)
    return y


def windows(x):
    y = torch.zeros(12, dtype=x.dtype)
    y.unfold(0, 3, 4)[:, 1:] += x[:, :2]
    y.unfold(0, 2, 2)[0] = x[2, :2]
    torch.as_strided(y, (3,), (4,), 3)[:] = x[1] * x[0]
    return y


def views_of_views(x):
    y = torch.zeros(2, 3, 3, dtype=x.dtype)
    view = y.movedim(0, -1).flatten(0, 1)[1::2].unflatten(1, (2, 1)).squeeze(2)
    view[:, 1] = x.reshape(-1)[:4]
    for row in y[0].unbind(1):
        row.add_(x[0, 0])
    a, b, c = y[1].chunk(3)
    b.copy_(a + c).diagonal(0, 0, 1)[0] = 5
    return y


def by_indices(x):
    y = torch.zeros(4, 3, dtype=x.dtype)
    y.index_add_(0, torch.tensor([0, 0, 3]), x)
    y.index_copy_(0, torch.tensor([1]), x[:1] * 2)
    y.scatter_(1, torch.tensor([[2, 1, 0]]), x)
    y.index_fill_(1, torch.tensor([-1]), 0.5)
    y.scatter_reduce_(0, torch.tensor([[1, 2, 1]]), x, "amax")
    y.put_(torch.tensor([0, 5]), x[0, :2], accumulate=True)
    y[torch.tensor([2, 2]), torch.tensor([0, 1])] += x[1, :2]
    y.masked_scatter_(y > 1.1, x.exp().repeat(2, 2))
    return y


MORE = [out, out_of_another_dtype, other_names, windows, views_of_views, by_indices]


@pytest.mark.parametrize("f", MORE, ids=lambda f: f.__name__)
def test_other_ways_to_write(f):
    assert_close(pb.jit(f)(X), f(X))
    ours = pb.jacrev(f)(X)
    assert_close(pb.jacfwd(f)(X), ours)
    step = 1e-6 * torch.ones_like(X)
    moved = (f(X + step) - f(X - step)) / 2
    assert_close(torch.tensordot(ours, step, 2), moved, rtol=1e-5, atol=1e-11)
    batch = torch.stack([X, X.mT * 1.5, -X])
    assert_close(pb.vmap(f)(batch), torch.stack([f(x) for x in batch]))


def test_fresh_tensor_of_another_shape_under_vmap():
    def f(x, i):
        y = torch.zeros(3)
        y[i] = x
        z = torch.zeros(2, 2)
        z[1].add_(x)
        z += 1
        return y, z

    x, i = torch.tensor([1.0, 2.0]), torch.tensor([2, 0])
    y, z = pb.vmap(f)(x, i)
    assert_close(y, torch.tensor([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]]))
    assert_close(z[:, 1, 0], x + 1)
    y, _ = pb.vmap(f, (0, None))(x, i[0])
    assert_close(y[:, 2], x)


# --- tensors from outside ---------------------------------------------------------------------


def alike(ours, theirs, *tensors):
    """Both calls on copies of the tensors: results and what becomes of the tensors."""
    for _ in range(2):  # the second time compiled
        copies = [t.clone() for t in tensors], [t.clone() for t in tensors]
        assert_close(ours(*copies[0]), theirs(*copies[1]))
        assert_close(*copies)


ARGUMENTS = {
    "in place": lambda x, y: x.add_(1) * 2,
    "view": lambda x, y: (x[0].zero_(), x.t()[1:].mul_(y[1:]))[1],
    "both": lambda x, y: (x.mul_(y), y.copy_(x * 2), x + y)[2],
    "assignment": lambda x, y: x.__setitem__((slice(None), 1), y[0]) or x.sum(),
    "augmented": lambda x, y: operator.iadd(x, y[0]) + 1,
    "out": lambda x, y: torch.mul(y, 2, out=x).sum(),
    "data": lambda x, y: x.data.mul_(3).sum() + y.sum(),
    "not used": lambda x, y: (x.fill_(3.0), y)[1] * 1,
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_argument(name):
    f = ARGUMENTS[name]
    alike(pb.jit(f), f, X, X.mT * 2)
    ours, theirs = X.clone().numpy(), X.clone()
    pb.jit(f)(ours, X.numpy() * 2)
    f(theirs, X * 2)
    assert_close(torch.from_numpy(ours), theirs)
    view = torch.zeros(6, 6, dtype=X.dtype)[::2, 1::2]  # of the caller's
    view.copy_(X)
    pb.jit(f)(view, X * 2)
    assert_close(view, theirs)


def test_argument_under_vmap():
    def f(x):
        x.add_(1)
        return x.sum()

    stack = torch.stack([X, X + 1])
    alike(pb.vmap(f), torch.func.vmap(f), stack)
    alike(pb.vmap(f, 1), torch.func.vmap(f, 1), stack)
    alike(pb.vmap(pb.vmap(f)), torch.func.vmap(torch.func.vmap(f)), stack)
    alike(pb.jit(lambda x: pb.vmap(f)(x * 2) + x), lambda x: torch.func.vmap(f)(x * 2) + x, X)

    def unbatched(x, y):
        y[0] += 1
        return x * y[0]

    ours, theirs = (m.vmap(unbatched, (0, None)) for m in (pb, torch.func))
    alike(ours, theirs, X, X[0])
    alike(pb.vmap(lambda x: x.zero_()), torch.func.vmap(lambda x: x.zero_()), X)


class Counter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("average", torch.zeros(3, dtype=torch.float64))
        self.scale = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, x):
        self.calls += 1
        self.average.lerp_((x * self.scale).detach().mean(0), 0.1)
        return x * self.scale - self.average


def test_buffers():
    ours, theirs = Counter(), Counter()
    call = pb.jit(ours)
    for i in range(3):
        assert_close(call(X + i), theirs(X + i))
    assert ours.calls.item() == 3
    assert_close(ours.average, theirs.average)
    call(X).sum().backward()
    theirs(X).sum().backward()
    assert_close(ours.scale.grad, theirs.scale.grad)


def test_batch_norm_in_training():
    def network():
        torch.manual_seed(0)
        norm = torch.nn.BatchNorm1d(4).double()
        return torch.nn.Sequential(torch.nn.Linear(3, 4).double(), norm, torch.nn.Tanh())

    ours, theirs = network(), network()
    for i in range(3):
        pb.jit(ours)(X + i).sum().backward()
        theirs(X + i).sum().backward()
    assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(left.grad, right.grad)
    with pytest.raises(pb.CaptureError, match="a library only reads its inputs"):
        pb.compile(ours, X)


def test_a_training_step_in_place():
    weights = [torch.ones(3, dtype=X.dtype, requires_grad=True) for _ in range(2)]

    def step(w, derivative):
        loss, gradient = derivative(lambda w: ((X * w) ** 2).sum())(w)
        with torch.no_grad():
            w -= 0.1 * gradient
        return loss.detach()

    def ours(f):
        return lambda w: pb.grad_and_value(f)(w)[::-1]

    def theirs(f):
        return lambda w: torch.func.grad_and_value(f)(w)[::-1]

    for _ in range(3):
        assert_close(pb.jit(lambda w: step(w, ours))(weights[0]), step(weights[1], theirs))
        assert_close(*weights)


def test_large_literal_is_new_in_each_call():
    @pb.jit
    def f(x):
        y = torch.tensor([0.0] * 400)
        y[:3] += x
        return y[:4]

    for _ in range(2):
        assert_close(f(torch.ones(3)), torch.tensor([1.0, 1.0, 1.0, 0.0]))


SHARED = torch.zeros(3)
REFUSED = {
    "twice the same": (lambda x: pb.jit(lambda a, b: a.add_(1) + b)(x, x), "shares memory"),
    "overlap": (lambda x: pb.jit(lambda a, b: a.add_(1) + b)(x[1:], x[:2]), "shares memory"),
    "vjp": (lambda x: pb.vjp(lambda a: a.add_(1), x), "a leaf Variable"),
    "linearize": (lambda x: pb.linearize(lambda a: a.add_(1), x), "a leaf Variable"),
    "grad": (lambda x: pb.grad(lambda a: a.add_(1).sum())(x), "a leaf Variable"),
    "requires grad": (lambda x: pb.jit(lambda a: a.add_(1))(x.requires_grad_()), "a leaf Variable"),
    "into torch's graph": (
        lambda x: pb.jit(lambda a: SHARED.copy_(a) + 1)(x.requires_grad_()),
        "part of torch's graph",
    ),
    "result after a hidden write": (
        lambda x: pb.jit(lambda a: a.data.mul_(2) + a)(x.requires_grad_()),
        "compute the results before",
    ),
    "overlapping windows": (
        lambda x: pb.jit(lambda a: (a * 1).unfold(0, 2, 1).mul_(2))(x),
        "cannot be followed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    x = torch.ones(3)
    with pytest.raises(pb.CaptureError, match=message):
        call(x)
    assert_close(x.detach(), torch.ones(3))
    assert_close(SHARED, torch.zeros(3))


def test_as_strided_does_not_guess_how_an_argument_lies() -> None:
    """Compiled code sees arguments as contiguous; torch's as_strided reads their memory."""
    function = pb.jit(lambda x: torch.as_strided(x, (2, 2), (1, 2), 0) * 2)
    x = torch.arange(8.0)
    torch.testing.assert_close(function(x), torch.as_strided(x, (2, 2), (1, 2), 0) * 2)
    for view in (torch.arange(9.0)[1:], torch.arange(16.0)[::2]):
        with pytest.raises(pb.CaptureError, match="not contiguous"):
            function(view)
