"""What a function reaches and what it leaves behind: changes are seen, effects are refused."""

from __future__ import annotations

import collections
import types

import pullback as pb
import pytest
import torch
from torch.testing import assert_close

X = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)

pytestmark = pytest.mark.usefixtures("interpreted")


def test_hooks_of_a_module():
    model = torch.nn.Linear(3, 3).double()
    factor = 2.0
    first = model.register_forward_hook(lambda _m, _i, out: out * factor)
    compiled = pb.jit(model)
    assert_close(compiled(X), model(X))
    factor = 5.0
    assert_close(compiled(X), model(X))
    first.remove()
    model.register_forward_hook(lambda _m, _i, out: out * 100)  # as many hooks as before
    assert_close(compiled(X), model(X))


def test_an_attribute_that_hides_a_method():
    model = torch.nn.Linear(3, 3).double()
    compiled = pb.jit(model)
    compiled(X)
    model.forward = lambda x: x * 3
    assert_close(compiled(X), X * 3)
    del model.forward
    assert_close(compiled(X), model(X))


def test_objects_at_any_depth():
    class Chain:
        def __init__(self, rest):
            self.rest = rest

    chain = Chain(2.0)
    end = chain
    for _ in range(30):
        chain = Chain(chain)

    def f(x):
        link = chain
        while isinstance(link, Chain):
            link = link.rest
        return x * link

    compiled = pb.jit(f)
    assert_close(compiled(X), X * 2)
    end.rest = 3.0
    assert_close(compiled(X), X * 3)
    end.rest = X
    assert_close(compiled(X), X * X)


@pytest.mark.parametrize("make", [list, collections.deque, lambda items: dict(enumerate(items))])
def test_long_collections(make):
    items = make(float(i) for i in range(5000))
    compiled = pb.jit(lambda x: x * items[4999])
    assert_close(compiled(X), X * 4999)
    items[4999] = 2.0
    assert_close(compiled(X), X * 2)
    items[4999] = 2  # another number type is another program
    assert compiled(torch.ones(2, dtype=torch.int64)).dtype == torch.int64


def test_too_much_to_watch_is_an_error():
    table = [[i] for i in range(60_000)]
    with pytest.raises(pb.CaptureError, match="reaches more than"):
        pb.jit(lambda x: x * table[3][0])(X)


def test_a_module_used_by_two_functions():
    settings = types.ModuleType("settings_of_this_test")
    settings.first, settings.second = 2.0, 3.0

    def inner(x):
        return x * settings.second

    def outer(x):
        return inner(x) * settings.first

    compiled = pb.jit(outer)
    assert_close(compiled(X), X * 6)
    settings.second = 5.0
    assert_close(compiled(X), X * 10)


def test_a_tuple_of_other_number_types():
    pair = (1, 0.0)
    compiled = pb.jit(lambda x: (x * pair[0], x / pair[1]))
    assert_close(compiled(torch.ones(1, dtype=torch.int64))[0], torch.ones(1, dtype=torch.int64))
    pair = (True, -0.0)
    assert_close(compiled(X)[1], X / -0.0)


class Keeper(torch.nn.Module):
    def forward(self, x):
        self.last = x * 2
        return self.last + 1


def test_a_kept_tensor_is_refused():
    kept = []
    with pytest.raises(pb.CaptureError, match=r"keeps a tensor .* in last"):
        pb.jit(Keeper())(X)
    with pytest.raises(pb.CaptureError, match=r"keeps a tensor .* in kept\[0\]"):
        pb.jit(lambda x: (kept.append(x), x * 2)[1])(X)


@pytest.mark.parametrize(
    "f",
    [
        lambda given: given.append(given[0] * 2),
        lambda given: given.pop(),
        lambda given: given.__setitem__(0, given[0] * 2),
        lambda given: given.__setitem__(0, 3.0),
    ],
)
def test_a_changed_argument_list_is_refused(f):
    def changing(given):
        f(given)
        return given[0]

    arguments = [X.clone(), X.clone()]
    with pytest.raises(pb.CaptureError, match="changes a list or dict"):
        pb.jit(changing)(arguments)
    assert len(arguments) == 2


class Box:
    def __init__(self, content):
        self.content = content


@pytest.mark.parametrize("wrap", [Box, lambda x: {x}, lambda x: lambda: x])
def test_a_tensor_inside_an_object_is_no_result(wrap):
    with pytest.raises(pb.CaptureError, match="the result holds a tensor inside"):
        pb.jit(lambda x: (x, wrap(x * 2)))(X)


def test_replacing_memory_is_refused():
    def f(x):
        x.data = torch.zeros(3, dtype=torch.float64)
        return x * 1

    with pytest.raises(pb.CaptureError, match="memory is replaced"):
        pb.jit(f)(X.clone())


def test_outputs_without_a_derivative():
    w = X.clone().requires_grad_()

    def f(w):
        with torch.no_grad():
            constant = w * 3
        return w * 2, w.detach() * 2, constant, pb.vmap(lambda v: v.detach())(w)

    ours = pb.jit(f)(w)
    assert [out.requires_grad for out in ours] == [True, False, False, False]


def test_forward_mode_of_torch_is_not_cut():
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(X, X)
        with pytest.raises(pb.CaptureError, match=r"inside a transform of torch\.func"):
            pb.jit(lambda x: x**2)(dual)


def test_a_torch_size_is_an_argument():
    compiled = pb.jit(lambda x, shape: x.reshape(shape))
    assert_close(compiled(X, torch.Size([3, 1])), X.reshape(3, 1))
