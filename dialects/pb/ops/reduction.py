"""Sums and maxima over dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Linear, defining, splat
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


def value_of_one_hot(b: Builder, x: ir.Value, dim: int) -> ir.Value | None:
    """The one value along `dim` of select(iota == index, value, 0), if the index is good."""
    select = defining(x, gen.SelectOp)
    test = select and defining(select.pred, gen.CompareOp)
    if not select or not test or test.predicate.value != "eq" or splat(select.on_false) != 0:
        return None
    for ramp, index in ((test.x, test.y), (test.y, test.x)):
        iota, spread_index = defining(ramp, gen.IotaOp), defining(index, gen.BroadcastOp)
        if iota is None or iota.dim.value != dim or spread_index is None:
            continue
        if dim not in spread_index.dims and in_range(spread_index.x, shape(x)[dim]):
            return without_dim(b, select.on_true, dim)
    return None


def in_range(index: ir.Value, n: int) -> bool:
    while (moved := defining(index, (gen.BroadcastOp, gen.ReshapeOp, gen.TransposeOp))) is not None:
        index = moved.x
    check = defining(index, gen.CheckIndexOp)
    return check is not None and check.size.value <= n


def without_dim(b: Builder, x: ir.Value, dim: int) -> ir.Value | None:
    """One slice of x along `dim`, if all are the same value."""
    dims = [n for d, n in enumerate(shape(x)) if d != dim]
    number, spread_x = splat(x), defining(x, gen.BroadcastOp)
    if number is not None:
        return b.full(dims, number, element_type(x))
    if spread_x is None or dim in spread_x.dims:
        return None
    return b.broadcast(spread_x.x, dims, [d - (d > dim) for d in spread_x.dims])


@register(gen.ReduceSumOp)
class ReduceSum(Reduction, Linear):
    def over(self, b: Builder, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        return b.reduce_sum(x, dims)

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (spread(b, ct, self),)

    def reference(self, x: Any) -> Any:
        return np.sum(x, tuple(self.dims), dtype=x.dtype)

    def simplify(self, b: Builder) -> ir.Value | None:
        if is_float(self.x) and (negated := defining(self.x, gen.NegOp)) is not None:
            return b.neg(b.reduce_sum(negated.x, list(self.dims)))
        for dim in self.dims:
            value = value_of_one_hot(b, self.x, dim)
            if value is not None:
                return b.reduce_sum(value, [d - (d > dim) for d in self.dims if d != dim])
        return Reduction.simplify(self, b)  # the classes are laid over one another: no super()

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.reduce_sum(x, self.dims)


@register(gen.ReduceMaxOp)
class ReduceMax(Reduction):
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
