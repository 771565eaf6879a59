"""Pass pb-transpose: the transpose of a linear function.

    <f.lin(r, v), ct> = <v, (f.lin transposed)(r, ct)>

The walk goes backward over the ops that depend on v: each turns the cotangent of its result
into cotangents of the operands it is linear in, and a value used twice sums what comes back.
What does not depend on v (residuals, constants) is copied first. vjp is linearize, then this.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlir import ir
from mlir.dialects import func

from .. import _pb_ops_gen as gen
from ..builder import Builder
from ..opdef import ZERO, Tangent
from . import functions
from .expansion import expand_ops
from .linearize import linear_ops


def run(module: ir.Module) -> bool:
    return expand_ops(module, gen.LinearTransposeOp, replacement)


def replacement(op: gen.LinearTransposeOp, callee: func.FuncOp) -> func.FuncOp:
    """The function to call instead of a pb.linear_transpose op."""
    return transpose(callee, len(op.residuals))


def transpose(function: func.FuncOp, residual_count: int) -> func.FuncOp:
    """(residuals..., cotangents of the results) -> cotangents of the linear arguments."""
    arguments = list(functions.body(function).arguments)
    residuals, linear_arguments = arguments[:residual_count], arguments[residual_count:]
    returned = functions.returned(function)
    types = [value.type for value in (*residuals, *returned)]

    def emit(b: Builder, values: functions.Values) -> functions.Values:
        operands = [*values[:residual_count], *[None] * len(linear_arguments)]
        bars = pull_back(b, function, operands, values[residual_count:])
        return [
            bar if isinstance(bar, ir.Value) else b.zeros(value.type)
            for value, bar in zip(linear_arguments, bars, strict=True)
        ]

    name = functions.fresh_name(function, "transpose")
    return functions.build(function, name, types, emit)


def pull_back(
    b: Builder,
    of: func.FuncOp | ir.Block,
    operands: Sequence[ir.Value | None],
    cts: Sequence[Tangent],
) -> list[Tangent]:
    """Cotangents of the arguments in which a body is linear: those whose operand is None."""
    arguments = list(functions.block_of(of).arguments)
    pairs = list(zip(arguments, operands, strict=True))
    environment: functions.Environment = {a: v for a, v in pairs if v is not None}
    linear_arguments = [argument for argument, value in pairs if value is None]
    linear = linear_ops(of, linear_arguments)
    dependent = {*linear_arguments, *(result for op in linear for result in op.results)}
    cotangents: dict[ir.Value, Tangent] = {}

    def accumulate(value: ir.Value, ct: Tangent) -> None:
        if value in dependent:
            cotangents[value] = b.add(cotangents.get(value, ZERO), ct)

    for op in functions.ops(of):
        if not any(result in dependent for result in op.results):
            b.location = op.location
            functions.copy_op(b, op, environment)
    for value, ct in zip(functions.returned(of), cts, strict=True):
        accumulate(value, ct)
    for op in reversed(linear):
        cts = [cotangents.pop(result, ZERO) for result in op.results]
        if all(ct is ZERO for ct in cts):
            continue
        b.location = functions.within("transpose", op.location)
        values = [None if v in dependent else environment[v] for v in op.operands]
        bars = op.transpose(b, cts[0] if len(cts) == 1 else cts, *values)
        for operand, value, bar in zip(op.operands, values, bars, strict=True):
            if value is None:
                if bar is None:
                    raise op.missing("transpose", " for this operand")
                accumulate(operand, bar)
    return [cotangents.get(value, ZERO) for value in linear_arguments]
