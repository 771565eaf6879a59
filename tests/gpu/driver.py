"""The fake driver: libcuda.so.1 with kernels on the interpreter, and everything else checked.

`Driver.install()` makes the process's libcuda.so.1 this one, before anybody opens the true one.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from .ptx.counters import Counters
from .ptx.launch import launch
from .ptx.memory import Memory
from .ptx.program import Program
from .ptx.trap import Trap

SOURCE = Path(__file__).parent / "fake" / "libcuda.c"
INVALID, OUT_OF_MEMORY, NO_CONTEXT, NOT_FOUND, ILLEGAL_ADDRESS = 1, 2, 201, 500, 700
_NAMES = {
    INVALID: b"CUDA_ERROR_INVALID_VALUE",
    OUT_OF_MEMORY: b"CUDA_ERROR_OUT_OF_MEMORY",
    NO_CONTEXT: b"CUDA_ERROR_INVALID_CONTEXT",
    NOT_FOUND: b"CUDA_ERROR_NOT_FOUND",
    ILLEGAL_ADDRESS: b"CUDA_ERROR_ILLEGAL_ADDRESS",
}
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64), ctypes.c_int
)


class Driver:
    """`fail[name] = error` makes a function fail; `trap` has what stopped the last kernel."""

    def __init__(self, arena: int = 1 << 27, capability: tuple[int, int] = (7, 5)) -> None:
        self.buffer = np.zeros(arena + 512, np.uint8)
        start = -self.buffer.ctypes.data % 512
        self.memory = Memory(self.buffer[start : start + arena])
        self.capability = capability
        self.fail: dict[str, int] = {}
        self.calls: Counter[str] = Counter()
        self.launches: list[tuple[str, Counters]] = []
        self.trap: Trap | None = None
        self.contexts: list[int] = []
        self.host: dict[int, Any] = {}
        self._programs: list[Program] = []
        self._kernels: list[tuple[Program, str]] = []
        self._callback = _CALLBACK(self._called)

    def install(self) -> Driver:
        """From now on, this process's driver."""
        _library().fake_set_callback(self._callback)
        return self

    def _called(self, name: bytes, words: Any, count: int) -> int:
        text = name.decode()
        self.calls[text] += 1
        if text in self.fail:
            return self.fail[text]
        try:
            return getattr(self, f"_{text.removesuffix('_v2')}")(*words[:count]) or 0
        except Trap as trap:
            self.trap = trap
            return ILLEGAL_ADDRESS
        except MemoryError:
            return OUT_OF_MEMORY

    def _cuInit(self, _: int) -> None:
        pass

    def _cuGetErrorName(self, error: int, text: int) -> int:
        if error not in _NAMES:
            return INVALID
        _put(text, ctypes.c_char_p(_NAMES[error]))
        return 0

    def _cuDeviceGetCount(self, place: int) -> None:
        _put(place, ctypes.c_int(1))

    def _cuDeviceGetAttribute(self, place: int, attribute: int, _: int) -> None:
        _put(place, ctypes.c_int({75: self.capability[0], 76: self.capability[1]}[attribute]))

    def _cuDevicePrimaryCtxRetain(self, place: int, device: int) -> int:
        if device != 0:
            return INVALID
        _put(place, ctypes.c_void_p(0xC0))
        return 0

    def _cuCtxGetCurrent(self, place: int) -> None:
        _put(place, ctypes.c_void_p(self.contexts[-1] if self.contexts else None))

    def _cuCtxGetDevice(self, place: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        _put(place, ctypes.c_int(0))
        return 0

    def _cuCtxPushCurrent(self, context: int) -> None:
        self.contexts.append(context)

    def _cuCtxPopCurrent(self, place: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        _put(place, ctypes.c_void_p(self.contexts.pop()))
        return 0

    # Memory. Streams do everything at once, in order.

    def _cuMemAlloc(self, place: int, size: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        if size == 0:
            return INVALID
        _put(place, ctypes.c_uint64(self.memory.allocate(size)))
        return 0

    def _cuMemFree(self, address: int) -> None:
        self.memory.free(address)

    def _cuMemHostAlloc(self, place: int, size: int, _: int) -> None:
        block = ctypes.create_string_buffer(size)
        self.host[ctypes.addressof(block)] = block
        _put(place, ctypes.c_void_p(ctypes.addressof(block)))

    def _cuMemFreeHost(self, address: int) -> None:
        del self.host[address]

    def _cuMemcpyHtoD(self, to: int, source: int, size: int) -> None:
        self.memory.write(to, np.frombuffer(ctypes.string_at(source, size), np.uint8))

    def _cuMemcpyHtoDAsync(self, to: int, source: int, size: int, _: int) -> None:
        self._cuMemcpyHtoD(to, source, size)

    def _cuMemcpyDtoHAsync(self, to: int, source: int, size: int, _: int) -> None:
        ctypes.memmove(to, self.memory.read(source, size).tobytes(), size)

    def _cuMemcpyDtoDAsync(self, to: int, source: int, size: int, _: int) -> None:
        self.memory.write(to, self.memory.read(source, size))

    def _cuMemsetD8Async(self, to: int, value: int, size: int, _: int) -> None:
        self.memory.write(to, np.full(size, value, np.uint8))

    def _cuStreamSynchronize(self, _: int) -> None:
        pass

    # Kernels.

    def _cuLibraryLoadData(self, place: int, code: int) -> int:
        text = ctypes.string_at(code)
        if text[:4] == b"\x7fELF":
            return INVALID  # machine code is for true GPUs
        self._programs.append(Program(text.decode()))
        _put(place, ctypes.c_void_p(len(self._programs)))
        return 0

    def _cuLibraryGetKernel(self, place: int, library: int, name: int) -> int:
        program, text = self._programs[library - 1], ctypes.string_at(name).decode()
        if text not in program.entries:
            return NOT_FOUND
        self._kernels.append((program, text))
        _put(place, ctypes.c_void_p(len(self._kernels)))
        return 0

    def _cuLaunchKernel(self, kernel: int, *rest: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        grid, block, shared, places = rest[:3], rest[3:6], rest[6], rest[8]
        program, name = self._kernels[kernel - 1]
        sizes = [size for _, size in program.entries[name].parameters]
        pointers = ctypes.cast(places, ctypes.POINTER(ctypes.c_void_p))
        values = [ctypes.string_at(pointers[n], size) for n, size in enumerate(sizes)]
        found = launch(program, name, grid, block, values, shared, self.memory)
        self.launches.append((name, found))
        return 0


def _put(place: int, value: Any) -> None:
    ctypes.memmove(place, ctypes.byref(value), ctypes.sizeof(value))


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


@functools.cache
def _library() -> Any:
    """Opened under the name that the runtime will ask for: glibc then knows it."""
    folder = Path(tempfile.mkdtemp(prefix="fake-cuda-"))
    path = folder / "libcuda.so.1"
    tool = compiler()
    assert tool is not None
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([tool, *options, str(SOURCE), "-o", str(path)], check=True)
    found = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    shutil.rmtree(folder)
    return found
