"""Partial results along a dimension: sums, products, extrema, and the logarithm of sums."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .emitter import Emitter, dtype_of, shape, wrap
from .sorting import along

aten = torch.ops.aten


def cumsum(e: Emitter, x: ir.Value, dim: int, **_: Any) -> ir.Value:
    x = e.convert(x, e.out.dtype)
    return e.b.cumulative_sum(x, wrap(dim, len(shape(x)))) if shape(x) else x


def cumprod(e: Emitter, x: ir.Value, dim: int, **_: Any) -> ir.Value:
    x = e.convert(x, e.out.dtype)
    return e.b.cumulative_product(x, wrap(dim, len(shape(x)))) if shape(x) else x


def logcumsumexp(e: Emitter, x: ir.Value, dim: int) -> ir.Value:
    return e.b.cumulative_logsumexp(x, wrap(dim, len(shape(x)))) if shape(x) else x


def extremum(smallest: bool) -> Any:
    def rule(e: Emitter, x: ir.Value, dim: int) -> list[ir.Value]:
        if not shape(x):
            return [x, e.full((), 0, torch.int64)]
        dim = wrap(dim, len(shape(x)))
        keys = x if dtype_of(x) is not torch.bool else e.convert(x, torch.int32)
        place = e.b.cumulative_extremum(keys, dim, smallest)
        return [along(e, x, dim, place), place]

    return rule


RULES: dict[Any, Any] = {
    aten.cumsum.default: cumsum,
    aten.cumprod.default: cumprod,
    aten.logcumsumexp.default: logcumsumexp,
    aten.cummax.default: extremum(smallest=False),
    aten.cummin.default: extremum(smallest=True),
}
