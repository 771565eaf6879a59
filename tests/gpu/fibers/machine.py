"""The launch plan walked with kernels for x86, on memory of this process."""

from __future__ import annotations

import _ctypes
import ctypes
import functools
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pullback.pipelines import llvm
from pullback.pipelines.gpu import pipeline
from pullback.pipelines.gpu.plan import Launch

from ..device import Machine
from ..driver import compiler
from .retarget import retargeted

_SOURCE = Path(__file__).with_name("fibers.c")
_GUARD, _UNWRITTEN = 256, 0xFF
_PROBLEMS = [
    "",
    "not all threads reach a barrier",
    "a warp's lanes are absent",
    "no memory",
    "an address that nothing lies at",
]
#: Threads in order and copies as late as can be; last threads first and copies at once.
IN_ORDER, BACKWARDS = 0, 3

Array = np.ndarray


def available() -> bool:
    """Fibers switch stacks in x86's assembly, and products are added by its fma."""
    target = llvm.host()
    return target.triple.startswith("x86_64") and target.has_fma and compiler() is not None


class Problem(AssertionError):
    """What a GPU would hang at, or would do to memory of others."""


class Memory:
    """Real memory; what was not written is NaN, and what lies around allocations is looked at."""

    def __init__(self, size: int) -> None:
        self.bytes = np.full(size + _GUARD, _UNWRITTEN, np.uint8)
        self._base = self.bytes.ctypes.data
        self._end = -self._base % _GUARD
        self._allocations: list[tuple[int, int]] = []

    def allocate(self, size: int) -> int:
        start = self._end + _GUARD
        self._end = start + -(-size // _GUARD) * _GUARD
        if self._end + _GUARD > self.bytes.size:
            raise MemoryError(f"{size} bytes")
        self._allocations.append((start, size))
        return self._base + start

    def read(self, address: int, size: int) -> Array:
        start = address - self._base
        return self.bytes[start : start + size].copy()

    def write(self, address: int, data: Array) -> None:
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        start = address - self._base
        self.bytes[start : start + raw.size] = raw

    def check(self) -> None:
        """Problem: something was written beside an allocation."""
        end = 0
        for start, size in [*self._allocations, (self.bytes.size, 0)]:
            if (self.bytes[end:start] != _UNWRITTEN).any():
                raise Problem("a write beside an allocation")
            end = start + size


class Fibers(Machine):
    """One compiled function. `text`: LLVM IR of its kernels (see retarget.readable).

    `flags`: IN_ORDER or BACKWARDS; a result must be the same.
    """

    def __init__(self, compilation: pipeline.Compilation, text: str, arena: int = 1 << 24) -> None:
        super().__init__(compilation, arena)
        self._library = _linked(retargeted(text))
        weakref.finalize(self, _ctypes.dlclose, self._library._handle)
        self.flags = IN_ORDER

    def memory(self) -> Memory:
        return Memory(self.arena)

    def launch(self, step: Launch, values: Sequence[int], memory: Memory) -> None:
        name = self.plan.kernels[step.kernel]
        assert step.shared_bytes == 0
        record = ctypes.c_char.in_dll(self._library, f"kernel.{name}")
        problem = _runtime().fibers_run(
            ctypes.byref(record),
            (ctypes.c_uint32 * 3)(*step.grid),
            (ctypes.c_uint32 * 3)(*step.block),
            (ctypes.c_uint64 * max(len(values), 1))(*values),
            self.flags,
        )
        if problem:
            raise Problem(f"{name}: {_PROBLEMS[problem]}")
        memory.check()


@functools.cache
def _runtime() -> ctypes.CDLL:
    """fibers.c, once in a process: the kernels of all libraries run on its stacks."""
    return _opened([str(_SOURCE), "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])


def _linked(text: str) -> ctypes.CDLL:
    _runtime()
    with llvm.Code(text, llvm.host()) as module, tempfile.NamedTemporaryFile(suffix=".o") as file:
        file.write(module.object_file())
        file.flush()
        return _opened([file.name])


def _opened(source: Sequence[str]) -> ctypes.CDLL:
    tool = compiler()
    assert tool is not None
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/fibers.so"
        subprocess.run([tool, "-shared", *source, "-o", path], check=True)
        return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL if source[1:] else ctypes.RTLD_LOCAL)
