"""A function compiled for NVIDIA GPUs, as a callable: see loader.py for those of the CPU.

Arrays on the host are copied to the device and back. Arrays on the device, of torch or of any
library with ``__cuda_array_interface__``, are read where they are, on their current stream.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from pathlib import Path
from typing import Any

from . import driver, library
from .arrays import DTYPES, TensorSpec, is_torch, plain, to_torch
from .device_arrays import DeviceArray, download, given, is_on_device, size_of, upload
from .errors import ArgumentError, ArgumentTypeError, ArtifactError
from .manifest import Manifest
from .signature import Signature

_STATUSES = {
    -5: "there is no NVIDIA driver here (libcuda.so.1)",
    -6: "the NVIDIA driver is older than CUDA 12",
}


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


class _Place:
    """What the function has on one stream of one context: its arena, and the last status."""

    def __init__(self, workspace: int, has_status: bool) -> None:
        self.workspace = driver.allocate(workspace) if workspace else 0
        self.status = None
        if has_status:
            self.status = ctypes.c_int.from_address(driver.allocate_host(4))
            self.status.value = 0


class Function(Signature):
    """A compiled function for GPUs: call it with arrays of the host, or of one device.

    Host arrays (numpy, torch, DLPack) give host arrays; the call waits. Tensors of torch on a GPU
    give such tensors, arrays with ``__cuda_array_interface__`` give ``DeviceArray``; the call only
    enqueues on the current stream, and an error in the data is raised by ``synchronize()`` or a
    later call. It may be called from several threads, with several devices and contexts.

    CudaError: there is no driver, no GPU, or the driver failed.
    """

    def __init__(self, path: Path, description: Manifest, image: int, verify: bool) -> None:
        self.manifest, self.path = description, path
        try:
            self._read_manifest()
            self._workspace = int(description["workspace"]["bytes"])
            self._has_status = bool(description["target"]["has_status"])
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
        self._lock = threading.Lock()
        self._places: dict[tuple[int, int], _Place] = {}
        self._params: dict[int, int] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.result_of(self.call_leaves(self.leaves_of(args, kwargs)))

    def call_leaves(self, leaves: list[Any] | tuple[Any, ...]) -> list[Any]:
        """Inputs in order to outputs in order."""
        if len(leaves) != len(self.inputs):
            raise ArgumentTypeError(
                f"{self.name} has {len(self.inputs)} inputs, got {len(leaves)} leaves"
            )
        on_device = [is_on_device(leaf) for leaf in leaves]
        if not any(on_device):
            return self._from_host(list(leaves))
        if not all(on_device):
            names = [s.name for s, there in zip(self.inputs, on_device, strict=True) if not there]
            raise ArgumentTypeError(
                f"some arguments are on a GPU, but not {', '.join(names)}",
                help="pass all of them on the device, or all on the host",
            )
        return self._on_device(list(leaves))

    def synchronize(self) -> None:
        """Waits for the calls on all streams, and raises what went wrong with their data."""
        for (context, stream), place in list(self._places.items()):
            driver.call("cuCtxPushCurrent_v2", context)
            try:
                driver.call("cuStreamSynchronize", stream)
            finally:
                driver.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
            self._check(place)

    def _from_host(self, leaves: list[Any]) -> list[Any]:
        import numpy as np

        arrays = [plain(spec, leaf) for spec, leaf in zip(self.inputs, leaves, strict=True)]
        results = [
            np.empty(spec.shape, "V2" if spec.dtype == "bf16" else DTYPES[spec.dtype])
            for spec in self.outputs
        ]
        with driver.context(None) as context:
            buffers: list[int] = []
            try:
                for spec in (*self.inputs, *self.outputs):
                    buffers.append(driver.allocate(size_of(spec)))
                for address, array in zip(buffers, arrays, strict=False):
                    upload(address, array, 0)
                count = len(arrays)
                place = self._run(context, 0, buffers[:count], buffers[count:])
                for address, array in zip(buffers[count:], results, strict=True):
                    download(array, address, 0)
                driver.call("cuStreamSynchronize", 0)
            finally:
                for address in buffers:
                    driver.library().cuMemFree_v2(address)
            self._check(place)
        if any(map(is_torch, leaves)):
            return [to_torch(result) for result in results]
        return results

    def _on_device(self, leaves: list[Any]) -> list[Any]:
        device = next((leaf.device.index for leaf in leaves if is_torch(leaf)), None)
        with driver.context(device) as context:
            taken = [given(spec, leaf) for spec, leaf in zip(self.inputs, leaves, strict=True)]
            devices = {each.device for each in taken if each.device is not None}
            if len(devices) > 1:
                raise ArgumentError(f"the arguments are on several GPUs: {sorted(devices)}")
            stream = taken[0].stream
            from_torch = any(map(is_torch, leaves))
            results = [self._result(spec, stream, device, from_torch) for spec in self.outputs]
            outputs = [r.data_ptr() if from_torch else r.address for r in results]
            place = self._places.get((context, stream))
            if place is not None:
                self._check(place)
            self._run(context, stream, [each.address for each in taken], outputs)
        return results

    def _result(self, spec: TensorSpec, stream: int, device: int | None, torchs: bool) -> Any:
        if not torchs:
            return DeviceArray(spec, driver.allocate(size_of(spec)), stream)
        torch = sys.modules["torch"]
        kind = getattr(torch, DTYPES[spec.dtype])
        return torch.empty(spec.shape, dtype=kind, device=f"cuda:{device}")

    def _run(self, context: int, stream: int, inputs: list[int], outputs: list[int]) -> _Place:
        """Enqueues one call in the current context."""
        with self._lock:
            place = self._places.get((context, stream))
            if place is None:
                place = _Place(self._workspace, self._has_status)
                self._places[context, stream] = place
            call = _Call(ctypes.sizeof(_Call), None, None, None, self._device_params(context))
            call.stream = stream
            given_in = (ctypes.c_void_p * max(len(inputs), 1))(*inputs)
            given_out = (ctypes.c_void_p * max(len(outputs), 1))(*outputs)
            arena = ctypes.c_void_p(place.workspace or None)
            status = self._entry(given_in, given_out, arena, ctypes.byref(call))
            if status:
                self._refuse(status)
            if place.status is not None:
                target = ctypes.addressof(place.status)
                driver.call("cuMemcpyDtoHAsync_v2", target, place.workspace, 4, stream)
        return place

    def _device_params(self, context: int) -> int | None:
        """The copy of NAME.params in this context."""
        if not self._host_params:
            return None
        if context not in self._params:
            import numpy as np

            data = np.frombuffer(self._host_params, np.uint8)
            address = driver.allocate(data.nbytes)
            upload(address, data, 0)
            driver.call("cuStreamSynchronize", 0)
            self._params[context] = address
        return self._params[context]

    def _check(self, place: _Place) -> None:
        if place.status is not None and place.status.value:
            status, place.status.value = place.status.value, 0
            self._raise_status(status)

    def _refuse(self, status: int) -> None:
        if status <= -1000:
            name = driver.name_of(driver.library(), -1000 - status)
            raise driver.CudaError(f"{self.name}: the driver says {name}")
        if status in _STATUSES:
            raise driver.CudaError(f"{self.name}: {_STATUSES[status]}")
        self._raise_status(status)
