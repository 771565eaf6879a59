"""A compiled call equals running the Python again: signatures, guards, hidden tensors."""

from __future__ import annotations

import functools
import gc
import logging
import weakref
from collections import namedtuple

import numpy as np
import pullback as pb
import pytest
import torch
from torch.testing import assert_close

SCALE = 2.0
TABLE = {"w": torch.tensor([1.0, 2.0, 3.0])}
Point = namedtuple("Point", "x y")

pytestmark = pytest.mark.usefixtures("interpreted")


class Counter:
    """Counts how often the Python function runs."""

    def __init__(self, function):
        self.runs = 0
        self.function = function

        def counted(*args, **kwargs):
            self.runs += 1
            return function(*args, **kwargs)

        self.jit = pb.jit(counted)

    def check(self, *args, runs):
        assert_close(self.jit(*args), self.function(*args))
        assert self.runs == runs


def test_one_compile_for_one_signature():
    counter = Counter(lambda x, n: x * n)
    counter.check(torch.ones(3), 2, runs=1)
    counter.check(torch.zeros(3), 2, runs=1)
    counter.check(torch.ones(4), 2, runs=2)
    counter.check(torch.ones(3, dtype=torch.float64), 2, runs=3)
    counter.check(torch.ones(3), 2.0, runs=4)
    counter.check(torch.ones(3), True, runs=5)
    counter.check(torch.ones(3), 2, runs=5)


def test_pytrees_numpy_and_static_results():
    @pb.jit
    def f(p, flag, *, k=2):
        return {"sum": p.x + p.y * k, "flag": flag, "none": None}, [p.x]

    x = np.array([1.0, 2.0])
    result, (copy,) = f(Point(x, x), "s", k=3)
    assert isinstance(result["sum"], np.ndarray)
    np.testing.assert_array_equal(result["sum"], 4 * x)
    assert (result["flag"], result["none"]) == ("s", None)
    assert isinstance(copy, np.ndarray)
    t = torch.from_numpy(x)
    assert isinstance(f(Point(t, t), "s")[0]["sum"], torch.Tensor)


def test_default_dtype_and_grad_mode_are_part_of_the_signature():
    counter = Counter(lambda x: x + torch.ones(3))
    counter.check(torch.arange(3), runs=1)
    torch.set_default_dtype(torch.float64)
    try:
        counter.check(torch.arange(3), runs=2)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        counter.check(torch.arange(3), runs=3)


def test_hidden_tensors_are_looked_up_at_each_call():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    cell = torch.ones(3)

    def f(x):
        return model(x * cell * TABLE["w"])

    counter = Counter(f)
    x = torch.randn(2, 3)
    with torch.no_grad():
        counter.check(x, runs=1)
        model[0].weight.mul_(2)
        counter.check(x, runs=1)
        model[0].weight = torch.nn.Parameter(torch.ones(3, 3))
        counter.check(x, runs=1)
        model[2] = torch.nn.Linear(3, 1)
        counter.check(x, runs=1)
        TABLE["w"] = torch.tensor([3.0, 2.0, 1.0])
        counter.check(x, runs=1)
        cell = torch.zeros(3)
        counter.check(x, runs=1)
        other = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        model.load_state_dict(other.state_dict())
        counter.check(x, runs=1)
        model[1] = torch.nn.ReLU()
        counter.check(x, runs=2)
        cell = torch.zeros(3, dtype=torch.float64)[:1].float()
        counter.check(x, runs=3)


def test_plain_values_are_guards():
    global SCALE
    dropout = torch.nn.Dropout(0.5).eval()
    n = 3

    def f(x, k=1.5):
        return dropout(x) * SCALE * n * k

    counter = Counter(f)
    x = torch.randn(3)
    counter.check(x, runs=1)
    SCALE = 4.0
    try:
        counter.check(x, runs=2)
    finally:
        SCALE = 2.0
    counter.check(x, runs=2)  # the first program fits again
    n = 5
    counter.check(x, runs=3)
    dropout.train()
    assert (counter.jit(torch.ones(64)) == 0).any()


def test_objects_methods_partials_and_defaults():
    class Model:
        def __init__(self):
            self.w = torch.ones(3)
            self.power = 2

        def __call__(self, x):
            return self.helper(x) ** self.power

        def helper(self, x):
            return x * self.w

    model = Model()
    functions = {
        "object": pb.jit(model),
        "method": pb.jit(model.helper),
        "partial": pb.jit(functools.partial(lambda m, x: m(x), model)),
        "default": pb.jit(lambda x, m=model: m(x)),
        "argument": functools.partial(pb.jit(lambda m, x: m(x)), model),
        "grad": pb.grad(lambda x: model(x).sum()),
    }
    x = torch.randn(3)
    for step in range(3):
        if step == 1:
            model.w = torch.full((3,), 3.0)
        if step == 2:
            model.power = 3
        for name, function in functions.items():
            if name == "method":
                expected = model.helper(x)
            elif name == "grad":
                expected = torch.func.grad(lambda x: model(x).sum())(x)
            else:
                expected = model(x)
            assert_close(function(x), expected)


def test_lambdas_with_equal_code_and_values_share_a_compile():
    runs = []

    def make(k):
        return pb.jit(lambda x: runs.append(k) or x * k)

    x = torch.ones(3)
    for k in (2.0, 2.0, 3.0, 2.0):
        assert_close(make(k)(x), x * k)
    assert runs == [2.0, 3.0]


class Config:
    rate = 2.0


class Slotted:
    __slots__ = ("k",)

    @property
    def twice(self):
        return self.k * Config.rate


def test_classes_slots_properties_sets_and_arrays():
    slotted, names, array = Slotted(), {"a"}, np.array([1.0, 2.0, 3.0], np.float32)
    slotted.k = 1.0

    def f(x):
        return x * Config.rate * slotted.twice * len(names) * torch.from_numpy(array)

    counter = Counter(f)
    x = torch.randn(3)
    counter.check(x, runs=1)
    counter.check(x, runs=1)
    slotted.k = 3.0
    counter.check(x, runs=2)
    names.add("b")
    counter.check(x, runs=3)
    array[1] = 7
    counter.check(x, runs=4)
    Config.rate = 5.0
    try:
        counter.check(x, runs=5)
    finally:
        Config.rate = 2.0


def test_tied_weights_are_one_input_until_they_part():
    layer = torch.nn.Linear(3, 3, bias=False)
    pair = torch.nn.ModuleList([layer, torch.nn.Linear(3, 3, bias=False)])
    pair[1].weight = layer.weight
    f = pb.jit(lambda x: pair[1](pair[0](x)))
    x = torch.randn(1, 3)
    with torch.no_grad():
        assert_close(f(x), pair[1](pair[0](x)))
        pair[1].weight = torch.nn.Parameter(torch.randn(3, 3))
        assert_close(f(x), pair[1](pair[0](x)))


def test_unreachable_tensors_are_an_error():
    source = iter([torch.ones(3)])
    with pytest.raises(pb.CaptureError, match="neither an argument nor found") as error:
        pb.jit(lambda x: x + next(source))(torch.ones(3))
    assert error.value.location[0] == __file__


def test_recompiles_state_their_reason(caplog):
    f = pb.jit(lambda x, n: x * n)
    with caplog.at_level(logging.INFO, "pullback"):
        f(torch.ones(3), 2)
        f(torch.ones(4), 2)
        f(torch.ones(4), 3)
        f(torch.ones(4, dtype=torch.float64), 3)
    assert "the argument 'x' changed from float32[3] to float32[4]" in caplog.text
    assert "the argument 'n' changed from 2 to 3" in caplog.text
    assert "from float32[4] to float64[4]" in caplog.text


def test_many_recompiles_warn_once_and_name_the_argument():
    f = pb.jit(lambda x, step: x * step)
    for step in range(8):
        f(torch.ones(3), step)
    with pytest.warns(UserWarning, match="argument 'step' changed from 7 to 8"):
        f(torch.ones(3), 8)
    f(torch.ones(3), 9)


def test_the_cache_keeps_no_function_and_no_tensor_alive():
    def call():
        weight = torch.ones(3)

        def f(x):
            return x * weight

        pb.jit(f)(torch.ones(3))
        return [weakref.ref(f), weakref.ref(weight)]

    watched = call()
    gc.collect()
    assert [ref() for ref in watched] == [None, None]


def test_jit_inside_a_trace_is_inlined_and_methods_bind():
    inner = pb.jit(torch.sin)
    assert_close(pb.grad(lambda x: inner(x).sum())(torch.ones(3)), torch.ones(3).cos())

    class Model:
        k = 3.0

        @pb.jit
        def forward(self, x):
            return x * self.k

    assert_close(Model().forward(torch.ones(3)), torch.full((3,), 3.0))


def test_functions_without_arguments():
    assert_close(pb.jit(lambda: torch.arange(3) * 2)(), torch.arange(3) * 2)


def test_arguments_that_are_not_plain_count_by_value():
    counter = Counter(lambda x, s: x * len(s) if isinstance(s, set) else x / s)
    x = torch.ones(3)
    counter.check(x, {1}, runs=1)
    counter.check(x, {1, 2}, runs=2)
    counter.check(x, 0.0, runs=3)
    counter.check(x, -0.0, runs=4)


def test_torch_func_inside_but_not_around():
    f = pb.jit(torch.sin)
    for _ in range(2):
        with pytest.raises(pb.CaptureError, match=r"inside a transform of torch\.func"):
            torch.func.vmap(f)(torch.ones(3))
    gradient = pb.jit(torch.func.grad(lambda x: x.sin().sum()))(torch.ones(3))
    torch.testing.assert_close(gradient, torch.ones(3).cos())
