"""Emission of large convolutions with many taps and few results: the weight's derivative.

convolution.py decides when; image.py has the layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlir import ir
from mlir.dialects import arith, linalg, tensor

from .affine import Indices, dim
from .builders import index_constant
from .image import Image, mixed_radix, stored_order
from .loop_emission import Emission
from .loop_graph import Node
from .matmul import Blocking, Matmul, Shape, extract, insert
from .scalars import constant

if TYPE_CHECKING:
    from .lowering import Lowering

#: Taps packed at once.
_DEPTH = 512


class Correlation(Matmul):
    """result[g, o] = the image, shifted by o, times w over all taps: for many taps, few results.

    Register tiles have rows of the image, which are read in place, and columns of w, whose taps
    are packed some rows at a time.
    """

    def __init__(
        self,
        image: Image,
        w: Node,
        base: Sequence[int],
        per_result: Sequence[int],
        shape: Sequence[int],
        blocking: Blocking,
    ) -> None:
        self.image, self.base, self.per_result, self.result = image, base, per_result, shape
        self.w, self.places = stored_order(w)
        self.features, self.channels, self.taps = w.shape[1], w.shape[2], w.shape[3:]
        shape_ = Shape(1, shape[0], self.features, math.prod(self.taps), False, True)
        super().__init__(shape_, blocking, w.element)
        #: Rows of taps, and the part of each row, that are packed at once.
        self.part = min(self.taps[-1], _DEPTH)
        self.rows_at_once = max(1, _DEPTH // self.part)

    def lower(self, lowering: Lowering) -> Node:
        lanes = self.blocking.lanes
        n, g, f, *results = self.result
        width = -(-f // lanes) * lanes
        flat = lowering.reshape(self.w, [*self.w.shape[:3], math.prod(self.taps)])
        product = lowering.whole(
            (g, math.prod(results), n, width),
            self.element,
            [self.image.node, flat],
            self.emit,
        )
        product = lowering.reshape(product, [g, *results, n, width])
        indices: Indices = (dim(1), *map(dim, range(3, 3 + len(results))), dim(0), dim(2))
        return lowering.moved(product, self.result, indices)

    def emit(self, emission: Emission, destination: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
        result = emission.filled(destination, constant(self.element, 0))
        lanes = self.blocking.lanes
        wide = self.features - self.features % self.blocking.columns
        panels = [(0, wide, self.blocking.columns)] if wide else []
        if wide < self.features:
            left = self.features - wide
            panels.append((wide, left, -(-left // lanes) * lanes))

        def rest(group: ir.Value, channel: ir.Value, result: ir.Value) -> ir.Value:
            for first, count, width in panels:
                if width > count:
                    result = self._taps(
                        group, channel, index_constant(first), count, width, x, y, result
                    )
                    continue

                def panel(at: ir.Value, carried: ir.Value, first: int = first, width: int = width):
                    feature = arith.addi(at, index_constant(first))
                    return self._taps(group, channel, feature, width, width, x, y, carried)

                result = self.loop(count, width, result, panel)
            return result

        return self.loop(
            self.result[1],
            1,
            result,
            lambda group, outer: self.loop(
                self.channels, 1, outer, lambda channel, inner: rest(group, channel, inner)
            ),
        )

    def _taps(
        self,
        group: ir.Value,
        channel: ir.Value,
        feature: ir.Value,
        count: int,
        width: int,
        x: ir.Value,
        y: ir.Value,
        result: ir.Value,
    ) -> ir.Value:
        """All taps, some rows of them at a time."""
        rows, length = math.prod(self.taps[:-1]), self.taps[-1]

        def block(first_row: ir.Value, rows: int, column: ir.Value, part: int, carried: ir.Value):
            packed = self._packed_taps(
                group, channel, feature, count, width, first_row, rows, column, part, y
            )
            return self.loop(
                math.prod(self.result[3:]),
                1,
                carried,
                lambda o, outer: self.loop(
                    rows,
                    1,
                    outer,
                    lambda row, inner: self._tile(
                        group,
                        channel,
                        feature,
                        width,
                        first_row,
                        row,
                        column,
                        part,
                        o,
                        x,
                        packed,
                        inner,
                    ),
                ),
            )

        def along(first_row: ir.Value, rows: int, carried: ir.Value) -> ir.Value:
            whole = length - length % self.part
            carried = self.loop(
                whole, self.part, carried, lambda at, c: block(first_row, rows, at, self.part, c)
            )
            if whole < length:
                carried = block(first_row, rows, index_constant(whole), length - whole, carried)
            return carried

        whole = rows - rows % self.rows_at_once
        if whole:
            result = self.loop(
                whole, self.rows_at_once, result, lambda at, c: along(at, self.rows_at_once, c)
            )
        if whole < rows:
            result = along(index_constant(whole), rows - whole, result)
        return result

    def _packed_taps(
        self,
        group: ir.Value,
        channel: ir.Value,
        feature: ir.Value,
        count: int,
        width: int,
        first_row: ir.Value,
        rows: int,
        column: ir.Value,
        part: int,
        y: ir.Value,
    ) -> ir.Value:
        """[rows * part, width] of w. Either rows are whole, or there is one."""
        start: list[ir.Value | int] = [0, 0, 0, 0]
        for place, at in zip(self.places, (group, feature, channel), strict=True):
            start[place] = at
        start[3] = arith.addi(arith.muli(first_row, index_constant(self.taps[-1])), column)
        sizes = [1, 1, 1, rows * part]
        sizes[self.places[1]] = count
        taps = extract(y, start, sizes, [count, rows * part])
        target = tensor.empty([rows * part, width], self.element)
        if width == count:
            return self.transposed(taps, target)
        target = linalg.fill(constant(self.element, 0), outs=[target])
        shape = [rows * part, count]
        into = extract(target, [0, 0], shape, shape)
        return insert(self.transposed(taps, into), target, [0, 0], shape)

    def _tile(
        self,
        group: ir.Value,
        channel: ir.Value,
        feature: ir.Value,
        width: int,
        first_row: ir.Value,
        row: ir.Value,
        column: ir.Value,
        part: int,
        o: ir.Value,
        x: ir.Value,
        packed: ir.Value,
        result: ir.Value,
    ) -> ir.Value:
        """result[group, o] += one run of the image times one row of packed taps."""
        digits = mixed_radix(o, self.result[3:])
        phase, shift = self.image.shift(digits, self.base, self.per_result)
        if len(self.taps) > 1:
            outer = mixed_radix(arith.addi(first_row, row), self.taps[:-1])
            for d, digit in enumerate(outer):
                pitch = index_constant(self.image.pitch(d))
                shift = arith.addi(shift, arith.muli(digit, pitch))
        first = arith.addi(shift, column)
        depth = arith.muli(row, index_constant(part))
        block = extract(packed, [depth, 0], [part, width], [part, width])
        m, rows = self.shape.m, self.blocking.rows
        whole = m - m % rows
        for at, count, height in ((0, whole, rows), (whole, m - whole, m - whole)):
            if not count:
                continue
            run = self.image.rows(x, [at, group, channel], phase, first, 0, count, part)
            place: list[ir.Value | int] = [group, o, at, feature]
            tile = extract(result, place, [1, 1, count, width], [count, width])
            product = self.contract(run, block, tile, height)
            result = insert(product, result, place, [1, 1, count, width])
        return result
