"""The runtime of GPU libraries on a true GPU: streams, threads, statuses, memory, graphs, latency.

`python -m tests.gpu.hardware_runtime build DIR` makes libraries; `python
tests/gpu/hardware_runtime.py check DIR` runs them, and needs a GPU, numpy and pullback's runtime
only. `test_hardware_runtime.py` runs the same checks on the fake driver.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

X = np.arange(6.0) / 4
INDEX, BAD = np.array([0, 5, 2]), np.array([0, 6, 2])
ROWS = np.linspace(-3, 3, 300 * 1000, dtype=np.float32).reshape(300, 1000)
WEIGHT = np.linspace(-1, 1, 1000)


def build(folder: Path) -> None:
    """The libraries of the checks, with machine code where that can be made, and one without."""
    import pullback
    import torch
    from pullback.frontend import compile as frontend
    from pullback.pipelines.gpu import pipeline

    weight = torch.from_numpy(WEIGHT)

    def picked(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return x[index] * 2

    def softmax(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, -1) - x.mean()

    def weighted(x: torch.Tensor) -> torch.Tensor:
        return x * weight + weight.sum()

    def looped(x: torch.Tensor) -> torch.Tensor:
        x = pullback.while_loop(lambda v: v.abs().max() > 1, lambda v: v / 2, x)
        x = pullback.fori_loop(0, 3, lambda i, v: v + i, x)
        return pullback.cond(x.sum() > 0, lambda v: v + 1, lambda v: v - 1, x)

    examples: dict[str, tuple[Callable[..., Any], list[Any], Any]] = {
        "picked": (picked, [X, INDEX], "embed"),
        "softmax": (softmax, [ROWS], "embed"),
        "translated": (softmax, [ROWS], "embed"),
        "embedded": (weighted, [WEIGHT], "embed"),
        "beside": (weighted, [WEIGHT], "file"),
        "looped": (looped, [X], "embed"),
    }
    for name, (function, arrays, mode) in examples.items():
        arguments = tuple(torch.from_numpy(array) for array in arrays)
        lowered = frontend.lower(function, arguments, {}, name=name, params=mode)
        module = lowered.module()
        with module.context:
            options = pipeline.Options(cubins=name != "translated")
            pipeline.build(module, lowered.interface, folder, options)
        np.save(folder / f"{name}.npy", function(*arguments).numpy())


class Device:
    """The driver without anything of pullback: memory, streams and graphs."""

    def __init__(self) -> None:
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self("cuInit", 0)
        self.context = ctypes.c_void_p()
        self("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), 0)
        self("cuCtxPushCurrent_v2", self.context)

    def __call__(self, name: str, *arguments: Any) -> None:
        status = getattr(self.cuda, name)(*arguments)
        assert status == 0, f"{name}: {status}"

    def stream(self) -> int:
        found = ctypes.c_void_p()
        self("cuStreamCreate", ctypes.byref(found), 1)  # does not wait for the default stream
        return found.value or 0

    def free_bytes(self) -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self("cuCtxSynchronize")
        self("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def close(self) -> None:
        self("cuCtxPopCurrent_v2", ctypes.byref(self.context))


class Array:
    """An array on the device, as other libraries have it."""

    def __init__(self, device: Device, data: np.ndarray, stream: int = 0, offset: int = 0) -> None:
        self.device, self.shape, self.dtype = device, data.shape, data.dtype
        self.memory = ctypes.c_uint64()
        device("cuMemAlloc_v2", ctypes.byref(self.memory), ctypes.c_size_t(data.nbytes + 256))
        self.address = self.memory.value + offset
        self.write(data)
        self.__cuda_array_interface__ = {
            "shape": data.shape,
            "typestr": data.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "stream": stream or None,
        }

    def write(self, data: np.ndarray) -> None:
        self.device("cuMemcpyHtoD_v2", ctypes.c_uint64(self.address), *_host(data))
        self.device("cuCtxSynchronize")

    def read(self) -> np.ndarray:
        found = np.empty(self.shape, self.dtype)
        pointer, size = _host(found)
        self.device("cuCtxSynchronize")
        self.device("cuMemcpyDtoHAsync_v2", pointer, ctypes.c_uint64(self.address), size, None)
        self.device("cuCtxSynchronize")
        return found

    def free(self) -> None:
        self.device("cuMemFree_v2", self.memory)


def _host(data: np.ndarray) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    return data.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(data.nbytes)


class Checks:
    """Each method whose name begins with `check_` is a check; its docstring says of what."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.device = folder, Device()

    def load(self, name: str) -> Any:
        from pullback.runtime import load

        return load(self.folder / f"{name}.so")

    def expected(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy")

    def run(self) -> int:
        failed = 0
        for name in [name for name in dir(self) if name.startswith("check_")]:
            try:
                said = getattr(self, name)()
                print(f"ok {name.removeprefix('check_')}{said or ''}", flush=True)
            except Exception as error:
                failed += 1
                print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
        self.device.close()
        return failed

    def check_arrays_of_the_host(self) -> None:
        for name, array in [
            ("softmax", ROWS), ("translated", ROWS), ("embedded", WEIGHT), ("beside", WEIGHT),
            ("looped", X),
        ]:  # fmt: skip
            function, expected = self.load(name), self.expected(name)
            for _ in range(3):
                tolerance = 1e-6 if array.dtype == np.float32 else 1e-13
                np.testing.assert_allclose(function(array), expected, tolerance, tolerance, name)

    def check_machine_code_and_translation_agree(self) -> None:
        bits = [self.load(name)(ROWS).view(np.int32) for name in ("softmax", "translated")]
        np.testing.assert_array_equal(*bits)

    def check_arrays_of_the_device_on_streams(self) -> None:
        function = self.load("softmax")
        expected = function(ROWS)
        streams = [self.device.stream() for _ in range(3)]
        arrays = [
            Array(self.device, ROWS, stream, offset=4 * n) for n, stream in enumerate(streams)
        ]
        results = [function(arrays[n % 3]) for n in range(30)]
        for result in results:
            np.testing.assert_array_equal(result.numpy(), expected)
        chained = function(results[0])
        np.testing.assert_array_equal(chained.numpy(), function(expected))
        for array in arrays:
            array.free()

    def check_errors_in_the_data(self) -> None:
        function = self.load("picked")
        x, good, bad = (Array(self.device, a) for a in (X, INDEX, BAD))
        kept = [function(x, bad if n == 100 else good) for n in range(50)]
        function.synchronize()
        kept += [function(x, bad)]
        try:
            kept += [function(x, good) for _ in range(600)]
            function.synchronize()
            raise AssertionError("no error was found")
        except IndexError:
            pass
        function.synchronize()
        np.testing.assert_array_equal(function(x, good).numpy(), X[INDEX] * 2)
        for array in (x, good, bad):
            array.free()

    def check_threads(self) -> None:
        function = self.load("picked")
        found: list[list[Any]] = [[] for _ in range(4)]

        def work(number: int) -> None:
            for _ in range(50):
                try:
                    found[number].append(
                        function(X + number, BAD if number % 2 else INDEX).tolist()
                    )
                except Exception as error:
                    found[number].append(type(error).__name__)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(4):
            wanted = "IndexError" if number % 2 else ((X + number)[INDEX] * 2).tolist()
            assert found[number] == [wanted] * 50, number

    def check_memory_is_given_back(self) -> str:
        function = self.load("softmax")
        array = Array(self.device, ROWS)
        function(array).numpy()
        function.release()
        before = self.device.free_bytes()
        for _ in range(20):
            function(array)
            function(ROWS)
        function.release()
        gc.collect()
        lost = before - self.device.free_bytes()
        array.free()
        assert lost <= 2 << 20, f"{lost} bytes are lost"
        return f": {lost} bytes lost"

    def check_graphs(self) -> str:
        """The C entry, captured and replayed on other numbers."""
        if not hasattr(self.device.cuda, "cuStreamBeginCapture_v2"):
            return ": this driver has none"
        from pullback.runtime.cuda import _Call

        function, stream = self.load("softmax"), self.device.stream()
        assert function.manifest["target"]["graph_capturable"]
        expected = function(ROWS)
        x, y = Array(self.device, ROWS), Array(self.device, np.zeros_like(ROWS))
        size = function.manifest["workspace"]["bytes"]
        workspace = Array(self.device, np.zeros(max(size, 1), np.uint8))
        given = [(ctypes.c_void_p * 1)(array.address) for array in (x, y)]
        call = _Call(ctypes.sizeof(_Call), None, None, None, None, stream)

        def enqueue() -> None:
            place = ctypes.c_void_p(workspace.address)
            assert function._entry(*given, place, ctypes.byref(call)) == 0

        enqueue()
        graph, runnable = ctypes.c_void_p(), ctypes.c_void_p()
        self.device("cuStreamSynchronize", ctypes.c_void_p(stream))
        self.device("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), 0)
        enqueue()
        self.device("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        self.device(
            "cuGraphInstantiateWithFlags", ctypes.byref(runnable), graph, ctypes.c_ulonglong()
        )
        for scale in (1, 2):
            x.write(ROWS * scale)
            y.write(np.zeros_like(ROWS))
            self.device("cuGraphLaunch", runnable, ctypes.c_void_p(stream))
            wanted = expected if scale == 1 else function(ROWS * 2)
            np.testing.assert_array_equal(y.read(), wanted)
        for array in (x, y, workspace):
            array.free()
        return ""

    def check_latency(self) -> str:
        function = self.load("picked")
        x, index = Array(self.device, X), Array(self.device, INDEX)
        spent = []
        for arguments in ((X, INDEX), (x, index)):
            for count in (5, 200):
                started = time.perf_counter()
                kept = [function(*arguments) for _ in range(count)]
                function.synchronize()
                spent.append((time.perf_counter() - started) / count * 1e6)
                del kept
        x.free()
        index.free()
        return f": {spent[1]:.1f} us from the host, {spent[3]:.1f} us on the device"


def check(folder: Path) -> int:
    return 1 if Checks(folder).run() else 0


if __name__ == "__main__":
    command, place = sys.argv[1:]
    Path(place).mkdir(parents=True, exist_ok=True)
    sys.exit(build(Path(place)) if command == "build" else check(Path(place)))
