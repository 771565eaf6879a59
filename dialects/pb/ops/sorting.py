"""Sorting: an op finds the order, gathers move the elements and carry the derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..opdef import ZERO, Batched, Op, Tangent, register
from ..types import shape, size
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.ArgsortOp)
class Argsort(Op):
    def jvp(self, b: Builder, *tangents: Tangent) -> Tangent:
        return ZERO  # the order is constant almost everywhere

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        d = batch_dim(x)
        dim = self.dim.value
        return Batched(b.argsort(x.value, dim + (dim >= d), bool(self.descending)), d)

    def reference(self, x: Any) -> Any:
        dim = self.dim.value
        if not self.descending:
            return np.argsort(x, dim, kind="stable")
        # of the mirror image, so that equal elements keep their order
        mirrored = np.argsort(np.flip(x, dim), dim, kind="stable")
        return np.flip(x.shape[dim] - 1 - mirrored, dim)

    def simplify(self, b: Builder) -> ir.Value | None:
        return b.zeros(self.result.type) if shape(self.x)[self.dim.value] == 1 else None

    def flops(self) -> int:
        return size(shape(self.x)) * shape(self.x)[self.dim.value].bit_length()

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.argsort(x, self.dim.value, bool(self.descending))
