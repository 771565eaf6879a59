"""pb.scan: a loop with carried values, over slices of xs, that stacks results.

Forward: tangents are carried beside the values. Reverse: the loop is cut in two, one that stacks
what the other needs of each step, and one that is linear; the transpose of the latter runs
backward, carries the cotangents of the carried values, and sums those of the constants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import at_dim
from ..interpret import evaluate_block
from ..opdef import ZERO, Batched, Tangent, register
from ..regions import Region, chosen, inverted, masked_body, merged, nonzero, real, split, spread
from ..transforms import functions
from ..transforms.jvp import push_forward
from ..transforms.linearize import Cut
from ..transforms.transpose import pull_back
from ..transforms.vmap import batch_body
from ..types import dtype, is_float, shape
from .scan_simplify import simplified

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.ScanOp)
class Scan(Region):
    def parts(self, items: Sequence[Any]) -> list[list[Any]]:
        """Of the operands, or the arguments of the body: constants, carried values, xs."""
        return split(items, len(self.consts), len(self.inits))

    def again(
        self, b: Builder, consts: Any, inits: Any, xs: Any, body: Any, reverse: bool | None = None
    ) -> list[ir.Value]:
        """A scan of as many steps."""
        reverse = bool(self.reverse) if reverse is None else reverse
        return b.scan(consts, inits, xs, self.length.value, reverse, body)

    def carried(
        self,
        operands: Sequence[bool],
        carries: Callable[[ir.Value], bool] = lambda _: True,
    ) -> tuple[list[bool], list[bool]]:
        """Which arguments of the body, and which results, depend on the marked operands."""
        (body,) = self.blocks()
        returned = functions.returned(body)
        marks, count = list(operands), len(self.inits)
        start = len(self.consts)
        while True:
            found = functions.dependence(body, marks, carries)
            results = [value in found for value in returned]
            grown = [a or r for a, r in zip(marks[start : start + count], results, strict=False)]
            if grown == marks[start : start + count]:
                return marks, [*grown, *results[count:]]
            marks[start : start + count] = grown

    def dependence(
        self, operands: Sequence[bool], carries: Callable[[ir.Value], bool]
    ) -> Sequence[bool]:
        return self.carried(operands, carries)[1]

    def pushforward(
        self, b: Builder, primals: Sequence[ir.Value], tangents: Sequence[Tangent]
    ) -> tuple[Sequence[ir.Value], Sequence[Tangent]]:
        (body,) = self.blocks()
        marks, moving = self.carried(nonzero(tangents), is_float)
        consts, inits, xs = self.parts(primals)
        c_marks, k_marks, _ = self.parts(marks)
        dots = [real(b, t, p) for t, p, m in zip(tangents, primals, marks, strict=True) if m]
        c_dots, k_dots, x_dots = split(dots, sum(c_marks), sum(k_marks))
        carries = len(inits)

        def emit(b: Builder, arguments: list[ir.Value]) -> list[ir.Value]:
            sizes = (len(consts), len(c_dots), carries, len(k_dots), len(xs))
            c, c_dot, k, k_dot, x, x_dot = split(arguments, *sizes)
            outs, dots = push_forward(
                b, body, [*c, *k, *x], spread([*c_dot, *k_dot, *x_dot], marks)
            )
            pairs = zip(outs, dots, moving, strict=True)
            moved = [real(b, dot, out) if mark else None for out, dot, mark in pairs]
            k_out, y_out = split([m for m in moved[:carries] if m is not None]), moved[carries:]
            return [
                *outs[:carries],
                *k_out[0],
                *outs[carries:],
                *(m for m in y_out if m is not None),
            ]

        made = self.again(b, [*consts, *c_dots], [*inits, *k_dots], [*xs, *x_dots], emit)
        sizes = (carries, len(k_dots), len(self.results) - carries)
        k, k_dot, y, y_dot = split(made, *sizes)
        return [*k, *y], spread([*k_dot, *y_dot], moving)

    def separate(self, b: Builder, linear: Sequence[bool]) -> Sequence[ir.Value] | None:
        (body,) = self.blocks()
        marks, moving = self.carried(linear)
        cut = Cut(body, marks, [i for i, mark in enumerate(moving) if mark])
        consts, inits, xs = self.parts(self.operands)
        c_marks, k_marks, x_marks = self.parts(marks)
        arguments = self.parts(body.arguments)
        outside = dict(zip(body.arguments, self.operands, strict=True))
        of_xs = {value for value in arguments[2] if value in cut.residuals}
        shared = [v for v in cut.residuals if v in arguments[0]]
        stacked = [v for v in cut.residuals if v not in shared and v not in of_xs]
        kept = [cut.residuals.index(value) for value in stacked]

        def forward(b: Builder, arguments: list[ir.Value]) -> list[ir.Value]:
            results, residuals = cut.forward(b, arguments)
            return [*results, *(residuals[i] for i in kept)]

        made = self.again(
            b,
            chosen(consts, inverted(c_marks)),
            chosen(inits, inverted(k_marks)),
            chosen(xs, inverted(x_marks)),
            forward,
        )
        fixed, residuals = split(made, len(moving) - sum(moving))
        sliced = [v for v in cut.residuals if v in of_xs]
        order = [*shared, *sliced, *stacked]

        def run(b: Builder, arguments: list[ir.Value]) -> list[ir.Value]:
            sizes = (len(shared), sum(c_marks), sum(k_marks), len(sliced), len(stacked))
            s, c, k, x_fixed, r, x = split(arguments, *sizes)
            found = dict(zip(order, [*s, *x_fixed, *r], strict=True))
            return cut.linear(b, [found[v] for v in cut.residuals], [*c, *k, *x])

        dots = self.again(
            b,
            [*(outside[v] for v in shared), *chosen(consts, c_marks)],
            chosen(inits, k_marks),
            [*(outside[v] for v in sliced), *residuals, *chosen(xs, x_marks)],
            run,
        )
        return merged(fixed, dots, moving)

    def transpose(
        self, b: Builder, ct: Any, *operands: ir.Value | None
    ) -> Sequence[Tangent | None]:
        (body,) = self.blocks()
        cts = [ct] if len(self.results) == 1 else ct
        marks, moving = self.carried([operand is None for operand in operands])
        carries = len(self.inits)
        consts, _, xs = self.parts(operands)
        c_marks, k_marks, x_marks = self.parts(marks)
        if not all(k_marks):
            raise self.missing("transpose", " where a carried value is not linear")
        k_cts = [real(b, c, init) for c, init in zip(cts, self.inits, strict=False)]
        moved = [c is not ZERO and m for c, m in zip(cts[carries:], moving[carries:], strict=True)]
        sums = [b.zeros(v.type) for v in chosen(self.consts, c_marks)]
        fixed = [[v for v in part if v is not None] for part in (consts, xs)]
        used: list[bool] = []

        def emit(b: Builder, arguments: list[ir.Value]) -> list[ir.Value]:
            sizes = (len(fixed[0]), carries, len(sums), len(fixed[1]))
            c, k_ct, totals, x, y_ct = split(arguments, *sizes)
            values = [
                *merged(c, [None] * len(sums), c_marks),
                *[None] * carries,
                *merged(x, [None] * sum(x_marks), x_marks),
            ]
            bars = pull_back(b, body, values, [*k_ct, *spread(y_ct, moved)])
            c_bar, k_bar, x_bar = split(bars, len(sums), carries)
            used[:] = nonzero(x_bar)
            return [
                *(real(b, bar, ct) for bar, ct in zip(k_bar, k_ct, strict=True)),
                *(b.add(total, bar) for total, bar in zip(totals, c_bar, strict=True)),
                *(bar for bar in x_bar if isinstance(bar, ir.Value)),
            ]

        made = self.again(
            b,
            fixed[0],
            [*k_cts, *sums],
            [*fixed[1], *chosen(cts[carries:], moved)],
            emit,
            not self.reverse,
        )
        k_bar, c_bar, x_bar = split(made, carries, len(sums))
        bars = [
            *merged([None] * len(fixed[0]), c_bar, c_marks),
            *k_bar,
            *merged([None] * len(fixed[1]), spread(x_bar, used), x_marks),
        ]
        return [bar if v is None else None for bar, v in zip(bars, operands, strict=True)]

    def batch(self, b: Builder, size: int, *operands: Batched) -> Sequence[Batched]:
        (body,) = self.blocks()
        marks, moving = self.carried([operand.dim is not None for operand in operands])
        carries = len(self.inits)
        consts, inits, xs = self.parts(operands)
        dims = self.parts([0 if mark else None for mark in marks])
        c_dims = [operand.dim for operand in consts]

        def emit(b: Builder, arguments: list[ir.Value]) -> list[ir.Value]:
            batched = map(Batched, arguments, [*c_dims, *dims[1], *dims[2]])
            outs = batch_body(b, body, size, list(batched))
            return [
                at_dim(b, out, 0, size) if mark else out.value
                for out, mark in zip(outs, moving, strict=True)
            ]

        made = self.again(
            b,
            [operand.value for operand in consts],
            [
                operand.value if dim is None else at_dim(b, operand, 0, size)
                for operand, dim in zip(inits, dims[1], strict=True)
            ],
            [x.value if x.dim is None else b.move_dim(x.value, x.dim, 1) for x in xs],
            emit,
        )
        return [
            Batched(value, (0 if i < carries else 1) if mark else None)
            for i, (value, mark) in enumerate(zip(made, moving, strict=True))
        ]

    def masked(
        self, b: Builder, mask: ir.Value, operands: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        if self.pure:
            return list(b.clone(self, operands).results)
        (body,) = self.blocks()
        consts, inits, xs = self.parts(operands)
        return self.again(
            b, [mask, *consts], inits, xs, lambda b, given: masked_body(b, body, *_first(given))
        )

    def reference(self, *arrays: Any) -> Any:
        (body,) = self.blocks()
        consts, carried, xs = self.parts(arrays)
        count, length = len(self.inits), self.length.value
        stacks = [np.zeros(shape(v), dtype(v)) for v in list(self.results)[count:]]
        for i in range(length)[:: -1 if self.reverse else 1]:
            outs = evaluate_block(body, [*consts, *carried, *(x[i] for x in xs)])
            carried = outs[:count]
            for stack, out in zip(stacks, outs[count:], strict=True):
                stack[i] = out
        return [*carried, *stacks]

    def simplify(self, b: Builder) -> Sequence[ir.Value] | None:
        return simplified(self, b)

    def flops(self) -> int:
        return Region.flops(self) * self.length.value

    def lower(self, loops: Any, *operands: Any) -> Any:
        consts, inits, xs = self.parts(operands)
        return loops.scan(
            self.blocks()[0], consts, inits, xs, self.length.value, bool(self.reverse)
        )


def _first(arguments: list[ir.Value]) -> tuple[ir.Value, list[ir.Value]]:
    return arguments[0], arguments[1:]
