"""Capture: lines, closures, writes, stops, literals; what cannot be captured and what is said."""

from __future__ import annotations

import linecache

import numpy as np
import pullback as pb
import pytest
import torch
from pullback.frontend.graph import Constant, StopGradient, Transform
from pullback.frontend.trace import trace
from torch.testing import assert_close

WEIGHT = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))


def graph_of(fn, *args):
    return trace(fn, args, {}).graph


def targets(graph):
    return [str(node.target).removeprefix("aten.") for node in graph.nodes]


def source(node):
    return linecache.getline(node.location.file, node.location.line).strip()


def test_lines_and_callers():
    def outer(x):
        y = x * 2
        return inner(y)

    def inner(y):
        return y.sin()

    product, sine = graph_of(outer, torch.ones(3)).nodes
    assert source(product) == "y = x * 2"
    assert source(sine) == "return y.sin()"
    assert sine.location.column > 1
    assert [caller.function for caller in sine.location.callers] == ["outer"]


def test_the_line_of_a_layer_is_the_users():
    layer = torch.nn.Linear(3, 2)

    def f(x):
        return layer(x)

    assert {source(node) for node in graph_of(f, torch.ones(1, 3)).nodes} == {"return layer(x)"}


def test_captured_tensors_become_inputs():
    scale = torch.ones(3)
    graph = graph_of(lambda x: x * scale * WEIGHT * scale, torch.ones(3))
    assert len(graph.inputs) == 3
    assert targets(graph) == ["mul.Tensor"] * 3


def test_closure_of_an_inner_function_is_converted():
    def f(x):
        return pb.vmap(lambda row: row * x[0] * WEIGHT)(torch.ones(2, 3))

    graph = graph_of(f, torch.ones(3))
    (call,) = [node for node in graph.nodes if isinstance(node.target, Transform)]
    assert call.target.in_dims == (0, -1, -1)
    assert len(call.target.graph.inputs) == 3
    assert call.target.graph.inputs[0].shape == (3,)


def test_inner_gradients_of_one_function_share_a_symbol():
    def loss(w, x):
        return (w * x).sin().sum()

    def maml(w, x):
        for _ in range(5):
            w = w - 0.1 * pb.grad(loss)(w, x)
        return loss(w, x)

    from pullback.frontend.importer import import_graph

    text = str(import_graph(graph_of(pb.grad(maml), torch.ones(3), torch.ones(3))))
    assert text.count("func.func") == 3  # main, maml, loss
    assert text.count("pb.vjp @loss(") == 5
    assert text.count("pb.vjp @maml(") == 1


def test_literals_are_constants_and_large_ones_parameters():
    large = list(range(1000))

    def f(x):
        return x + torch.tensor([1.0, 2.0]) + torch.tensor(large).sum()

    traced = trace(f, (torch.ones(2),), {})
    constants = [n.target.data for n in traced.graph.nodes if isinstance(n.target, Constant)]
    np.testing.assert_array_equal(constants[0], np.array([1.0, 2.0], np.float32))
    assert [known.literal for known in traced.hidden] == [True]


def test_stops():
    def f(x):
        a = x.detach() * 1
        b = x.data * 1
        with torch.no_grad():
            c = x * 1
        return a + b + c * torch.zeros(3)

    graph = graph_of(f, torch.ones(3))
    stops = [n for n in graph.nodes if isinstance(n.target, StopGradient)]
    assert [source(n) for n in stops] == ["a = x.detach() * 1", "b = x.data * 1"]
    assert [source(n) for n in graph.nodes if not n.grad_enabled] == ["c = x * 1"]


def test_no_grad_stops_reverse_mode_only(interpreted):
    def f(x):
        with torch.no_grad():
            c = x**2
        return (x**3 * c).sum()

    x = torch.tensor([2.0], dtype=torch.float64)
    assert pb.jacrev(pb.jacrev(f))(x).item() == 48
    assert pb.hessian(f)(x).item() == 96
    assert pb.grad(lambda x: (x**3 * x.detach() ** 2).sum())(x).item() == 48
    assert pb.jvp(lambda x: x.detach() * x, (x,), (x,))[1].item() == 4


def test_an_outer_no_grad_is_ignored(interpreted):
    x = torch.tensor([2.0])
    with torch.no_grad():
        assert pb.grad(lambda x: (x * x).sum())(x).item() == 4
        assert pb.vjp(lambda x: x * x, x)[1](x)[0].item() == 8


WRITES = {
    "slices": lambda x: _assigned(x, (slice(1, None),), 2.0),
    "one element": lambda x: _assigned(x, (0, 1), 5.0),
    "row and column": lambda x: _assigned(x, (slice(None), 2), x[:, 0]),
    "strided": lambda x: _assigned(x, (slice(None), slice(None, None, 2)), x[:, :2]),
    "mask": lambda x: _assigned(x, x > 0, 0.0),
    "tensor index": lambda x: _assigned(x, (torch.tensor([1, 0]),), 3.0),
}


def _assigned(x, index, value):
    y = x * 2
    y[index] = value
    return y


@pytest.mark.parametrize("name", WRITES)
def test_write(name, interpreted):
    x = torch.randn(2, 3)
    assert_close(pb.jit(WRITES[name])(x), WRITES[name](x))


def test_views_see_writes_and_pass_them_on(interpreted):
    def f(x):
        base = x.clone()
        row, flat, transposed = base[1], base.view(-1), base.t()
        row += 10
        flat[0] = -1
        transposed[2, 0] *= 4
        middle = base.unsqueeze(0).squeeze(0)[:, 1:2]
        middle.copy_(x[:, :1])
        left, right = base.split([1, 2], 1)
        left.mul_(right[:, :1])
        return base, row, flat, transposed, middle

    x = torch.randn(2, 3)
    for ours, theirs in zip(pb.jit(f)(x), f(x), strict=True):
        assert_close(ours, theirs)


def test_loop_of_writes_under_vmap_and_grad(interpreted):
    def cumulative(x):
        out = torch.zeros(4, dtype=x.dtype)
        out[0] = x[0]
        for i in range(1, 4):
            out[i] = out[i - 1] * 0.5 + x[i].sin()
        return out

    x = torch.randn(3, 4, dtype=torch.float64)
    expected = torch.stack([torch.func.jacrev(cumulative)(row) for row in x])
    assert_close(pb.vmap(pb.jacrev(cumulative))(x), expected)


def test_in_place_casts_back(interpreted):
    def f(x):
        y = torch.zeros(3)
        y += x
        y.mul_(torch.tensor([1, 2, 3]))
        return y

    x = torch.randn(3, dtype=torch.float64)
    assert_close(pb.jit(f)(x), f(x))


def _branch(x):
    if x.sum() > 0:
        return x
    return -x


def _nested(x):
    return _branch(x)


def _no_grad_write(x):
    y = x * 2
    with torch.no_grad():
        y.mul_(3)
    return y


def _into_fresh(x):
    y = torch.zeros(2)
    pb.vmap(lambda row: y.add_(row) * row)(x)
    return y


def _leak(x):
    kept = []
    pb.vmap(lambda row: kept.append(row) or row)(x)
    return kept[0] + 1


REFUSALS = {
    "branch": (_branch, "decides what this line does", "torch.where"),
    "item": (lambda x: x * x[0].item(), "decides what this line does", "torch.where"),
    "max of python": (lambda x: max(x[0], x[1]), "decides", "torch.where"),
    "tolist": (lambda x: x.tolist(), "decides", "torch.where"),
    "mask": (lambda x: x[x > 0], "shape of this result depends", "torch.where"),
    "nonzero": (lambda x: x.nonzero(), "shape of this result depends", "torch.where"),
    "numpy": (lambda x: x.numpy(), "no memory", "torch operations"),
    "write under no_grad": (_no_grad_write, "under torch.no_grad()", "detach"),
    "write through detach": (lambda x: (x * 1).detach().mul_(2), "cannot be followed", "clone"),
    "write through expand": (
        lambda x: x.clone()[:1].expand(3).copy_(x),
        "cannot be followed",
        "clone",
    ),
    "out": (lambda x: torch.sin(x, out=torch.empty(2)), "out= has the shape", "new empty one"),
    "resize_": (lambda x: (x * 1).resize_(5), "cannot be followed", "returns a new tensor"),
    "argument under grad": (
        lambda x: pb.grad(lambda y: y.mul_(2).sum())(x),
        "a leaf Variable that requires grad",
        "clone",
    ),
    "view of an argument under grad": (
        lambda x: pb.vjp(lambda y: y[:1].zero_() + y, x)[0],
        "a leaf Variable that requires grad",
        "clone",
    ),
    "outer tensor under grad": (
        lambda x: pb.grad(lambda y: (WEIGHT.add_(1) * y).sum())(x),
        "that would mutate a captured Tensor",
        "argument",
    ),
    "batched into unbatched": (
        lambda x: pb.vmap(lambda row: WEIGHT.add_(row) + row)(x),
        "vmap: inplace arithmetic(self, *extra_args) is not possible",
        "inside the function",
    ),
    "batched into unbatched, fresh outside": (
        _into_fresh,
        "vmap: inplace arithmetic(self, *extra_args) is not possible",
        "inside the function",
    ),
    "written and captured": (
        lambda x: pb.vmap(lambda row: row.add_(1) + x.sum())(x),
        "also reaches by another way",
        "clone",
    ),
    "backward": (lambda x: x.sum().backward(), "torch.autograd is not available", "grad"),
    "autograd.grad": (lambda x: torch.autograd.grad(x.sum(), x), "not available", "grad"),
    "requires_grad_": (lambda x: x.requires_grad_(), "not available", "grad"),
    "leak": (_leak, "used outside of it", "has_aux"),
    "tensor of tensors": (lambda x: torch.tensor([x[0], x[1]]), "takes the values", "stack"),
    "complex": (lambda x: x.to(torch.complex64) * 1, "complex64", "float32"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name):
    function, message, way_out = REFUSALS[name]
    before = WEIGHT.detach().clone()
    with pytest.raises(pb.CompileError) as error:
        pb.jit(function)(torch.randn(3))
    assert message in str(error.value)
    assert way_out in str(error.value)
    assert error.value.location[0] == __file__
    assert torch.equal(before, WEIGHT.detach())


def test_the_error_names_the_line_and_its_callers():
    with pytest.raises(pb.CaptureError) as error:
        pb.jit(_nested)(torch.randn(3))
    file, line = error.value.location
    assert linecache.getline(file, line).strip() == "if x.sum() > 0:"
    assert str(error.value).startswith(f"{file}:{line}: ")
    assert any("in _nested" in note for note in error.value.notes)


def test_unsupported_calls_are_listed_together():
    def f(x):
        a = torch.special.airy_ai(x)
        b = torch.special.bessel_y0(x)
        c = torch.nn.functional.gelu(x)
        return pb.vmap(torch.special.bessel_j1)(a + b + c)

    with pytest.raises(pb.UnsupportedOpError) as error:
        pb.jit(f)(torch.randn(2, 3))
    text = str(error.value)
    lines = {"a = torch.special.airy_ai(x)", "b = torch.special.bessel_y0(x)"}
    assert all(line in text for line in lines)
    assert "aten.special_airy_ai.default" in text
    assert "aten.special_bessel_j1.default" in text
    assert "3 unsupported calls" in text


@pytest.mark.parametrize(
    ("f", "advice"),
    [
        (torch.fft.fft, "aten._fft_r2c.default: .* complex64; compute with real and imaginary"),
        (lambda x: x.to(torch.int8) + 1, "aten._to_copy.default: .* int8; convert to int32"),
        (torch.linalg.eigvals, "torch.linalg.eigh"),
    ],
)
def test_what_to_do_about_a_dtype_is_said(f, advice):
    with pytest.raises(pb.UnsupportedOpError, match=advice):
        pb.jit(f)(torch.randn(3, 3))
    with pytest.raises(pb.CaptureError, match=r"dtype uint8\n.*convert to int32 or int64"):
        pb.jit(torch.neg)(torch.ones(2, dtype=torch.uint8))


def test_calls_that_a_rule_refuses_are_listed_together():
    def f(x):
        a = x.index_put((x > 0,), x[:2])
        return a + x[None].index_put((x[:1] > 0, torch.tensor([0])), x[0])

    with pytest.raises(pb.UnsupportedOpError, match="2 unsupported calls") as error:
        pb.jit(f)(torch.randn(3))
    assert "masked_scatter" in str(error.value)


def test_user_exceptions_come_out_unchanged():
    class Mine(Exception):
        pass

    def f(x):
        torch.set_grad_enabled(False)
        raise Mine(x.shape)

    with pytest.raises(Mine, match=r"\[3\]"):
        pb.jit(pb.grad(f))(torch.randn(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        pb.jit(lambda x: x @ torch.ones(4))(torch.randn(3))


def test_capture_does_not_compute():
    # 8 TB each: any kernel or allocation would fail.
    huge = torch.zeros(1).expand(2_000_000, 1_000_000)
    argument = torch.empty(2_000_000, 1_000_000, device="meta")
    graph = graph_of(lambda x: pb.vmap(torch.sin)(x * huge).sum(), argument)
    assert graph.inputs[1].shape == (2_000_000, 1_000_000)


def test_a_tensor_of_an_earlier_trace_is_refused():
    kept = []
    pb.frontend.trace.trace(lambda x: kept.append(x) or x, (torch.ones(3),), {})
    with pytest.raises(pb.CaptureError, match="another trace"):
        graph_of(lambda x: x + kept[0], torch.ones(3))


def test_autocast_does_not_keep_our_tensors():
    layer = torch.nn.Linear(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert pb.jit(layer)(torch.ones(1, 3)).dtype is torch.bfloat16
        assert type(layer(torch.ones(1, 3))) is torch.Tensor
