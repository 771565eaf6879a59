"""Pass pb-linearize: a function split into its value and its derivative at a point.

    f.fwd(x)            = (f(x), residuals)
    f.lin(residuals, v) = f'(x) v

The pushforward of f is cut in two by dependence on the tangents. What depends on primals only
goes forward; the rest must be linear (transposition checks it); what crosses the cut is a
residual. Values that cost nothing to make again are made again instead of crossing.
(Frostig et al., "Decomposing reverse-mode automatic differentiation", 2021.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        for op in list(functions.all_ops(function)):
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
    primal_count = len(arguments) - len(wrt)
    outs = range(len(function.type.results), len(functions.returned(pushforward)))
    is_tangent = [i >= primal_count for i in range(len(arguments))]
    cut = Cut(functions.body(pushforward), is_tangent, outs)

    def emit_forward(b: Builder, values: functions.Values) -> functions.Values:
        results, residuals = cut.forward(b, values)
        return [*results, *residuals]

    def emit_linear(b: Builder, values: functions.Values) -> functions.Values:
        count = len(cut.residuals)
        return cut.linear(b, values[:count], values[count:])

    suffix = "".join(f"_{i}" for i in wrt)
    forward = functions.build(
        function,
        functions.fresh_name(function, "fwd" + suffix),
        [value.type for value in arguments[:primal_count]],
        emit_forward,
    )
    linear_function = functions.build(
        function,
        functions.fresh_name(function, "lin" + suffix),
        [value.type for value in (*cut.residuals, *arguments[primal_count:])],
        emit_linear,
    )
    pushforward.operation.erase()
    simplify.simplify(forward)
    simplify.simplify(linear_function)
    return forward, linear_function


class Cut:
    """A body in two: what does not depend on the arguments marked `is_linear`, and the rest.

    Ops with regions in the body are cut in two first. `outs`: the results of the linear half
    (default: those that depend on a linear argument); the forward half has the others.
    """

    def __init__(
        self, block: ir.Block, is_linear: Sequence[bool], outs: Iterable[int] | None = None
    ) -> None:
        separate(block, is_linear)
        pairs = list(zip(block.arguments, is_linear, strict=True))
        self._block = block
        self._primals = [value for value, linear in pairs if not linear]
        self._tangents = [value for value, linear in pairs if linear]
        self._linear = linear_ops(block, self._tangents)
        self._dependent = {
            *self._tangents,
            *(result for op in self._linear for result in op.results),
        }
        returned = functions.returned(block)
        if outs is None:
            outs = [i for i, value in enumerate(returned) if value in self._dependent]
        self.outs = list(outs)
        self._results = [value for i, value in enumerate(returned) if i not in self.outs]
        self._dots = [returned[i] for i in self.outs]
        #: What the linear half needs of the other.
        self.residuals = crossing(self._linear, self._dots, self._primals)

    def forward(
        self, b: Builder, primals: functions.Values
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """Results and residuals."""
        environment: functions.Environment = dict(zip(self._primals, primals, strict=True))
        for op in functions.ops(self._block):
            if not any(result in self._dependent for result in op.results):
                b.location = op.location
                functions.copy_op(b, op, environment)
        return (
            [environment[value] for value in self._results],
            [environment[value] for value in self.residuals],
        )

    def linear(
        self, b: Builder, residuals: functions.Values, tangents: functions.Values
    ) -> list[ir.Value]:
        environment: functions.Environment = dict(
            zip((*self.residuals, *self._tangents), (*residuals, *tangents), strict=True)
        )

        def get(value: ir.Value) -> ir.Value:
            if value not in environment:  # free to make again
                op = cast(Op, value.owner.opview)
                for operand in op.operands:
                    get(operand)
                b.location = op.location
                functions.copy_op(b, op, environment)
            return environment[value]

        for op in self._linear:
            for operand in op.operands:
                get(operand)
            b.location = op.location
            functions.copy_op(b, op, environment)
        return [get(value) for value in self._dots]


def separate(block: ir.Block, is_linear: Sequence[bool]) -> None:
    """Cuts each op that is not wholly linear in what depends on the linear arguments."""
    dependent = functions.dependence(block, is_linear)
    for op in functions.ops(block):
        marks = [operand in dependent for operand in op.operands]
        if not any(marks):
            continue
        made = op.separate(Builder(ir.InsertionPoint(op), op.location), marks)
        if made is not None:
            for old, new in zip(op.results, made, strict=True):
                old.replace_all_uses_with(new)
            op.operation.erase()
            dependent = functions.dependence(block, is_linear)


def linear_ops(of: func.FuncOp | ir.Block, tangents: Sequence[ir.Value]) -> list[Op]:
    """The ops that depend on the tangents, in order."""
    dependent = set(tangents)
    found = []
    for op in functions.ops(of):
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
