"""The fake driver: libcuda.so.1 with kernels on the interpreter, and everything else checked.

`Driver.install()` makes the process's libcuda.so.1 this one, before anybody opens the true one.
Streams are as lazy as a driver may be: what is enqueued happens when somebody waits for it.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
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
UNSUPPORTED_IN_CAPTURE = 900
_NAMES = {
    INVALID: b"CUDA_ERROR_INVALID_VALUE",
    OUT_OF_MEMORY: b"CUDA_ERROR_OUT_OF_MEMORY",
    NO_CONTEXT: b"CUDA_ERROR_INVALID_CONTEXT",
    NOT_FOUND: b"CUDA_ERROR_NOT_FOUND",
    ILLEGAL_ADDRESS: b"CUDA_ERROR_ILLEGAL_ADDRESS",
    UNSUPPORTED_IN_CAPTURE: b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
}
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64), ctypes.c_int
)
#: Handle of a device's primary context, less the device.
CONTEXT = 0xC0


@dataclass
class Stream:
    """Work in order; `done` of it has happened."""

    work: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0

    def run(self, until: int | None = None) -> None:
        end = len(self.work) if until is None else until
        while self.done < end:
            self.done += 1
            self.work[self.done - 1]()


@dataclass(frozen=True)
class Launched:
    """What was asked for; `parameters` has the bytes of each."""

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    stream: int
    parameters: list[bytes]


class Driver:
    """`fail[name] = error` makes a function fail, `before[name]` is called by each thread first.

    `trap` has what stopped the last kernel.
    """

    def __init__(
        self, arena: int = 1 << 27, capability: tuple[int, int] = (7, 5), devices: int = 1
    ) -> None:
        self.buffer = np.zeros(arena + 512, np.uint8)
        start = -self.buffer.ctypes.data % 512
        self.memory = Memory(self.buffer[start : start + arena])
        self.capability, self.devices = capability, devices
        self.fail: dict[str, int] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.calls: Counter[str] = Counter()
        self.asked: list[Launched] = []
        self.launches: list[tuple[str, Counters]] = []
        self.trap: Trap | None = None
        self.capturing: set[int] = set()
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, tuple[Stream, int]] = {}
        self.host: dict[int, Any] = {}
        self.loaded: list[bytes] = []
        self.attributes: dict[str, int] = {}
        self.owners: dict[int, int] = {}
        self._lock = threading.RLock()
        self._own = threading.local()
        self._programs: dict[int, Program] = {}
        self._kernels: list[tuple[Program, str]] = []
        self._callback = _CALLBACK(self._called)

    def install(self) -> Driver:
        """From now on, this process's driver."""
        _library().fake_set_callback(self._callback)
        return self

    @property
    def contexts(self) -> list[int]:
        """The calling thread's stack of contexts."""
        if not hasattr(self._own, "contexts"):
            self._own.contexts = []
        return self._own.contexts

    def leaks(self) -> list[tuple[int, int]]:
        return self.memory.leaks() + [(address, 0) for address in (*self.host, *self.events)]

    def _called(self, name: bytes, words: Any, count: int) -> int:
        text = name.decode()
        if text in self.before:
            self.before[text]()
        with self._lock:
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
            except LookupError:  # of a handle that is none
                return INVALID

    def _enqueue(self, stream: int, work: Callable[[], None]) -> int:
        if not self.contexts:
            return NO_CONTEXT
        self._stream(stream).work.append(work)
        return 0

    def _stream(self, number: int) -> Stream:
        return self.streams.setdefault(number, Stream())

    def _wait_for_all(self) -> int:
        """What the legacy stream and calls that synchronise do."""
        if not self.contexts:
            return NO_CONTEXT
        if self.capturing:
            return UNSUPPORTED_IN_CAPTURE
        for stream in list(self.streams.values()):
            stream.run()
        return 0

    def _cuInit(self, _: int) -> None:
        pass

    def _cuGetErrorName(self, error: int, text: int) -> int:
        if error not in _NAMES:
            return INVALID
        _put(text, ctypes.c_char_p(_NAMES[error]))
        return 0

    def _cuDeviceGetCount(self, place: int) -> None:
        _put(place, ctypes.c_int(self.devices))

    def _cuDeviceGetAttribute(self, place: int, attribute: int, _: int) -> None:
        _put(place, ctypes.c_int({75: self.capability[0], 76: self.capability[1]}[attribute]))

    # Contexts: primary ones only.

    def _cuDevicePrimaryCtxRetain(self, place: int, device: int) -> int:
        if device >= self.devices:
            return INVALID
        _put(place, ctypes.c_void_p(CONTEXT + device))
        return 0

    def _cuCtxGetCurrent(self, place: int) -> None:
        _put(place, ctypes.c_void_p(self.contexts[-1] if self.contexts else None))

    def _cuCtxGetId(self, context: int, place: int) -> int:
        if not context:
            return NO_CONTEXT
        _put(place, ctypes.c_uint64(1000 + context))
        return 0

    def _cuCtxGetDevice(self, place: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        _put(place, ctypes.c_int(self.contexts[-1] - CONTEXT))
        return 0

    def _cuCtxPushCurrent(self, context: int) -> int:
        if not CONTEXT <= context < CONTEXT + self.devices:
            return NO_CONTEXT
        self.contexts.append(context)
        return 0

    def _cuCtxPopCurrent(self, place: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        _put(place, ctypes.c_void_p(self.contexts.pop()))
        return 0

    def _cuCtxSynchronize(self, _: int) -> int:
        return self._wait_for_all()

    # Memory.

    def _owner(self, address: int) -> int | None:
        for start, size in self.memory.leaks():
            if start <= address < start + size:
                return self.owners[start]
        return None

    def _check_owner(self, address: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        return 0 if self._owner(address) == self.contexts[-1] else ILLEGAL_ADDRESS

    def _cuPointerGetAttribute(self, place: int, attribute: int, address: int) -> int:
        owner = self._owner(address)
        if attribute != 9 or owner is None:
            return INVALID
        _put(place, ctypes.c_int(owner - CONTEXT))
        return 0

    def allocate(self, size: int, device: int = 0) -> int:
        address = self.memory.allocate(size)
        self.owners[address] = CONTEXT + device
        return address

    def _cuMemAlloc(self, place: int, size: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        if self.capturing:
            return UNSUPPORTED_IN_CAPTURE
        if size == 0:
            return INVALID
        _put(place, ctypes.c_uint64(self.allocate(size, self.contexts[-1] - CONTEXT)))
        return 0

    def _cuMemFree(self, address: int) -> int:
        if status := self._wait_for_all() or self._check_owner(address):
            return status
        self.memory.free(address)
        return 0

    def _cuMemHostAlloc(self, place: int, size: int, _: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        if self.capturing:
            return UNSUPPORTED_IN_CAPTURE
        block = ctypes.create_string_buffer(size)
        self.host[ctypes.addressof(block)] = block
        _put(place, ctypes.c_void_p(ctypes.addressof(block)))
        return 0

    def _cuMemFreeHost(self, address: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        del self.host[address]
        return 0

    def _is_pinned(self, address: int) -> bool:
        return any(start <= address < start + len(b) for start, b in self.host.items())

    def _cuMemcpyHtoD(self, to: int, source: int, size: int) -> int:
        # Returns once the bytes are staged: the copy itself may come later.
        return self._cuMemcpyHtoDAsync(to, source, size, 0)

    def _cuMemcpyHtoDAsync(self, to: int, source: int, size: int, stream: int) -> int:
        staged = np.frombuffer(ctypes.string_at(source, size), np.uint8)
        status = self._check_owner(to)
        return status or self._enqueue(stream, lambda: self.memory.write(to, staged))

    def _cuMemcpyDtoHAsync(self, to: int, source: int, size: int, stream: int) -> int:
        pinned = self._is_pinned(to)

        def work() -> None:
            if pinned and not self._is_pinned(to):
                raise Trap("out of bounds", "host memory that was freed before it was written")
            ctypes.memmove(to, self.memory.read(source, size).tobytes(), size)

        status = self._check_owner(source) or self._enqueue(stream, work)
        if not status and not pinned:
            self._stream(stream).run()
        return status

    def _cuMemcpyDtoDAsync(self, to: int, source: int, size: int, stream: int) -> int:
        status = self._check_owner(to) or self._check_owner(source)
        return status or self._enqueue(
            stream, lambda: self.memory.write(to, self.memory.read(source, size))
        )

    def _cuMemsetD8Async(self, to: int, value: int, size: int, stream: int) -> int:
        if size == 0:
            return INVALID
        status = self._check_owner(to)
        return status or self._enqueue(
            stream, lambda: self.memory.write(to, np.full(size, value, np.uint8))
        )

    # Streams.

    def _cuStreamSynchronize(self, stream: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        if stream in self.capturing:
            return UNSUPPORTED_IN_CAPTURE
        self._stream(stream).run()
        return 0

    def _cuStreamIsCapturing(self, stream: int, place: int) -> None:
        _put(place, ctypes.c_int(int(stream in self.capturing)))

    def _cuEventCreate(self, place: int, _: int) -> int:
        if not self.contexts:
            return NO_CONTEXT
        number = 0xE000 + self.calls["cuEventCreate"]
        self.events[number] = (Stream(), 0)
        _put(place, ctypes.c_void_p(number))
        return 0

    def _cuEventDestroy(self, event: int) -> None:
        del self.events[event]

    def _cuEventRecord(self, event: int, stream: int) -> None:
        found = self._stream(stream)
        self.events[event] = (found, len(found.work))

    def _cuStreamWaitEvent(self, stream: int, event: int, _: int) -> int:
        awaited, count = self.events[event]
        return self._enqueue(stream, lambda: awaited.run(count))

    # Kernels.

    def _cuLibraryLoadData(self, place: int, code: int) -> int:
        text = ctypes.string_at(code)
        self.loaded.append(text)
        if text[:4] == b"\x7fELF":
            return INVALID  # machine code is for true GPUs
        number = self.calls["cuLibraryLoadData"]
        self._programs[number] = Program(text.decode())
        _put(place, ctypes.c_void_p(number))
        return 0

    def _cuLibraryUnload(self, library: int) -> None:
        del self._programs[library]

    def _cuLibraryGetKernel(self, place: int, library: int, name: int) -> int:
        program, text = self._programs[library], ctypes.string_at(name).decode()
        if text not in program.entries:
            return NOT_FOUND
        self._kernels.append((program, text))
        _put(place, ctypes.c_void_p(len(self._kernels)))
        return 0

    def _cuKernelSetAttribute(self, attribute: int, value: int, kernel: int, _: int) -> int:
        if attribute != 8:
            return INVALID
        self.attributes[self._kernels[kernel - 1][1]] = value
        return 0

    def _cuLaunchKernel(self, kernel: int, *rest: int) -> int:
        program, name = self._kernels[kernel - 1]
        grid, block, shared, stream, places = rest[:3], rest[3:6], rest[6], rest[7], rest[8]
        if shared > max(48 << 10, self.attributes.get(name, 0)):
            return INVALID
        sizes = [size for _, size in program.entries[name].parameters]
        pointers = ctypes.cast(places, ctypes.POINTER(ctypes.c_void_p))
        values = [ctypes.string_at(pointers[n], size) for n, size in enumerate(sizes)]
        self.asked.append(Launched(name, grid, block, shared, stream, values))

        def work() -> None:
            found = launch(program, name, grid, block, values, shared, self.memory)
            self.launches.append((name, found))

        return self._enqueue(stream, work)


def _put(place: int, value: Any) -> None:
    ctypes.memmove(place, ctypes.byref(value), ctypes.sizeof(value))


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def shared_object(source: Path, path: Path) -> None:
    tool = compiler()
    assert tool is not None
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([tool, *options, str(source), "-o", str(path)], check=True)


@functools.cache
def _library() -> Any:
    """Opened under the name that the runtime will ask for: glibc then knows it."""
    folder = Path(tempfile.mkdtemp(prefix="fake-cuda-"))
    path = folder / "libcuda.so.1"
    shared_object(SOURCE, path)
    found = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    shutil.rmtree(folder)
    return found
