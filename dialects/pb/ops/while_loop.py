"""pb.while: repeat a region while a predicate holds.

Forward derivatives run beside the values. In reverse the number of steps must have a bound: the
loop becomes a scan of `max_steps` steps, which does nothing once the predicate fails. Under vmap
the loop runs while any example wants to; those that are finished keep what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlir import ir

from ...diagnostics import user_location
from ...errors import NotDifferentiableError
from .. import _pb_ops_gen as gen
from ..builders.control import types_of
from ..families import at_dim, splat
from ..interpret import evaluate_block
from ..opdef import Batched, Tangent, register
from ..regions import (
    Region,
    batched_body,
    chosen,
    literal,
    masked_body,
    needed_arguments,
    nonzero,
    real,
    split,
    spread,
    stopped,
)
from ..transforms import functions
from ..transforms.jvp import push_forward
from ..transforms.vmap import batch_body
from ..types import is_float

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.WhileOp)
class While(Region):
    without: ClassVar[dict[str, str]] = {"transpose": "reversed as a scan of max_steps steps"}

    def bound(self) -> int | None:
        return None if self.max_steps is None else self.max_steps.value

    def too_long(self) -> str:
        return f"RuntimeError: the loop wants more than {self.bound()} steps"

    def carried(
        self,
        operands: Sequence[bool],
        carries: Callable[[ir.Value], bool] = lambda _: True,
    ) -> tuple[list[bool], bool]:
        """Which arguments of the body depend on the marked operands; and does the predicate?"""
        condition, body = self.blocks()
        marks, start = list(operands), len(self.consts)
        while True:
            deciding = functions.returned(condition)[0] in functions.dependence(
                condition, marks, carries
            )
            found = functions.dependence(body, marks, carries)
            returned = functions.returned(body)
            grown = [
                a or deciding or v in found for a, v in zip(marks[start:], returned, strict=True)
            ]
            if grown == marks[start:]:
                return marks, deciding
            marks[start:] = grown

    def dependence(
        self, operands: Sequence[bool], carries: Callable[[ir.Value], bool]
    ) -> Sequence[bool]:
        return self.carried(operands, carries)[0][len(self.consts) :]

    def pushforward(
        self, b: Builder, primals: Sequence[ir.Value], tangents: Sequence[Tangent]
    ) -> tuple[Sequence[ir.Value], Sequence[Tangent]]:
        condition, body = self.blocks()
        marks, _ = self.carried(nonzero(tangents), is_float)
        count, carries = len(self.consts), len(self.inits)
        dots = [real(b, t, p) for t, p, m in zip(tangents, primals, marks, strict=True) if m]
        moving = marks[count:]
        c_dots, k_dots = split(dots, len(dots) - sum(moving))

        def test(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            c, _, k, _ = split(given, count, len(c_dots), carries)
            return functions.copy_body(b, condition, [*c, *k])

        def step(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            c, c_dot, k, k_dot = split(given, count, len(c_dots), carries)
            outs, out_dots = push_forward(b, body, [*c, *k], spread([*c_dot, *k_dot], marks))
            pairs = zip(outs, out_dots, moving, strict=True)
            return [*outs, *(real(b, dot, out) for out, dot, mark in pairs if mark)]

        made = b.while_loop(
            [*primals[:count], *c_dots], [*primals[count:], *k_dots], self.bound(), test, step
        )
        return made[:carries], spread(made[carries:], moving)

    def separate(self, b: Builder, linear: Sequence[bool]) -> Sequence[ir.Value] | None:
        bound = self.bound()
        if bound is None:
            raise NotDifferentiableError(
                "a while loop has no derivative in reverse unless its number of steps has a bound",
                user_location(self.location),
                help="give while_loop max_steps, or use scan or fori_loop",
            )
        count = len(self.consts)
        condition, body = self.blocks()
        consts, inits = list(self.operands)[:count], list(self.operands)[count:]
        (start,) = functions.copy_body(b, condition, self.operands)

        def step(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            consts, [running], carried = split(given, count, 1)

            def taken(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
                new = functions.copy_body(b, body, given)
                return [*functions.copy_body(b, condition, [*given[:count], *new]), *new]

            def finished(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
                return [b.zeros(running.type), *given[count:]]

            return b.cond(running, [*consts, *carried], taken, finished)

        made = b.scan(consts, [start, *inits], [], bound, False, step)
        loop: Any = made[0].owner.opview
        marks = [*linear[:count], False, *linear[count:]]
        running, *results = loop.separate(b, marks)
        loop.operation.erase()
        self.check(b, running)
        return results

    def check(self, b: Builder, running: ir.Value) -> None:
        """An error if the loop was not finished."""
        i64 = ir.IntegerType.get_signless(64, running.context)
        b.check_index(b.convert(running, i64), 1, self.too_long(), wrap=False)

    def batch(self, b: Builder, size: int, *operands: Batched) -> Sequence[Batched]:
        condition, body = self.blocks()
        marks, deciding = self.carried([operand.dim is not None for operand in operands])
        count = len(self.consts)
        values = [
            operand.value if i < count or not mark else at_dim(b, operand, 0, size)
            for i, (operand, mark) in enumerate(zip(operands, marks, strict=True))
        ]
        dims = [o.dim if i < count else 0 if marks[i] else None for i, o in enumerate(operands)]
        if deciding:
            return self.each_batched(b, size, list(map(Batched, values, dims)))

        def test(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            return [
                v.value for v in batch_body(b, condition, size, list(map(Batched, given, dims)))
            ]

        def step(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            outs = batch_body(b, body, size, list(map(Batched, given, dims)))
            pairs = zip(outs, marks[count:], strict=True)
            return [at_dim(b, out, 0, size) if mark else out.value for out, mark in pairs]

        made = b.while_loop(values[:count], values[count:], self.bound(), test, step)
        return [
            Batched(v, 0 if mark else None) for v, mark in zip(made, marks[count:], strict=True)
        ]

    def each_batched(self, b: Builder, size: int, operands: Sequence[Batched]) -> Sequence[Batched]:
        """Each example has its own number of steps."""
        condition, body = self.blocks()
        count = len(self.consts)
        consts, inits = list(operands[:count]), list(operands[count:])
        (start,) = batch_body(b, condition, size, operands)
        pred = functions.returned(condition)[0].type
        dims = [*(c.dim for c in consts), 0, *[0] * len(inits)]

        def one(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            consts, [running], carried = split(given, count, 1)
            safe = stopped(b, running, [*consts, *carried])
            new = masked_body(b, body, running, safe)
            kept = [b.chosen(running, x, y) for x, y in zip(new, carried, strict=True)]
            (more,) = masked_body(b, condition, running, [*consts, *kept])
            return [b.both(running, more), *kept]

        def step(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            types = [*types_of(self.consts), pred, *types_of(self.inits)]
            batched = list(map(Batched, given, dims))
            outs = batched_body(b, self, one, types, size, batched)
            return [at_dim(b, out, 0, size) for out in outs]

        def test(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            return [b.reduce_sum(given[count], [0])]

        made = b.while_loop(
            [c.value for c in consts],
            [at_dim(b, start, 0, size), *(k.value for k in inits)],
            self.bound(),
            test,
            step,
        )
        return [Batched(value, 0) for value in made[1:]]

    def masked(
        self, b: Builder, mask: ir.Value, operands: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        condition, body = self.blocks()
        count = len(self.consts)

        def test(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            return [b.both(given[0], *masked_body(b, condition, given[0], given[1:]))]

        def step(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            return masked_body(b, body, given[0], given[1:])

        return b.while_loop([mask, *operands[:count]], operands[count:], self.bound(), test, step)

    @property
    def pure(self) -> bool:  # type: ignore[override]
        """A loop with a bound may fail."""
        inner = (op.pure for block in self.blocks() for op in functions.ops(block))
        return self.max_steps is None and all(inner)

    def reference(self, *arrays: Any) -> Any:
        condition, body = self.blocks()
        consts, carried = split(arrays, len(self.consts))
        steps = 0
        while evaluate_block(condition, [*consts, *carried])[0]:
            if steps == self.bound():
                raise RuntimeError(self.too_long())
            carried = evaluate_block(body, [*consts, *carried])
            steps += 1
        return carried

    def simplify(self, b: Builder) -> Sequence[ir.Value] | None:
        condition, body = self.blocks()
        if splat(functions.returned(condition)[0]) == 0 and not len(functions.ops(condition)) > 1:
            return list(self.inits)
        count = len(self.consts)
        live = self.live()
        arguments, returned = list(body.arguments), functions.returned(body)
        pairs = zip(arguments[count:], returned, strict=True)
        fixed = [True] * count + [argument == out for argument, out in pairs]
        operands = list(self.operands)
        keep = [is_live and not same for is_live, same in zip(live, fixed, strict=True)]
        inside = [
            literal(v) if is_live and same else None
            for v, is_live, same in zip(operands, live, fixed, strict=True)
        ]
        passed = [
            is_live and same and made is None
            for is_live, same, made in zip(live, fixed, inside, strict=True)
        ]
        values = list(dict.fromkeys(chosen(operands, passed)))
        if values == operands[:count] and all(keep[count:]):
            return None

        def emit(block: ir.Block, results: Sequence[bool]) -> Any:
            def run(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
                places = dict(zip(values, given, strict=False))
                rest = iter(given[len(values) :])
                environment: functions.Environment = {}
                for i, argument in enumerate(block.arguments):
                    if keep[i]:
                        environment[argument] = next(rest)
                    elif passed[i]:
                        environment[argument] = places[operands[i]]
                    elif (made := inside[i]) is not None:
                        environment[argument] = b.clone(made, []).results[0]
                for op in functions.ops(block):
                    if all(operand in environment for operand in op.operands):
                        b.location = op.location
                        functions.copy_op(b, op, environment)
                return [environment[v] for v in chosen(functions.returned(block), results)]

            return run

        made = iter(
            b.while_loop(
                values,
                chosen(operands, keep),
                self.bound(),
                emit(condition, [True]),
                emit(body, keep[count:]),
            )
        )
        return [next(made) if keep[count + i] else v for i, v in enumerate(self.inits)]

    def live(self) -> list[bool]:
        """The arguments that the predicate, the used results and what has effects need."""
        condition, body = self.blocks()
        count = len(self.consts)
        used = [any(True for _ in result.uses) for result in self.results]
        tested = needed_arguments(condition, [True])
        while True:
            needs = needed_arguments(body, used)
            live = [a or c for a, c in zip(needs, tested, strict=True)]
            grown = [u or a for u, a in zip(used, live[count:], strict=True)]
            if grown == used:
                return [*live[:count], *grown]
            used = grown

    def lower(self, loops: Any, *operands: Any) -> Any:
        condition, body = self.blocks()
        consts, inits = split(operands, len(self.consts))
        return loops.while_loop(condition, body, consts, inits, self.bound(), self.too_long())
