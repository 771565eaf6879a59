"""Partial sums along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Linear
from ..opdef import Batched, Tangent, register
from ..types import shape, size
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.CumulativeSumOp)
class CumulativeSum(Linear):
    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (b.cumulative_sum(ct, self.dim.value, not self.reverse),)

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        at = batch_dim(x)
        dim = self.dim.value
        return Batched(b.cumulative_sum(x.value, dim + (dim >= at), self.reverse), at)

    def reference(self, x: Any) -> Any:
        dim = self.dim.value
        wide = np.float64 if x.dtype.kind == "f" else x.dtype
        turned = np.flip(x, dim) if self.reverse else x
        sums = np.cumsum(turned, dim, dtype=wide).astype(x.dtype)
        return np.flip(sums, dim) if self.reverse else sums

    def simplify(self, b: Builder) -> ir.Value | None:
        return self.x if shape(self.x)[self.dim.value] == 1 else None

    def flops(self) -> int:
        return size(shape(self.x))

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.cumulative_sum(x, self.dim.value, bool(self.reverse))
