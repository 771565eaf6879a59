"""What the MLIR bindings lack in types: loops, blocks, literals and walks with signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from mlir import ir
from mlir.dialects import arith, scf


def dense(array: np.ndarray) -> ir.DenseElementsAttr:
    get: Any = ir.DenseElementsAttr.get
    return get(np.ascontiguousarray(array))


def index_constant(number: int) -> ir.Value:
    return arith.ConstantOp(ir.IndexType.get(), number).result


@contextmanager
def block_of(block: ir.Block | None) -> Iterator[None]:
    """Inserts into a block of a region."""
    assert block is not None
    with ir.InsertionPoint(block):
        yield


def for_loop(end: int, step: int, carried: ir.Value) -> scf.ForOp:
    """for i = 0 to end by step, carrying one value."""
    low, high, by = (index_constant(n) for n in (0, end, step))
    return scf.ForOp(low, high, by, [carried])


def walk(root: ir.OpView | ir.Module, visit: Callable[[ir.Operation], None]) -> None:
    """Visits every operation, outermost first."""

    def visited(op: Any) -> ir.WalkResult:
        visit(cast(ir.Operation, op))
        return ir.WalkResult.ADVANCE

    root.operation.walk(visited, ir.WalkOrder.PRE_ORDER)


def symbol(op: ir.OpView | ir.Operation) -> str:
    """The name of a function or global."""
    return ir.StringAttr(op.attributes["sym_name"]).value
