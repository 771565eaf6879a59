"""Comparisons, choices, conversions, and the ends of derivatives; all elementwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Elementwise, Linear, defining, splat
from ..opdef import ZERO, Tangent, register
from ..types import element_type, is_float, rounded

if TYPE_CHECKING:
    from ..builder import Builder


_COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def _width(value: ir.Value) -> int:
    type_ = element_type(value)
    assert isinstance(type_, ir.FloatType)
    return type_.width


def _moved_from(x: ir.Value, type_: ir.Type) -> bool:
    """Whether x is moved elements of a narrower type, that of `type_`, and of use here only."""
    move: Any = x.owner.opview if isinstance(x, ir.OpResult) else None
    if not getattr(move, "moves", False) or len(list(x.uses)) > 1:
        return False
    for operand in move.operands:
        first = defining(operand, gen.ConvertOp)
        if first is None:
            found = element_type(operand) == element_type(x) and _moved_from(operand, type_)
        else:
            same = element_type(first.x) == element_type(type_)
            found = same and is_float(operand) and _width(first.x) < _width(operand)
        if found:
            return True
    return False


@register(gen.CompareOp)
class Compare(Elementwise):
    def jvp(self, b: Builder, x_dot: Tangent, y_dot: Tangent) -> Tangent:
        return ZERO

    def reference(self, x: Any, y: Any) -> Any:
        return _COMPARISONS[self.predicate.value](x, y)

    def scalar(self, m: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return m.compare(self.predicate.value, x, y)


@register(gen.SelectOp)
class Select(Elementwise, Linear):
    moves = True

    linear_in = (1, 2)

    def jvp(self, b: Builder, pred_dot: Tangent, t_dot: Tangent, f_dot: Tangent) -> Tangent:
        return b.select(self.pred, t_dot, f_dot)

    def transpose(
        self, b: Builder, ct: ir.Value, pred: Any, t: Any, f: Any
    ) -> Sequence[Tangent | None]:
        t_bar = b.select(pred, ct, ZERO) if t is None else None
        return None, t_bar, b.select(pred, ZERO, ct) if f is None else None

    def reference(self, pred: Any, on_true: Any, on_false: Any) -> Any:
        return np.where(pred, on_true, on_false)

    def simplify(self, b: Builder) -> ir.Value | None:
        if self.on_true == self.on_false:
            return self.on_true
        choice = splat(self.pred)
        if choice is not None:
            return self.on_true if choice else self.on_false
        return self.hoist_broadcast(b)

    def scalar(self, m: Any, pred: ir.Value, on_true: ir.Value, on_false: ir.Value) -> ir.Value:
        return m.select(pred, on_true, on_false)


@register(gen.ConvertOp)
class Convert(Elementwise):
    moves = True

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        if x_dot is ZERO or not is_float(self.result):
            return ZERO
        return b.convert(x_dot, element_type(self.result))

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (b.convert(ct, element_type(self.x)),)

    def reference(self, x: Any) -> Any:
        return rounded(x, element_type(self.result))

    def simplify(self, b: Builder) -> ir.Value | None:
        if self.x.type == self.result.type:
            return self.x
        if is_float(self.x) and is_float(self.result):
            if (first := defining(self.x, gen.ConvertOp)) is not None and self.undoes(first):
                return first.x
            if (moved := self.before_move(b)) is not None:
                return moved
        number = splat(self.x)
        if number is not None:
            return b.constant(rounded(np.asarray(number), element_type(self.x)), self.result.type)
        return self.hoist_broadcast(b)

    def undoes(self, first: Any) -> bool:
        """Whether `first` goes to a wider float type and this comes back: every number is kept."""
        return first.x.type == self.result.type and _width(first.x) < _width(self.x)

    def before_move(self, b: Builder) -> ir.Value | None:
        """convert(move(convert x)), which a call on a half type becomes, = move(x)."""
        if not _moved_from(self.x, self.result.type):
            return None
        move: Any = self.x.owner.opview
        wide, element = element_type(self.x), element_type(self.result)
        operands = [
            b.convert(operand, element) if element_type(operand) == wide else operand
            for operand in move.operands
        ]
        return ir.Operation.create(
            move.operation.name,
            results=[self.result.type],
            operands=operands,
            attributes=dict(move.operation.attributes.items()),
            loc=move.location,
            ip=b.ip,
        ).results[0]

    def scalar(self, m: Any, x: ir.Value) -> ir.Value:
        return m.convert(x, element_type(self.result))


@register(gen.StopGradientOp)
class StopGradient(Elementwise, Linear):
    moves = True

    def jvp(self, b: Builder, x_dot: Tangent) -> Tangent:
        if x_dot is ZERO or not self.reverse_only:
            return ZERO
        return b.stop_gradient(x_dot, reverse_only=True)

    def transpose(self, b: Builder, ct: ir.Value, x: Any) -> Sequence[Tangent | None]:
        return (ZERO,)

    def reference(self, x: Any) -> Any:
        return x

    def final(self, b: Builder) -> Sequence[ir.Value] | None:
        return [self.x]

    def flops(self) -> int:
        return 0

    def lower(self, loops: Any, x: Any) -> Any:
        return x
