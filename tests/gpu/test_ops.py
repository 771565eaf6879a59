"""Kernels against the definitions of the ops: every op, its derivatives and its batched forms.

Where fibers can run, the interpreter's results are theirs too, bit by bit. Each op is also run at
a ragged size and in a type that its name decides; `pytest tests/gpu/test_ops.py --sizes all` runs
every op at all sizes, in all types. What is skipped says why (`-rs`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from mlir import ir
from pullback.dialects.pb.types import element_type, is_half

from ..numeric.checks import TOLERANCE, close
from ..numeric.compiled import against_interpreter
from ..numeric.programs import Array, Program
from ..op_samples import SAMPLES
from . import device
from .fibers import compare, machine
from .sizes import ELEMENTS, SIZES, case, parts


@pytest.mark.parametrize("op", SAMPLES)
def test_kernels_compute_the_op(op: str, tmp_path: Path) -> None:
    both = compare if machine.available() else device
    against_interpreter(op, tmp_path, both.compiled)


def chosen(every: bool) -> Iterator[tuple[str, int, str]]:
    for op in SAMPLES:
        if every:
            yield from ((op, n, element) for n in SIZES for element in ELEMENTS)
        else:
            yield op, SIZES[crc32(op.encode()) % len(SIZES)], ""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "element" in metafunc.fixturenames:
        every = metafunc.config.getoption("--sizes") == "all"
        found = list(chosen(every))
        ids = ["-".join(str(x) for x in case if x != "") for case in found]
        metafunc.parametrize(("op", "n", "element"), found, ids=ids)


def test_ragged_sizes(op: str, n: int, element: str) -> None:
    """One program of the op and its transforms. No type: the first that it takes, from a start
    that its name decides."""
    start = crc32(op.encode()) // len(SIZES) % len(ELEMENTS)
    order = [element] if element else [*ELEMENTS[start:], *ELEMENTS[:start]]
    tried = [case(op, n, name) for name in order]
    found = next((of for of in tried if not isinstance(of, str)), tried[0])
    if isinstance(found, str):
        pytest.skip(found)
    program = Program()
    made = list(parts(program, found))
    main = program.join([function for _, function, _ in made])
    operands = [np.asarray(x) for _, _, arrays in made for x in arrays]
    reference = Program()
    reference.module = program.module.operation.clone()
    try:
        expected = iter(reference.run("main", *operands))
    except RuntimeError as error:  # of the program: a loop that does not end at these numbers
        pytest.skip(f"{op} of the size {n}: {error}")
    given = [stored(x, type_) for x, type_ in zip(operands, main.inputs, strict=True)]
    got = iter(device.compiled(program)(given))
    for label, function, _ in made:
        for type_ in function.outputs:
            try:
                near(loaded(next(got), type_), next(expected), type_)
            except AssertionError as error:
                types = ", ".join(map(str, function.inputs))
                raise AssertionError(f"{label} of {op} ({types}): {error}") from None


def stored(x: Array, type_: ir.Type) -> Array:
    """As memory has it: halves, which are f32 for numpy, in 16 bits."""
    element = element_type(type_)
    if isinstance(element, ir.F16Type):
        with np.errstate(all="ignore"):
            return x.astype(np.float16)
    if isinstance(element, ir.BF16Type):
        return (np.ascontiguousarray(x).view(np.uint32) >> 16).astype(np.uint16).reshape(x.shape)
    return x


def loaded(x: Array, type_: ir.Type) -> Array:
    if isinstance(element_type(type_), ir.BF16Type):
        return (x.astype(np.uint32) << 16).view(np.float32).reshape(x.shape)
    return x.astype(np.float32) if is_half(element_type(type_)) else x


def near(got: Array, wanted: Array, type_: ir.Type) -> None:
    """To rounding, which nobody has looked at here as at the samples; of halves to that of the
    largest, for each op on the way rounds."""
    finite = np.abs(wanted[np.isfinite(wanted)]) if wanted.dtype.kind == "f" else np.empty(0)
    largest = float(finite.max()) if finite.size else 0.0
    if not is_half(element_type(type_)):
        close(got, wanted, order=4)
        return
    eps = 2.0**-10 if isinstance(element_type(type_), ir.F16Type) else 2.0**-7
    close(got, wanted, tolerance=4 * eps + TOLERANCE[wanted.dtype], scale=max(largest, 1e-30))
