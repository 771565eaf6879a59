"""The last step before the lowering: ops on bf16 and f16 compute in f32.

Half types are storage. An op that only moves elements keeps them; every other one takes its
operands converted to f32 and its results are rounded back, so that sums and products accumulate
in f32 and the lowering knows no half arithmetic. Rounding after each op is what torch does.
"""

from __future__ import annotations

from mlir import ir
from mlir.dialects import func

from ..builder import Builder
from ..opdef import Op
from ..types import element_type, is_half, shape, tensor
from . import functions


def run(module: ir.Module) -> None:
    for function in functions.functions(module):
        if functions.finished(function):
            _widen(function)


def _widen(of: func.FuncOp | ir.Block) -> None:
    wide: dict[ir.Value, ir.Value] = {}
    for op in functions.ops(of):
        for block in op.blocks():
            _widen(block)
        halves = any(_half(value) for value in (*op.operands, *op.results))
        if halves and not op.moves and not op.blocks():
            _compute_wide(op, wide)


def _half(value: ir.Value) -> bool:
    return is_half(element_type(value))


def _compute_wide(op: Op, wide: dict[ir.Value, ir.Value]) -> None:
    b = Builder(ir.InsertionPoint(op), op.location)
    f32 = ir.F32Type.get(op.context)
    operands = []
    for operand in op.operands:
        if _half(operand):
            if operand not in wide:
                wide[operand] = b.convert(operand, f32)
            operand = wide[operand]
        operands.append(operand)
    old = op.operation
    new = ir.Operation.create(
        old.name,
        results=[tensor(shape(r), f32) if _half(r) else r.type for r in old.results],
        operands=operands,
        attributes=dict(old.attributes.items()),
        loc=op.location,
        ip=b.ip,
    )
    for result, value in zip(list(old.results), list(new.results), strict=True):
        result.replace_all_uses_with(b.convert(value, element_type(result)))
    old.erase()
