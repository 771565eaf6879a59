"""pb.cond: one of two regions, by a scalar predicate.

The derivative takes the same branch. In reverse both branches leave their residuals in the same
slots, where types allow. Under vmap a predicate that differs among examples runs both branches and
selects; what goes into a branch that is not taken has no derivative, so that a NaN made there
stays there, and errors there do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlir import ir

from .. import _pb_ops_gen as gen
from ..builders.control import Emit, types_of
from ..families import at_dim, splat
from ..interpret import evaluate_block
from ..opdef import Batched, Tangent, register
from ..regions import (
    Region,
    batched_body,
    chosen,
    inverted,
    literal,
    masked_body,
    merged,
    needed_arguments,
    nonzero,
    real,
    spread,
    stopped,
)
from ..transforms import functions
from ..transforms.jvp import push_forward
from ..transforms.linearize import Cut
from ..transforms.transpose import pull_back
from ..transforms.vmap import batch_body
from ..types import is_float

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.CondOp)
class Cond(Region):
    def dependence(
        self, operands: Sequence[bool], carries: Callable[[ir.Value], bool]
    ) -> Sequence[bool]:
        if operands[0]:
            return [True] * len(self.results)
        result = [False] * len(self.results)
        for block in self.blocks():
            found = functions.dependence(block, operands[1:], carries)
            returned = functions.returned(block)
            result = [r or value in found for r, value in zip(result, returned, strict=True)]
        return result

    def both(
        self, emit: Callable[[ir.Block, Builder, list[ir.Value]], Sequence[Any]]
    ) -> list[Emit]:
        """An emitter for each branch."""

        def of(block: ir.Block) -> Emit:
            return lambda b, arguments: emit(block, b, arguments)

        return [of(block) for block in self.blocks()]

    def pushforward(
        self, b: Builder, primals: Sequence[ir.Value], tangents: Sequence[Tangent]
    ) -> tuple[Sequence[ir.Value], Sequence[Tangent]]:
        marks = nonzero(tangents)
        moving = self.dependence(marks, is_float)
        moving = [m and is_float(r) for m, r in zip(moving, self.results, strict=True)]
        args = list(primals[1:])

        def emit(block: ir.Block, b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            values, dots = given[: len(args)], spread(given[len(args) :], marks[1:])
            outs, out_dots = push_forward(b, block, values, dots)
            pairs = zip(outs, out_dots, moving, strict=True)
            return [*outs, *(real(b, dot, out) for out, dot, mark in pairs if mark)]

        made = b.cond(primals[0], [*args, *chosen(tangents, marks)], *self.both(emit))
        count = len(self.results)
        return made[:count], spread(made[count:], moving)

    def separate(self, b: Builder, linear: Sequence[bool]) -> Sequence[ir.Value] | None:
        marks = list(linear[1:])
        moving = self.dependence(linear, lambda _: True)
        outs = [i for i, mark in enumerate(moving) if mark]
        args = list(self.args)
        fixed = chosen(args, inverted(marks))
        cuts, slots, places = [], [], []
        for block in self.blocks():
            cut = Cut(block, marks, outs)
            inputs = list(block.arguments)
            computed = [v for v in cut.residuals if v not in inputs]
            cuts.append(cut)
            places.append(_placed(computed, slots))

        def forward(block: ir.Block, b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            number = 0 if block == self.blocks()[0] else 1
            results, residuals = cuts[number].forward(b, given)
            found = dict(zip(cuts[number].residuals, residuals, strict=True))
            filled = {slot: found[value] for value, slot in places[number].items()}
            rest = enumerate(slots)
            return [*results, *(filled[i] if i in filled else b.zeros(t) for i, t in rest)]

        made = b.cond(self.pred, fixed, *self.both(forward))
        count = len(moving) - len(outs)

        def run(block: ir.Block, b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            number = 0 if block == self.blocks()[0] else 1
            values, kept = given[: len(fixed)], given[len(fixed) : len(fixed) + len(slots)]
            inputs = dict(zip(chosen(list(block.arguments), inverted(marks)), values, strict=True))
            residuals = [
                inputs[v] if v in inputs else kept[places[number][v]]
                for v in cuts[number].residuals
            ]
            return cuts[number].linear(b, residuals, given[len(fixed) + len(slots) :])

        tangents = chosen(args, marks)
        dots = b.cond(self.pred, [*fixed, *made[count:], *tangents], *self.both(run))
        return merged(made[:count], dots, moving)

    def transpose(
        self, b: Builder, ct: Any, *operands: ir.Value | None
    ) -> Sequence[Tangent | None]:
        cts = [ct] if len(self.results) == 1 else ct
        pred, *args = operands
        assert pred is not None
        values = [value for value in args if value is not None]
        types = [v.type for v, given in zip(self.args, args, strict=True) if given is None]
        moved = nonzero(cts)

        def emit(block: ir.Block, b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            rest = iter(given)
            inner = [None if value is None else next(rest) for value in args]
            bars = pull_back(b, block, inner, spread(list(rest), moved))
            return [real(b, bar, type_) for bar, type_ in zip(bars, types, strict=True)]

        made = iter(b.cond(pred, [*values, *chosen(cts, moved)], *self.both(emit)))
        return [None, *(next(made) if value is None else None for value in args)]

    def batch(self, b: Builder, size: int, *operands: Batched) -> Sequence[Batched]:
        pred, *args = operands
        if pred.dim is not None:
            return self.both_batched(b, size, operands)
        marks = [operand.dim is not None for operand in operands]
        moving = self.dependence(marks, lambda _: True)
        dims = [operand.dim for operand in args]

        def emit(block: ir.Block, b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            outs = batch_body(b, block, size, list(map(Batched, given, dims)))
            return [
                at_dim(b, out, 0, size) if mark else out.value
                for out, mark in zip(outs, moving, strict=True)
            ]

        made = b.cond(pred.value, [operand.value for operand in args], *self.both(emit))
        return [Batched(v, 0 if mark else None) for v, mark in zip(made, moving, strict=True)]

    def both_batched(self, b: Builder, size: int, operands: Sequence[Batched]) -> Sequence[Batched]:
        """Both branches for all examples; written for one, in a region that is then batched."""

        def emit(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            return self.flattened(b, given[0], given[1:])

        return batched_body(b, self, emit, types_of(self.operands), size, operands)

    def flattened(self, b: Builder, pred: ir.Value, args: Sequence[ir.Value]) -> list[ir.Value]:
        """Both branches, and a choice among their results."""
        outs = []
        for block, mask in zip(self.blocks(), (pred, b.negated(pred)), strict=True):
            location = b.location
            outs.append(masked_body(b, block, mask, stopped(b, mask, args)))
            b.location = location
        return [b.chosen(pred, x, y) for x, y in zip(*outs, strict=True)]

    def masked(
        self, b: Builder, mask: ir.Value, operands: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        if self.pure:
            return list(b.clone(self, operands).results)
        pred, *args = operands

        def emit(block: ir.Block, b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            return masked_body(b, block, given[0], given[1:])

        return b.cond(pred, [mask, *args], *self.both(emit))

    def reference(self, pred: Any, *args: Any) -> Any:
        return evaluate_block(self.blocks()[0 if pred else 1], args)

    def simplify(self, b: Builder) -> Sequence[ir.Value] | None:
        choice = splat(self.pred)
        if choice is not None:
            return functions.copy_body(b, self.blocks()[0 if choice else 1], self.args)
        return self.pruned(b)

    def pruned(self, b: Builder) -> Sequence[ir.Value] | None:
        """Without dead results and operands; literals are made in the branches."""
        results = [any(True for _ in result.uses) for result in self.results]
        needs = [needed_arguments(block, results) for block in self.blocks()]
        live = [any(pair) for pair in zip(*needs, strict=True)]
        passed = [
            is_live and literal(value) is None
            for is_live, value in zip(live, self.args, strict=True)
        ]
        values = list(dict.fromkeys(chosen(list(self.args), passed)))
        if values == list(self.args) and all(results):
            return None
        args = list(self.args)

        def emit(block: ir.Block, b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            places = dict(zip(values, given, strict=True))
            inputs = [
                places[v] if mark else b.clone(literal(v), []).results[0] if is_live else None
                for v, mark, is_live in zip(args, passed, live, strict=True)
            ]
            pairs = zip(block.arguments, inputs, strict=True)
            environment: functions.Environment = {a: v for a, v in pairs if v is not None}
            for op in functions.ops(block):
                if all(operand in environment for operand in op.operands):
                    b.location = op.location
                    functions.copy_op(b, op, environment)
            return [environment[v] for v in chosen(functions.returned(block), results)]

        made = iter(b.cond(self.pred, values, *self.both(emit)))
        return [
            next(made) if mark else b.zeros(result.type)
            for mark, result in zip(results, self.results, strict=True)
        ]

    def lower(self, loops: Any, pred: Any, *args: Any) -> Any:
        return loops.cond(self.blocks(), pred, args)


def _placed(values: Sequence[ir.Value], slots: list[ir.Type]) -> dict[ir.Value, int]:
    """A slot for each value: one of its type that the branch has not used yet, or a new one."""
    free = list(range(len(slots)))
    places: dict[ir.Value, int] = {}
    for value in values:
        slot = next((i for i in free if slots[i] == value.type), None)
        if slot is None:
            slot = len(slots)
            slots.append(value.type)
        else:
            free.remove(slot)
        places[value] = slot
    return places
