"""Programs as loaded libraries, to hold against the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mlir import ir
from pullback.dialects.pb.transforms import functions
from pullback.dialects.pb.types import dtype, shape
from pullback.pipelines import cpu
from pullback.runtime import load

from .programs import Array, Program


def compiled(program: Program, directory: Path) -> Callable[[Sequence[Array]], list[Array]]:
    """@main as a loaded library; the program is used up."""
    inputs, outputs = signature(program.module)
    leaf = {"kind": "leaf"}
    interface = cpu.Interface(
        "compiled",
        specs("in", inputs),
        specs("out", outputs),
        in_tree={"kind": "tuple", "items": [leaf] * len(inputs)},
        out_tree={"kind": "tuple", "items": [leaf] * len(outputs)},
        arg_names=[f"in{i}" for i in range(len(inputs))],
    )
    with program.module.context:
        library = load(cpu.build(program.module, interface, directory))
    return lambda arrays: list(library(*arrays))


def signature(module: ir.Module) -> tuple[list[ir.Type], list[ir.Type]]:
    type_ = functions.lookup(module, "main").type
    return list(type_.inputs), list(type_.results)


def specs(kind: str, types: Sequence[ir.Type]) -> list[cpu.TensorSpec]:
    names = [str(dtype(type_)) for type_ in types]
    short = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "bool"}
    return [
        cpu.TensorSpec(f"{kind}{i}", short[name], shape(type_))
        for i, (name, type_) in enumerate(zip(names, types, strict=True))
    ]
