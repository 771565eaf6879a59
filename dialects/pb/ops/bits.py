"""Ops on the bits of integers, and the bits of floats as integers. No derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Elementwise
from ..opdef import ZERO, Batched, Tangent, register
from ..types import dtype, element_type

if TYPE_CHECKING:
    from ..builder import Builder


class Bits(Elementwise):
    """Integers to integers."""

    numpy: ClassVar[Any]

    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        return ZERO

    def reference(self, x: Any, y: Any) -> Any:
        return type(self).numpy(x, y)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.bits(self.operation.name.removeprefix("pb."), x, y)


@register(gen.AndOp)
class And(Bits):
    numpy = np.bitwise_and


@register(gen.OrOp)
class Or(Bits):
    numpy = np.bitwise_or


@register(gen.XorOp)
class Xor(Bits):
    numpy = np.bitwise_xor


def outside(x: Any, y: Any) -> Any:
    return (y < 0) | (y >= x.dtype.itemsize * 8)


@register(gen.ShiftLeftOp)
class ShiftLeft(Bits):
    def reference(self, x: Any, y: Any) -> Any:
        return np.where(outside(x, y), 0, x << np.where(outside(x, y), 0, y))


@register(gen.ShiftRightOp)
class ShiftRight(Bits):
    def reference(self, x: Any, y: Any) -> Any:
        return x >> np.where(outside(x, y), x.dtype.itemsize * 8 - 1, y)


@register(gen.BitcastOp)
class Bitcast(Elementwise):
    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        return ZERO

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        return Batched(b.bitcast(x.value), x.dim)

    def reference(self, x: Any) -> Any:
        return np.ascontiguousarray(x).view(dtype(self.result)).reshape(x.shape)

    def simplify(self, b: Builder) -> ir.Value | None:
        return None

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.bitcast(x, element_type(self.result))
