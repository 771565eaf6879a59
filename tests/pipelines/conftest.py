"""pb modules as loaded functions, and what the reference interpreter makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlir import ir
from pullback.dialects.pb import interpret
from pullback.pipelines import cpu
from pullback.runtime import Function, load

DTYPES = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64, "i1": np.bool_}
LEAF = {"kind": "leaf"}

Compile = Callable[..., Function]
Check = Callable[..., None]


def interface(
    module: ir.Module, name: str = "f", params: cpu.Params | None = None
) -> cpu.Interface:
    """What a caller of @main sees; the last arguments are the parameters, if there are any."""
    [main] = [op for op in module.body.operations if op.name.value == "main"]
    params = params or cpu.Params()

    def specs(kind: str, types: list[Any]) -> list[cpu.TensorSpec]:
        elements = [str(type_.element_type).replace("i1", "bool") for type_ in types]
        shapes = [tuple(type_.shape) for type_ in types]
        pairs = zip(elements, shapes, strict=True)
        return [cpu.TensorSpec(f"{kind}{i}", e, s) for i, (e, s) in enumerate(pairs)]

    inputs = specs("x", main.type.inputs)
    inputs = inputs[: len(inputs) - len(params.leaves)]
    outputs = specs("y", main.type.results)
    return cpu.Interface(
        name,
        inputs,
        outputs,
        params,
        {"kind": "tuple", "items": [LEAF] * len(inputs)},
        {"kind": "tuple", "items": [LEAF] * len(outputs)},
        [spec.name for spec in inputs],
        "test.py:f",
    )


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """build(text, name="f", params=None, options=None) -> the path of a new library."""
    numbers = itertools.count()

    def make(
        text: str,
        name: str = "f",
        params: cpu.Params | None = None,
        options: cpu.Options | None = None,
    ) -> Path:
        with ir.Context():
            module = ir.Module.parse(text)
            described = interface(module, name, params)
            return cpu.build(module, described, tmp_path / str(next(numbers)), options)

    return make


@pytest.fixture
def compiled(build: Callable[..., Path]) -> Compile:
    return lambda text, **options: load(build(text, **options))


@pytest.fixture
def check(compiled: Compile) -> Check:
    """check(text, *arguments, tolerance=...): machine code against the definitions of the ops."""

    def compare(text: str, *given: Any, tolerance: float | None = None, seed: int = 0) -> None:
        arguments = arguments_for(text, given, seed)
        with ir.Context():
            expected = interpret.evaluate(ir.Module.parse(text), "main", arguments)
        found = compiled(text).call_leaves(arguments)
        for got, want in zip(found, expected, strict=True):
            assert_close(np.asarray(got), want, tolerance)

    return compare


def arguments_for(text: str, given: tuple[Any, ...] = (), seed: int = 0) -> list[np.ndarray]:
    """Random arguments of @main where none are given."""
    rng = np.random.default_rng(seed)
    arguments = []
    with ir.Context():
        [main] = [op for op in ir.Module.parse(text).body.operations if op.name.value == "main"]
        for number, type_ in enumerate(main.type.inputs):
            dtype = DTYPES[str(type_.element_type)]
            value = given[number] if number < len(given) else None
            if value is None and np.issubdtype(dtype, np.floating):
                value = rng.normal(size=type_.shape)
            elif value is None:
                value = rng.integers(0 if dtype is np.bool_ else -5, 6, type_.shape)
            arguments.append(np.asarray(value, dtype).reshape(type_.shape))
    return arguments


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: float | None = None) -> None:
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    tolerance = tolerance or (1e-5 if want.dtype == np.float32 else 1e-12)
    finite = np.abs(want[np.isfinite(want)])
    scale = max(1.0, float(finite.max())) if finite.size else 1.0
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)


def tensor(shape: tuple[int, ...] | list[int], element: str) -> str:
    return f"tensor<{''.join(f'{n}x' for n in shape)}{element}>"


def function(body: str, inputs: dict[str, str], results: dict[str, str]) -> str:
    """@main with inputs and results given as {"%name": type}."""
    arguments = ", ".join(f"{name}: {type_}" for name, type_ in inputs.items())
    types = ", ".join(results.values())
    return (
        f"func.func @main({arguments}) -> ({types}) {{\n{body}\n"
        f"  return {', '.join(results)} : {types}\n}}"
    )
