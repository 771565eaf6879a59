"""Builds reductions and contractions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlir import ir

from .. import _pb_ops_gen as gen
from ..opdef import ZERO, Tangent
from .creation import Creation

Shape = Sequence[int]


class Contraction(Creation):
    def reduce_sum(self, x: Any, dims: Sequence[int]) -> Any:
        if x is ZERO or not dims:
            return x
        return self._make(gen.ReduceSumOp, x, self._array(sorted(dims), x))

    def reduce_max(self, x: ir.Value, dims: Sequence[int]) -> ir.Value:
        return self._make(gen.ReduceMaxOp, x, self._array(sorted(dims), x)) if dims else x

    def cumulative_sum(self, x: Any, dim: int, reverse: bool = False) -> Any:
        if x is ZERO:
            return x
        return self._make(gen.CumulativeSumOp, x, dim, reverse=reverse or None)

    def cumulative_product(self, x: ir.Value, dim: int) -> ir.Value:
        return self._make(gen.CumulativeProductOp, x, dim)

    def cumulative_logsumexp(self, x: ir.Value, dim: int) -> ir.Value:
        return self._make(gen.CumulativeLogsumexpOp, x, dim)

    def cumulative_extremum(self, x: ir.Value, dim: int, smallest: bool = False) -> ir.Value:
        """i64 positions along `dim`: of the largest element so far, the last one of equals."""
        return self._make(gen.CumulativeExtremumOp, x, dim, smallest=smallest or None)

    def linear_recurrence(
        self, factors: ir.Value, terms: Any, dim: int, reverse: bool = False
    ) -> Any:
        """h[k] = factors[k] h[k - 1] + terms[k] along `dim`, from h[0] = terms[0].

        `reverse`: its transpose, h[k] = factors[k + 1] h[k + 1] + terms[k].
        """
        if terms is ZERO:
            return terms
        return self._make(gen.LinearRecurrenceOp, factors, terms, dim, reverse=reverse or None)

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
