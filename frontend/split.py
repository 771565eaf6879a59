"""Two modules from one: a function that also returns residuals, and its derivative at a point.

Behind ``vjp(f, x)`` and ``linearize(f, x)`` called from plain Python, and behind the backward of
torch.autograd: the forward half runs once, the linear half as often as it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mlir import ir
from mlir.dialects import func

from ..dialects.pb.transforms import custom, expand, inline
from ..dialects.pb.transforms.functions import functions, lookup
from ..dialects.pb.transforms.linearize import linearize
from ..dialects.pb.transforms.transpose import transpose

__all__ = ["halves", "lookup"]


def halves(module: ir.Module, wrt: Sequence[int], transposed: bool) -> tuple[ir.Module, ir.Module]:
    """The forward and the linear module of @main; ``module`` is used up."""
    with module.context:
        while any([step(module) for step in expand.ROUND]):  # inner transforms first
            pass
        main = lookup(module, "main")
        inline.inline(main)
        count = len(main.type.results)
        forward, linear = linearize(main, wrt)
        if not transposed:
            custom.settle(linear)
        else:
            linear = transpose(linear, len(forward.type.results) - count)
        for half in (forward, linear):
            custom.finish(half)
        return _alone(module, forward), _alone(module, linear)


def _alone(module: ir.Module, kept: func.FuncOp) -> ir.Module:
    """A copy of the module in which ``kept`` is the only function, under the name @main."""
    name = kept.name.value
    text = str(module.operation.get_asm(enable_debug_info=True))
    copy = ir.Module.parse(text, module.context)
    for function in functions(copy):
        if function.name.value != name:
            function.operation.erase()
    main = cast(func.FuncOp, lookup(copy, name))
    main.attributes["sym_name"] = ir.StringAttr.get("main", copy.context)
    main.attributes["sym_visibility"] = ir.StringAttr.get("public", copy.context)
    return copy
