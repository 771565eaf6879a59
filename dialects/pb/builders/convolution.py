"""Builds convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import _pb_ops_gen as gen
from ..opdef import ZERO
from ..types import shape, with_shape
from .creation import Creation


class Relation(NamedTuple):
    """x_steps * i + w_steps * k + out_steps * o = offsets, in each spatial dimension."""

    x_steps: tuple[int, ...]
    w_steps: tuple[int, ...]
    out_steps: tuple[int, ...]
    offsets: tuple[int, ...]

    def permuted(self, x: int, w: int, out: int) -> Relation:
        """The same relation where operand x was operand number `x` (0, 1, or 2: the result)."""
        return Relation(self[x], self[w], self[out], self.offsets)


class Convolution(Creation):
    def conv(self, x: Any, w: Any, relation: Relation, sizes: Sequence[int]) -> Any:
        """[N, G, C, i..] and [G, O, C, k..] to [N, G, O, *sizes]; see pb.conv."""
        if x is ZERO or w is ZERO:
            return ZERO
        dims = (*shape(x)[:2], shape(w)[1], *sizes)
        arrays = (self._array(numbers, x) for numbers in relation)
        return self._make(gen.ConvOp, with_shape(x, dims), x, w, *arrays)
