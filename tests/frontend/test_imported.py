"""Modules, traced graphs and exported programs stand where a function does."""

from __future__ import annotations

from pathlib import Path

import pullback as pb
import pytest
import torch
import torch.func as tf
from pullback.frontend import command, imported
from pullback.frontend.trace import trace
from pullback.runtime.manifest import read
from torch import nn
from torch.testing import assert_close

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]
HERE = __file__


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        y = self.hidden(x).tanh()
        return (y * self.scale).sum()


opaque = torch.library.custom_op(
    "pullback_tests::opaque", torch.clone, mutates_args=(), schema="(Tensor x) -> Tensor"
)
opaque.register_fake(torch.empty_like)


class Unsupported(nn.Module):
    def forward(self, x):
        return opaque(x).sum()  # this line


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture(scope="module")
def exported(net):
    return torch.export.export(net, (torch.ones(5, 3),))


x = torch.linspace(-1, 1, 15).reshape(5, 3)


@pytest.fixture(params=["module", "graph", "exported", "exported module"])
def form(request, net, exported):
    return {
        "module": lambda: net,
        "graph": lambda: torch.fx.symbolic_trace(net),
        "exported": lambda: exported,
        "exported module": lambda: exported.module(),
    }[request.param]()


def test_every_form(form, net):
    assert_close(pb.jit(form)(x), net(x))
    assert_close(pb.grad(form)(x), tf.grad(net)(x))
    assert_close(pb.hessian(form)(x), tf.hessian(net)(x))
    params = {name: p.detach() * 2 for name, p in net.named_parameters()}
    ours = pb.grad(lambda p, x: pb.functional_call(form, p, x))(params, x)
    theirs = tf.grad(lambda p, x: tf.functional_call(net, p, x))(params, x)
    assert_close(ours, theirs)


def test_parameters_are_looked_up_and_learned(exported):
    compiled = pb.jit(exported)
    before = compiled(x)
    before.backward()
    weight = dict(compiled.named_parameters())["hidden.weight"]
    assert weight.grad is not None
    with torch.no_grad():
        weight.mul_(2)
    assert not torch.equal(compiled(x), before)
    with torch.no_grad():
        weight.div_(2)


def test_in_a_closure(exported, net):
    assert_close(pb.jit(lambda x: pb.grad(exported)(x) * 2)(x), tf.grad(net)(x) * 2)


def test_vmap_of_a_program_made_for_one_example(net):
    single = torch.export.export(net, (x[0],))
    assert_close(pb.vmap(pb.grad(single))(x), tf.vmap(tf.grad(net))(x))


def test_dynamic_dimensions_take_the_sizes_at_hand(net):
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},))
    for count in (2, 4):
        assert_close(pb.jit(program)(x[:count]), net(x[:count]))


def test_other_shapes_than_exported(exported):
    with pytest.raises(pb.CaptureError, match=r"exported for other arguments.*\n.*dynamic_shapes"):
        pb.jit(exported)(x[:2])


def test_lines_are_the_users(form, net):
    if form is net:
        pytest.skip("a plain call")
    graph = trace(imported.callable_of(form, "trace"), (x,), {}).graph
    places = [node.location.place for node in graph.nodes if "tanh" in str(node.target)]
    assert {file for file, _line in places} == {HERE}


def test_error_names_the_line():
    program = torch.export.export(Unsupported(), (x,))
    lines = Path(HERE).read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if text.endswith("# this line"))
    with pytest.raises(pb.UnsupportedOpError, match=f"{line}: pullback_tests.opaque"):
        pb.jit(program)(x)


@pytest.mark.parametrize("use", [pb.jit, pb.grad, pb.vmap, lambda f: pb.compile(f, x)])
def test_torch_jit_is_refused(use):
    with pytest.raises(pb.CaptureError, match=r"torch\.jit is not supported"):
        use(torch.jit.trace(torch.sin, x))


def test_torch_compile_is_looked_through(net):
    assert_close(pb.jit(torch.compile(net))(x), net(x))
    assert_close(pb.vmap(torch.compile(lambda x: x.sin()))(x), x.sin())


def test_functional_call_of_what_holds_a_module(net):
    params = {name: p.detach() * 2 for name, p in net.named_parameters()}
    expected = tf.functional_call(net, params, x)
    assert_close(pb.functional_call(pb.jit(net), params, x), expected)
    assert_close(pb.jit(lambda p: pb.functional_call(pb.jit(net), p, x))(params), expected)
    with pytest.raises(pb.CaptureError, match=r"made by torch\.compile"):
        pb.functional_call(torch.compile(net), params, x)


def test_constants():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("hidden", torch.arange(3.0), persistent=False)
            self.plain = torch.ones(3)

        def forward(self, x):
            return (x * self.hidden + self.plain * torch.tensor([1.0, 2.0, 3.0])).sum()

    program = torch.export.export(Shifted(), (x,))
    assert_close(pb.jit(program)(x), Shifted()(x))
    assert_close(pb.grad(program)(x), tf.grad(Shifted())(x))


# --- files ------------------------------------------------------------------------------------


def test_pt2(exported, net, tmp_path):
    file = tmp_path / "my-net.pt2"
    torch.export.save(exported, file)
    job = command.resolve(str(file), "grad(functional(f))")
    assert job.name == "my_net" and list(job.args[0]) == ["hidden.weight", "hidden.bias"]
    traced = trace(job.function, job.args, job.kwargs)
    assert [v.shape for v in traced.graph.outputs] == [(2, 3), (2,)]
    job = command.resolve(str(file), "jvp(f)")
    assert [arg.shape for arg in job.args] == [(5, 3), (5, 3)]
    with pytest.raises(pb.CaptureError, match="missing a required argument: 'x'"):
        command.resolve(str(file), "vmap(f)")


def test_compile_pt2(exported, net, tmp_path):
    torch.export.save(exported, tmp_path / "net.pt2")
    job = command.resolve(str(tmp_path / "net.pt2"), "grad(functional(f))")
    library = pb.compile(job.function, *job.args, out=tmp_path, name=job.name)
    assert [spec.name for spec in library.inputs] == [
        "params['hidden.weight']",
        "params['hidden.bias']",
        "x",
    ]
    assert read(library.path)["source"] == "net.pt2"
    params = {name: p.detach() for name, p in net.named_parameters()}
    expected = tf.grad(lambda p: tf.functional_call(net, p, x))(params)
    assert_close(library(params, x), expected)


def test_wrong_pt2(tmp_path):
    with pytest.raises(pb.CaptureError, match="there is no file"):
        command.resolve("nothing.pt2")
    (tmp_path / "bad.pt2").write_bytes(b"bad")
    with pytest.raises(pb.CaptureError, match=r"cannot be read by torch\.export\.load"):
        command.resolve(str(tmp_path / "bad.pt2"))


def test_names_in_files(tmp_path, monkeypatch):
    (tmp_path / "things.py").write_text(
        "import torch\n"
        "Net = torch.nn.Tanh\n"
        "net = Net()\n"
        "graph = torch.fx.symbolic_trace(net)\n"
        "exported = torch.export.export(net, (torch.ones(3),))\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    for target in ("things.py:net", "things:net", "things.py:graph", "things:exported"):
        job = command.resolve(target, arguments=["input=f32[3]"])
        assert job.args[0].shape == (3,)
        assert trace(job.function, job.args, job.kwargs).graph.outputs[0].shape == (3,)
    for target, words in {
        "things:Net": "is a class",
        "things:number": "is a int, not a function",
        "things:none": "has no none",
        "nothing:f": "there is no file nothing",
        "things": "not of the form",
    }.items():
        with pytest.raises(pb.CaptureError, match=words):
            command.resolve(target)
