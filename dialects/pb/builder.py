"""Builds pb ops. One method per op, in the terms of the rules that use it.

A symbolic ZERO goes through linear ops without leaving a trace: `mul(ZERO, y)` is ZERO,
`add(ZERO, y)` is y. Where a real value is needed, `zeros_like` makes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from mlir import ir

from . import _pb_ops_gen as gen
from .opdef import ZERO, Tangent
from .types import DTYPES, element_type, rank, shape, tensor, with_shape

Shape = Sequence[int]


class Builder:
    """Appends ops at `ip`, each with the location `location` (the user's line)."""

    def __init__(self, ip: ir.InsertionPoint, location: ir.Location) -> None:
        self.ip = ip
        self.location = location

    def _make(self, op: Any, *args: Any, **kwargs: Any) -> ir.Value:
        return op(*args, **kwargs, loc=self.location, ip=self.ip).results[0]

    def clone(self, op: ir.OpView, operands: Sequence[ir.Value]) -> ir.OpView:
        """`op` with other operands of the same types."""
        op_ = op.operation
        return ir.Operation.create(
            op_.name,
            results=[result.type for result in op_.results],
            operands=list(operands),
            attributes=dict(op_.attributes.items()),
            loc=self.location,
            ip=self.ip,
        ).opview

    # -- elementwise ---------------------------------------------------------------

    def add(self, x: Tangent, y: Tangent) -> Any:
        if x is ZERO:
            return y
        if y is ZERO:
            return x
        return self._make(gen.AddOp, x, y)

    def sub(self, x: Tangent, y: Tangent) -> Any:
        if y is ZERO:
            return x
        return self.neg(y) if x is ZERO else self._make(gen.SubOp, x, y)

    def mul(self, x: Tangent, y: Tangent) -> Any:
        return ZERO if x is ZERO or y is ZERO else self._make(gen.MulOp, x, y)

    def div(self, x: Tangent, y: ir.Value) -> Any:
        return ZERO if x is ZERO else self._make(gen.DivOp, x, y)

    def pow(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.PowOp, x, y)

    def maximum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.MaximumOp, x, y)

    def neg(self, x: Tangent) -> Any:
        return ZERO if x is ZERO else self._make(gen.NegOp, x)

    def exp(self, x: ir.Value) -> ir.Value:
        return self._make(gen.ExpOp, x)

    def log(self, x: ir.Value) -> ir.Value:
        return self._make(gen.LogOp, x)

    def sin(self, x: ir.Value) -> ir.Value:
        return self._make(gen.SinOp, x)

    def cos(self, x: ir.Value) -> ir.Value:
        return self._make(gen.CosOp, x)

    def tanh(self, x: ir.Value) -> ir.Value:
        return self._make(gen.TanhOp, x)

    def sqrt(self, x: ir.Value) -> ir.Value:
        return self._make(gen.SqrtOp, x)

    def logistic(self, x: ir.Value) -> ir.Value:
        return self._make(gen.LogisticOp, x)

    def compare(self, predicate: str, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.CompareOp, ir.StringAttr.get(predicate, context=x.context), x, y)

    def select(self, pred: ir.Value, on_true: Tangent, on_false: Tangent) -> Any:
        if on_true is ZERO and on_false is ZERO:
            return ZERO
        if on_true is ZERO:
            on_true = self.zeros_like(on_false)
        elif on_false is ZERO:
            on_false = self.zeros_like(on_true)
        return self._make(gen.SelectOp, pred, on_true, on_false)

    def convert(self, x: Any, element: ir.Type) -> Any:
        if x is ZERO or element_type(x) == element:
            return x
        return self._make(gen.ConvertOp, tensor(shape(x), element), x)

    # -- creation --------------------------------------------------------------------

    def constant(self, value: Any, type_: ir.Type) -> ir.Value:
        """A literal; `type_` is an element type or the whole type, for a number a splat."""
        value = np.asarray(value)
        if not isinstance(type_, ir.RankedTensorType):
            type_ = tensor(value.shape, type_)
        return self._make(gen.ConstantOp, dense(value, type_))

    def full(self, dims: Shape, number: float, element: ir.Type) -> ir.Value:
        return self.constant(number, tensor(dims, element))

    def full_like(self, x: ir.Value, number: float) -> ir.Value:
        return self.constant(number, x.type)

    def zeros_like(self, x: ir.Value) -> ir.Value:
        return self.full_like(x, 0)

    def zeros(self, type_: ir.Type) -> ir.Value:
        return self.constant(0, type_)

    def iota(self, dims: Shape, dim: int, element: ir.Type) -> ir.Value:
        return self._make(gen.IotaOp, tensor(dims, element), self._i64(dim, element.context))

    def basis(self, id: int, dims: Shape, element: ir.Type) -> ir.Value:
        """The one-hot basis of shape `dims`: tensor<n x dims>, n the number of elements."""
        count = int(np.prod(dims, dtype=np.int64)) if dims else 1
        type_ = tensor((count, *dims), element)
        return self._make(gen.BasisOp, type_, self._i64(id, element.context))

    # -- structure ---------------------------------------------------------------------

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

    # -- indexing ------------------------------------------------------------------------

    def gather(
        self,
        x: Any,
        indices: Sequence[ir.Value],
        axes: Shape,
        batch_dims: int = 0,
        in_bounds: bool = False,
    ) -> Any:
        if x is ZERO:
            return x
        return self._make(
            gen.GatherOp,
            x,
            list(indices),
            self._array(axes, x),
            batch_dims,
            in_bounds=in_bounds or None,
        )

    def scatter_add(
        self,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        axes: Shape,
        batch_dims: int = 0,
        in_bounds: bool = False,
    ) -> ir.Value:
        return self._make(
            gen.ScatterAddOp,
            x,
            updates,
            list(indices),
            self._array(axes, x),
            batch_dims,
            in_bounds=in_bounds or None,
        )

    def check_index(self, x: ir.Value, size: int, message: str, wrap: bool = True) -> ir.Value:
        return self._make(gen.CheckIndexOp, x, size, message, wrap=wrap or None)

    # -- reduction and contraction ---------------------------------------------------------

    def reduce_sum(self, x: Any, dims: Sequence[int]) -> Any:
        if x is ZERO or not dims:
            return x
        return self._make(gen.ReduceSumOp, x, self._array(sorted(dims), x))

    def reduce_max(self, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        return self._make(gen.ReduceMaxOp, x, self._array(sorted(dims), x)) if dims else x

    def dot_general(
        self,
        x: Tangent,
        y: Tangent,
        x_batch: Shape = (),
        y_batch: Shape = (),
        x_contract: Shape = (),
        y_contract: Shape = (),
    ) -> Any:
        if x is ZERO or y is ZERO:
            return ZERO
        dims = (self._array(d, x) for d in (x_batch, y_batch, x_contract, y_contract))
        return self._make(gen.DotGeneralOp, x, y, *dims)

    # -- stops, calls and transforms ---------------------------------------------------------

    def stop_gradient(self, x: ir.Value, reverse_only: bool = False) -> ir.Value:
        return self._make(gen.StopGradientOp, x, reverse_only=reverse_only or None)

    def call(
        self, callee: str, args: Sequence[ir.Value], types: Sequence[ir.Type]
    ) -> list[ir.Value]:
        return self._calls(gen.CallOp(types, callee, args, loc=self.location, ip=self.ip))

    def vmap(
        self,
        callee: str,
        args: Sequence[ir.Value],
        in_dims: Sequence[int],
        out_dims: Sequence[int],
        axis_size: int,
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        """`types`: of the batched results; in_dims -1 stands for unbatched."""
        return self._calls(
            gen.VmapOp(
                types, callee, args, in_dims, out_dims, axis_size, loc=self.location, ip=self.ip
            )
        )

    def jvp(
        self,
        callee: str,
        primals: Sequence[ir.Value],
        tangents: Sequence[ir.Value],
        wrt: Sequence[int],
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        return self._calls(
            gen.JvpOp(types, callee, primals, tangents, wrt, loc=self.location, ip=self.ip)
        )

    def vjp(
        self,
        callee: str,
        primals: Sequence[ir.Value],
        cotangents: Sequence[ir.Value],
        wrt: Sequence[int],
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        return self._calls(
            gen.VjpOp(types, callee, primals, cotangents, wrt, loc=self.location, ip=self.ip)
        )

    def linear_transpose(
        self,
        callee: str,
        residuals: Sequence[ir.Value],
        cotangents: Sequence[ir.Value],
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        return self._calls(
            gen.LinearTransposeOp(
                types, callee, residuals, cotangents, loc=self.location, ip=self.ip
            )
        )

    @staticmethod
    def _calls(op: ir.OpView) -> list[ir.Value]:
        return list(op.results)

    @staticmethod
    def _array(values: Sequence[int], like: Any) -> ir.DenseI64ArrayAttr:
        return ir.DenseI64ArrayAttr.get(list(values), context=like.context)

    @staticmethod
    def _i64(value: int, context: ir.Context) -> ir.IntegerAttr:
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(64, context), value)


def dense(value: np.ndarray, type_: ir.RankedTensorType) -> ir.DenseElementsAttr:
    """A literal of `type_`; a single number is repeated."""
    element = type_.element_type
    with np.errstate(over="ignore", invalid="ignore"):
        value = value.astype(DTYPES[str(element)])
    if value.size == 1 or (
        value.size and (value == value.flat[0]).all() and not (value == 0).any()
    ):
        number = value.flat[0].item()
        if isinstance(element, ir.FloatType):
            attr = ir.FloatAttr.get(element, number, loc=ir.Location.unknown(element.context))
        else:
            attr = ir.IntegerAttr.get(element, int(number))
        return ir.DenseElementsAttr.get_splat(type_, attr)
    value = np.ascontiguousarray(np.broadcast_to(value, list(type_.shape)))
    if value.dtype == np.bool_:
        packed = np.packbits(value, axis=None, bitorder="little")
        return ir.DenseElementsAttr.get(
            cast(Any, packed), type=element, shape=list(type_.shape), context=element.context
        )
    return ir.DenseElementsAttr.get(cast(Any, value), type=type_, context=element.context)
