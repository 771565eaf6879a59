"""The slow path of arguments: whatever the caller has, as a dense numpy array of the right kind.

The extension takes plain arrays itself (``src/arrays.c``); here come strided, misaligned and
byte-swapped ones, numpy subclasses, scalars, tensors of torch that need care and other DLPack
objects. No dtype is ever converted: a wrong one is an error, as it would hide a loss of precision.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ArgumentError, ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    import numpy as np

DTYPES = {
    "bf16": "bfloat16",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
    "i32": "int32",
    "i64": "int64",
    "bool": "bool",
}
_SHORT = {long: short for short, long in DTYPES.items()}


class TensorSpec(NamedTuple):
    """An input or output: its name, dtype (``bf16 f16 f32 f64 i32 i64 bool``) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def plain(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    """``value`` as a dense numpy array that fits ``spec``, copied only where it must be."""
    import numpy as np

    if is_torch(value):
        array = _from_torch(spec, value)
    elif isinstance(value, (np.ndarray, np.generic)):
        array = _from_numpy(spec, value)
    elif isinstance(value, (bool, int, float)):
        array = _from_scalar(spec, value)
    elif hasattr(value, "__dlpack__"):
        array = _from_dlpack(spec, value)
    else:
        raise ArgumentTypeError(
            f"argument '{spec.name}' is no array: expected {spec}, got {type(value).__name__}",
            help="numpy arrays, torch tensors and objects with __dlpack__ are taken",
        )
    native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    name = native.name
    if name == "void16" and spec.dtype == "bf16":
        name = "bfloat16"  # its bits
    if array.shape != spec.shape or name != DTYPES[spec.dtype]:
        check(spec, name, array.shape)
    if spec.dtype == "bf16":  # the extension knows it as two bytes
        array = array.view("V2") if array.dtype.isnative else array.astype(native).view("V2")
        native = array.dtype
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype is native:
        return array
    return array.astype(native, order="C", copy=True)


def is_torch(value: Any) -> bool:
    """Whether it is a tensor of torch; never imports torch."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def to_torch(array: np.ndarray[Any, Any]) -> Any:
    """The array as a tensor of torch, which the caller has imported."""
    torch = sys.modules["torch"]
    if array.dtype.name in ("bfloat16", "void16"):
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_numpy(output: Any) -> np.ndarray[Any, Any]:
    """An output as an array; that of a call with tensors among its arguments may be a tensor."""
    import numpy as np

    if not is_torch(output) or output.dtype is not sys.modules["torch"].bfloat16:
        return np.asarray(output)
    try:
        from ml_dtypes import bfloat16  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("numpy has no bfloat16: install ml_dtypes") from None
    return output.view(sys.modules["torch"].int16).numpy().view(bfloat16)


def check(spec: TensorSpec, dtype: str, shape: tuple[int, ...]) -> None:
    """Raises if an array of this dtype (numpy's name) and shape does not fit."""
    got = TensorSpec(spec.name, _SHORT.get(dtype, dtype), tuple(shape))
    if got.dtype != spec.dtype:
        raise ArgumentTypeError(
            f"argument '{spec.name}' has the wrong dtype: expected {spec}, got {got}"
        )
    if got.shape != spec.shape:
        raise ArgumentValueError(
            f"argument '{spec.name}' has the wrong shape: expected {spec}, got {got}"
        )


def _from_numpy(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ArgumentValueError(
            f"argument '{spec.name}' has masked elements: expected a whole {spec}",
            help="fill them first, for example with x.filled(0)",
        )
    return np.asarray(value)


def _from_scalar(spec: TensorSpec, value: bool | int | float) -> np.ndarray[Any, Any]:
    import numpy as np

    kinds = {"bool": (bool,), "i32": (int,), "i64": (int,)}.get(spec.dtype, (int, float))
    if spec.shape != () or type(value) not in kinds:  # a bool is no number here
        raise ArgumentTypeError(
            f"argument '{spec.name}' does not fit: expected {spec}, "
            f"got the Python {type(value).__name__} {value!r}"
        )
    try:
        if spec.dtype == "bf16":
            return _bfloat16(np.array(value, np.float32))
        return np.array(value, dtype=DTYPES[spec.dtype])
    except OverflowError:
        raise ArgumentValueError(
            f"argument '{spec.name}' is too large for {spec.dtype}: got {value!r}"
        ) from None


def _bfloat16(number: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A float32 rounded to the nearest bfloat16, as two bytes without meaning."""
    bits = int(number.view("uint32"))
    if number != number:
        bits |= 0x400000
    else:
        bits += 0x7FFF + (bits >> 16 & 1)
    import numpy as np

    return np.array(bits >> 16, np.uint16).view("V2")


@contextmanager
def plain_torch(spec: TensorSpec, value: Any, device: str) -> Iterator[Any]:
    """A tensor of torch that fits ``spec``, without what autograd and laziness put around it.

    What torch raises inside is an ArgumentError.
    """
    torch = sys.modules["torch"]
    if type(value).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        raise ArgumentTypeError(
            f"argument '{spec.name}' has no memory of its own: expected {spec}, "
            f"got the tensor subclass {type(value).__name__}"
        )
    try:
        with torch._C.DisableTorchFunctionSubclass():
            if value.device.type != device:
                raise ArgumentTypeError(
                    f"argument '{spec.name}' is on the wrong device: "
                    f"expected {spec} on {device}, got {value.device}",
                )
            if value.layout != torch.strided or value.is_nested or value.is_quantized:
                raise ArgumentTypeError(
                    f"argument '{spec.name}' has the wrong layout: "
                    f"expected a dense {spec}, got {_kind(value)}"
                )
            check(spec, str(value.dtype).removeprefix("torch."), tuple(value.shape))
            if value.numel() and value.data_ptr() == 0:
                raise RuntimeError("the storage of the tensor is empty")
            if value.requires_grad:
                value = value.detach()
            yield value.resolve_neg().as_subclass(torch.Tensor)
    except ArgumentError:
        raise
    except Exception as error:  # of torch: inside vmap or grad, functional and zero tensors
        reason = str(error).strip().partition("\n")[0]
        raise ArgumentTypeError(
            f"argument '{spec.name}' is a tensor without memory: expected {spec}",
            notes=[f"torch says: {reason}"],
            help="a compiled function cannot run inside a transform of torch.func; "
            "give the transform when it is compiled",
        ) from None


def _from_torch(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    with plain_torch(spec, value, "cpu") as tensor:
        if spec.dtype == "bf16":
            return tensor.contiguous().view(sys.modules["torch"].int16).numpy().view("V2")
        return tensor.numpy()


def wants_grad(value: Any) -> bool:
    """Is it a torch tensor whose gradient is asked for at this moment?"""
    if not is_torch(value):
        return False
    torch = sys.modules["torch"]
    with torch._C.DisableTorchFunctionSubclass():
        return torch.is_grad_enabled() and value.requires_grad


def _kind(tensor: Any) -> str:
    if tensor.is_nested:
        return "a nested tensor"
    return f"a quantized {tensor.dtype}" if tensor.is_quantized else str(tensor.layout)


def _from_dlpack(spec: TensorSpec, value: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    try:
        device = value.__dlpack_device__()[0] if hasattr(value, "__dlpack_device__") else 1
        if device == 1:
            if spec.dtype == "bf16" and "torch" in sys.modules:  # numpy cannot read it
                return _from_torch(spec, sys.modules["torch"].from_dlpack(value))
            return np.from_dlpack(value)
        reason = f"it is on DLPack device type {int(device)}, not on the CPU"
    except Exception as error:  # whatever the library of this object raises
        reason = f"{type(error).__name__}: {error}"
    raise ArgumentTypeError(
        f"argument '{spec.name}' cannot be read: "
        f"expected {spec} on cpu, got {type(value).__name__}",
        notes=[reason],
    )
