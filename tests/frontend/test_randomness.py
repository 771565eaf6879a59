"""Random draws: repeatable, independent, one mask forward and backward, torch's vmap modes."""

from __future__ import annotations

import math

import numpy as np
import pullback
import pytest
import torch
import torch.nn.functional as F
from pullback.dialects.pb.ops.random import threefry, words

N = 20_000
X = torch.linspace(-2.0, 2.0, 12, dtype=torch.float64)


def seeded(function, *args, seed=7):
    torch.manual_seed(seed)
    return function(*args)


def test_known_answers():
    """The vectors of the authors of Threefry (Random123, threefry2x32_20)."""
    ones = np.uint32(0xFFFFFFFF)
    cases = [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ones, ones), (ones, ones), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]
    for key, counter, expected in cases:
        with np.errstate(over="ignore"):
            found = threefry(*(tuple(np.array([w], np.uint32) for w in p) for p in (key, counter)))
        assert tuple(int(word[0]) for word in found) == expected
    assert [int(w) for w in words(np.int64(-1))] == [0xFFFFFFFF, 0xFFFFFFFF]


def test_bits_in_machine_code(tmp_path):
    """torch.rand of a library with a known key, bit by bit."""

    def f(x):
        return torch.rand(1000, dtype=torch.float64) + 0 * x

    library = pullback.compile(f, torch.zeros((), dtype=torch.float64), name="draw", out=tmp_path)
    with np.errstate(over="ignore"):

        def block(key, counter):
            high, low = threefry(words(key), words(counter))
            return (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)

        key = np.int64(123456789012345)
        own = block(np.full(1, key), np.ones(1, np.int64)).view(np.int64)
        bits = block(np.full(1000, own[0]), np.arange(1000)) >> np.uint64(11)
    found = library(np.zeros(()), key=np.array(key))
    assert (np.asarray(found) == bits.astype(np.float64) * 2.0**-53).all()


def test_repeatable_and_new_at_each_call():
    f = pullback.jit(lambda x: (torch.rand_like(x), torch.rand_like(x)))
    one, two = seeded(f, X)
    again = seeded(f, X)
    assert torch.equal(one, again[0])
    assert torch.equal(two, again[1])
    assert not torch.equal(one, two)  # two draws of one program are not merged
    assert not torch.equal(one, f(X)[0])
    as_numpy = seeded(f, X.numpy())
    assert np.array_equal(one.numpy(), as_numpy[0])


SAMPLERS = {  # mean and deviation
    "rand": (lambda: torch.rand(N), 0.5, 12**-0.5),
    "rand64": (lambda: torch.rand(N, dtype=torch.float64), 0.5, 12**-0.5),
    "randn": (lambda: torch.randn(N), 0, 1),
    "rand_like": (lambda: torch.rand_like(torch.zeros(N)), 0.5, 12**-0.5),
    "randn_like": (lambda: torch.randn_like(torch.zeros(N)), 0, 1),
    "uniform_": (lambda: torch.empty(N).uniform_(-1, 3), 1, 4 * 12**-0.5),
    "normal_": (lambda: torch.empty(N).normal_(2, 3), 2, 3),
    "normal": (lambda: torch.normal(torch.full((N,), 2.0), 3.0), 2, 3),
    "normal 2": (lambda: torch.normal(2.0, torch.full((N,), 3.0)), 2, 3),
    "normal 3": (lambda: torch.normal(torch.ones(N), torch.ones(N)), 1, 1),
    "normal 4": (lambda: torch.normal(2.0, 3.0, (N,)), 2, 3),
    "randint": (lambda: torch.randint(2, 8, (N,)), 4.5, (35 / 12) ** 0.5),
    "randint_like": (lambda: torch.randint_like(torch.zeros(N), 6), 2.5, (35 / 12) ** 0.5),
    "random_": (lambda: torch.zeros(N, dtype=torch.int64).random_(0, 6), 2.5, (35 / 12) ** 0.5),
    "bernoulli": (lambda: torch.bernoulli(torch.full((N,), 0.25)), 0.25, 0.1875**0.5),
    "bernoulli p": (lambda: torch.bernoulli(torch.zeros(N), 0.25), 0.25, 0.1875**0.5),
    "bernoulli_": (lambda: torch.zeros(N).bernoulli_(0.25), 0.25, 0.1875**0.5),
    "bernoulli_ tensor": (
        lambda: torch.zeros(N).bernoulli_(torch.full((N,), 0.25)),
        0.25,
        0.1875**0.5,
    ),
    "exponential_": (lambda: torch.zeros(N).exponential_(2.0), 0.5, 0.5),
    "geometric_": (lambda: torch.zeros(N).geometric_(0.5), 2, 2**0.5),
    "log_normal_": (lambda: torch.zeros(N).log_normal_(0.0, 0.25).log(), 0, 0.25),
    "cauchy_": (lambda: torch.atan(torch.zeros(N).cauchy_()), 0, math.pi * 12**-0.5),
    "dropout": (lambda: F.dropout(torch.ones(N), 0.2), 1, 0.5),
    "alpha_dropout": (lambda: F.alpha_dropout(torch.randn(N), 0.3, True), 0, 1),
    "rrelu": (lambda: F.rrelu(-torch.ones(N), 0.2, 0.4, True), -0.3, 0.2 * 12**-0.5),
    "multinomial": (
        lambda: torch.multinomial(torch.tensor([0.0, 1.0, 0.0, 3.0]), N, True).double(),
        2.5,
        0.75**0.5,
    ),
    "one of": (
        lambda: torch.multinomial(torch.tensor([0.0, 1.0, 3.0]).repeat(N, 1), 1).double(),
        1.75,
        0.1875**0.5,
    ),
    "distribution": (lambda: torch.distributions.Normal(2.0, 3.0, False).rsample((N,)), 2, 3),
}


def test_moments():
    """All in one program: means within five standard errors, deviations within some percent."""
    found = seeded(pullback.jit(lambda: [draw() for draw, *_ in SAMPLERS.values()]))
    for (name, (_, mean, deviation)), x in zip(SAMPLERS.items(), found, strict=True):
        assert abs(x.double().mean() - mean) < 5 * deviation / N**0.5, name
        assert abs(x.double().std() / deviation - 1) < 0.05, name
    one, two = found[0], found[3]
    assert abs(torch.corrcoef(torch.stack([one, two]))[0, 1]) < 5 / N**0.5
    assert float(found[0].min()) >= 0
    assert float(found[0].max()) < 1


def test_permutations_and_choices():
    f = pullback.jit(lambda: (torch.randperm(50), torch.multinomial(torch.arange(8.0), 7)))
    permutation, choice = seeded(f)
    assert sorted(permutation.tolist()) == list(range(50))
    assert permutation.tolist() != list(range(50))
    assert sorted(choice.tolist()) == list(range(1, 8))


def dropped(x):
    return F.dropout(torch.sin(x), 0.5)


def test_mask_is_the_same_forward_and_backward():
    out, pull = seeded(lambda: pullback.vjp(dropped, X))
    mask = (out != 0).to(torch.float64)
    assert 0 < mask.sum() < len(mask)
    torch.testing.assert_close(out, 2 * mask * X.sin())
    for _ in range(2):
        torch.testing.assert_close(pull(torch.ones_like(X))[0], 2 * mask * X.cos())
    same = pullback.jit(
        lambda x: (lambda y: (y, pullback.grad(lambda x: (x * y).sum())(x)))(dropped(x))
    )
    y, g = same(X)
    assert torch.equal(y, g)
    x = X.clone().requires_grad_()
    y = pullback.jit(dropped)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * (y != 0).to(torch.float64) * X.cos())


def test_reparametrised():
    def f(mean, std):
        return torch.normal(mean, std).sum()

    mean, std = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    grads, value = seeded(pullback.grad_and_value(f, argnums=(0, 1)), mean, std)
    torch.testing.assert_close(grads[0], torch.ones_like(mean))
    torch.testing.assert_close(grads[1].sum(), value)  # d/dstd = the standard normal number
    h = pullback.hessian(lambda x: (F.dropout(x, 0.5) ** 3).sum())(X)
    assert (h == torch.diag(h.diag())).all()
    assert set((h.diag() / X).round().int().tolist()) == {0, 48}


def noisy(x):
    return x + torch.rand(2, dtype=x.dtype)


@pytest.mark.parametrize("chunk_size", [None, 3, 5])
def test_vmap_modes(chunk_size):
    def mapped(mode):
        return pullback.vmap(noisy, randomness=mode, chunk_size=chunk_size)

    x = torch.zeros(12, dtype=torch.float64)
    same, different = seeded(mapped("same"), x), seeded(mapped("different"), x)
    assert (same == same[0]).all()
    assert len(set(different.flatten().tolist())) == 24
    assert torch.equal(different, seeded(pullback.vmap(noisy, randomness="different"), x))
    with pytest.raises(RuntimeError, match="called random operation while in randomness error"):
        mapped("error")(x)
    with pytest.raises(RuntimeError, match="called random operation while in randomness error"):
        torch.func.vmap(noisy)(x)


def test_nested_vmap_and_grad():
    x = torch.zeros(3, 4, dtype=torch.float64)

    def nest(outer, inner):
        return pullback.vmap(pullback.vmap(noisy, randomness=inner), randomness=outer)

    both = seeded(nest("different", "different"), x)
    assert len(set(both.flatten().tolist())) == 24
    rows = seeded(nest("same", "different"), x)
    assert (rows == rows[0]).all()
    assert len(set(rows[0].flatten().tolist())) == 8
    columns = seeded(nest("different", "same"), x)
    assert (columns == columns[:, :1]).all()
    assert len(set(columns[:, 0].flatten().tolist())) == 6
    f = pullback.vmap(pullback.grad(lambda x: F.dropout(x, 0.5).sum()), randomness="different")
    g = seeded(f, torch.ones(50, 6))
    assert len({tuple(row) for row in g.tolist()}) > 20
    pullback.jacrev(lambda x: F.dropout(x, 0.5))(X)


def test_loops():
    def step(carry, _):
        return carry, torch.rand((), dtype=torch.float64)

    drawn = pullback.jit(lambda x: pullback.scan(step, x, None, length=9)[1])(X)
    assert len(set(drawn.tolist())) == 9
    with pytest.raises(pullback.CaptureError, match="while_loop"):
        pullback.jit(
            lambda x: pullback.while_loop(lambda x: x.sum() < 3, lambda x: x + torch.rand(()), x)
        )(torch.zeros(1))


def test_refusals():
    g = torch.Generator()
    with pytest.raises(pullback.CaptureError, match="generator"):
        pullback.jit(lambda x: torch.rand(3, generator=g))(X)
    with pytest.raises(ValueError, match="between 0 and 1"):
        pullback.jit(lambda x: F.dropout(x, 2.0))(X)
    with pytest.raises(RuntimeError, match="expects p to be in"):
        pullback.jit(lambda x: x.clone().bernoulli_(1.5))(X)
    with pytest.raises(pullback.CaptureError, match="seeds"):
        pullback.jit(lambda x: (torch.manual_seed(7), torch.rand(3))[1])(X)
