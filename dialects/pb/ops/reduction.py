"""Sums and maxima over dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Linear, defining
from ..opdef import Batched, Op, Tangent, register
from ..types import element_type, is_float, rank, shape, size
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


def spread(b: Builder, reduced: ir.Value, op: Any) -> ir.Value:
    """The result of a reduction, repeated along the dimensions that were reduced."""
    kept = [d for d in range(rank(op.x)) if d not in list(op.dims)]
    return b.broadcast(reduced, shape(op.x), kept)


class Reduction(Op):
    """Removes the dimensions `dims` of x."""

    x: ir.Value
    dims: Any

    def over(self, b: Builder, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        """The op on another value, over other dimensions."""
        raise NotImplementedError

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        d = batch_dim(x)
        dims = [dim + (dim >= d) for dim in self.dims]
        return Batched(self.over(b, x.value, dims), d - sum(dim < d for dim in dims))

    def simplify(self, b: Builder) -> ir.Value | None:
        dims = list(self.dims)
        if all(shape(self.x)[d] == 1 for d in dims):
            return b.reshape(self.x, [n for d, n in enumerate(shape(self.x)) if d not in dims])
        inner = defining(self.x, gen.TransposeOp)
        if inner is not None and list(inner.permutation) != list(range(rank(self.x))):
            order = list(inner.permutation)
            kept = [order[d] for d in range(len(order)) if d not in dims]
            if kept == sorted(kept):
                return self.over(b, inner.x, [order[d] for d in dims])
        return None

    def flops(self) -> int:
        return size(shape(self.x))


@register(gen.ReduceSumOp)
class ReduceSum(Reduction, Linear):
    torch = ("aten.sum.dim_IntList", "aten.mean.dim")

    def over(self, b: Builder, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        return b.reduce_sum(x, dims)

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (spread(b, ct, self),)

    def reference(self, x: Any) -> Any:
        return np.sum(x, tuple(self.dims), dtype=x.dtype)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.reduce_sum(x, self.dims)


@register(gen.ReduceMaxOp)
class ReduceMax(Reduction):
    torch = ("aten.amax.default",)

    def over(self, b: Builder, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        return b.reduce_max(x, dims)

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        # ties share the derivative evenly; where the maximum is NaN, 0 / 0 is too, as in torch
        at_max = b.compare("eq", self.x, spread(b, self.result, self))
        mask = b.convert(at_max, element_type(self.x))
        count = b.reduce_sum(mask, list(self.dims))
        return b.reduce_sum(b.mul(x_dot, b.div(mask, spread(b, count, self))), list(self.dims))

    def reference(self, x: Any) -> Any:
        if x.dtype == np.bool_:
            lowest: Any = False
        else:
            lowest = -np.inf if is_float(self.x) else np.iinfo(x.dtype).min
        return np.max(x, tuple(self.dims), initial=lowest)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.reduce_max(x, self.dims)
