"""What every part of the builder stands on: literals, zeros, and making ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..types import DTYPES, is_half, rounded, tensor

Shape = Sequence[int]


class Creation:
    """Appends ops at `ip`, each with the location `location` (the user's line)."""

    def __init__(self, ip: ir.InsertionPoint, location: ir.Location) -> None:
        self.ip = ip
        self.location = location

    def _make(self, op: Any, *args: Any, **kwargs: Any) -> ir.Value:
        return op(*args, **kwargs, loc=self.location, ip=self.ip).results[0]

    def clone(self, op: ir.OpView, operands: Sequence[ir.Value]) -> ir.OpView:
        """`op` with other operands of the same types; its regions are copied."""
        op_ = op.operation
        new = ir.Operation.create(
            op_.name,
            results=[result.type for result in op_.results],
            operands=list(operands),
            attributes=dict(op_.attributes.items()),
            regions=len(op_.regions),
            loc=self.location,
            ip=self.ip,
        )
        if op_.regions:
            copy = op_.clone(self.ip)
            for region, empty in zip(copy.regions, new.regions, strict=True):
                for block in list(region.blocks):
                    block.append_to(empty)
            copy.erase()
        return new.opview

    def constant(self, value: Any, type_: ir.Type) -> ir.Value:
        """A literal; `type_` is an element type or the whole type, for a number a splat."""
        value = np.asarray(value)
        if not isinstance(type_, ir.RankedTensorType):
            type_ = tensor(value.shape, type_)
        element = type_.element_type
        if is_half(element) and not one_number(value := rounded(value, element)):
            f32 = ir.F32Type.get(element.context)
            wide = self._make(gen.ConstantOp, dense(value, tensor(type_.shape, f32)))
            return self._make(gen.ConvertOp, type_, wide)
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

    @staticmethod
    def _calls(op: ir.OpView) -> list[ir.Value]:
        return list(op.results)

    @staticmethod
    def _array(values: Sequence[int], like: Any) -> ir.DenseI64ArrayAttr:
        return ir.DenseI64ArrayAttr.get(list(values), context=like.context)

    @staticmethod
    def _i64(value: int, context: ir.Context) -> ir.IntegerAttr:
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(64, context), value)


def one_number(value: np.ndarray) -> bool:
    """Whether a literal repeats one number, so that this number is all there is to store."""
    if value.size < 2:
        return bool(value.size)
    return bool((value == value.flat[0]).all() and not (value == 0).any())


def dense(value: np.ndarray, type_: ir.RankedTensorType) -> ir.DenseElementsAttr:
    """A literal of `type_`; a single number is repeated."""
    element = type_.element_type
    with np.errstate(over="ignore", invalid="ignore"):
        value = value.astype(DTYPES[str(element)])
    if one_number(value):
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
