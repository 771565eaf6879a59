"""Builds ops at computed positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlir import ir

from .. import _pb_ops_gen as gen
from ..opdef import ZERO
from ..types import shape
from .creation import Creation

Shape = Sequence[int]


class Indexing(Creation):
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
        return self._scatter(gen.ScatterAddOp, x, updates, indices, axes, batch_dims, in_bounds)

    def scatter(
        self,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        axes: Shape,
        batch_dims: int = 0,
        in_bounds: bool = False,
    ) -> ir.Value:
        """x overwritten; of updates that meet the last wins."""
        return self._scatter(gen.ScatterOp, x, updates, indices, axes, batch_dims, in_bounds)

    def scatter_max(
        self,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        axes: Shape,
        batch_dims: int = 0,
        in_bounds: bool = False,
    ) -> ir.Value:
        return self._scatter(gen.ScatterMaxOp, x, updates, indices, axes, batch_dims, in_bounds)

    def _scatter(
        self,
        op: Any,
        x: ir.Value,
        updates: ir.Value,
        indices: Sequence[ir.Value],
        axes: Shape,
        batch_dims: int,
        in_bounds: bool,
    ) -> ir.Value:
        if 0 in shape(x):
            return x  # nothing to write to; a bad index is the business of check_index
        return self._make(
            op,
            x,
            updates,
            list(indices),
            self._array(axes, x),
            batch_dims,
            in_bounds=in_bounds or None,
        )

    def check_index(self, x: ir.Value, size: int, message: str, wrap: bool = True) -> ir.Value:
        return self._make(gen.CheckIndexOp, x, size, message, wrap=wrap or None)

    def argsort(self, x: ir.Value, dim: int, descending: bool = False) -> ir.Value:
        """i64 positions along `dim`, stable, NaN as the largest."""
        return self._make(gen.ArgsortOp, x, dim, descending=descending or None)

    def check(self, good: ir.Value, message: str) -> None:
        """The error `message` ("Kind: text") of the call unless all of `good` is true."""
        gen.CheckOp(good, message, loc=self.location, ip=self.ip)
