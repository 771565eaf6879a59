"""One compiled function, run by the interpreter and by fibers: the bits must be the same.

The order of operations is fixed in our kernels, IEEE says what each gives, and x86 and PTX both
have fma; so nothing may differ but which NaN it is, and, where a tensor core adds, the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mlir import ir
from pullback.pipelines.artifact import Interface
from pullback.pipelines.gpu import pipeline

from ...numeric.compiled import interface
from ...numeric.programs import Program
from ..device import Array, Device
from .machine import BACKWARDS, IN_ORDER, Fibers
from .retarget import bitcode, readable


class Opinions:
    """`first`: the interpreter, `second`: fibers; `text`: LLVM IR of the kernels as for PTX."""

    def __init__(
        self, module: ir.Module, interface: Interface, options: pipeline.Options | None = None
    ) -> None:
        code = b""

        def watch(stage: str, state: pipeline.Compilation) -> None:
            nonlocal code
            if stage == "nvvm":
                code = bitcode(state.module)

        with module.context:
            found = pipeline.compiled(module, interface, options, watch=watch)  # type: ignore[arg-type]
        self.text = readable(code)
        self.first, self.second = Device(found), Fibers(found, self.text)

    def altered(self, text: str) -> Fibers:
        """The same plan with other kernels."""
        return Fibers(self.first.compilation, text)

    def __call__(
        self, arrays: Sequence[Array], orders: Sequence[int] = (IN_ORDER, BACKWARDS)
    ) -> list[Array]:
        """The results; AssertionError if the two do not agree."""
        results = self.first(arrays)
        for order in orders:
            self.second.flags = order
            same(self.second(arrays), results)
        return results


def same(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    for number, (got, want) in enumerate(zip(found, wanted, strict=True)):
        different = np.flatnonzero(_bits(got) != _bits(want))
        if different.size:
            at = different[0]
            raise AssertionError(
                f"result {number}: fibers have {got.flat[at]!r} at {at}, "
                f"the interpreter {want.flat[at]!r}; {different.size} of {got.size} differ"
            )


def _bits(array: Array) -> Array:
    """As integers; one NaN for all."""
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(-1)


def compiled(program: Program, _: Path | None = None) -> Callable[[Sequence[Array]], list[Array]]:
    """@main of a pb program, by both; the program is used up."""
    both = Opinions(program.module, interface(program))
    return lambda arrays: both(arrays, [BACKWARDS])
