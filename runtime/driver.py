"""NVIDIA's driver, opened at run time: what cuda.py needs of it, with errors as exceptions."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from .errors import PullbackError

_POINTER, _SIZE, _HANDLE = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p
_FUNCTIONS = {
    "cuInit": [ctypes.c_uint],
    "cuDeviceGetCount": [ctypes.POINTER(ctypes.c_int)],
    "cuDevicePrimaryCtxRetain": [ctypes.POINTER(_HANDLE), ctypes.c_int],
    "cuCtxGetCurrent": [ctypes.POINTER(_HANDLE)],
    "cuCtxGetDevice": [ctypes.POINTER(ctypes.c_int)],
    "cuCtxPushCurrent_v2": [_HANDLE],
    "cuCtxPopCurrent_v2": [ctypes.POINTER(_HANDLE)],
    "cuCtxSynchronize": [],
    "cuPointerGetAttribute": [_HANDLE, ctypes.c_int, _POINTER],
    "cuMemAlloc_v2": [ctypes.POINTER(_POINTER), _SIZE],
    "cuMemFree_v2": [_POINTER],
    "cuMemHostAlloc": [ctypes.POINTER(_HANDLE), _SIZE, ctypes.c_uint],
    "cuMemFreeHost": [_HANDLE],
    "cuMemcpyHtoDAsync_v2": [_POINTER, _HANDLE, _SIZE, _HANDLE],
    "cuMemcpyDtoHAsync_v2": [_HANDLE, _POINTER, _SIZE, _HANDLE],
    "cuMemcpyDtoDAsync_v2": [_POINTER, _POINTER, _SIZE, _HANDLE],
    "cuStreamSynchronize": [_HANDLE],
    "cuStreamIsCapturing": [_HANDLE, ctypes.POINTER(ctypes.c_int)],
    "cuStreamWaitEvent": [_HANDLE, _HANDLE, ctypes.c_uint],
    "cuEventCreate": [ctypes.POINTER(_HANDLE), ctypes.c_uint],
    "cuEventRecord": [_HANDLE, _HANDLE],
    "cuEventDestroy_v2": [_HANDLE],
    "cuGetErrorName": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
}
# Of cuda.h: an attribute of pointers, and flags of host memory and of events.
_DEVICE_ORDINAL, _PORTABLE, _NO_TIMING = 9, 1, 2
_HELP = {
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "libraries are for GPUs of compute capability 8.0 or newer",
    "CUDA_ERROR_INVALID_PTX": "libraries are for GPUs of compute capability 8.0 or newer",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "install a newer NVIDIA driver, of CUDA 12 at least",
    "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": "call the function once before the capture",
}


class CudaError(PullbackError, RuntimeError):
    """The driver is missing, or refused something."""


def refusal(what: str, status: int) -> CudaError:
    """The error for a CUresult."""
    name = _name_of(status)
    return CudaError(f"{what}: {name}", help=_HELP.get(name))


@cache
def _opened() -> Any:
    try:
        found = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaError(
            "this function is for NVIDIA GPUs, and there is no driver here (libcuda.so.1)",
            notes=[str(error)],
            help="run it on a machine with an NVIDIA driver, or compile it for the CPU",
        ) from None
    for name, arguments in _FUNCTIONS.items():
        try:
            getattr(found, name).argtypes = arguments
        except AttributeError:
            raise CudaError(f"the NVIDIA driver is too old: it has no {name}") from None
    return found


@cache
def library() -> Any:
    """libcuda.so.1, initialised."""
    status = _opened().cuInit(0)
    if status:
        raise refusal("the NVIDIA driver does not start", status)
    return _opened()


def _name_of(status: int) -> str:
    text = ctypes.c_char_p()
    if _opened().cuGetErrorName(status, ctypes.byref(text)) or text.value is None:
        return f"error {status}"
    return text.value.decode()


def call(name: str, *arguments: Any) -> None:
    """A function of the driver. CudaError if it fails."""
    status = getattr(library(), name)(*arguments)
    if status:
        raise refusal(name, status)


@cache
def primary_context(device: int) -> int:
    """The context that all libraries share on a device; kept until the process ends."""
    count = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    if not 0 <= device < count.value:
        raise CudaError(f"there is no GPU {device}: the driver sees {count.value}")
    context = _HANDLE()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    return context.value or 0


def current_context() -> int | None:
    context = _HANDLE()
    call("cuCtxGetCurrent", ctypes.byref(context))
    return context.value


def context_of(device: int) -> int:
    """The calling thread's current context if it is on the device, else the primary one."""
    current = current_context()
    if current is not None:
        found = ctypes.c_int()
        call("cuCtxGetDevice", ctypes.byref(found))
        if found.value == device:
            return current
    return primary_context(device)


def device_of(address: int) -> int | None:
    """The GPU whose memory an address is in; None if it is no memory of a GPU."""
    device = ctypes.c_int()
    if library().cuPointerGetAttribute(ctypes.byref(device), _DEVICE_ORDINAL, address):
        return None
    return device.value


@contextmanager
def using(context: int) -> Iterator[None]:
    """Makes a context the calling thread's current one."""
    call("cuCtxPushCurrent_v2", context)
    try:
        yield
    finally:
        library().cuCtxPopCurrent_v2(ctypes.byref(_HANDLE()))


def allocate(size: int) -> int:
    """Device memory of the current context, at a multiple of 256."""
    address = _POINTER()
    call("cuMemAlloc_v2", ctypes.byref(address), max(size, 1))
    return address.value


def allocate_host(size: int) -> int:
    """Memory of the host that devices write to directly, and in their own time."""
    address = _HANDLE()
    call("cuMemHostAlloc", ctypes.byref(address), size, _PORTABLE)
    return address.value or 0


def new_event() -> int:
    event = _HANDLE()
    call("cuEventCreate", ctypes.byref(event), _NO_TIMING)
    return event.value or 0


def is_capturing(stream: int) -> bool:
    """Whether work for the stream is recorded into a graph now."""
    status = ctypes.c_int()
    call("cuStreamIsCapturing", stream, ctypes.byref(status))
    return status.value != 0
