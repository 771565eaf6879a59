"""What is combined along a dimension, up to each element: sums, products, extrema, recurrences.

A linear recurrence is the derivative of all that is multiplied along a dimension, and closed under
both modes; nothing is divided by, so zeros are elements like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Linear, at_dim
from ..opdef import ZERO, Batched, Op, Tangent, register
from ..types import element_type, shape, size
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


def _wide(x: Any) -> Any:
    """f32 is combined in f64, as in torch."""
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def _shifted(b: Builder, x: ir.Value, dim: int, by: int, fill: float) -> ir.Value:
    """x[k - by] at k along dim, by = 1 or -1; `fill` at the end where there is none."""
    dims = list(shape(x))
    if dims[dim] == 0:
        return x
    kept = [n - (d == dim) for d, n in enumerate(dims)]
    along = [int(d == dim) for d in range(len(dims))]
    none, ones = [0] * len(dims), [1] * len(dims)
    moved = b.slice(x, none if by > 0 else along, kept, ones)
    outside = b.full((), fill, element_type(x))
    return b.pad(moved, outside, dims, along if by > 0 else none, ones)


class _Cumulative(Op):
    """Of one operand, along `dim`."""

    def batch(self, b: Builder, size: int, x: Batched) -> Batched:
        at = batch_dim(x)
        return Batched(self.along(b, x.value, self.dim.value + (self.dim.value >= at)), at)

    def along(self, b: Builder, x: ir.Value, dim: int) -> ir.Value:
        raise NotImplementedError

    def simplify(self, b: Builder) -> ir.Value | None:
        return self.x if shape(self.x)[self.dim.value] == 1 else None

    def flops(self) -> int:
        return size(shape(self.x))


@register(gen.CumulativeSumOp)
class CumulativeSum(_Cumulative, Linear):
    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (b.cumulative_sum(ct, self.dim.value, not self.reverse),)

    def along(self, b: Builder, x: ir.Value, dim: int) -> ir.Value:
        return b.cumulative_sum(x, dim, bool(self.reverse))

    def reference(self, x: Any) -> Any:
        dim = self.dim.value
        turned = np.flip(x, dim) if self.reverse else x
        sums = np.cumsum(_wide(turned), dim, dtype=_wide(x).dtype).astype(x.dtype)
        return np.flip(sums, dim) if self.reverse else sums

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.cumulative("sum", [x], self.dim.value, bool(self.reverse))


@register(gen.CumulativeProductOp)
class CumulativeProduct(_Cumulative):
    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        """y[k] = x[k] y[k - 1], and the derivative of that."""
        dim = self.dim.value
        before = _shifted(b, self.result, dim, 1, 1)
        return b.linear_recurrence(self.x, b.mul(before, x_dot), dim)

    def along(self, b: Builder, x: ir.Value, dim: int) -> ir.Value:
        return b.cumulative_product(x, dim)

    def reference(self, x: Any) -> Any:
        return np.cumprod(_wide(x), self.dim.value, dtype=_wide(x).dtype).astype(x.dtype)

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.cumulative("product", [x], self.dim.value)


@register(gen.CumulativeLogsumexpOp)
class CumulativeLogsumexp(_Cumulative):
    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        """exp(y[k]) = exp(y[k - 1]) + exp(x[k]), so the tangent is a mean: by how far x[k] is
        above what was before it."""
        dim, x = self.dim.value, self.x
        lowest = b.full_like(x, -np.inf)
        rise = b.sub(x, _shifted(b, self.result, dim, 1, -np.inf))
        # -inf changes nothing, also where there was nothing else.
        rise = b.select(b.compare("eq", x, lowest), lowest, rise)
        terms = b.mul(b.logistic(rise), x_dot)
        return b.linear_recurrence(b.logistic(b.neg(rise)), terms, dim)

    def along(self, b: Builder, x: ir.Value, dim: int) -> ir.Value:
        return b.cumulative_logsumexp(x, dim)

    def reference(self, x: Any) -> Any:
        return np.logaddexp.accumulate(_wide(x), self.dim.value).astype(x.dtype)

    def flops(self) -> int:
        return 30 * size(shape(self.x))

    def lower(self, loops: Any, x: Any) -> Any:
        return loops.cumulative("logsumexp", [x], self.dim.value)


@register(gen.CumulativeExtremumOp)
class CumulativeExtremum(_Cumulative):
    def jvp(self, b: Builder, *tangents: Tangent) -> Tangent:
        return ZERO  # positions are constant almost everywhere

    def along(self, b: Builder, x: ir.Value, dim: int) -> ir.Value:
        return b.cumulative_extremum(x, dim, bool(self.smallest))

    def reference(self, x: Any) -> Any:
        rows = np.moveaxis(x, self.dim.value, 0)
        found = np.zeros(rows.shape, np.int64)
        beats = np.less_equal if self.smallest else np.greater_equal
        for k in range(1, len(rows)):
            best = np.take_along_axis(rows, found[k - 1 : k], 0)[0]
            found[k] = np.where(beats(rows[k], best) | (rows[k] != rows[k]), k, found[k - 1])
        return np.moveaxis(found, 0, self.dim.value)

    def simplify(self, b: Builder) -> ir.Value | None:
        return b.zeros(self.result.type) if shape(self.x)[self.dim.value] == 1 else None

    def lower(self, loops: Any, x: Any) -> Any:
        kind = "smallest" if self.smallest else "largest"
        return loops.cumulative(kind, [x], self.dim.value)


@register(gen.LinearRecurrenceOp)
class LinearRecurrence(Op):
    def jvp(self, b: Builder, factors_dot: Tangent, terms_dot: Tangent) -> Tangent:
        dim, reverse = self.dim.value, bool(self.reverse)
        if factors_dot is not ZERO:
            # Each factor with what it is multiplied by; the first one with nothing.
            by = -1 if reverse else 1
            factors_dot = _shifted(b, factors_dot, dim, by, 0) if reverse else factors_dot
            more = b.mul(factors_dot, _shifted(b, self.result, dim, by, 0))
            terms_dot = b.add(terms_dot, more)
        return b.linear_recurrence(self.factors, terms_dot, dim, reverse)

    def transpose(
        self, b: Builder, ct: ir.Value, factors: Any, terms: Any
    ) -> Sequence[Tangent | None]:
        return None, b.linear_recurrence(factors, ct, self.dim.value, not self.reverse)

    def batch(self, b: Builder, size: int, factors: Batched, terms: Batched) -> Batched:
        at = terms.dim if terms.dim is not None else batch_dim(factors)
        dim = self.dim.value + (self.dim.value >= at)
        a, x = (at_dim(b, operand, at, size) for operand in (factors, terms))
        return Batched(b.linear_recurrence(a, x, dim, bool(self.reverse)), at)

    def reference(self, factors: Any, terms: Any) -> Any:
        rows = [np.moveaxis(_wide(x), self.dim.value, 0) for x in (factors, terms)]
        found = np.array(rows[1])
        ways = range(1, len(found))
        for k in reversed(ways) if self.reverse else ways:
            at, before = (k - 1, k) if self.reverse else (k, k - 1)
            found[at] = rows[0][k] * found[before] + rows[1][at]
        return np.moveaxis(found, 0, self.dim.value).astype(terms.dtype)

    def simplify(self, b: Builder) -> ir.Value | None:
        return self.terms if shape(self.terms)[self.dim.value] == 1 else None

    def flops(self) -> int:
        return 2 * size(shape(self.terms))

    def lower(self, loops: Any, factors: Any, terms: Any) -> Any:
        operands = [factors, terms]
        return loops.cumulative("recurrence", operands, self.dim.value, bool(self.reverse))
