"""Ops that move elements without computing: each is linear, and has a dual here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Linear, at_dim, defining, splat
from ..opdef import ZERO, Batched, Tangent, register
from ..types import element_type, rank, shape

if TYPE_CHECKING:
    from ..builder import Builder


def constant_of(b: Builder, x: ir.Value, result: ir.Value) -> ir.Value | None:
    """If x repeats one number, so does every rearrangement of it."""
    number = splat(x)
    return None if number is None else b.constant(number, result.type)


@register(gen.BroadcastOp)
class Broadcast(Linear):
    moves = True

    free = True

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        kept = list(self.dims)
        return (b.reduce_sum(ct, [d for d in range(rank(ct)) if d not in kept]),)

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        value = at_dim(b, x, 0, size)
        dims = [0, *(dim + 1 for dim in self.dims)]
        return Batched(b.broadcast(value, (size, *shape(self.result)), dims), 0)

    def reference(self, x: Any) -> Any:
        dims, at = shape(self.result), list(self.dims)
        spread = x.reshape([dims[d] if d in at else 1 for d in range(len(dims))])
        return np.broadcast_to(spread, dims)

    def simplify(self, b: Builder) -> ir.Value | None:
        dims = list(self.dims)
        if dims == list(range(rank(self.result))):
            return self.x
        if (inner := defining(self.x, gen.BroadcastOp)) is not None:
            return b.broadcast(inner.x, shape(self.result), [dims[d] for d in inner.dims])
        if (inner := defining(self.x, gen.IotaOp)) is not None:
            return b.iota(shape(self.result), dims[inner.dim.value], element_type(self.result))
        return constant_of(b, self.x, self.result)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.broadcast(x, shape(self.result), self.dims)


@register(gen.ReshapeOp)
class Reshape(Linear):
    moves = True

    free = True

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (b.reshape(ct, shape(self.x)),)

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        return Batched(b.reshape(at_dim(b, x, 0, size), (size, *shape(self.result))), 0)

    def reference(self, x: Any) -> Any:
        return x.reshape(shape(self.result))

    def simplify(self, b: Builder) -> ir.Value | None:
        if self.x.type == self.result.type:
            return self.x
        if (inner := defining(self.x, gen.ReshapeOp)) is not None:
            return b.reshape(inner.x, shape(self.result))
        if (inner := defining(self.x, gen.BroadcastOp)) is not None:
            return reshaped_broadcast(b, inner, shape(self.result))
        return constant_of(b, self.x, self.result)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.reshape(x, shape(self.result))


def reshaped_broadcast(b: Builder, inner: Any, dims: Sequence[int]) -> ir.Value | None:
    """A broadcast that only adds size-1 dimensions before a reshape is a reshape itself."""
    added = [n for d, n in enumerate(shape(inner.result)) if d not in list(inner.dims)]
    return b.reshape(inner.x, dims) if all(n == 1 for n in added) else None


@register(gen.TransposeOp)
class Transpose(Linear):
    moves = True

    free = True

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (b.transpose(ct, np.argsort(list(self.permutation)).tolist()),)

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        d = batch_dim(x)
        order = [d, *(dim + (dim >= d) for dim in self.permutation)]
        return Batched(b.transpose(x.value, order), 0)

    def reference(self, x: Any) -> Any:
        return np.transpose(x, list(self.permutation))

    def simplify(self, b: Builder) -> ir.Value | None:
        order = list(self.permutation)
        if order == list(range(len(order))):
            return self.x
        if (inner := defining(self.x, gen.TransposeOp)) is not None:
            first = list(inner.permutation)
            return b.transpose(inner.x, [first[d] for d in order])
        if (inner := defining(self.x, gen.BroadcastOp)) is not None:
            at = [order.index(d) for d in inner.dims]  # where each dimension of x ends up
            x = b.transpose(inner.x, np.argsort(at).tolist())
            return b.broadcast(x, shape(self.result), sorted(at))
        if (inner := defining(self.x, gen.NegOp)) is not None:
            return b.neg(b.transpose(inner.x, order))
        if (dot := defining(self.x, gen.DotGeneralOp)) is not None:
            return swapped_dot(b, dot, order)
        if (inner := of_broadcasts(self.x)) is not None:
            return inner.rebuild(b, [b.transpose(x, order) for x in inner.operands])
        return constant_of(b, self.x, self.result)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.transpose(x, self.permutation)


def of_broadcasts(x: ir.Value) -> Any:
    """The elementwise op that makes x, if it is the only user of it and of broadcasts alone."""
    op: Any = defining(x, ir.OpView)
    if op is None or not op.elementwise or not op.pure or len(list(x.uses)) > 1:
        return None
    absorbing = (gen.BroadcastOp, gen.ConstantOp)
    return op if all(defining(operand, absorbing) for operand in op.operands) else None


def swapped_dot(b: Builder, dot: Any, order: list[int]) -> ir.Value | None:
    """The transpose that exchanges the free dimensions of x and y is another contraction."""
    n = len(list(dot.x_batch))
    x_free = rank(dot.x) - n - len(list(dot.x_contract))
    y_free = rank(dot.y) - n - len(list(dot.y_contract))
    xs, ys = range(n, n + x_free), range(n + x_free, n + x_free + y_free)
    if order != [*range(n), *ys, *xs] or len(list(dot.result.uses)) > 1:
        return None
    return b.dot_general(dot.y, dot.x, dot.y_batch, dot.x_batch, dot.y_contract, dot.x_contract)


def batch_dim(x: Batched) -> int:
    assert x.dim is not None
    return x.dim


def inserted(values: Sequence[int], at: int, value: int) -> list[int]:
    return [*list(values)[:at], value, *list(values)[at:]]


@register(gen.SliceOp)
class Slice(Linear):
    moves = True

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (b.pad(ct, None, shape(self.x), list(self.offsets), list(self.strides)),)

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        d = batch_dim(x)
        offsets, strides = inserted(self.offsets, d, 0), inserted(self.strides, d, 1)
        return Batched(b.slice(x.value, offsets, inserted(shape(self.result), d, size), strides), d)

    def reference(self, x: Any) -> Any:
        return x[region(self.offsets, shape(self.result), self.strides)]

    def simplify(self, b: Builder) -> ir.Value | None:
        if self.x.type == self.result.type:
            return self.x
        maker: Any = defining(self.x, ir.OpView)
        if maker is not None and hasattr(maker, "sliced") and len(list(self.x.uses)) == 1:
            part = maker.sliced(b, list(self.offsets), shape(self.result), list(self.strides))
            if part is not None:
                return part
        inner = defining(self.x, gen.PadOp)
        if (
            inner is not None
            and inner.x.type == self.result.type
            and inner.offsets == self.offsets
            and inner.strides == self.strides
        ):
            return inner.x
        return constant_of(b, self.x, self.result)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.slice(x, shape(self.result), self.offsets, self.strides)


def region(offsets: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> tuple[Any, ...]:
    """The numpy index of the positions offsets + i * strides."""
    return tuple(
        slice(o, o + (n - 1) * s + 1 if n else o, s)
        for o, n, s in zip(offsets, sizes, strides, strict=True)
    )


@register(gen.PadOp)
class Pad(Linear):
    moves = True

    def transpose(self, b: Builder, ct: ir.Value, x: Any, value: Any) -> Sequence[Tangent | None]:
        offsets, strides = list(self.offsets), list(self.strides)
        x_bar = value_bar = None
        if x is None:
            x_bar = b.slice(ct, offsets, shape(self.x), strides)
        if value is None:  # the sum over the padding only
            hole = b.pad(
                b.zeros_like(self.x), b.full((), 1, element_type(ct)), shape(ct), offsets, strides
            )
            value_bar = b.reduce_sum(b.mul(ct, hole), range(rank(ct)))
        return x_bar, value_bar

    def batch(self, b: Builder, size: int, x: Batched, value: Batched) -> Batched:
        offsets, strides = inserted(self.offsets, 0, 0), inserted(self.strides, 0, 1)
        dims = (size, *shape(self.result))
        inner = at_dim(b, x, 0, size)
        if value.dim is None:
            return Batched(b.pad(inner, value.value, dims, offsets, strides), 0)
        i1 = ir.IntegerType.get_signless(1, inner.context)
        inside = b.pad(b.full(shape(inner), 1, i1), None, dims, offsets, strides)
        around = b.broadcast(value.value, dims, [0])
        return Batched(b.select(inside, b.pad(inner, None, dims, offsets, strides), around), 0)

    def reference(self, x: Any, value: Any) -> Any:
        out = np.full(shape(self.result), value, x.dtype)
        out[region(self.offsets, x.shape, self.strides)] = x
        return out

    def simplify(self, b: Builder) -> ir.Value | None:
        if self.x.type == self.result.type:
            return self.x
        number = splat(self.x)
        if number is not None and number == splat(self.value) and number != 0:
            return b.constant(number, self.result.type)
        return None

    def lower(self, loops: Any, x: Any, value: Any) -> Any:
        return loops.pad(x, value, shape(self.result), self.offsets, self.strides)


@register(gen.ConcatenateOp)
class Concatenate(Linear):
    moves = True

    def jvp(self, b: Builder, *tangents: Tangent) -> Tangent:
        filled = [
            b.zeros_like(x) if x_dot is ZERO else x_dot
            for x, x_dot in zip(self.operands, tangents, strict=True)
        ]
        return b.concatenate(filled, self.dim.value)

    def transpose(self, b: Builder, ct: ir.Value, *xs: Any) -> Sequence[Tangent | None]:
        dim, start, bars = self.dim.value, 0, []
        for operand, x in zip(self.operands, xs, strict=True):
            sizes = shape(operand)
            offsets = [start if d == dim else 0 for d in range(len(sizes))]
            bars.append(b.slice(ct, offsets, sizes, [1] * len(sizes)) if x is None else None)
            start += sizes[dim]
        return bars

    def batch(self, b: Builder, size: int, *xs: Batched) -> Batched:
        values = [at_dim(b, x, 0, size) for x in xs]
        return Batched(b.concatenate(values, self.dim.value + 1), 0)

    def reference(self, *xs: Any) -> Any:
        return np.concatenate(xs, self.dim.value)

    def simplify(self, b: Builder) -> ir.Value | None:
        return self.operands[0] if len(self.operands) == 1 else None

    def lower(self, loops: Any, *xs: Any) -> Any:
        return loops.concatenate(xs, self.dim.value)
