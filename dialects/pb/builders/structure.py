"""Builds ops that move elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlir import ir

from .. import _pb_ops_gen as gen
from ..opdef import ZERO
from ..types import element_type, rank, shape, with_shape
from .creation import Creation

Shape = Sequence[int]


class Structure(Creation):
    def broadcast(self, x: Any, dims: Shape, at: Sequence[int]) -> Any:
        """`x` in shape `dims`, its dimension i becoming dimension at[i]."""
        if x is ZERO or (len(at) == len(dims) and tuple(at) == tuple(range(len(dims)))):
            return x
        return self._make(gen.BroadcastOp, with_shape(x, dims), x, self._array(at, x))

    def reshape(self, x: Any, dims: Shape) -> Any:
        if x is ZERO or shape(x) == tuple(dims):
            return x
        return self._make(gen.ReshapeOp, with_shape(x, dims), x)

    def transpose(self, x: Any, permutation: Sequence[int]) -> Any:
        if x is ZERO or list(permutation) == list(range(len(permutation))):
            return x
        return self._make(gen.TransposeOp, x, self._array(permutation, x))

    def move_dim(self, x: Any, source: int, target: int) -> Any:
        if x is ZERO or source == target:
            return x
        order = [dim for dim in range(rank(x)) if dim != source]
        order.insert(target, source)
        return self.transpose(x, order)

    def slice(self, x: Any, offsets: Shape, sizes: Shape, strides: Shape) -> Any:
        if x is ZERO:
            return x
        return self._make(
            gen.SliceOp, with_shape(x, sizes), x, self._array(offsets, x), self._array(strides, x)
        )

    def pad(
        self, x: Any, value: ir.Value | None, dims: Shape, offsets: Shape, strides: Shape
    ) -> Any:
        """`value` (default 0) in shape `dims`, with x at offsets + i * strides."""
        if x is ZERO:
            return x
        if value is None:
            value = self.full((), 0, element_type(x))
        offsets_, strides_ = self._array(offsets, x), self._array(strides, x)
        return self._make(gen.PadOp, with_shape(x, dims), x, value, offsets_, strides_)

    def concatenate(self, xs: Sequence[ir.Value], dim: int) -> ir.Value:
        return xs[0] if len(xs) == 1 else self._make(gen.ConcatenateOp, list(xs), dim)
