"""compile(): interfaces, parameters, names, and the errors of data at run time."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pullback as pb
import pytest
import torch
from pullback.frontend.compile import lower
from torch.testing import assert_close

Point = namedtuple("Point", "x y")
WEIGHT = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))


def loss(p, x, *, k=2):
    return {"loss": (p["w"] * x * WEIGHT).sum() * k, "k": k}, [x]


def test_interface():
    args = ({"w": torch.ones(3)}, torch.ones(3, dtype=torch.float32))
    interface = lower(loss, args, {"k": 3}).interface
    assert [spec.name for spec in interface.inputs] == ["p.w", "x"]
    assert [spec.name for spec in interface.outputs] == ["out[0].loss", "out[1][0]"]
    assert list(interface.arg_names) == ["p", "x", "k"]
    leaf, static = {"kind": "leaf"}, {"kind": "static", "value": 3}
    assert interface.in_tree["items"] == [
        {"kind": "dict", "keys": ["w"], "items": [leaf]},
        leaf,
        static,
    ]
    assert interface.out_tree == {
        "kind": "tuple",
        "items": [
            {"kind": "dict", "keys": ["loss", "k"], "items": [leaf, static]},
            {"kind": "list", "items": [leaf]},
        ],
    }
    assert interface.source == "test_compile.py:loss"
    assert [spec.name for spec in interface.params.leaves] == ["WEIGHT"]


def test_parameter_names_are_paths():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1, bias=False))
    grad = pb.grad(lambda x: model(x * WEIGHT[0]).sum() + torch.arange(300.0).sum() * 0)
    names = [s.name for s in lower(grad, (torch.ones(2),), {}, name="g").interface.params.leaves]
    assert names == ["WEIGHT", "model.0.weight", "model.0.bias", "model.1.weight"]
    large = lower(lambda x: x + torch.tensor([1.0] * 300), (torch.ones(300),), {}, name="l")
    assert [s.name for s in large.interface.params.leaves] == ["literal0"]
    module = lower(model, (torch.ones(2),), {}, name="m").interface
    assert [s.name for s in module.params.leaves] == ["0.weight", "0.bias", "1.weight"]
    assert module.arg_names == ["input"]


def test_trees_with_namedtuples_and_none():
    interface = lower(
        lambda p, n: (p.x + p.y, None, n), (Point(*torch.ones(2, 3)), 1.5), {}
    ).interface
    assert interface.in_tree["items"][0]["fields"] == ["x", "y"]
    assert [item["kind"] for item in interface.out_tree["items"]] == ["leaf", "none", "static"]


@pytest.mark.parametrize("mode", ["embed", "args", "file"])
def test_parameters(mode, tmp_path):
    f = pb.compile(
        lambda x: x * WEIGHT, torch.empty(3, device="meta"), name="f", out=tmp_path, params=mode
    )
    x = np.array([1.0, 2.0, 3.0], np.float32)
    more = [WEIGHT.detach()] if mode == "args" else []
    np.testing.assert_array_equal(f(x, *more), [1, 4, 9])
    assert f.manifest["params"]["mode"] == mode
    assert (tmp_path / "f.params").exists() == (mode == "file")
    again = pb.load(tmp_path / "f.so")
    assert_close(again(torch.from_numpy(x), *more), torch.tensor([1.0, 4.0, 9.0]))


def test_transform_text(tmp_path):
    f = pb.compile(
        pb.vmap(pb.hessian(lambda x: x.sin().sum())), torch.ones(2, 3), name="h", out=tmp_path
    )
    assert f.manifest["transform"] == "vmap(hessian(f))"
    x = torch.randn(2, 3)
    assert_close(f(x), torch.diag_embed(-x.sin()))


@pytest.mark.parametrize("name", ["a-b", "1f", "_f", "main", "double"])
def test_names_that_c_refuses(name, tmp_path):
    with pytest.raises(pb.CaptureError, match="name of a C function"):
        pb.compile(torch.sin, torch.ones(3), name=name, out=tmp_path)
    assert not list(tmp_path.iterdir())


INDEX_ERRORS = {
    "subscript": (lambda x, i: x[i], [5], IndexError),
    "negative subscript": (lambda x, i: x[i], [-4], IndexError),
    "gather": (lambda x, i: x.gather(0, i[:, None]), [-1], RuntimeError),
    "index_select": (lambda x, i: x.index_select(0, i), [3], IndexError),
    "index_select 1": (lambda x, i: x.index_select(1, i), [2], RuntimeError),
    "embedding": (lambda x, i: torch.nn.functional.embedding(i, x), [-1], IndexError),
    "scatter_add": (
        lambda x, i: x.scatter_add(0, i[:, None], torch.ones(1, 1)),
        [3],
        RuntimeError,
    ),
    "index_add": (lambda x, i: x.index_add(0, i, torch.ones(1, 2)), [3], RuntimeError),
    "index_put": (lambda x, i: x.index_put((i,), torch.tensor(1.0)), [3], IndexError),
    "cross_entropy": (
        lambda x, i: torch.nn.functional.cross_entropy(x[:1], i),
        [2],
        IndexError,
    ),
    "one_hot": (lambda x, i: torch.nn.functional.one_hot(i, 3), [3], RuntimeError),
    "division": (lambda x, i: i // (i - i), [3], RuntimeError),
    "unused": (lambda x, i: (x[i], x)[1], [5], IndexError),
}


@pytest.mark.parametrize("name", INDEX_ERRORS)
def test_data_errors_are_torchs_and_name_the_line(name):
    function, index, kind = INDEX_ERRORS[name]
    x, i = torch.ones(3, 2), torch.tensor(index)
    with pytest.raises(kind):
        function(x, i)
    with pytest.raises(kind, match=r"test_compile\.py:\d+"):
        pb.jit(function)(x, i)


def test_checks_survive_vmap_and_derivatives():
    def f(x, i):
        return (x[i] * x[i]).sum()

    x, i = torch.ones(3), torch.tensor([[0], [5]])
    for made in (pb.vmap(f, in_dims=(None, 0)), pb.vmap(pb.grad(f), in_dims=(None, 0))):
        with pytest.raises(IndexError, match=r"test_compile\.py"):
            made(x, i)
    assert_close(pb.vmap(pb.grad(f), in_dims=(None, 0))(x, i % 3)[1], torch.tensor([0.0, 0, 2]))


SUBSCRIPTS = {
    "first": lambda i, j: i,
    "second": lambda i, j: (slice(None), i),
    "both": lambda i, j: (i, j),
    "mixed": lambda i, j: (i, 0),
    "last": lambda i, j: (..., i),
    "apart": lambda i, j: (i, slice(None), j),
    "new axis": lambda i, j: (None, i, ..., j),
    "with a list": lambda i, j: (i, [0, 1]),
    "after a number": lambda i, j: (0, slice(None), i),
    "after a slice": lambda i, j: (slice(1, 3), i, None, j),
}


@pytest.mark.parametrize("name", SUBSCRIPTS)
def test_subscripts_by_numbers_in_tensors(name, interpreted):
    make = SUBSCRIPTS[name]
    x, i, j = torch.randn(3, 4, 5), torch.tensor([0, 1, -1]), torch.tensor([2, 0, 1])
    reads = torch.stack([x[make(p, q)] for p, q in zip(i, j, strict=True)])
    assert_close(pb.vmap(lambda i, j: x[make(i, j)])(i, j), reads)

    def write(i, j, value):
        y = torch.zeros(3, 4, 5)
        y[make(i, j)] = value
        return y

    expected = torch.stack([write(p, q, v) for p, q, v in zip(i, j, reads, strict=True)])
    assert_close(pb.vmap(write)(i, j, reads), expected)
