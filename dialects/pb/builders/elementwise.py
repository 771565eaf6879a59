"""Builds elementwise ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlir import ir

from .. import _pb_ops_gen as gen
from ..opdef import ZERO, Tangent
from ..types import element_type, shape, tensor
from .creation import Creation

Shape = Sequence[int]


class Elementwise(Creation):
    def add(self, x: Tangent, y: Tangent) -> Any:
        if x is ZERO:
            return y
        if y is ZERO:
            return x
        return self._make(gen.AddOp, x, y)

    def sub(self, x: Tangent, y: Tangent) -> Any:
        if y is ZERO:
            return x
        return self.neg(y) if x is ZERO else self._make(gen.SubOp, x, y)

    def mul(self, x: Tangent, y: Tangent) -> Any:
        return ZERO if x is ZERO or y is ZERO else self._make(gen.MulOp, x, y)

    def div(self, x: Tangent, y: ir.Value) -> Any:
        return ZERO if x is ZERO else self._make(gen.DivOp, x, y)

    def pow(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.PowOp, x, y)

    def maximum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.MaximumOp, x, y)

    def neg(self, x: Tangent) -> Any:
        return ZERO if x is ZERO else self._make(gen.NegOp, x)

    def exp(self, x: ir.Value) -> ir.Value:
        return self._make(gen.ExpOp, x)

    def log(self, x: ir.Value) -> ir.Value:
        return self._make(gen.LogOp, x)

    def sin(self, x: ir.Value) -> ir.Value:
        return self._make(gen.SinOp, x)

    def cos(self, x: ir.Value) -> ir.Value:
        return self._make(gen.CosOp, x)

    def tanh(self, x: ir.Value) -> ir.Value:
        return self._make(gen.TanhOp, x)

    def sqrt(self, x: ir.Value) -> ir.Value:
        return self._make(gen.SqrtOp, x)

    def logistic(self, x: ir.Value) -> ir.Value:
        return self._make(gen.LogisticOp, x)

    def compare(self, predicate: str, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.CompareOp, ir.StringAttr.get(predicate, context=x.context), x, y)

    def select(self, pred: ir.Value, on_true: Tangent, on_false: Tangent) -> Any:
        if on_true is ZERO and on_false is ZERO:
            return ZERO
        if on_true is ZERO:
            on_true = self.zeros_like(on_false)
        elif on_false is ZERO:
            on_false = self.zeros_like(on_true)
        return self._make(gen.SelectOp, pred, on_true, on_false)

    def convert(self, x: Any, element: ir.Type) -> Any:
        if x is ZERO or element_type(x) == element:
            return x
        return self._make(gen.ConvertOp, tensor(shape(x), element), x)
