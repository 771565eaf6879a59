"""Ops that name functions or hold regions.

Transforms never see the first group: calls are inlined and transform ops expanded before.
The second group is declared and verified; its rules are still to come.
"""

from __future__ import annotations

from .. import _pb_ops_gen as gen
from ..opdef import Op, register


@register(gen.CallOp)
class Call(Op):
    functional, pure = True, False


@register(gen.VmapOp)
class Vmap(Op):
    functional, pure = True, False


@register(gen.JvpOp)
class Jvp(Op):
    functional, pure = True, False


@register(gen.VjpOp)
class Vjp(Op):
    functional, pure = True, False


@register(gen.LinearTransposeOp)
class LinearTranspose(Op):
    functional, pure = True, False
