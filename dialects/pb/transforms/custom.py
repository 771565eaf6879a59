"""What becomes of functions with a derivative of their own, outside of their rules.

`settle` is the end of forward mode: the linear parts of custom calls become their pushforwards.
`finish` is the end of all transforms: what is left of the calls is their primals.
"""

from __future__ import annotations

from typing import Any, cast

from mlir import ir
from mlir.dialects import func

from .. import _pb_ops_gen as gen
from ..builder import Builder
from ..opdef import Op
from . import functions, inline, simplify


def settle(function: func.FuncOp) -> None:
    """Inlines the linear calls of a pushforward that will not be transposed."""
    if not any(isinstance(op, gen.LinearCallOp) for op in functions.all_ops(function)):
        return
    simplify.erase_dead(function)
    for op in list(functions.all_ops(function)):
        if isinstance(op, gen.LinearCallOp):
            b = Builder(ir.InsertionPoint(op), op.location)
            replace(op, cast(Any, op).forward(b))


def finish(function: func.FuncOp) -> None:
    """Custom calls become the bodies of their primals, which may hold others."""
    while calls := [op for op in functions.all_ops(function) if isinstance(op, gen.CustomCallOp)]:
        for op in calls:
            b = Builder(ir.InsertionPoint(op), op.location)
            types = [result.type for result in op.results]
            replace(cast(Op, op), b.call(op.primal.value, list(op.args), types))
        inline.inline(function)


def replace(op: Op, values: list[ir.Value]) -> None:
    for old, new in zip(op.results, values, strict=True):
        old.replace_all_uses_with(new)
    op.operation.erase()
