"""NVIDIA's driver, opened at run time: what cuda.py needs of it, with errors as exceptions."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from .errors import PullbackError

_POINTER, _SIZE = ctypes.c_uint64, ctypes.c_size_t
_FUNCTIONS = {
    "cuInit": [ctypes.c_uint],
    "cuDeviceGetCount": [ctypes.POINTER(ctypes.c_int)],
    "cuDevicePrimaryCtxRetain": [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int],
    "cuCtxGetCurrent": [ctypes.POINTER(ctypes.c_void_p)],
    "cuCtxPushCurrent_v2": [ctypes.c_void_p],
    "cuCtxPopCurrent_v2": [ctypes.POINTER(ctypes.c_void_p)],
    "cuMemAlloc_v2": [ctypes.POINTER(_POINTER), _SIZE],
    "cuMemFree_v2": [_POINTER],
    "cuMemHostAlloc": [ctypes.POINTER(ctypes.c_void_p), _SIZE, ctypes.c_uint],
    "cuMemFreeHost": [ctypes.c_void_p],
    "cuMemcpyHtoDAsync_v2": [_POINTER, ctypes.c_void_p, _SIZE, ctypes.c_void_p],
    "cuMemcpyDtoHAsync_v2": [ctypes.c_void_p, _POINTER, _SIZE, ctypes.c_void_p],
    "cuMemcpyDtoDAsync_v2": [_POINTER, _POINTER, _SIZE, ctypes.c_void_p],
    "cuStreamSynchronize": [ctypes.c_void_p],
    "cuGetErrorName": [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)],
}


class CudaError(PullbackError, RuntimeError):
    """The driver is missing, or refused something."""


@cache
def library() -> Any:
    """libcuda.so.1, initialised."""
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
    status = found.cuInit(0)
    if status:
        raise CudaError(f"the NVIDIA driver does not start: {name_of(found, status)}")
    return found


def name_of(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if driver.cuGetErrorName(status, ctypes.byref(text)) or text.value is None:
        return f"error {status}"
    return text.value.decode()


def call(name: str, *arguments: Any) -> None:
    """A function of the driver. CudaError if it fails."""
    driver = library()
    status = getattr(driver, name)(*arguments)
    if status:
        raise CudaError(f"{name}: {name_of(driver, status)}")


@cache
def primary_context(device: int) -> int:
    """The context that all libraries share on a device; kept until the process ends."""
    count = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    if not 0 <= device < count.value:
        raise CudaError(f"there is no GPU {device}: the driver sees {count.value}")
    context = ctypes.c_void_p()
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    return context.value or 0


@contextmanager
def context(device: int | None) -> Iterator[int]:
    """Makes the primary context of a device current; None: the current one, else device 0."""
    current = ctypes.c_void_p()
    library()
    if device is None:
        call("cuCtxGetCurrent", ctypes.byref(current))
        if current.value:
            yield current.value
            return
    chosen = primary_context(device or 0)
    call("cuCtxPushCurrent_v2", chosen)
    try:
        yield chosen
    finally:
        call("cuCtxPopCurrent_v2", ctypes.byref(current))


def allocate(size: int) -> int:
    """Device memory of the current context, at a multiple of 256."""
    address = _POINTER()
    call("cuMemAlloc_v2", ctypes.byref(address), max(size, 1))
    return address.value


def allocate_host(size: int) -> int:
    """Memory of the host that the device writes to directly."""
    address = ctypes.c_void_p()
    call("cuMemHostAlloc", ctypes.byref(address), size, 0)
    return address.value or 0
