"""Pass pb-expand-transforms: transform ops become calls of new functions, innermost first.

Each round expands what has a callee without transform ops; nesting is thus removed from the
inside. Derivative stops are kept until no transform op is left.
"""

from __future__ import annotations

from collections.abc import Callable

from mlir import ir

from ...diagnostics import user_location
from ...errors import VerifyError
from ..builder import Builder
from . import custom, functions, inline, jvp, linearize, simplify, transpose, vmap

ROUND: tuple[Callable[[ir.Module], bool], ...] = (
    jvp.run,
    linearize.run,
    transpose.run,
    vmap.run,
)


def run(module: ir.Module) -> None:
    while any([expand(module) for expand in ROUND]):
        pass
    inline.run(module)
    for function in functions.functions(module):
        custom.finish(function)
    inline.remove_unused(module)
    for function in functions.functions(module):
        for op in reversed(list(functions.all_ops(function))):
            if op.functional:
                raise VerifyError(
                    f"{op.operation.name} of @{op.callee.value} cannot be expanded: "
                    "the function contains itself",
                    user_location(op.location),
                )
            made = op.final(Builder(ir.InsertionPoint(op), op.location))
            if made is not None:
                for old, new in zip(op.results, made, strict=True):
                    old.replace_all_uses_with(new)
                op.operation.erase()
    simplify.run(module)
