"""What the rules in this folder write with: a pb builder that speaks torch's dtypes.

Rules get their tensor arguments as MLIR values and everything else as Python values; ``out`` says
which shape and dtype torch gave to the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mlir import ir

from ...dialects.pb.builder import Builder
from ...dialects.pb.types import element_type, shape
from ..graph import Value

Operand = Any  # an ir.Value, or a Python number

_NAMES = {
    torch.bfloat16: "bf16",
    torch.float16: "f16",
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "i1",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def supported(dtype: torch.dtype) -> bool:
    return dtype in _NAMES


def instead_of(dtype: torch.dtype) -> str:
    """What to do about a dtype that is not supported."""
    if dtype.is_complex:
        return "compute with real and imaginary parts, as two tensors"
    if not dtype.is_floating_point:
        return "convert to int32 or int64"
    return "convert to bfloat16, float16, float32 or float64"


def mlir_type(dtype: torch.dtype, context: ir.Context) -> ir.Type:
    return ir.Type.parse(_NAMES[dtype], context)


def dtype_of_type(type_: ir.Type) -> torch.dtype:
    return _DTYPES[str(element_type(type_))]


def dtype_of(x: Operand) -> torch.dtype:
    if isinstance(x, ir.Value):
        return dtype_of_type(x.type)
    if isinstance(x, bool):
        return torch.bool
    return torch.int64 if isinstance(x, int) else torch.get_default_dtype()


def result_type(*operands: Operand) -> torch.dtype:
    """torch's promotion: tensors with dimensions outrank 0-dim ones, these outrank numbers."""
    ranks: list[torch.dtype | None] = [None, None, None]
    for x in operands:
        level = (0 if shape(x) else 1) if isinstance(x, ir.Value) else 2
        known, dtype = ranks[level], dtype_of(x)
        ranks[level] = dtype if known is None else torch.promote_types(known, dtype)
    result: torch.dtype | None = None
    for lower in ranks:
        if result is None or lower is None:
            result = result or lower
        elif not result.is_floating_point and (result is torch.bool or lower.is_floating_point):
            result = torch.promote_types(result, lower)
    assert result is not None
    return result


class Emitter:
    """The builder for one captured call."""

    def __init__(self, builder: Builder, context: ir.Context) -> None:
        self.b = builder
        self.context = context
        self.outs: tuple[Value, ...] = ()
        #: The dtype of the result where `outs` says f32 for a half type (see half.py).
        self.storage: torch.dtype | None = None

    @property
    def out(self) -> Value:
        return self.outs[0]

    def element(self, dtype: torch.dtype) -> ir.Type:
        return mlir_type(dtype, self.context)

    def full(self, dims: Sequence[int], number: float, dtype: torch.dtype) -> ir.Value:
        return self.b.full(tuple(dims), number, self.element(dtype))

    def like(self, x: ir.Value, number: float) -> ir.Value:
        return self.full(shape(x), number, dtype_of(x))

    def convert(self, x: ir.Value, dtype: torch.dtype) -> ir.Value:
        return self.b.convert(x, self.element(dtype))

    def broadcast(self, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        """torch's broadcasting: missing leading dimensions are added, ones are stretched."""
        old, new = shape(x), tuple(dims)
        if old == new:
            return x
        lead = len(new) - len(old)
        kept = [i for i, size in enumerate(old) if size == new[lead + i]]
        x = self.b.reshape(x, tuple(old[i] for i in kept))
        return self.b.broadcast(x, new, [lead + i for i in kept])

    def tensor(self, x: Operand, dims: Sequence[int], dtype: torch.dtype) -> ir.Value:
        """A number or a tensor as a tensor of this shape and dtype."""
        if isinstance(x, ir.Value):
            return self.broadcast(self.convert(x, dtype), dims)
        return self.full(dims, x, dtype)

    def operands(self, *xs: Operand, dtype: torch.dtype | None = None) -> list[ir.Value]:
        """The operands of an elementwise call, in the shape of its result."""
        return [self.tensor(x, self.out.shape, dtype or self.out.dtype) for x in xs]

    def dims(self, dim: int | Sequence[int] | None, rank: int) -> list[int]:
        """The dimensions a reduction runs over: none given means all."""
        if dim is None or (isinstance(dim, Sequence) and not dim):
            return list(range(rank))
        given = [dim] if isinstance(dim, int) else list(dim)
        return sorted({wrap(d, rank) for d in given}) if rank else []

    def transpose_to_end(self, x: ir.Value, dim: int) -> ir.Value:
        order = [d for d in range(len(shape(x))) if d != dim]
        return self.b.transpose(x, [*order, dim])


def wrap(dim: int, rank: int) -> int:
    return dim + rank if dim < 0 else dim


def count(dims: Sequence[int]) -> int:
    return math.prod(dims)


__all__ = [
    "Emitter",
    "Operand",
    "count",
    "dtype_of",
    "element_type",
    "mlir_type",
    "result_type",
    "shape",
    "supported",
    "wrap",
]
