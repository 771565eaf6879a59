"""Tensors made from numbers: full, arange, eye, triangles, one_hot."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mlir import ir

from .emitter import Emitter, Operand, shape

aten = torch.ops.aten


def filled(number: float) -> Any:
    def rule(e: Emitter, *_: Any, **__: Any) -> ir.Value:
        return e.full(e.out.shape, number, e.out.dtype)

    return rule


def full(e: Emitter, _: Any, value: Operand, **__: Any) -> ir.Value:
    return e.operands(value)[0]


def new_full(e: Emitter, _: Any, __: Any, value: Operand, **___: Any) -> ir.Value:
    return e.operands(value)[0]


def scalar_tensor(e: Emitter, value: Operand, **_: Any) -> ir.Value:
    return e.operands(value)[0]


def arange(e: Emitter, start: float, end: float | None = None, step: float = 1, **_: Any) -> Any:
    start = 0 if end is None else start
    if not e.out.dtype.is_floating_point:
        position = e.b.iota(e.out.shape, 0, e.element(torch.int64))
        steps = e.b.mul(position, e.like(position, int(step)))
        return e.convert(e.b.add(steps, e.like(steps, int(start))), e.out.dtype)
    position = e.convert(e.b.iota(e.out.shape, 0, e.element(torch.int64)), torch.float64)
    steps = e.b.mul(position, e.like(position, step))
    return e.convert(e.b.add(steps, e.like(steps, start)), e.out.dtype)


def linspace(e: Emitter, start: float, end: float, steps: int, **_: Any) -> ir.Value:
    """From both ends towards the middle, so that both are exact."""
    position = e.convert(e.b.iota((steps,), 0, e.element(torch.int64)), torch.float64)
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    left = e.b.add(e.b.mul(position, e.like(position, step)), e.like(position, start))
    back = e.b.mul(e.b.sub(e.like(position, steps - 1), position), e.like(position, step))
    right = e.b.sub(e.like(position, end), back)
    near = e.b.compare("lt", position, e.like(position, steps / 2))
    return e.convert(e.b.select(near, left, right) if steps > 1 else left, e.out.dtype)


def _grid(e: Emitter, dims: tuple[int, ...]) -> tuple[ir.Value, ir.Value]:
    rows = e.b.iota(dims, len(dims) - 2, e.element(torch.int64))
    return rows, e.b.iota(dims, len(dims) - 1, e.element(torch.int64))


def eye(e: Emitter, *_: Any, **__: Any) -> ir.Value:
    return e.convert(e.b.compare("eq", *_grid(e, e.out.shape)), e.out.dtype)


def triangle(predicate: str) -> Any:
    def rule(e: Emitter, x: ir.Value, diagonal: int = 0) -> ir.Value:
        rows, columns = _grid(e, shape(x))
        rows = e.b.add(rows, e.like(rows, diagonal))
        return e.b.select(e.b.compare(predicate, columns, rows), x, e.like(x, 0))

    return rule


def triangle_indices(pick: Any) -> Any:
    def rule(e: Emitter, rows: int, columns: int, offset: int = 0, **_: Any) -> ir.Value:
        found = np.array(pick(rows, offset, columns))
        return e.b.constant(found, e.element(e.out.dtype))

    return rule


def one_hot(e: Emitter, index: ir.Value, classes: int = -1) -> ir.Value:
    message = "RuntimeError: Class values must be smaller than num_classes and not negative."
    index = e.b.check_index(index, classes, message, wrap=False)
    index = e.broadcast(e.b.reshape(index, (*shape(index), 1)), e.out.shape)
    grid = e.b.iota(e.out.shape, len(e.out.shape) - 1, e.element(torch.int64))
    return e.convert(e.b.compare("eq", index, grid), torch.int64)


RULES: dict[Any, Any] = {
    **{
        getattr(aten, name).default: filled(number)
        for name, number in (
            ("zeros", 0),
            ("zeros_like", 0),
            ("new_zeros", 0),
            ("ones", 1),
            ("ones_like", 1),
            ("new_ones", 1),
            ("empty_like", 0),
            ("new_empty", 0),
            ("new_empty_strided", 0),
            ("empty_strided", 0),
            ("empty_permuted", 0),
        )
    },
    aten.empty.memory_format: filled(0),
    aten.full.default: full,
    aten.full_like.default: full,
    aten.new_full.default: new_full,
    aten.scalar_tensor.default: scalar_tensor,
    aten.arange.default: arange,
    aten.arange.start: arange,
    aten.arange.start_step: arange,
    aten.linspace.default: linspace,
    aten.eye.default: eye,
    aten.eye.m: eye,
    aten.tril.default: triangle("le"),
    aten.triu.default: triangle("ge"),
    aten.tril_indices.default: triangle_indices(np.tril_indices),
    aten.triu_indices.default: triangle_indices(np.triu_indices),
    aten.one_hot.default: one_hot,
}
