"""Every op's kernels on a true GPU, held against the interpreter bit by bit.

`python -m tests.gpu.hardware build DIR` compiles here and runs the interpreter; `python
tests/gpu/hardware.py check DIR` runs the libraries, and needs a GPU, numpy and pullback's runtime
only. Not part of the suite: nobody who tests pullback needs a GPU.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def build(folder: Path, only: list[str]) -> None:
    from pullback.pipelines.gpu import pipeline, ptxas

    from ..numeric.compiled import interface, parts
    from ..numeric.programs import Program
    from ..op_samples import SAMPLES
    from .device import Device

    ptxas.ARCHITECTURES = (90,)
    folder.mkdir(parents=True, exist_ok=True)
    for op in only or SAMPLES:
        started = time.time()
        program = Program()
        cases = [
            part
            for number, sample in enumerate(SAMPLES[op])
            for dtype in (np.float64, np.float32)
            for part in parts(program, f"{op}-{number} {dtype.__name__}", sample, dtype)
        ]
        program.join([function for _, function, _ in cases])
        operands = [np.asarray(x) for _, _, arrays in cases for x in arrays]
        described = interface(program)
        copy = program.module.operation.clone()
        name = op.removeprefix("pb.").replace(".", "_")
        described = type(described)(**(vars(described) | {"name": f"op_{name}"}))
        with program.module.context:
            compilation = pipeline.compiled(program.module, described)
            found = Device(compilation)(operands)
            program.module = copy
            pipeline.build(copy, described, folder)
        arrays = {f"in{i}": x for i, x in enumerate(operands)}
        arrays |= {f"out{i}": x for i, x in enumerate(found)}
        np.savez(folder / f"op_{name}.npz", **arrays)
        print(f"{op}: {len(cases)} functions, {time.time() - started:.1f} s", flush=True)


def check(folder: Path) -> int:
    from pullback.runtime import load

    different = failed = arrays = 0
    for path in sorted(folder.glob("op_*.so")):
        saved = np.load(path.with_suffix(".npz"))
        try:
            function = load(path)
            inputs = [saved[f"in{i}"] for i in range(len(function.inputs))]
            results = function.call_leaves(inputs)
        except Exception as error:
            failed += 1
            print(f"{path.stem}: {type(error).__name__}: {error}", flush=True)
            continue
        for i, result in enumerate(results):
            arrays += 1
            problem = _difference(saved[f"out{i}"], np.asarray(result))
            if problem:
                different += 1
                print(f"{path.stem} {function.outputs[i].name}: {problem}", flush=True)
    print(f"{arrays} arrays: {different} differ from the interpreter; {failed} libraries failed")
    return 1 if different or failed else 0


def _difference(wanted: np.ndarray, got: np.ndarray) -> str:
    both_nan = np.isnan(wanted) & np.isnan(got) if wanted.dtype.kind == "f" else False
    bad = ~((wanted == got) | both_nan)
    if not bad.any():
        return ""
    at: Any = tuple(np.argwhere(bad)[0])
    return f"{int(bad.sum())} of {bad.size} elements, the first {got[at]!r} not {wanted[at]!r}"


if __name__ == "__main__":
    command, place, *rest = sys.argv[1:]
    if command == "build":
        build(Path(place), rest)
    else:
        sys.exit(check(Path(place)))
