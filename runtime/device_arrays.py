"""Arrays on a GPU: those of torch and of other libraries as addresses, and results of our own."""

from __future__ import annotations

import ctypes
import math
import sys
from dataclasses import dataclass
from typing import Any

from . import driver
from .arrays import DTYPES, TensorSpec, is_torch
from .errors import ArgumentTypeError, ArgumentValueError

ITEM_SIZES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "i32": 4, "i64": 8, "bool": 1}
_CODES = {"f16": "<f2", "f32": "<f4", "f64": "<f8", "i32": "<i4", "i64": "<i8", "bool": "|b1"}
_ALIGNMENT = 16


def size_of(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * ITEM_SIZES[spec.dtype]


def is_on_device(value: Any) -> bool:
    if is_torch(value):
        return value.device.type == "cuda"
    return hasattr(value, "__cuda_array_interface__")


@dataclass
class Given:
    """An argument: its address, and whoever keeps the memory alive."""

    address: int
    owner: Any
    device: int | None
    stream: int


def given(spec: TensorSpec, value: Any) -> Given:
    """A device array that fits `spec`, dense and aligned; copied on the device where it is not."""
    if is_torch(value):
        return _of_torch(spec, value)
    described = value.__cuda_array_interface__
    shape, code = tuple(described["shape"]), described["typestr"]
    if shape != spec.shape:
        raise ArgumentValueError(f"argument '{spec.name}' has shape {shape}, expected {spec}")
    if code != _CODES.get(spec.dtype):
        raise ArgumentTypeError(f"argument '{spec.name}' has dtype {code}, expected {spec}")
    if not _is_dense(described.get("strides"), shape, ITEM_SIZES[spec.dtype]):
        raise ArgumentValueError(
            f"argument '{spec.name}' is not contiguous", help="pass a contiguous copy"
        )
    address, stream = described["data"][0], described.get("stream") or 0
    if address % _ALIGNMENT:
        copy = DeviceArray(spec, driver.allocate(size_of(spec)))
        driver.call("cuMemcpyDtoDAsync_v2", copy.address, address, size_of(spec), stream)
        return Given(copy.address, (copy, value), None, stream)
    return Given(address, value, None, stream)


def _of_torch(spec: TensorSpec, value: Any) -> Given:
    torch = sys.modules["torch"]
    name = str(value.dtype).removeprefix("torch.")
    if name != DTYPES[spec.dtype]:
        raise ArgumentTypeError(f"argument '{spec.name}' has dtype {name}, expected {spec}")
    if tuple(value.shape) != spec.shape:
        shape = tuple(value.shape)
        raise ArgumentValueError(f"argument '{spec.name}' has shape {shape}, expected {spec}")
    value = value.detach().resolve_neg().contiguous()
    if value.numel() and value.data_ptr() % _ALIGNMENT:
        value = value.clone()
    stream = torch.cuda.current_stream(value.device).cuda_stream
    return Given(value.data_ptr(), value, value.device.index, stream)


def _is_dense(strides: Any, shape: tuple[int, ...], item: int) -> bool:
    if strides is None or 0 in shape:
        return True
    expected = item
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


class DeviceArray:
    """A result in device memory; other libraries take it by ``__cuda_array_interface__``.

    ``numpy()`` copies it to the host, once the work on it is done.
    """

    def __init__(self, spec: TensorSpec, address: int, stream: int = 0) -> None:
        self.spec, self.address, self.stream = spec, address, stream
        self.shape, self.dtype = spec.shape, spec.dtype

    def __repr__(self) -> str:
        return f"<DeviceArray {self.spec} at {self.address:#x}>"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype == "bf16":
            raise AttributeError("__cuda_array_interface__ has no bf16")
        return {
            "shape": self.shape,
            "typestr": _CODES[self.dtype],
            "data": (self.address, False),
            "version": 3,
            "stream": self.stream or 1,
        }

    def numpy(self) -> Any:
        """The elements on the host."""
        import numpy as np

        kind = "V2" if self.dtype == "bf16" else DTYPES[self.dtype]
        array = np.empty(self.shape, kind)
        download(array, self.address, self.stream)
        driver.call("cuStreamSynchronize", self.stream)
        return array

    def __del__(self) -> None:
        # Freeing waits for the device, so nothing that is still enqueued loses its memory.
        if sys is not None and not sys.is_finalizing():
            driver.library().cuMemFree_v2(self.address)


def upload(address: int, array: Any, stream: int) -> None:
    if array.nbytes:
        pointer = array.ctypes.data_as(ctypes.c_void_p)
        driver.call("cuMemcpyHtoDAsync_v2", address, pointer, array.nbytes, stream)


def download(array: Any, address: int, stream: int) -> None:
    if array.nbytes:
        pointer = array.ctypes.data_as(ctypes.c_void_p)
        driver.call("cuMemcpyDtoHAsync_v2", pointer, address, array.nbytes, stream)
