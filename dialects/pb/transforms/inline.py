"""Pass pb-inline: calls of pb functions become their bodies; functions nobody names go."""

from __future__ import annotations

from typing import cast

from mlir import ir
from mlir.dialects import func

from ...diagnostics import user_location
from ...errors import VerifyError
from .. import _pb_ops_gen as gen
from ..builder import Builder
from . import functions


def run(module: ir.Module) -> None:
    for function in functions.functions(module):
        inline(function)
    remove_unused(module)


def inline(function: func.FuncOp, callers: tuple[str, ...] = ()) -> bool:
    """Inlines every call in `function`, callees first; True if there was one."""
    calls = [op for op in functions.all_ops(function) if isinstance(op, gen.CallOp)]
    if not calls:
        return False
    table = ir.SymbolTable(function.operation.parent)
    callers = (*callers, function.name.value)
    for call in calls:
        if call.callee.value in callers:
            raise VerifyError(f"@{call.callee.value} calls itself", user_location(call.location))
        callee = cast(func.FuncOp, table[call.callee.value])
        inline(callee, callers)
        b = Builder(ir.InsertionPoint(call), call.location)
        results = functions.copy_body(b, callee, call.args)
        for old, new in zip(call.outs, results, strict=True):
            old.replace_all_uses_with(new)
        call.operation.erase()
    return True


def remove_unused(module: ir.Module) -> None:
    """Erases private functions that no op names, until none is left."""
    while True:
        named: set[str] = set()
        for function in functions.functions(module):
            for op in functions.all_ops(function):
                for attribute in op.attributes.values():
                    if isinstance(attribute, ir.FlatSymbolRefAttr):
                        named.add(attribute.value)
        unused = [
            function
            for function in functions.functions(module)
            if "sym_visibility" in function.attributes
            and ir.StringAttr(function.attributes["sym_visibility"]).value == "private"
            and function.name.value not in named
        ]
        if not unused:
            return
        for function in unused:
            function.operation.erase()
