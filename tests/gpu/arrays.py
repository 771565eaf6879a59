"""Arrays on the fake GPU as other libraries have them: by interface, by DLPack, and torch's."""

from __future__ import annotations

import contextlib
import ctypes
import types
from typing import Any

import numpy as np
import pytest

from .driver import Driver


class ByInterface:
    """What has ``__cuda_array_interface__``."""

    def __init__(
        self,
        driver: Driver,
        array: np.ndarray,
        offset: int = 0,
        device: int = 0,
        stream: int | None = None,
        **more: Any,
    ) -> None:
        self.address = driver.allocate(array.nbytes + offset + 1, device) + offset
        driver.memory.write(self.address, array)
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.address, False),
            "version": 3,
            "stream": stream,
        } | more


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_uint64),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_uint8 * 4),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


_new_capsule: Any = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
)(("PyCapsule_New", ctypes.pythonapi))


class ByDlpack:
    """What has ``__dlpack__`` only; `streams` has what it was asked for."""

    def __init__(
        self, driver: Driver, array: np.ndarray, strides: tuple[int, ...] | None = None
    ) -> None:
        address = driver.allocate(array.nbytes + 16)
        driver.memory.write(address + 16, array)
        code = {"f": 2, "i": 0, "b": 6}[array.dtype.kind]
        dims = ctypes.c_int64 * max(array.ndim, 1)
        self.streams: list[int] = []
        self._kept = dims(*array.shape), dims(*(strides or ()))
        self._tensor = _DLTensor(
            address, (2, 0), array.ndim, (code, array.dtype.itemsize * 8, 1, 0),
            self._kept[0], self._kept[1] if strides else None, 16,
        )  # fmt: skip

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int) -> Any:
        self.streams.append(stream)
        return _new_capsule(ctypes.addressof(self._tensor), b"dltensor", None)


def torch_with_gpus(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module `torch` with as much of tensors on GPUs as the runtime asks for."""

    class Device(types.SimpleNamespace):
        def __str__(self) -> str:
            return f"{self.type}:{self.index}"

    class Tensor:
        __torch_dispatch__ = None
        is_cuda = True
        requires_grad = is_nested = is_quantized = False
        layout = "strided"

        def __init__(self, shape: Any, dtype: str, index: int = 0, address: int = 0) -> None:
            dtype = dtype.removeprefix("torch.")
            self.shape, self.dtype = shape, f"torch.{dtype}"
            self.bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
            self.device = Device(type="cuda", index=index)
            self.address = address or driver.allocate(max(self.bytes, 1), index)
            self.dense = True

        def numel(self) -> int:
            return int(np.prod(self.shape))

        @property
        def ndim(self) -> int:
            return len(self.shape)

        def data_ptr(self) -> int:
            return self.address

        def get_device(self) -> int:
            return self.device.index

        def is_contiguous(self) -> bool:
            return self.dense

        def is_neg(self) -> bool:
            return False

        def contiguous(self) -> Tensor:
            return self if self.dense else self.clone()

        def clone(self) -> Tensor:
            copy = Tensor(self.shape, self.dtype, self.device.index)
            driver.memory.write(copy.address, driver.memory.read(self.address, self.bytes))
            torch.clones += 1
            return copy

        def resolve_neg(self) -> Tensor:
            return self

        def as_subclass(self, _: type) -> Tensor:
            return self

        def numpy(self) -> np.ndarray:
            for stream in driver.streams.values():
                stream.run()
            found = driver.memory.read(self.address, self.bytes)
            return found.view(self.dtype.removeprefix("torch.")).reshape(self.shape)

    def tensor(array: np.ndarray, index: int = 0) -> Tensor:
        made = Tensor(array.shape, array.dtype.name, index)
        driver.memory.write(made.address, array)
        return made

    def empty(shape: Any, dtype: str, device: Device) -> Tensor:
        shape = (shape,) if isinstance(shape, int) else shape
        return Tensor(shape, dtype, device.index)

    torch: Any = types.ModuleType("torch")
    names = ("float32", "float64", "int64", "int32", "bool", "uint8")
    vars(torch).update(
        {name: f"torch.{name}" for name in names},
        Tensor=Tensor,
        strided="strided",
        device=lambda kind, index: Device(type=kind, index=index),
        empty=empty,
        tensor=tensor,
        clones=0,
        stream=0,
        is_grad_enabled=lambda: False,
        _C=types.SimpleNamespace(
            DisableTorchFunctionSubclass=contextlib.nullcontext,
            _cuda_getCurrentRawStream=lambda _: torch.stream,
        ),
        cuda=types.SimpleNamespace(
            current_stream=lambda _: types.SimpleNamespace(cuda_stream=torch.stream),
            device=contextlib.nullcontext,
            current_device=lambda: 0,
        ),
    )
    monkeypatch.setitem(__import__("sys").modules, "torch", torch)
    return torch
