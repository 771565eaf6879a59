"""Ops without operands."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import splat
from ..opdef import Op, register
from ..types import dtype, shape, size, tensor_type


@register(gen.ConstantOp)
class Constant(Op):
    free = True
    torch = ("aten.full.default", "aten.lift_fresh_copy.default")

    def reference(self) -> Any:
        return array(self.value, self.result)

    def number(self) -> Any:
        """The number that the literal repeats, as a 0-dim array."""
        return np.asarray(splat(self.result), dtype(self.result))


@register(gen.IotaOp)
class Iota(Op):
    free = True
    torch = ("aten.arange.start_step",)

    def reference(self) -> Any:
        dims = shape(self.result)
        dim = self.dim.value
        ramp = np.arange(dims[dim], dtype=dtype(self.result))
        return np.broadcast_to(
            ramp.reshape([-1 if i == dim else 1 for i in range(len(dims))]), dims
        )


@register(gen.BasisOp)
class Basis(Op):
    free = True

    def reference(self) -> Any:
        dims = shape(self.result)
        return np.eye(size(dims[1:]), dtype=dtype(self.result)).reshape(dims)


def array(attr: Any, result: ir.Value) -> np.ndarray:
    """The elements of a literal of the type of `result`."""
    type_ = tensor_type(result)
    dims, kind = shape(type_), dtype(type_)
    if attr.is_splat:
        return np.full(dims, attr.get_splat_value().value, kind)
    if kind == np.bool_:
        return np.array([bool(x) for x in attr], kind).reshape(dims)
    return np.array(attr).reshape(dims).astype(kind)
