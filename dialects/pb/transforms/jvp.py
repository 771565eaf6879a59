"""Pass pb-jvp: the pushforward of a function.

    (f.jvp)(x, x_dot) = (f(x), f'(x) x_dot)

The environment gives each value of f its copy in the new function and its tangent. The walk
goes forward: an op is copied, then asked for the tangents of its results. A tangent that is
zero by structure has no op at all. (Wengert 1964; Griewank and Walther, ch. 3.)
"""

from __future__ import annotations

from collections.abc import Sequence

from mlir import ir
from mlir.dialects import func

from .. import _pb_ops_gen as gen
from ..builder import Builder
from ..opdef import ZERO, Tangent
from ..types import is_float
from . import custom, functions
from .expansion import expand_ops


def run(module: ir.Module) -> bool:
    return expand_ops(module, gen.JvpOp, replacement)


def replacement(op: gen.JvpOp, callee: func.FuncOp) -> func.FuncOp:
    """The function to call instead of a pb.jvp op."""
    pushforward = jvp(callee, list(op.wrt))
    custom.settle(pushforward)
    return pushforward


def jvp(function: func.FuncOp, wrt: Sequence[int]) -> func.FuncOp:
    """(primals..., tangents of the operands `wrt`) -> (results..., tangents of float results)."""
    primal_types = [argument.type for argument in functions.body(function).arguments]
    types = [*primal_types, *(primal_types[i] for i in wrt)]

    def emit(b: Builder, arguments: functions.Values) -> functions.Values:
        primals, tangents = arguments[: len(primal_types)], arguments[len(primal_types) :]
        dots: list[Tangent] = [ZERO] * len(primals)
        for i, tangent in zip(wrt, tangents, strict=True):
            dots[i] = tangent
        outs, out_dots = push_forward(b, function, primals, dots)
        floats = [(out, dot) for out, dot in zip(outs, out_dots, strict=True) if is_float(out)]
        return [*outs, *(b.zeros_like(out) if dot is ZERO else dot for out, dot in floats)]

    suffix = "jvp" + "".join(f"_{i}" for i in wrt)
    return functions.build(function, functions.fresh_name(function, suffix), types, emit)


def push_forward(
    b: Builder,
    of: func.FuncOp | ir.Block,
    primals: functions.Values,
    dots: Sequence[Tangent],
) -> tuple[list[ir.Value], list[Tangent]]:
    """A body on primals and tangents: results and their tangents."""
    arguments = functions.block_of(of).arguments
    primal: functions.Environment = dict(zip(arguments, primals, strict=True))
    tangent: dict[ir.Value, Tangent] = dict(zip(arguments, dots, strict=True))
    for op in functions.ops(of):
        b.location = functions.within("jvp", op.location)
        op_dots = [tangent[operand] for operand in op.operands]
        if all(dot is ZERO for dot in op_dots):
            functions.copy_op(b, op, primal)
            result_dots: Sequence[Tangent] = [ZERO] * len(op.results)
        else:
            operands = [primal[operand] for operand in op.operands]
            results, result_dots = op.pushforward(b, operands, op_dots)
            primal.update(zip(op.results, results, strict=True))
        tangent.update(zip(op.results, result_dots, strict=True))
    returned = functions.returned(of)
    return [primal[value] for value in returned], [tangent[value] for value in returned]
