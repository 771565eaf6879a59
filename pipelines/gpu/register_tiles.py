"""Sums of products by fused multiply-adds: each of 16 x 16 threads keeps up to 8 x 8 of them."""

from __future__ import annotations

from collections.abc import Iterator

from mlir import ir
from mlir.dialects import arith, math, memref, vector

from ..builders import index_constant
from ..scalars import constant
from .launch import BLOCK, Threads, divided
from .products import Product
from .slices import Layout, Slice, Values

SIDE = 16


class RegisterTiles:
    """The threads' part of a tile; `left` and `right` are its slices in shared memory."""

    smallest = SIDE
    layout = Layout(depth=16, pad=16)

    def __init__(self, product: Product, rows: int, columns: int) -> None:
        self.left = Slice(product, product.left, product.rows, rows, self.layout)
        self.right = Slice(product, product.right, product.columns, columns, self.layout)
        self.element = self.left.element

    def begin(self, t: Threads) -> Values:
        """The sums at the start; allocates what the block shares."""
        for side in (self.left, self.right):
            side.allocate(t)
        self.row, self.column = divided(t.thread_id, SIDE, BLOCK)
        count = (self.left.length // SIDE) * (self.right.length // SIDE)
        return [constant(self.element, 0)] * count

    def multiply(self, half: ir.Value, sums: Values) -> Values:
        """The sums, with the products of this half of the slices."""
        for k in range(self.layout.depth):
            at = index_constant(k)
            left = _registers(self.left, half, at, self.row)
            right = _registers(self.right, half, at, self.column)
            sums = [
                math.fma(x, y, sums[i * len(right) + j])
                for i, x in enumerate(left)
                for j, y in enumerate(right)
            ]
        return sums

    def places(self, sums: Values) -> Iterator[tuple[ir.Value, ir.Value, ir.Value]]:
        """Row and column in the tile of each sum."""
        rows, columns = _places(self.left, self.row), _places(self.right, self.column)
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                yield row, column, sums[i * len(columns) + j]


def _groups(side: Slice, thread: ir.Value) -> list[tuple[ir.Value, int]]:
    """Where the rows of a thread begin, and how many are beside each other."""
    each = side.length // SIDE
    beside = min(each, side.pad)
    first = arith.muli(thread, index_constant(beside))
    return [
        (arith.addi(first, index_constant(g * SIDE * beside)) if g else first, beside)
        for g in range(each // beside)
    ]


def _registers(side: Slice, half: ir.Value, k: ir.Value, thread: ir.Value) -> Values:
    values: Values = []
    for first, beside in _groups(side, thread):
        at = side.at(half, k, first)
        if beside == 1:
            values.append(memref.load(side.memory, at))
            continue
        type_ = ir.VectorType.get([beside], side.element)
        loaded = vector.LoadOp(type_, side.memory, at, alignment=beside * side.bytes).result
        values += [vector.extract(loaded, [], [lane]) for lane in range(beside)]
    return values


def _places(side: Slice, thread: ir.Value) -> Values:
    return [
        arith.addi(start, index_constant(lane)) if lane else start
        for start, beside in _groups(side, thread)
        for lane in range(beside)
    ]
