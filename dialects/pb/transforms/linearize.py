"""Pass pb-linearize: a function split into its value and its derivative at a point.

    f.fwd(x)            = (f(x), residuals)
    f.lin(residuals, v) = f'(x) v

The pushforward of f is cut in two by dependence on the tangents. What depends on primals only
goes forward; the rest must be linear (transposition checks it); what crosses the cut is a
residual. Values that cost nothing to make again are made again instead of crossing.
(Frostig et al., "Decomposing reverse-mode automatic differentiation", 2021.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mlir import ir
from mlir.dialects import func

from .. import _pb_ops_gen as gen
from ..builder import Builder
from ..opdef import Op
from . import functions, simplify
from .expansion import expandable
from .jvp import jvp


def run(module: ir.Module) -> bool:
    """Replaces each pb.vjp by a call of f.fwd and a pb.linear_transpose of f.lin."""
    made: dict[tuple[str, str], tuple[func.FuncOp, func.FuncOp]] = {}
    for function in functions.functions(module):
        for op in functions.ops(function):
            if not isinstance(op, gen.VjpOp):
                continue
            callee = functions.lookup(module, op.callee.value)
            if not expandable(callee):
                continue
            key = (callee.name.value, str(op.wrt))
            if key not in made:
                made[key] = linearize(callee, list(op.wrt))
            forward, linear = made[key]
            b = Builder(ir.InsertionPoint(op), op.location)
            outs = b.call(forward.name.value, list(op.primals), list(forward.type.results))
            count = len(callee.type.results)
            types = [result.type for result in list(op.outs)[count:]]
            bars = b.linear_transpose(linear.name.value, outs[count:], list(op.cotangents), types)
            for old, new in zip(op.outs, [*outs[:count], *bars], strict=True):
                old.replace_all_uses_with(new)
            op.operation.erase()
    return bool(made)


def linearize(function: func.FuncOp, wrt: Sequence[int]) -> tuple[func.FuncOp, func.FuncOp]:
    """(f.fwd: primals -> results, residuals) and (f.lin: residuals, tangents -> tangents)."""
    pushforward = jvp(function, wrt)
    simplify.simplify(pushforward)
    arguments = list(functions.body(pushforward).arguments)
    primals = arguments[: len(arguments) - len(wrt)]
    tangents = arguments[len(primals) :]
    returned = functions.returned(pushforward)
    count = len(function.type.results)
    results, dots = returned[:count], returned[count:]

    linear = linear_ops(pushforward, tangents)
    residuals = crossing(linear, dots, primals)

    def emit_forward(b: Builder, values: functions.Values) -> functions.Values:
        environment: functions.Environment = dict(zip(primals, values, strict=True))
        linear_results = {result for op in linear for result in op.results}
        for op in functions.ops(pushforward):
            if not any(result in linear_results for result in op.results):
                b.location = op.location
                functions.copy_op(b, op, environment)
        return [environment[value] for value in (*results, *residuals)]

    def emit_linear(b: Builder, values: functions.Values) -> functions.Values:
        environment: functions.Environment = dict(zip((*residuals, *tangents), values, strict=True))

        def get(value: ir.Value) -> ir.Value:
            if value not in environment:  # free to make again
                op = cast(Op, value.owner.opview)
                for operand in op.operands:
                    get(operand)
                b.location = op.location
                functions.copy_op(b, op, environment)
            return environment[value]

        for op in linear:
            for operand in op.operands:
                get(operand)
            b.location = op.location
            functions.copy_op(b, op, environment)
        return [get(value) for value in dots]

    suffix = "".join(f"_{i}" for i in wrt)
    forward = functions.build(
        function,
        functions.fresh_name(function, "fwd" + suffix),
        [value.type for value in primals],
        emit_forward,
    )
    linear_function = functions.build(
        function,
        functions.fresh_name(function, "lin" + suffix),
        [value.type for value in (*residuals, *tangents)],
        emit_linear,
    )
    pushforward.operation.erase()
    simplify.simplify(forward)
    simplify.simplify(linear_function)
    return forward, linear_function


def linear_ops(function: func.FuncOp, tangents: Sequence[ir.Value]) -> list[Op]:
    """The ops that depend on the tangents, in order."""
    dependent = set(tangents)
    found = []
    for op in functions.ops(function):
        if any(operand in dependent for operand in op.operands):
            dependent.update(op.results)
            found.append(op)
    return found


def crossing(
    linear: Sequence[Op], dots: Sequence[ir.Value], primals: Sequence[ir.Value]
) -> list[ir.Value]:
    """The values made outside `linear` that it needs: the residuals, each once."""
    made = {result for op in linear for result in op.results}
    residuals: dict[ir.Value, None] = {}

    def need(value: ir.Value) -> None:
        if value in made or (not isinstance(value, ir.OpResult) and value not in primals):
            return
        op = cast(Op, value.owner.opview) if isinstance(value, ir.OpResult) else None
        if op is not None and op.free:
            for operand in op.operands:
                need(operand)
        else:
            residuals[value] = None

    for op in linear:
        for operand in op.operands:
            need(operand)
    for value in dots:
        need(value)
    return list(residuals)
