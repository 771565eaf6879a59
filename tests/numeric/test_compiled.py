"""Compiled code against the interpreter: every op, its derivatives and its batched forms.

All samples of an op are one library: one compile tells as much as many.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ..op_samples import SAMPLES, Sample
from .checks import close, cotangents, differentiable, directions, example, in_dtype, same_zeros
from .compiled import compiled
from .programs import Array, Function, Program, type_of

LANES = 3
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


@pytest.mark.parametrize("op", SAMPLES)
def test_compiled_is_interpreted(op: str, tmp_path: Path) -> None:
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
    found = iter(compiled(program, tmp_path)(operands))
    for label, function, _ in cases:
        for _ in function.outputs:
            try:
                wanted, got = next(expected), next(found)
                close(got, wanted, order=2)
                if not SAMPLES[op][0].either_zero:
                    same_zeros(got, wanted)
            except AssertionError as error:
                raise AssertionError(f"{label}: {error}") from None
