"""Convolution: a contraction with spatial dimensions, which its derivatives stay inside of."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..builders.convolution import Relation
from ..families import Bilinear
from ..opdef import Batched, Tangent, register
from ..types import rank, shape, size

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.ConvOp)
class Conv(Bilinear):
    def relation(self) -> Relation:
        return Relation(*map(tuple, (self.x_steps, self.w_steps, self.out_steps, self.offsets)))

    def transpose(self, b: Builder, ct: ir.Value, x: Any, w: Any) -> Sequence[Tangent | None]:
        """The cotangent takes the place of the operand that is asked for."""
        spatial = list(range(3, rank(ct)))
        if x is None:  # [N, G, O, o] with [G, C, O, k]
            other = b.transpose(w, [0, 2, 1, *spatial])
            return b.conv(ct, other, self.relation().permuted(2, 1, 0), shape(self.x)[3:]), None
        # [C, G, N, i] with [G, O, N, o] is [C, G, O, k]
        examples = b.transpose(x, [2, 1, 0, *spatial])
        other = b.transpose(ct, [1, 2, 0, *spatial])
        relation = self.relation().permuted(0, 2, 1)
        bar = b.conv(examples, other, relation, shape(self.w)[3:])
        return None, b.transpose(bar, [1, 2, 0, *spatial])

    def batch(self, b: Builder, size: int, x: Batched, w: Batched) -> Batched:
        relation, sizes = self.relation(), shape(self.result)[3:]

        def merged(value: ir.Value, at: int) -> ir.Value:
            """The examples, in dimension `at`, and what follows it, as one dimension."""
            dims = shape(value)
            return b.reshape(value, (*dims[:at], dims[at] * dims[at + 1], *dims[at + 2 :]))

        def split(value: ir.Value, at: int) -> Batched:
            dims = shape(value)
            return Batched(
                b.reshape(value, (*dims[:at], size, shape(self.result)[at], *dims[at + 1 :])), at
            )

        if w.dim is None:  # more examples
            assert x.dim is not None
            return split(
                b.conv(merged(b.move_dim(x.value, x.dim, 0), 0), w.value, relation, sizes), 0
            )
        if x.dim is None:  # more features
            value = merged(b.move_dim(w.value, w.dim, 1), 1)
            return split(b.conv(x.value, value, relation, sizes), 2)
        left = merged(b.move_dim(x.value, x.dim, 1), 1)  # more groups
        right = merged(b.move_dim(w.value, w.dim, 0), 0)
        return split(b.conv(left, right, relation, sizes), 1)

    def reference(self, x: Any, w: Any) -> Any:
        """One position of w at a time."""
        out = np.zeros(shape(self.result), x.dtype)
        for k in itertools.product(*map(range, w.shape[3:])):
            at = [
                pairs(c - b * position, a, n, s, m)
                for a, b, s, c, position, n, m in zip(
                    *self.relation(), k, x.shape[3:], out.shape[3:], strict=True
                )
            ]
            inputs = np.ix_(*map(np.arange, x.shape[:3]), *(i for i, _ in at))
            outputs = np.ix_(*map(np.arange, out.shape[:3]), *(o for _, o in at))
            part = w[(slice(None), slice(None), slice(None), *k)]
            out[outputs] += np.einsum("ngc...,gfc->ngf...", x[inputs], part)
        return out

    def sliced(
        self, b: Builder, offsets: Sequence[int], sizes: Sequence[int], strides: Sequence[int]
    ) -> ir.Value | None:
        """Only the results that a slice keeps, as where the derivative of padding cuts."""
        if any(offsets[:3]) or tuple(sizes[:3]) != shape(self.result)[:3]:
            return None
        relation = self.relation()
        totals = zip(relation.offsets, relation.out_steps, offsets[3:], strict=True)
        relation = relation._replace(
            offsets=tuple(total - step * at for total, step, at in totals),
            out_steps=tuple(s * t for s, t in zip(relation.out_steps, strides[3:], strict=True)),
        )
        return b.conv(self.x, self.w, relation, sizes[3:])

    def flops(self) -> int:
        positions = min(size(shape(self.x)[3:]), size(shape(self.w)[3:]))
        return 2 * size(shape(self.result)) * shape(self.x)[2] * max(positions, 1)

    def lower(self, loops: Any, x: Any, w: Any) -> Any:
        return loops.conv(x, w, self.relation(), shape(self.result))


def pairs(total: int, a: int, n: int, s: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """All i below n and o below m with a * i + s * o = total."""
    o = np.arange(m)
    i, rest = np.divmod(total - s * o, a)
    good = (rest == 0) & (i >= 0) & (i < n)
    return i[good], o[good]
