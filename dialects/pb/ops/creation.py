"""Ops without operands."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import splat
from ..opdef import Op, register
from ..types import dtype, element_type, shape, size, tensor_type


@register(gen.ConstantOp)
class Constant(Op):
    moves = True

    free = True

    def reference(self) -> Any:
        return array(self.value, self.result)

    def number(self) -> Any:
        """The number that the literal repeats, as a 0-dim array."""
        return np.asarray(splat(self.result), dtype(self.result))

    def lower(self, loops: Any) -> Any:
        dims, element = shape(self.result), element_type(self.result)
        number = splat(self.result)
        if number is not None:
            return loops.full(dims, element, number)
        return loops.constant(self.reference(), element)


@register(gen.IotaOp)
class Iota(Op):
    free = True

    def reference(self) -> Any:
        dims = shape(self.result)
        dim = self.dim.value
        ramp = np.arange(dims[dim], dtype=dtype(self.result))
        return np.broadcast_to(
            ramp.reshape([-1 if i == dim else 1 for i in range(len(dims))]), dims
        )

    def lower(self, loops: Any) -> Any:
        dim, element = self.dim.value, element_type(self.result)
        return loops.generated(
            shape(self.result), element, lambda m, at: m.from_index(at[dim], element)
        )


@register(gen.BasisOp)
class Basis(Op):
    free = True

    def reference(self) -> Any:
        dims = shape(self.result)
        return np.eye(size(dims[1:]), dtype=dtype(self.result)).reshape(dims)

    def lower(self, loops: Any) -> Any:
        dims, element = shape(self.result), element_type(self.result)

        def body(m: Any, at: Any) -> ir.Value:
            return m.convert(m.compare("eq", at[0], m.position(at[1:], dims[1:])), element)

        return loops.generated(dims, element, body)


def array(attr: Any, result: ir.Value) -> np.ndarray:
    """The elements of a literal of the type of `result`."""
    type_ = tensor_type(result)
    dims, kind = shape(type_), dtype(type_)
    if attr.is_splat:
        return np.full(dims, attr.get_splat_value().value, kind)
    if kind == np.bool_:
        return np.array([bool(x) for x in attr], kind).reshape(dims)
    return np.array(attr).reshape(dims).astype(kind)
