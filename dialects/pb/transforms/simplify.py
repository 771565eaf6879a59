"""Pass pb-simplify: each op's own rewrites, constant folding, dead code, CSE.

Exact for NaN, infinities and -0.0: `x * 0` and `x + 0.0` stay. The rules are the `simplify`
methods of the op classes; this file only drives them.
"""

from __future__ import annotations

from mlir import ir
from mlir.dialects import func
from mlir.passmanager import PassManager

from .. import _pb_ops_gen as gen
from ..builder import Builder
from ..families import splat
from ..opdef import Op
from ..types import shape, size
from . import functions

FOLDED_ELEMENTS = 128  # larger literals are not worth their place in the IR


def run(module: ir.Module) -> None:
    for function in functions.functions(module):
        simplify(function)


def simplify(function: func.FuncOp) -> None:
    while sweep(function):
        pass
    with function.context:
        PassManager.parse("func.func(cse)").run(function.operation)
    if sweep(function):
        simplify(function)


def sweep(function: func.FuncOp) -> bool:
    """Offers every op its rewrites once, then erases what nobody uses. True if one applied."""
    changed = False
    seen: dict[tuple[str, ...], Op] = {}
    for op in functions.ops(function):
        if op.idempotent and (first := seen.setdefault(identity(op), op)) is not op:
            value = first.results[0]
        elif op.pure and next(iter(op.results[0].uses), None) is not None:
            b = Builder(ir.InsertionPoint(op), op.location)
            value = fold(b, op) or op.simplify(b)
        else:
            continue
        if value is not None:
            op.results[0].replace_all_uses_with(value)
            if not op.pure:
                op.operation.erase()
            changed = True
    erase_dead(function)
    return changed


def identity(op: Op) -> tuple[str, ...]:
    """Equal for ops of equal attributes on the same operands."""
    operands = [operand.get_name() for operand in op.operands]
    return (op.operation.name, *operands, *(f"{k}={v}" for k, v in op.attributes.items()))


def erase_dead(function: func.FuncOp) -> None:
    for op in reversed(functions.ops(function)):
        if op.pure and not any(True for result in op.results for _ in result.uses):
            op.operation.erase()


def fold(b: Builder, op: Op) -> ir.Value | None:
    """The value of an op on constants, if it is small or one repeated number."""
    if not len(op.operands) or not op.has("reference"):
        return None
    literals = []
    for operand in op.operands:
        owner = operand.owner.opview if isinstance(operand, ir.OpResult) else None
        if not isinstance(owner, gen.ConstantOp):
            return None
        literals.append(owner)
    result = op.results[0].type
    if size(shape(result)) > FOLDED_ELEMENTS:
        if not op.elementwise or any(splat(literal.result) is None for literal in literals):
            return None
    elif any(size(shape(literal.result)) > FOLDED_ELEMENTS for literal in literals):
        return None
    from ..interpret import evaluate_op

    arrays = [literal.reference() for literal in literals]
    if op.elementwise and all(splat(literal.result) is not None for literal in literals):
        arrays = [array.reshape(-1)[:1].reshape(()) for array in arrays]
    if any(array.size == 0 for array in arrays):
        return None
    return b.constant(evaluate_op(op, arrays)[0], result)
