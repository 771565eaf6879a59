"""Pass pb-simplify: each op's own rewrites, constant folding, dead code, CSE.

Exact for NaN, infinities and -0.0: `x * 0` and `x + 0.0` stay. The rules are the `simplify`
methods of the op classes; this file only drives them.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from mlir import ir
from mlir.dialects import func
from mlir.passmanager import PassManager

from ...diagnostics import user_location
from ...errors import InternalError
from .. import _pb_ops_gen as gen
from ..builder import Builder
from ..families import defining, splat
from ..interpret import evaluate_op
from ..opdef import Op
from ..types import element_type, is_half, shape, size
from . import functions

MOST_SWEEPS = 1000  # two rules that undo each other would go on for ever
FOLDED_ELEMENTS = 128  # larger literals are not worth their place in the IR


def run(module: ir.Module) -> None:
    for function in functions.functions(module):
        simplify(function)


def simplify(function: func.FuncOp) -> None:
    merged = False
    for _ in range(MOST_SWEEPS):
        if sweep(function):
            merged = False
        elif merged:
            return
        else:
            with function.context:
                PassManager.parse("func.func(cse)").run(function.operation)
            merged = True
    raise InternalError(
        f"simplification of @{function.name.value} does not come to an end",
        user_location(function.location),
    )


def sweep(of: func.FuncOp | ir.Block) -> bool:
    """Offers every op its rewrites once, then erases what nobody uses. True if one applied.

    The bodies of an op with regions come before the op.
    """
    changed = False
    seen: dict[tuple[Hashable, ...], Op] = {}
    for op in functions.ops(of):
        for block in op.blocks():
            changed |= sweep(block)
        if op.idempotent and (first := seen.setdefault(identity(op), op)) is not op:
            made = list(first.results)
        elif (op.pure and used(op)) or op.blocks():
            b = Builder(ir.InsertionPoint(op), op.location)
            made = fold(b, op) or op.simplify(b)
        else:
            continue
        if made is not None:
            values = [made] if isinstance(made, ir.Value) else made
            for result, value in zip(op.results, values, strict=True):
                result.replace_all_uses_with(value)
            if not op.pure or op.blocks():
                op.operation.erase()
            changed = True
    erase_dead(of)
    return changed


def identity(op: Op) -> tuple[Hashable, ...]:
    """Equal for ops of equal attributes on the same operands."""
    return (op.operation.name, *op.operands, *op.attributes.items())


def erase_dead(of: func.FuncOp | ir.Block) -> None:
    for op in reversed(functions.ops(of)):
        if op.pure and not used(op):
            op.operation.erase()


def used(op: Op) -> bool:
    return any(True for result in op.results for _ in result.uses)


def fold(b: Builder, op: Op) -> ir.Value | list[ir.Value] | None:
    """The value of an op on constants: one repeated number, or a small literal.

    A literal is not folded into a larger one, so that the size of the IR does not depend on
    the sizes of the tensors.
    """
    if not len(op.operands) or op.blocks() or not op.has("reference"):
        return None
    literals = [defining(operand, gen.ConstantOp) for operand in op.operands]
    if any(literal is None for literal in literals):
        return None
    result = op.results[0].type
    if op.elementwise and all(splat(operand) is not None for operand in op.operands):
        numbers = [literal.number() for literal in literals]
        with np.errstate(all="ignore"):
            return b.constant(op.reference(*numbers), result)
    if any(is_half(element_type(result)) for result in op.results):
        return None  # a literal of a half type is one number: see Builder.constant
    largest = max(size(shape(operand)) for operand in op.operands)
    made = max(size(shape(result)) for result in op.results)
    if made > min(largest, FOLDED_ELEMENTS) or largest > FOLDED_ELEMENTS:
        return None
    arrays = evaluate_op(op, [literal.reference() for literal in literals])
    return [b.constant(a, result.type) for a, result in zip(arrays, op.results, strict=True)]
