"""Builds control flow: the bodies of regions are emitted by functions of a builder and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from mlir import ir

from .. import _pb_ops_gen as gen
from ..types import shape, with_shape
from .creation import Creation

if TYPE_CHECKING:
    from ..builder import Builder

#: emit(builder, arguments) -> the values that the region yields.
Emit = Callable[["Builder", list[ir.Value]], Sequence[ir.Value]]


def types_of(values: Sequence[ir.Value]) -> list[ir.Type]:
    return [value.type for value in values]


def slice_type(type_: ir.Type | ir.Value) -> ir.Type:
    """One step of what a scan runs over."""
    return with_shape(type_, shape(type_)[1:])


class Control(Creation):
    """An op is made twice: its result types are known only when its regions are filled."""

    def _region(self, region: ir.Region, types: Sequence[ir.Type], emit: Emit) -> list[ir.Type]:
        block = region.blocks.append(*types, arg_locs=[self.location] * len(types))
        ip = ir.InsertionPoint(block)
        inner = cast("Builder", type(self)(ip, self.location))
        values = list(emit(inner, list(block.arguments)))
        gen.YieldOp(values, loc=self.location, ip=ip)
        return types_of(values)

    def _with_results(self, op: Any, make: Callable[[], Any]) -> list[ir.Value]:
        """`op` with the right result types: its regions move into what `make` makes."""
        made = make()
        for source, target in zip(op.operation.regions, made.operation.regions, strict=True):
            for block in list(source.blocks):
                block.append_to(target)
        op.operation.erase()
        return list(made.results)

    def cond(
        self, pred: ir.Value, args: Sequence[ir.Value], on_true: Emit, on_false: Emit
    ) -> list[ir.Value]:
        """Both regions take `args` and yield values of the same types."""
        where = {"loc": self.location, "ip": self.ip}
        op: Any = gen.CondOp([], pred, list(args), **where)
        types = self._region(op.on_true, types_of(args), on_true)
        self._region(op.on_false, types_of(args), on_false)
        return self._with_results(op, lambda: gen.CondOp(types, pred, list(args), **where))

    def scan(
        self,
        consts: Sequence[ir.Value],
        inits: Sequence[ir.Value],
        xs: Sequence[ir.Value],
        length: int,
        reverse: bool,
        body: Emit,
    ) -> list[ir.Value]:
        """body(consts, carried values, slices of xs) -> next carried values, slices of ys."""
        operands = (list(consts), list(inits), list(xs), self._i64(length, self.location.context))
        rest = {"reverse": reverse or None, "loc": self.location, "ip": self.ip}
        op: Any = gen.ScanOp([], *operands, **rest)
        arguments = [*types_of(consts), *types_of(inits), *map(slice_type, xs)]
        yielded = self._region(op.body, arguments, body)
        slices = yielded[len(inits) :]
        types = [*types_of(inits), *(with_shape(t, [length, *shape(t)]) for t in slices)]
        return self._with_results(op, lambda: gen.ScanOp(types, *operands, **rest))

    def while_loop(
        self,
        consts: Sequence[ir.Value],
        inits: Sequence[ir.Value],
        max_steps: int | None,
        condition: Emit,
        body: Emit,
    ) -> list[ir.Value]:
        """Both regions take the constants, then the carried values."""
        context = self.location.context
        steps = None if max_steps is None else self._i64(max_steps, context)
        op: Any = gen.WhileOp(
            types_of(inits),
            list(consts),
            list(inits),
            max_steps=steps,
            loc=self.location,
            ip=self.ip,
        )
        types = types_of([*consts, *inits])
        self._region(op.condition, types, condition)
        self._region(op.body, types, body)
        return list(op.results)

    def checkpoint(self, args: Sequence[ir.Value], recompute: bool, body: Emit) -> list[ir.Value]:
        """body(args) -> results."""
        rest = {"recompute": recompute or None, "loc": self.location, "ip": self.ip}
        op: Any = gen.CheckpointOp([], list(args), **rest)
        types = self._region(op.body, types_of(args), body)
        return self._with_results(op, lambda: gen.CheckpointOp(types, list(args), **rest))

    def barrier(self, xs: Sequence[ir.Value]) -> list[ir.Value]:
        """The same values, hidden from simplification."""
        return list(gen.BarrierOp(types_of(xs), list(xs), loc=self.location, ip=self.ip).results)

    def all_of(self, pred: ir.Value, dims: Sequence[int]) -> ir.Value:
        """`pred`, a scalar, in every element of a shape."""
        if not dims:
            return pred
        at = self._array([], pred)
        return self._make(gen.BroadcastOp, with_shape(pred, dims), pred, at)

    def both(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Do both predicates hold?"""
        return self._make(gen.MulOp, x, y)

    def negated(self, pred: ir.Value) -> ir.Value:
        return self._make(gen.SelectOp, pred, self.zeros_like(pred), self.full_like(pred, 1))

    def chosen(self, pred: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
        """Either value, by a scalar predicate."""
        if on_true == on_false:
            return on_true
        pred = self.all_of(pred, shape(on_true))
        return self._make(gen.SelectOp, pred, on_true, on_false)
