"""Shapes and element types of values.

A dimension is an int; everything that computes with dimensions does so through the shapes of
values, so that a symbolic one can join later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
from mlir import ir

#: numpy has no bfloat16, so elements of both half types stand as float32; `rounded` makes them so.
DTYPES = {
    "bf16": np.dtype(np.float32),
    "f16": np.dtype(np.float32),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "i1": np.dtype(np.bool_),
}


def tensor_type(value: ir.Value | ir.Type) -> ir.RankedTensorType:
    type_ = value if isinstance(value, ir.Type) else value.type
    return cast(ir.RankedTensorType, type_)


def shape(value: ir.Value | ir.Type) -> tuple[int, ...]:
    return tuple(tensor_type(value).shape)


def rank(value: ir.Value | ir.Type) -> int:
    return tensor_type(value).rank


def element_type(value: ir.Value | ir.Type) -> ir.Type:
    return tensor_type(value).element_type


def is_float(value: ir.Value | ir.Type) -> bool:
    return isinstance(element_type(value), ir.FloatType)


def tensor(dims: Iterable[int], element: ir.Type) -> ir.RankedTensorType:
    return ir.RankedTensorType.get(list(dims), element, loc=ir.Location.unknown(element.context))


def with_shape(value: ir.Value | ir.Type, dims: Iterable[int]) -> ir.RankedTensorType:
    """The type of `value` under another shape."""
    return tensor(dims, element_type(value))


def dtype(value: ir.Value | ir.Type) -> np.dtype:
    """The numpy dtype of the elements; i1 is bool."""
    return DTYPES[str(element_type(value))]


def is_half(element: ir.Type) -> bool:
    """Of 16 bits in memory, and of f32 wherever something is computed."""
    return isinstance(element, (ir.BF16Type, ir.F16Type))


def rounded(array: np.ndarray, element: ir.Type) -> np.ndarray:
    """The array in the dtype of `element`, with the numbers that it has."""
    array = np.asarray(array)
    if not is_half(element):
        return np.asarray(array, DTYPES[str(element)])
    with np.errstate(all="ignore"):
        wide = np.ascontiguousarray(array, np.float32).reshape(array.shape)
        if isinstance(element, ir.F16Type):
            return wide.astype(np.float16).astype(np.float32)
        bits = wide.view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        near = (bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)
        return np.where(np.isnan(wide), wide, near.view(np.float32))


def size(dims: Sequence[int]) -> int:
    return int(np.prod(dims, dtype=np.int64)) if dims else 1
