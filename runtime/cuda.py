"""A function compiled for NVIDIA GPUs, as a callable: see loader.py for those of the CPU.

Arrays on the host are copied to the device and back. Arrays on the device, of torch or of any
library with ``__cuda_array_interface__`` or DLPack, are read where they are, on their stream.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import driver, library
from .arrays import DTYPES, is_torch, plain, to_torch
from .device_arrays import (
    DeviceArray,
    Given,
    aligned,
    download,
    given,
    is_on_device,
    is_scalar,
    lifted,
    size_of,
    stream_of,
    upload,
)
from .device_memory import Arena, Statuses
from .errors import ArgumentError, ArgumentTypeError, ArtifactError
from .manifest import Manifest
from .signature import Signature
from .torch_calls import TorchCalls

_STATUSES = {
    -5: "there is no NVIDIA driver here (libcuda.so.1)",
    -6: "the NVIDIA driver is older than CUDA 12",
}
_ALIGNMENT = 256


class _Call(ctypes.Structure):
    """pullback_call."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("parallel_for", ctypes.c_void_p),
        ("pool", ctypes.c_void_p),
        ("dims", ctypes.c_void_p),
        ("params", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
    ]


class _Kept:
    """What a function keeps on devices: by context, memory for calls and the parameters."""

    def __init__(self) -> None:
        self.arenas: dict[tuple[int, int], Arena] = {}
        self.params: dict[int, Arena] = {}
        self.contexts: set[int] = set()
        self.statuses = Statuses()

    def free(self) -> None:
        """When nothing is enqueued any more that uses it."""
        for context in self.contexts:
            with contextlib.suppress(driver.CudaError), driver.using(context):
                driver.library().cuCtxSynchronize()
        for arena in (*self.arenas.values(), *self.params.values()):
            arena.free()
        self.arenas.clear()
        self.params.clear()
        self.statuses.free()


class Function(Signature):
    """A compiled function for GPUs: call it with arrays of the host, or of one device.

    Host arrays (numpy, torch, DLPack) give host arrays; the call waits. Tensors of torch on a GPU
    give such tensors, other arrays there give ``DeviceArray``; the call only enqueues, on torch's
    current stream or that of the first array, and an error in the data is raised by
    ``synchronize()`` or a later call. Scalars of the host may stand among arrays of the device.
    It may be called from several threads, with several devices and contexts. Calls on tensors of
    torch may be captured into a graph. ``release()`` gives the memory back that is kept for calls.

    CudaError: there is no driver, no GPU, or the driver failed.
    """

    def __init__(self, path: Path, description: Manifest, image: int, verify: bool) -> None:
        self.manifest, self.path = description, path
        try:
            self._read_manifest()
            self._workspace = int(description["workspace"]["bytes"])
            self._has_status = bool(description["target"]["has_status"])
            self._capturable = bool(description["target"]["graph_capturable"])
            self._flat = self._flat_inputs()
            self._torch = TorchCalls(self.inputs, self.outputs, self._workspace)
            params = description["params"]
            self._host_params = None
            if params["mode"] == "file":
                file = path.with_suffix(".params")
                self._host_params = library.map_params(
                    file, params["bytes"], params["sha256"], verify
                )
            loaded = ctypes.CDLL(library.unique_name(image))
            self._entry: Any = getattr(loaded, self.name)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"its manifest is malformed ({error!r})") from error
        except OSError as error:
            raise ArtifactError(f"the system cannot load it: {error}") from error
        self._lock = threading.RLock()
        self._kept = _Kept()
        weakref.finalize(self, self._kept.free).atexit = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._flat and not kwargs and (plainly := self._torch.read(args)):
            return self.result_of(self._on_tensors(*plainly))
        return self.result_of(self.call_leaves(self.leaves_of(args, kwargs)))

    def call_leaves(self, leaves: list[Any] | tuple[Any, ...]) -> list[Any]:
        """Inputs in order to outputs in order."""
        if len(leaves) != len(self.inputs):
            raise ArgumentTypeError(
                f"{self.name} has {len(self.inputs)} inputs, got {len(leaves)} leaves"
            )
        if plainly := self._torch.read(leaves):
            return self._on_tensors(*plainly)
        on_device = [is_on_device(leaf) for leaf in leaves]
        if not any(on_device):
            return self._from_host(list(leaves))
        for spec, leaf, there in zip(self.inputs, leaves, on_device, strict=True):
            if not there and not is_scalar(leaf):
                raise ArgumentTypeError(
                    f"argument '{spec.name}' is on the host, and others are on a GPU",
                    help="pass all of them on the device, or all on the host",
                )
        return self._on_device(list(leaves), on_device)

    def synchronize(self) -> None:
        """Waits for all work in the contexts of past calls; raises what was wrong with its data."""
        for context in list(self._kept.contexts):
            with driver.using(context):
                driver.call("cuCtxSynchronize")
        self._raise_found()

    def release(self) -> None:
        """Waits for all calls and frees what is kept for more; not while another thread calls."""
        self.synchronize()
        with self._lock:
            self._kept.free()

    def _from_host(self, leaves: list[Any]) -> list[Any]:
        import numpy as np

        arrays = [plain(spec, leaf) for spec, leaf in zip(self.inputs, leaves, strict=True)]
        results = [
            np.empty(spec.shape, "V2" if spec.dtype == "bf16" else DTYPES[spec.dtype])
            for spec in self.outputs
        ]
        sizes = [self._workspace, *(size_of(spec) for spec in (*self.inputs, *self.outputs))]
        starts = list(itertools.accumulate(map(_rounded, sizes), initial=0))
        word = ctypes.c_int(0)
        context = driver.current_context() or driver.primary_context(0)
        with driver.using(context), self._lock:
            with self._arena(context, starts[-1]).used_on(0) as base:
                places = [base + start for start in starts[1:-1]]
                for address, array in zip(places, arrays, strict=False):
                    upload(address, array, 0)
                count = len(arrays)
                self._enqueue(context, 0, places[:count], places[count:], base, word)
                for address, array in zip(places[count:], results, strict=True):
                    download(array, address, 0)
            driver.call("cuStreamSynchronize", 0)
        if word.value:
            self._raise_status(word.value)
        if any(map(is_torch, leaves)):
            return [to_torch(result) for result in results]
        return results

    def _on_tensors(self, device: int, inputs: list[int]) -> list[Any]:
        """A call on plain tensors of torch, which are read where they are."""
        self._raise_found()
        stream, context = self._torch.stream(device), driver.primary_context(device)
        if driver.current_context() == context:
            return self._run_with_torch(
                context, device, stream, inputs, self._is_recorded(stream, True)
            )
        with driver.using(context):
            return self._run_with_torch(
                context, device, stream, inputs, self._is_recorded(stream, True)
            )

    def _on_device(self, leaves: list[Any], on_device: list[bool]) -> list[Any]:
        self._raise_found()
        stream = stream_of(leaves)
        there = [given(s, x, stream) if on else None for s, x, on in self._with(leaves, on_device)]
        devices = {each.device for each in there if each and each.device is not None}
        if len(devices) > 1:
            raise ArgumentError(f"the arguments are on several GPUs: {sorted(devices)}")
        torchs = any(is_torch(leaf) for leaf, on in zip(leaves, on_device, strict=True) if on)
        device = next(iter(devices), 0)
        context = driver.primary_context(device) if torchs else driver.context_of(device)
        with contextlib.ExitStack() as stack:
            if torchs:
                stack.enter_context(sys.modules["torch"].cuda.device(device))
            stack.enter_context(driver.using(context))
            recorded = self._is_recorded(stream, torchs)
            taken: list[Given] = []
            for spec, leaf, known in self._with(leaves, there):
                one = known or lifted(spec, leaf, context, stream, torchs)
                if one.stream is not None and one.stream != stream:
                    driver.call("cuStreamSynchronize", one.stream)
                taken.append(aligned(spec, one, context, stream))
            inputs = [each.address for each in taken]
            if torchs:
                return self._run_with_torch(context, device, stream, inputs, recorded)
            with (
                self._status_word(context, recorded) as word,
                self._lock,
                self._arena(context, self._workspace).used_on(stream) as base,
            ):
                results = [DeviceArray(spec, context, stream) for spec in self.outputs]
                outputs = [result.address for result in results]
                self._enqueue(context, stream, inputs, outputs, base, word)
            return results

    def _with(self, leaves: list[Any], more: list[Any]) -> Any:
        return zip(self.inputs, leaves, more, strict=True)

    def _run_with_torch(
        self, context: int, device: int, stream: int, inputs: list[int], recorded: bool
    ) -> list[Any]:
        """All memory is torch's: it knows when work on a stream is done, and captures of graphs."""
        results, workspace = self._torch.results(device)
        outputs = [result.data_ptr() for result in results]
        place = 0 if workspace is None else workspace.data_ptr()
        with self._status_word(context, recorded) as word:
            self._enqueue(context, stream, inputs, outputs, place, word)
        return results

    @contextlib.contextmanager
    def _status_word(self, context: int, recorded: bool) -> Iterator[ctypes.c_int | None]:
        """Where the device will write the status of a call; not if the call fails."""
        word = self._kept.statuses.take(context, recorded) if self._has_status else None
        try:
            yield word
        except BaseException:
            if word is not None:
                self._kept.statuses.withdraw(word)
            raise

    def _is_recorded(self, stream: int, torchs: bool) -> bool:
        """Whether a call is recorded into a graph. CudaError if it cannot be."""
        if torchs and self._capturable and not self._has_status:
            return False  # it would be no other call
        recorded = driver.is_capturing(stream)
        if recorded:
            self._check_capture(torchs)
        return recorded

    def _check_capture(self, torchs: bool) -> None:
        if not self._capturable:
            raise driver.CudaError(
                f"{self.name} cannot be captured into a graph: a loop or a branch in it depends on "
                "values, which the host reads",
            )
        if not torchs:
            raise driver.CudaError(
                "only calls on tensors of torch can be captured into a graph",
                help="or call the library from C, with memory of your own",
            )

    def _arena(self, context: int, size: int) -> Arena:
        found = self._kept.arenas.get((context, size))
        if found is None:
            found = self._kept.arenas[context, size] = Arena(context, size)
        return found

    def _enqueue(
        self,
        context: int,
        stream: int,
        inputs: list[int],
        outputs: list[int],
        workspace: int,
        word: ctypes.c_int | None,
    ) -> None:
        """Puts one call into the stream of the current context, and the copy of its status."""
        self._kept.contexts.add(context)
        call = _Call(ctypes.sizeof(_Call), None, None, None, self._device_params(context), stream)
        given_in = (ctypes.c_void_p * max(len(inputs), 1))(*inputs)
        given_out = (ctypes.c_void_p * max(len(outputs), 1))(*outputs)
        arena = ctypes.c_void_p(workspace or None)
        status = self._entry(given_in, given_out, arena, ctypes.byref(call))
        if status <= -1000:
            raise driver.refusal(self.name, -1000 - status)
        if status in _STATUSES:
            raise driver.CudaError(f"{self.name}: {_STATUSES[status]}")
        if status:
            self._raise_status(status)
        if self._has_status:
            place = ctypes.addressof(word) if word is not None else 0
            driver.call("cuMemcpyDtoHAsync_v2", place, workspace, 4, stream)

    def _device_params(self, context: int) -> int | None:
        """The copy of NAME.params in this context."""
        if not self._host_params:
            return None
        with self._lock:
            if context not in self._kept.params:
                import numpy as np

                data = np.frombuffer(self._host_params, np.uint8)
                copy = Arena(context, data.nbytes)
                try:
                    upload(copy.address, data, 0)
                    driver.call("cuStreamSynchronize", 0)
                except driver.CudaError:
                    copy.free()
                    raise
                self._kept.params[context] = copy
            return self._kept.params[context].address

    def _raise_found(self) -> None:
        """An error in the data of a call that is done by now."""
        if not self._has_status:
            return
        status = self._kept.statuses.found()
        if status:
            try:
                self._raise_status(status)
            except Exception as error:
                error.add_note("in an earlier call, whose results hold numbers without meaning")
                raise


def _rounded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
