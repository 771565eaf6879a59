"""The texts of the command line: targets, transforms, arguments."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
from pullback.frontend.command import resolve

SOURCE = """
import torch

def f(params, x, n=1):
    return (params["w"] * x).sum() * n

def pair(params, x):
    return params[0] * params[1] * x

def inputs():
    return {"w": torch.ones(3)}, torch.ones(3)

class Model:
    def energy(self, x):
        return (x * x).sum()

model = Model()
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "functions.py"
    path.write_text(SOURCE)
    return path


def test_arguments(file):
    job = resolve(f"{file}:f", None, ["params.w=f64[3]", "x=f64[256,6]", "n=3"])
    params, x, n = job.args
    assert params["w"].dtype is torch.float64
    assert (tuple(x.shape), x.device.type, n) == ((256, 6), "meta", 3)
    assert (job.name, job.transform) == ("f", "")
    texts = ["params[1]=i32[]", "params[0]=bool[2]", "x=1.5"]
    first, second = resolve(f"{file}:pair", None, texts).args
    assert [tuple(leaf.shape) for leaf in first] == [(2,), ()]
    assert second == 1.5


def test_example_inputs_and_attributes(file):
    job = resolve(f"{file}:f", "grad(f)", inputs="inputs", name="gradient")
    assert job.name == "gradient"
    assert job.args[1].shape == (3,)
    assert resolve(f"{file}:model.energy", None, ["x=f32[2]"]).name == "energy"


def test_transform(file):
    text = "vmap(grad(f, argnums=(-1,)), in_dims=({'w': None}, 0))"
    job = resolve(f"{file}:f", text, ["params.w=f32[3]", "x=f32[5,3]"])
    assert job.function.text == "vmap(grad(f, argnums=(-1,)), in_dims=({'w': None}, 0))"
    assert job.transform == text


BAD_TRANSFORMS = ["g", "grad(g)", "grad(f", "f + f", "grad(f).x", "__import__('os')", "(f, f)"]


@pytest.mark.parametrize("text", BAD_TRANSFORMS)
def test_transforms_that_are_refused(text, file):
    with pytest.raises(pb.CaptureError, match="transform"):
        resolve(f"{file}:f", text, inputs="inputs")


BAD_ARGUMENTS = {
    "y=f32[3]": "the function takes params, x, n",
    "x=f32[B,3]": "symbolic",
    "x=f8[3]": "neither a tensor nor a Python value",
    "x=word": "quotes",
    "x": "not of the form",
    "x.=3": "cannot read",
    "params[1]=3": "numbered from 0",
    "params.w=3 params.w=4": "given twice",
}


@pytest.mark.parametrize("text", BAD_ARGUMENTS)
def test_arguments_that_are_refused(text, file):
    with pytest.raises(pb.CaptureError) as error:
        resolve(f"{file}:f", None, text.split())
    assert BAD_ARGUMENTS[text] in str(error.value)


BAD_TARGETS = {
    "f": "FILE.py:FUNCTION",
    "none.py:f": "no file",
    "{}:g": "functions in the file: f, pair, inputs",
    "{}:number": "not a function",
}


@pytest.mark.parametrize("target", BAD_TARGETS)
def test_targets_that_are_refused(target, file):
    with pytest.raises(pb.CaptureError) as error:
        resolve(target.format(file), None, ["x=1"])
    assert BAD_TARGETS[target] in str(error.value)
