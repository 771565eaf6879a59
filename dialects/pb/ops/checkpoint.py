"""pb.checkpoint: a region that is computed again where its derivative needs it.

The derivative keeps the operands and nothing else; its linear half holds the region once more.
Once no transform is left, that second copy is inlined behind a barrier, so that no simplification
finds it equal to the first. (Griewank 1992; Chen et al., "Training deep nets with sublinear
memory cost", 2016.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import at_dim
from ..interpret import evaluate_block
from ..opdef import Batched, Op, Tangent, register
from ..regions import (
    Region,
    chosen,
    inverted,
    literal,
    masked_body,
    merged,
    needed_arguments,
    nonzero,
    spread,
)
from ..transforms import functions
from ..transforms.jvp import push_forward
from ..transforms.linearize import Cut
from ..transforms.transpose import pull_back
from ..transforms.vmap import batch_body

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.CheckpointOp)
class Checkpoint(Region):
    def again(self, b: Builder, args: Any, emit: Any, recompute: bool | None = None) -> list[Any]:
        return b.checkpoint(args, bool(self.recompute) if recompute is None else recompute, emit)

    def dependence(
        self, operands: Sequence[bool], carries: Callable[[ir.Value], bool]
    ) -> Sequence[bool]:
        (body,) = self.blocks()
        found = functions.dependence(body, operands, carries)
        return [value in found for value in functions.returned(body)]

    def pushforward(
        self, b: Builder, primals: Sequence[ir.Value], tangents: Sequence[Tangent]
    ) -> tuple[Sequence[ir.Value], Sequence[Tangent]]:
        (body,) = self.blocks()
        marks, count = nonzero(tangents), len(primals)
        moving: list[bool] = []

        def emit(b: Builder, given: list[ir.Value]) -> list[Any]:
            outs, dots = push_forward(b, body, given[:count], spread(given[count:], marks))
            moving[:] = nonzero(dots)
            return [*outs, *chosen(dots, moving)]

        made = self.again(b, [*primals, *chosen(tangents, marks)], emit)
        outs = len(self.results)
        return made[:outs], spread(made[outs:], moving)

    def separate(self, b: Builder, linear: Sequence[bool]) -> Sequence[ir.Value] | None:
        (body,) = self.blocks()
        moving = self.dependence(linear, lambda _: True)
        cut = Cut(body, linear, [i for i, mark in enumerate(moving) if mark])
        args = list(self.args)
        fixed = chosen(args, inverted(linear))

        def run(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            _, residuals = cut.forward(b, given[: len(fixed)])
            return cut.linear(b, residuals, given[len(fixed) :])

        values = self.again(b, fixed, lambda b, given: cut.forward(b, given)[0])
        dots = self.again(b, [*fixed, *chosen(args, linear)], run, recompute=True)
        return merged(values, dots, moving)

    def transpose(
        self, b: Builder, ct: Any, *operands: ir.Value | None
    ) -> Sequence[Tangent | None]:
        (body,) = self.blocks()
        cts = [ct] if len(self.results) == 1 else ct
        moved = nonzero(cts)
        values = [value for value in operands if value is not None]
        used: list[bool] = []

        def emit(b: Builder, given: list[ir.Value]) -> list[Any]:
            rest = iter(given)
            inner = [None if value is None else next(rest) for value in operands]
            bars = pull_back(b, body, inner, spread(list(rest), moved))
            used[:] = nonzero(bars)
            return chosen(bars, used)

        made = self.again(b, [*values, *chosen(cts, moved)], emit)
        bars = iter(spread(made, used))
        return [next(bars) if value is None else None for value in operands]

    def batch(self, b: Builder, size: int, *operands: Batched) -> Sequence[Batched]:
        (body,) = self.blocks()
        dims: list[int | None] = []

        def emit(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            batched = [Batched(v, o.dim) for v, o in zip(given, operands, strict=True)]
            outs = batch_body(b, body, size, batched)
            dims[:] = [None if out.dim is None else 0 for out in outs]
            return [out.value if out.dim is None else at_dim(b, out, 0, size) for out in outs]

        made = self.again(b, [operand.value for operand in operands], emit)
        return list(map(Batched, made, dims))

    def masked(
        self, b: Builder, mask: ir.Value, operands: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        (body,) = self.blocks()
        return self.again(
            b,
            [mask, *operands],
            lambda b, given: masked_body(b, body, given[0], given[1:]),
        )

    def reference(self, *arrays: Any) -> Any:
        return evaluate_block(self.blocks()[0], arrays)

    def simplify(self, b: Builder) -> Sequence[ir.Value] | None:
        """Without dead results and operands; literals are made inside."""
        (body,) = self.blocks()
        results = [any(True for _ in result.uses) for result in self.results]
        live = needed_arguments(body, results)
        operands = list(self.args)
        passed = [a and literal(v) is None for a, v in zip(live, operands, strict=True)]
        if all(passed) and all(results):
            return None

        def emit(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
            rest = iter(given)
            environment: functions.Environment = {}
            for argument, value, is_live, mark in zip(
                body.arguments, operands, live, passed, strict=True
            ):
                if mark:
                    environment[argument] = next(rest)
                elif is_live:
                    environment[argument] = b.clone(literal(value), []).results[0]
            for op in functions.ops(body):
                if all(operand in environment for operand in op.operands):
                    b.location = op.location
                    functions.copy_op(b, op, environment)
            return [environment[v] for v in chosen(functions.returned(body), results)]

        made = iter(self.again(b, chosen(operands, passed), emit))
        return [
            next(made) if mark else b.zeros(result.type)
            for mark, result in zip(results, self.results, strict=True)
        ]

    def final(self, b: Builder) -> Sequence[ir.Value] | None:
        args = list(self.args)
        if self.recompute and args:
            args = b.barrier(args)
        return functions.copy_body(b, self.blocks()[0], args)

    def lower(self, loops: Any, *operands: Any) -> Any:
        return loops.inlined(self.blocks()[0], operands)


@register(gen.BarrierOp)
class Barrier(Op):
    without: ClassVar[dict[str, str]] = dict.fromkeys(
        ("jvp", "transpose", "batch", "simplify"), "made once no transform is left"
    )

    def reference(self, *xs: Any) -> Any:
        return xs

    def lower(self, loops: Any, *xs: Any) -> Any:
        return xs
