"""Programs as loaded libraries, held against the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mlir import ir
from pullback.dialects.pb.transforms import functions
from pullback.dialects.pb.types import element_type, shape
from pullback.pipelines import cpu
from pullback.runtime import load

from ..op_samples import SAMPLES, Sample
from .checks import (
    LANES,
    close,
    cotangents,
    differentiable,
    directions,
    example,
    in_dtype,
    same_zeros,
)
from .programs import Array, Function, Program, type_of

Callback = Callable[[Sequence[Array]], list[Array]]


def compiled(program: Program, directory: Path) -> Callback:
    """@main as a loaded library; the program is used up."""
    described = interface(program)
    with program.module.context:
        library = load(cpu.build(program.module, described, directory))
    return lambda arrays: list(library(*arrays))


def interface(program: Program) -> cpu.Interface:
    """Inputs and outputs of @main, without names of their own."""
    inputs, outputs = signature(program.module)
    leaf = {"kind": "leaf"}
    return cpu.Interface(
        "compiled",
        specs("in", inputs),
        specs("out", outputs),
        in_tree={"kind": "tuple", "items": [leaf] * len(inputs)},
        out_tree={"kind": "tuple", "items": [leaf] * len(outputs)},
        arg_names=[f"in{i}" for i in range(len(inputs))],
    )


def signature(module: ir.Module) -> tuple[list[ir.Type], list[ir.Type]]:
    type_ = functions.lookup(module, "main").type
    return list(type_.inputs), list(type_.results)


def specs(kind: str, types: Sequence[ir.Type]) -> list[cpu.TensorSpec]:
    names = [str(element_type(type_)).replace("i1", "bool") for type_ in types]
    return [
        cpu.TensorSpec(f"{kind}{i}", name, shape(type_))
        for i, (name, type_) in enumerate(zip(names, types, strict=True))
    ]


Part = tuple[str, Function, list[Array]]


def parts(program: Program, label: str, sample: Sample, dtype: type) -> list[Part]:
    """The op, its batched form and its derivatives, each with operands."""
    operands = in_dtype(sample, dtype)
    f = program.define([type_of(x) for x in operands], sample.build)
    found: list[Part] = [(label, f, operands)]
    stacked = [np.stack([example(x, i) for i in range(LANES)]) for x in operands]
    if operands:
        found.append((f"{label} vmap", vmap(f), stacked))
    if dtype is np.float64 and operands and differentiable(sample):
        v, u = directions(f, operands, 10), cotangents(f, 20)
        found.append((f"{label} jvp", f.jvp(), [*operands, *v]))
        found.append((f"{label} vjp", f.vjp(), [*operands, *u]))
        lanes = [np.stack([x] * LANES) for x in u]
        found.append((f"{label} vmap vjp", vmap(f.vjp()), [*stacked, *lanes]))
    return found


def vmap(f: Function) -> Function:
    return f.vmap([0] * len(f.inputs), [0] * len(f.outputs), LANES)


def against_interpreter(
    op: str, directory: Path, compiled: Callable[[Program, Path], Callback] = compiled
) -> None:
    """All samples of an op in one library: one compile tells as much as many."""
    program = Program()
    cases = [
        part
        for number, sample in enumerate(SAMPLES[op])
        for dtype in (np.float64, np.float32)
        for part in parts(program, f"{op}-{number} {dtype.__name__}", sample, dtype)
    ]
    program.join([function for _, function, _ in cases])
    operands = [np.asarray(x) for _, _, arrays in cases for x in arrays]
    reference = Program()
    reference.module = program.module.operation.clone()
    expected = iter(reference.run("main", *operands))
    found = iter(compiled(program, directory)(operands))
    for label, function, _ in cases:
        for _ in function.outputs:
            try:
                wanted, got = next(expected), next(found)
                close(got, wanted, order=2)
                if not SAMPLES[op][0].either_zero:
                    same_zeros(got, wanted)
            except AssertionError as error:
                raise AssertionError(f"{label}: {error}") from None
