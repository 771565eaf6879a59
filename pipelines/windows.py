"""Emission of large convolutions with many results: a matrix product with an image's windows.

convolution.py decides when; image.py has the layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlir import ir
from mlir.dialects import arith, linalg, tensor

from .affine import dim, fixed
from .builders import index_constant
from .image import Image, mixed_radix
from .loop_graph import Node
from .matmul import Blocking, Matmul, Shape, extract, insert
from .scalars import constant

if TYPE_CHECKING:
    from .lowering import Lowering

#: Taps and channels packed at once.
_DEPTH = 512


class Windows(Matmul):
    """result[n, g] = w[g] times the unfolded image, whose panels are packed from shifted runs.

    The depth of the product is (tap, channel), packed in units of channels of one tap.
    """

    def __init__(
        self,
        image: Image,
        w: Node,
        base: Sequence[int],
        per_tap: Sequence[int],
        shape: Sequence[int],
        blocking: Blocking,
    ) -> None:
        self.image, self.w, self.base, self.per_tap = image, w, base, per_tap
        self.result = shape
        n, g, features = shape[:3]
        channels, self.taps = w.shape[2], w.shape[3:]
        self.unit = next(u for u in range(min(channels, _DEPTH), 0, -1) if channels % u == 0)
        self.chunks = channels // self.unit
        run, depth = image.run(shape[3:]), channels * math.prod(self.taps)
        super().__init__(Shape(n * g, features, run, depth, False, False), blocking, w.element)
        self.depth = self.unit * max(1, _DEPTH // self.unit)
        self.waste = run / math.prod(shape[3:])

    def lower(self, lowering: Lowering) -> Node:
        g, f, _channels, *taps = self.w.shape
        order = [0, 1, *range(3, 3 + len(taps)), 2]
        left = lowering.reshape(lowering.transpose(self.w, order), [g, f, self.shape.k])
        shape = (self.shape.batch, f, self.shape.n)
        product = lowering.whole(shape, self.element, [left, self.image.node], self.emit)
        n = self.result[0]
        product = lowering.reshape(product, [n, g, f, self.shape.n])
        column = fixed(0)
        for d in range(len(taps)):
            column = column.plus(dim(3 + d, self.image.pitch(d)))
        return lowering.moved(product, self.result, [dim(0), dim(1), dim(2), column])

    def left(self, b: ir.Value) -> ir.Value:
        return arith.remui(b, index_constant(self.result[1]))

    def packed(
        self,
        b: ir.Value,
        k: ir.Value,
        depth: int,
        n: ir.Value,
        count: int,
        width: int,
        y: ir.Value,
    ) -> ir.Value:
        """The runs of some units, from result n on; rows of `width`, zeros at their ends."""
        block = tensor.empty([depth, width], self.element)
        if width > count:
            block = linalg.fill(constant(self.element, 0), outs=[block])
        first = arith.divui(k, index_constant(self.unit))
        groups = index_constant(self.result[1])
        example, group = arith.divui(b, groups), arith.remui(b, groups)

        def unit(at: ir.Value, block: ir.Value) -> ir.Value:
            number = arith.addi(first, arith.divui(at, index_constant(self.unit)))
            chunks = index_constant(self.chunks)
            tap = mixed_radix(arith.divui(number, chunks), self.taps)
            channel = arith.muli(arith.remui(number, chunks), index_constant(self.unit))
            phase, shift = self.image.shift(tap, self.base, self.per_tap)
            part = self.image.rows(
                y, [example, group, channel], phase, arith.addi(shift, n), 2, self.unit, count
            )
            sizes = [self.unit, count]
            target = extract(block, [at, 0], sizes, sizes)
            return insert(linalg.copy(part, outs=[target]), block, [at, 0], sizes)

        return self.loop(depth, self.unit, block, unit)
