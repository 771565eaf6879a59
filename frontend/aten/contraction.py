"""Matrix products. torch's matmul, einsum and linear layers arrive here taken apart."""

from __future__ import annotations

from typing import Any

import torch
from mlir import ir

from .elementwise import scaled
from .emitter import Emitter

aten = torch.ops.aten


def mm(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.dot_general(x, y, x_contract=[1], y_contract=[0])


def bmm(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.dot_general(x, y, [0], [0], [2], [1])


def bmm_sum(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.dot_general(x, y, x_contract=[0, 2], y_contract=[0, 1])


def mv(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.dot_general(x, y, x_contract=[1], y_contract=[0])


def dot(e: Emitter, x: ir.Value, y: ir.Value) -> ir.Value:
    return e.b.dot_general(x, y, x_contract=[0], y_contract=[0])


def plus(product: Any) -> Any:
    def rule(
        e: Emitter, base: ir.Value, x: ir.Value, y: ir.Value, beta: float = 1, alpha: float = 1
    ) -> ir.Value:
        result = scaled(e, product(e, x, y), alpha)
        if beta == 0:  # torch ignores the base then, NaN and all
            return result
        (base,) = e.operands(base)
        return e.b.add(scaled(e, base, beta), result)

    return rule


RULES: dict[Any, Any] = {
    aten.mm.default: mm,
    aten.bmm.default: bmm,
    aten.mv.default: mv,
    aten.dot.default: dot,
    aten.vdot.default: dot,
    aten.addmm.default: plus(mm),
    aten.addmv.default: plus(mv),
    aten.addbmm.default: plus(bmm_sum),
    aten.baddbmm.default: plus(bmm),
}
