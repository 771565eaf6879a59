"""Arrays on a GPU: those of torch and of other libraries as addresses, and results of our own."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
from dataclasses import dataclass
from typing import Any

from . import driver
from .arrays import DTYPES, TensorSpec, check, is_torch, plain, plain_torch, to_torch
from .errors import ArgumentError, ArgumentTypeError, ArgumentValueError

ITEM_SIZES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "i32": 4, "i64": 8, "bool": 1}
_TYPESTRS = {"f16": "<f2", "f32": "<f4", "f64": "<f8", "i32": "<i4", "i64": "<i8", "bool": "|b1"}
#: Of dlpack.h: type code and bits of dtypes, types of devices, the stream handle of the default.
_DLPACK = {
    (2, 16): "float16", (4, 16): "bfloat16", (2, 32): "float32", (2, 64): "float64",
    (0, 32): "int32", (0, 64): "int64", (6, 8): "bool",
}  # fmt: skip
_CUDA, _CUDA_MANAGED, _LEGACY_STREAM = 2, 13, 1
_ALIGNMENT = 16


def size_of(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * ITEM_SIZES[spec.dtype]


def is_on_device(value: Any) -> bool:
    if is_torch(value):
        return value.device.type == "cuda"
    return isinstance(value, DeviceArray) or _has_interface(value) or _has_dlpack(value)


def _has_interface(value: Any) -> bool:
    return hasattr(value, "__cuda_array_interface__")


def _has_dlpack(value: Any) -> bool:
    if not hasattr(value, "__dlpack_device__"):
        return False
    return value.__dlpack_device__()[0] in (_CUDA, _CUDA_MANAGED)


def is_scalar(value: Any) -> bool:
    """What may stand among arrays of the device without being one."""
    return isinstance(value, (bool, int, float)) or getattr(value, "ndim", None) == 0


@dataclass
class Given:
    """An argument: its address, its GPU, and whoever keeps the memory alive until it is used.

    `stream` has the work that makes it; None: it is ready for the stream of the call.
    """

    address: int
    owner: Any
    device: int | None
    stream: int | None = None


def stream_of(values: list[Any]) -> int:
    """The stream that a call on these arrays belongs to: torch's current one, or theirs."""
    for value in values:
        if is_torch(value) and value.device.type == "cuda":
            return sys.modules["torch"].cuda.current_stream(value.device).cuda_stream
    for value in values:
        if isinstance(value, DeviceArray):
            return value.stream
        if _has_interface(value):
            return value.__cuda_array_interface__.get("stream") or 0
    return 0


def given(spec: TensorSpec, value: Any, stream: int) -> Given:
    """A device array that fits `spec`, dense; ArgumentError if it does not, or is not there."""
    if is_torch(value):
        return _of_torch(spec, value)
    if isinstance(value, DeviceArray):
        check(spec, DTYPES[value.dtype], value.shape)
        return Given(value.address, value, driver.device_of(value.address), value.stream)
    return _of_interface(spec, value) if _has_interface(value) else _of_dlpack(spec, value, stream)


def lifted(spec: TensorSpec, value: Any, context: int, stream: int, torchs: bool) -> Given:
    """A scalar of the host, copied to the device."""
    array = plain(spec, value)
    if torchs:
        torch = sys.modules["torch"]
        tensor = to_torch(array).to(f"cuda:{torch.cuda.current_device()}")
        return Given(tensor.data_ptr(), tensor, None)
    copy = DeviceArray(spec, context, stream)
    upload(copy.address, array, stream)
    return Given(copy.address, copy, None)


def aligned(spec: TensorSpec, argument: Given, context: int, stream: int) -> Given:
    """The argument, or where it is not at a multiple of 16 a copy of it, which is."""
    if argument.address % _ALIGNMENT == 0 or size_of(spec) == 0:
        return argument
    copy = DeviceArray(spec, context, stream)
    driver.call("cuMemcpyDtoDAsync_v2", copy.address, argument.address, size_of(spec), stream)
    return Given(copy.address, (copy, argument), argument.device)


def _of_torch(spec: TensorSpec, value: Any) -> Given:
    with plain_torch(spec, value, "cuda") as tensor:
        tensor = tensor.contiguous()
        if tensor.numel() and tensor.data_ptr() % _ALIGNMENT:
            tensor = tensor.clone()
        return Given(tensor.data_ptr(), tensor, tensor.device.index)


def _of_interface(spec: TensorSpec, value: Any) -> Given:
    described = value.__cuda_array_interface__
    shape, code = tuple(described["shape"]), str(described["typestr"])
    short = next((short for short, known in _TYPESTRS.items() if known == code), None)
    check(spec, DTYPES[short] if short else code, shape)
    if described.get("mask") is not None:
        raise ArgumentValueError(f"argument '{spec.name}' has a mask: expected a whole {spec}")
    _check_dense(spec, described.get("strides"), ITEM_SIZES[spec.dtype])
    address = described["data"][0] or 0
    stream = described.get("stream")
    return Given(address, value, _device_of(spec, address), stream)


def _of_dlpack(spec: TensorSpec, value: Any, stream: int) -> Given:
    try:
        capsule = value.__dlpack__(stream=stream or _LEGACY_STREAM)
        tensor = _Tensor.from_address(_pointer(capsule, b"dltensor"))
    except Exception as error:  # whatever the library of this object raises
        raise ArgumentTypeError(
            f"argument '{spec.name}' cannot be read: expected {spec}, got {type(value).__name__}",
            notes=[f"{type(error).__name__}: {error}"],
        ) from None
    dims = range(tensor.ndim)
    shape = tuple(tensor.shape[n] for n in dims)
    name = _DLPACK.get((tensor.code, tensor.bits), f"DLPack type {tensor.code}, {tensor.bits} bits")
    check(spec, name if tensor.lanes == 1 else "a vector type", shape)
    _check_dense(spec, [tensor.strides[n] for n in dims] if tensor.strides else None, 1)
    # The capsule is not taken over: it gives the memory back itself when it goes.
    address = (tensor.data or 0) + tensor.byte_offset
    return Given(address, capsule, _device_of(spec, address))


class _Tensor(ctypes.Structure):
    """DLTensor, with which a DLManagedTensor begins."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


_pointer: Any = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _device_of(spec: TensorSpec, address: int) -> int | None:
    if size_of(spec) == 0:
        return None
    device = driver.device_of(address)
    if device is None:
        raise ArgumentError(f"argument '{spec.name}' is not in the memory of a GPU: {address:#x}")
    return device


def _check_dense(spec: TensorSpec, strides: Any, item: int) -> None:
    if strides is None or 0 in spec.shape:
        return
    expected = item
    for size, stride in zip(reversed(spec.shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            raise ArgumentValueError(
                f"argument '{spec.name}' is not contiguous: expected a dense {spec}",
                help="pass a contiguous copy",
            )
        expected *= size


class DeviceArray:
    """A result in device memory; other libraries take it by ``__cuda_array_interface__``.

    ``numpy()`` copies it to the host, once the work on it is done. ``stream`` has that work.
    """

    def __init__(self, spec: TensorSpec, context: int, stream: int) -> None:
        self.address = 0
        self.spec, self.context, self.stream = spec, context, stream
        self.shape, self.dtype = spec.shape, spec.dtype
        self.address = driver.allocate(size_of(spec))

    def __repr__(self) -> str:
        return f"<DeviceArray {self.spec} at {self.address:#x}>"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.dtype == "bf16":
            raise AttributeError("__cuda_array_interface__ has no bf16")
        return {
            "shape": self.shape,
            "typestr": _TYPESTRS[self.dtype],
            "data": (self.address, False),
            "version": 3,
            "stream": self.stream or _LEGACY_STREAM,
        }

    def numpy(self) -> Any:
        """The elements on the host; those of bf16 as two bytes each. CudaError if it failed."""
        import numpy as np

        array = np.empty(self.shape, "V2" if self.dtype == "bf16" else DTYPES[self.dtype])
        with driver.using(self.context):
            download(array, self.address, self.stream)
            driver.call("cuStreamSynchronize", self.stream)
        return array

    def __del__(self) -> None:
        # Freeing waits for the device, so nothing that is still enqueued loses its memory.
        if self.address and not sys.is_finalizing():
            with contextlib.suppress(driver.CudaError), driver.using(self.context):
                driver.library().cuMemFree_v2(self.address)


def upload(address: int, array: Any, stream: int) -> None:
    if array.nbytes:
        pointer = array.ctypes.data_as(ctypes.c_void_p)
        driver.call("cuMemcpyHtoDAsync_v2", address, pointer, array.nbytes, stream)


def download(array: Any, address: int, stream: int) -> None:
    if array.nbytes:
        pointer = array.ctypes.data_as(ctypes.c_void_p)
        driver.call("cuMemcpyDtoHAsync_v2", pointer, address, array.nbytes, stream)
