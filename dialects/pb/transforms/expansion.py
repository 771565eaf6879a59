"""What the passes pb-jvp, pb-vmap, pb-linearize and pb-transpose share.

Each replaces one kind of transform op by calls of new functions. An op whose callee still holds
transform ops waits: `pb-expand-transforms` goes innermost first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlir import ir
from mlir.dialects import func

from ..builder import Builder
from . import functions, inline, simplify

Key = tuple[str, ...]


def expandable(callee: func.FuncOp, seen: set[str] | None = None) -> bool:
    """No transform op is left in the callee or in the rules that it brings; calls are inlined."""
    seen = set() if seen is None else seen
    seen.add(callee.name.value)
    if inline.inline(callee):
        simplify.simplify(callee)
    for op in functions.all_ops(callee):
        if op.functional:
            return False
        for rule in op.callees():
            if rule.name.value not in seen and not expandable(rule, seen):
                return False
    return True


def expand_ops(
    module: ir.Module,
    kind: type,
    replacement: Callable[[Any, func.FuncOp], func.FuncOp],
) -> bool:
    """Replaces the ops of class `kind` that can be by calls; True if there was one.

    The new function is made once for each callee and each set of attributes.
    """
    made: dict[Key, func.FuncOp] = {}
    for function in functions.functions(module):
        for op in list(functions.all_ops(function)):
            if not isinstance(op, kind):
                continue
            callee = functions.lookup(module, op.callee.value)
            if not expandable(callee):
                continue
            attributes = sorted(f"{k}={v}" for k, v in op.attributes.items())
            key: Key = (callee.name.value, *attributes)
            if key not in made:
                made[key] = replacement(op, callee)
                simplify.simplify(made[key])
            replace_by_call(op, made[key])
    return bool(made)


def replace_by_call(op: Any, callee: func.FuncOp) -> None:
    b = Builder(ir.InsertionPoint(op), op.location)
    results = b.call(callee.name.value, list(op.operands), [r.type for r in op.results])
    for old, new in zip(op.results, results, strict=True):
        old.replace_all_uses_with(new)
    op.operation.erase()
