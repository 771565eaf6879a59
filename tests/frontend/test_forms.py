"""vjp, jvp, linearize and functional in --transform: functions of all their inputs."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
import torch.func as tf
from pullback.frontend import command, forms
from pullback.frontend.expression import apply
from pullback.frontend.jit import run
from pullback.frontend.trace import argument_names
from pullback.runtime.manifest import read
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("interpreted")
F64 = torch.float64
X = torch.arange(6.0, dtype=F64).reshape(2, 3) / 3
x, y = X[1] + 1, X[0] - 1


def scaled(x, w, k=2.0):
    return (x * w).sin() * k


def pair(p):
    return {"a": p["u"] * p["v"], "b": p["u"].sum()}


def cubic(x):
    return (x**3).sum()


CASES = {
    "vjp(f)": (scaled, (x, y, x), lambda: _pull(scaled, (x, y), x)),
    "vjp(f, argnums=1)": (scaled, (x, y, x), lambda: _pull(lambda w: scaled(x, w), (y,), x)),
    "vjp(f, (1, 0))": (scaled, (x, y, x), lambda: _swapped(_pull(scaled, (x, y), x))),
    "jvp(f)": (scaled, (x, y, y, x), lambda: tf.jvp(scaled, (x, y), (y, x))),
    "jvp(f, argnums=1)": (
        scaled,
        (x, y, x),
        lambda: tf.jvp(lambda w: scaled(x, w), (y,), (x,)),
    ),
    "linearize(f)": (
        pair,
        ({"u": x, "v": y}, {"u": y, "v": y}),
        lambda: tf.jvp(pair, ({"u": x, "v": y},), ({"u": y, "v": y},)),
    ),
    "jvp(grad(f))": (cubic, (x, y), lambda: tf.jvp(tf.grad(cubic), (x,), (y,))),
    "vjp(grad(f))": (cubic, (x, y), lambda: _pull(tf.grad(cubic), (x,), y)),
    "vmap(vjp(f), in_dims=(None, 0, 0), chunk_size=1)": (
        scaled,
        (x, X, X),
        lambda: tf.vmap(lambda w, ct: _pull(scaled, (x, w), ct))(X, X),
    ),
    "vmap(jvp(f), in_dims=(0, None), out_dims=(0, 1))": (
        cubic,
        (X, y),
        None,
    ),
    "hessian(f, chunk_size=2)": (cubic, (x,), lambda: tf.hessian(cubic)(x)),
    "jacfwd(f, argnums=(1, 0), chunk_size=2)": (
        scaled,
        (x, y),
        lambda: tf.jacfwd(scaled, argnums=(1, 0))(x, y),
    ),
    "vmap(f, in_dims=({'u': 0, 'v': None},))": (
        pair,
        ({"u": X, "v": y},),
        lambda: tf.vmap(pair, in_dims=({"u": 0, "v": None},))({"u": X, "v": y}),
    ),
}


def _pull(f, primals, ct):
    output, vjp_fn = tf.vjp(f, *primals)
    return output, vjp_fn(ct)


def _swapped(result):
    output, (first, second) = result
    return output, (second, first)


@pytest.mark.parametrize("text", CASES)
def test_value(text):
    function, args, expected = CASES[text]
    made = apply(text, function)
    if expected is None:
        with pytest.raises(IndexError):
            run(made, args, {})
        return
    assert_close(run(made, args, {}), expected())


def test_names_of_inputs():
    assert argument_names(apply("vjp(f)", scaled), (x, y, x), {}) == ["x", "w", "ct"]
    made = apply("vmap(jvp(f))", scaled)
    assert argument_names(made, (X, X, X, X), {}) == ["x", "w", "x_dot", "w_dot"]
    made = apply("jvp(f, argnums=1)", scaled)
    assert argument_names(made, (x, y, x), {}) == ["x", "w", "w_dot"]
    point = {"u": x, "v": y}
    names = argument_names(apply("linearize(f)", pair), (point, point), {})
    assert names == ["p.u", "p.v", "p_dot.u", "p_dot.v"]
    made = apply("jvp(jvp(f))", cubic)
    assert argument_names(made, (x,) * 4, {}) == ["x", "x_dot", "x_dot_", "x_dot_dot"]


def test_arguments_by_name():
    made = apply("vjp(f)", pair)
    texts = ["p.u=f64[3]", "p.v=f64[3]", "ct.a=f64[3]", "ct.b=f64[]"]
    args, kwargs = command.parse_arguments(texts, made)
    assert not kwargs and [sorted(arg) for arg in args] == [["u", "v"], ["a", "b"]]
    with pytest.raises(pb.CaptureError, match="missing a required argument: 'ct'"):
        command.parse_arguments(texts[:2], made)


def test_library(tmp_path):
    library = pb.compile(apply("vjp(f)", scaled), x, y, x, out=tmp_path, name="scaled")
    assert [spec.name for spec in library.inputs] == ["x", "w", "ct"]
    assert [spec.name for spec in library.outputs] == ["out[0]", "out[1][0]", "out[1][1]"]
    assert read(library.path)["transform"] == "vjp(f)"
    assert_close(library(x, y, x), _pull(scaled, (x, y), x))


def test_functional_of_a_module():
    class Net(torch.nn.Linear):
        def forward(self, input):
            return super().forward(input).sum()

    net = Net(3, 2, dtype=F64)
    made = apply("vmap(grad(functional(f)), in_dims=(None, 0))", net)
    args, _ = command.parse_arguments(["input=f64[2,3]"], made)
    assert [tuple(p.shape) for p in args[0].values()] == [(2, 3), (2,)]
    assert argument_names(made, args, {}) == ["params.weight", "params.bias", "input"]
    params = {name: p.detach() for name, p in net.named_parameters()}
    expected = tf.vmap(tf.grad(lambda p, x: tf.functional_call(net, p, x)), (None, 0))(params, X)
    assert_close(run(made, (params, X), {}), expected)
    with pytest.raises(pb.CaptureError, match="only modules have parameters"):
        forms.functional(cubic)


def test_wrong_expressions():
    for text, error, words in [
        ("vjp(f, bad=1)", TypeError, "unexpected keyword argument 'bad'"),
        ("vjp(g)", pb.CaptureError, "does not understand 'g'"),
        ("functional(f)", pb.CaptureError, "only modules"),
        ("vmap(f, chunk_size=0)", ValueError, "chunk_size"),
    ]:
        with pytest.raises(error, match=words):
            apply(text, cubic)
    with pytest.raises(pb.CaptureError, match="by position"):
        run(apply("vjp(f)", scaled), (x, y), {"k": 2.0})
