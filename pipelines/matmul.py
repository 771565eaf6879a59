"""Emission of large contractions: blocks for the cache, packed panels of y, edges.

The innermost blocks are marked; schedule.py turns them into register-blocked vector code. The
sizes were measured: a tile stays in registers, a packed panel in the caches near the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlir import ir
from mlir.dialects import bufferization, linalg, scf, tensor

from ..dialects.pb.types import element_type
from .affine import affine_map, dim, identity
from .builders import for_loop, index_constant
from .loop_emission import Emission, tensor_of
from .scalars import constant

#: On a linalg op: the number of rows of its register tiles.
MARK = "pb.tile_rows"
#: On a fill: what it fills is read by register tiles only, by each of them once.
FRESH = "pb.fresh"
_KC = 512
#: With fewer rows than this, packing a panel costs more than it saves.
_ROWS_TO_PACK = 32
_DYNAMIC = ir.ShapedType.get_dynamic_size()


@dataclass(frozen=True)
class Shape:
    """result[b, m, n] = sum over k of x[b, m, k] y[b, k, n]; or x[b, k, m], or y[b, n, k]."""

    batch: int
    m: int
    n: int
    k: int
    x_transposed: bool
    y_transposed: bool


@dataclass(frozen=True)
class Blocking:
    """The register tile for vectors of so many elements."""

    rows: int
    lanes: int

    @staticmethod
    def of(vector_bytes: int, element_bytes: int) -> Blocking:
        # Rows are what the register file holds: 32 registers, or 16 without AVX-512.
        return Blocking(8 if vector_bytes == 64 else 6, vector_bytes // element_bytes)

    @property
    def columns(self) -> int:
        return 2 * self.lanes


class Matmul:
    """Emits one contraction on tensors of rank 3."""

    def __init__(self, shape: Shape, blocking: Blocking, element: ir.Type) -> None:
        self.shape, self.blocking, self.element = shape, blocking, element
        #: How much of the contracted dimension is packed at once.
        self.depth = _KC

    def left(self, b: ir.Value) -> ir.Value:
        """Which matrix of x belongs to batch element b."""
        return b

    def emit(self, emission: Emission, destination: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
        result = destination
        if self._deep:
            result = emission.filled(destination, constant(self.element, 0))
        wide = self.shape.n - self.shape.n % self.blocking.columns
        if wide:
            result = self.loop(
                self.shape.batch, 1, result, lambda b, c: self._panels(emission, b, wide, x, y, c)
            )
        if wide < self.shape.n:
            result = self.loop(
                self.shape.batch, 1, result, lambda b, c: self._edge(emission, b, wide, x, y, c)
            )
        return result

    # Loops.

    def loop(
        self, end: int, step: int, carried: ir.Value, body: Callable[[ir.Value, ir.Value], ir.Value]
    ) -> ir.Value:
        """for i = 0 to end by step, carrying a tensor; `end` is a multiple of `step`."""
        if end == step:
            return body(index_constant(0), carried)
        loop = for_loop(end, step, carried)
        with ir.InsertionPoint(loop.body):
            scf.YieldOp([body(loop.induction_variable, loop.inner_iter_args[0])])
        return loop.results[0]

    def _depth_blocks(
        self, carried: ir.Value, body: Callable[[ir.Value, int, ir.Value], ir.Value]
    ) -> ir.Value:
        """body(first k, count, carried) over blocks of the contracted dimension."""
        k = self.shape.k
        whole = k - k % self.depth
        if whole:
            carried = self.loop(whole, self.depth, carried, lambda at, c: body(at, self.depth, c))
        if whole < k:
            carried = body(index_constant(whole), k - whole, carried)
        return carried

    # Panels of full width, and the columns left over.

    @property
    def _deep(self) -> bool:
        """Is a panel of the result added to more than once?"""
        return self.shape.k > self.depth

    def _panels(
        self,
        emission: Emission,
        b: ir.Value,
        width: int,
        x: ir.Value,
        y: ir.Value,
        result: ir.Value,
    ) -> ir.Value:
        columns = self.blocking.columns

        def panel(k: ir.Value, depth: int, n: ir.Value, c: ir.Value) -> ir.Value:
            block = self.packed(b, k, depth, n, columns, columns, y)
            at: list[ir.Value | int] = [b, 0, n]
            tile = extract(c, at, [1, self.shape.m, columns], [self.shape.m, columns])
            if not self._deep:
                tile = self._fresh(emission, tile)
            tile = self._rows(b, k, depth, columns, x, block, tile)
            return insert(tile, c, at, [1, self.shape.m, columns])

        return self._depth_blocks(
            result,
            lambda k, depth, outer: self.loop(
                width, columns, outer, lambda n, c: panel(k, depth, n, c)
            ),
        )

    def _fresh(self, emission: Emission, tile: ir.Value) -> ir.Value:
        """A tile of zeros, to be read by the first products alone if there are no further ones."""
        filled = emission.filled(tile, constant(self.element, 0))
        if not self._deep:
            filled.owner.attributes[FRESH] = ir.UnitAttr.get()
        return filled

    def _edge(
        self,
        emission: Emission,
        b: ir.Value,
        first: int,
        x: ir.Value,
        y: ir.Value,
        result: ir.Value,
    ) -> ir.Value:
        """The last columns, in a buffer as wide as whole vectors."""
        left, lanes, m = self.shape.n - first, self.blocking.lanes, self.shape.m
        width = -(-left // lanes) * lanes
        n = index_constant(first)
        total = self._fresh(emission, emission.empty((m, width), self.element))

        def block(k: ir.Value, depth: int, c: ir.Value) -> ir.Value:
            packed = self.packed(b, k, depth, n, left, width, y)
            return self._rows(b, k, depth, width, x, packed, c)

        total = self._depth_blocks(total, block)
        kept = extract(total, [0, 0], [m, left], [m, left])
        return insert(kept, result, [b, 0, n], [1, m, left])

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
        """y[b, k .. k + depth, n .. n + count] with rows of `width`, zeros at their ends."""
        if self.shape.y_transposed:
            part = extract(y, [b, n, k], [1, count, depth], [count, depth])
        else:
            part = extract(y, [b, k, n], [1, depth, count], [depth, count])
            if width == count and self.shape.m < _ROWS_TO_PACK:
                return part
        if width == count and not self.shape.y_transposed:
            # A copy in memory: as an op on tensors it would be folded away.
            type_ = ir.RankedTensorType.get([depth, width], self.element)
            return bufferization.alloc_tensor(type_, [], copy=part)
        target = tensor.empty([depth, width], self.element)
        if width == count:
            return self.transposed(part, target)
        target = linalg.fill(constant(self.element, 0), outs=[target])
        if self.shape.y_transposed:
            into = extract(target, [0, 0], [depth, count], [depth, count])
            part = self.transposed(part, into)
        return insert(part, target, [0, 0], [depth, count])

    def transposed(self, part: ir.Value, target: ir.Value) -> ir.Value:
        """Loops run along rows of y, where reads are contiguous."""
        maps = [affine_map(2, identity(2)), affine_map(2, (dim(1), dim(0)))]
        op = linalg.GenericOp(
            [target.type],
            [part],
            [target],
            ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
            ir.ArrayAttr.get([ir.Attribute.parse("#linalg.iterator_type<parallel>")] * 2),
        )
        locations = [op.operation.location] * 2
        block = op.regions[0].blocks.append(self.element, self.element, arg_locs=locations)
        with ir.InsertionPoint(block):
            linalg.YieldOp([block.arguments[0]])
        return op.results[0]

    def _rows(
        self,
        b: ir.Value,
        k: ir.Value,
        depth: int,
        width: int,
        x: ir.Value,
        block: ir.Value,
        tile: ir.Value,
    ) -> ir.Value:
        """tile += x[b, :, k .. k + depth] block, in register tiles."""
        m, rows, at = self.shape.m, self.blocking.rows, self.left(b)
        whole = m - m % rows
        for first, count, height in ((0, whole, rows), (whole, m - whole, m - whole)):
            if not count:
                continue
            if self.shape.x_transposed:
                part = extract(x, [at, k, first], [1, depth, count], [depth, count])
            else:
                part = extract(x, [at, first, k], [1, count, depth], [count, depth])
            target = tile
            if count != m:
                target = extract(tile, [first, 0], [count, width], [count, width])
            product = self.contract(part, block, target, height)
            if count != m:
                product = insert(product, tile, [first, 0], [count, width])
            tile = product
        return tile

    def contract(self, part: ir.Value, block: ir.Value, target: ir.Value, height: int) -> ir.Value:
        # Dimensions: row, column, depth.
        x_map = (dim(2), dim(0)) if self.shape.x_transposed else (dim(0), dim(2))
        rest = (dim(2), dim(1)), (dim(0), dim(1))
        maps: Any = [affine_map(3, m) for m in (x_map, *rest)]
        product: Any = linalg.contract(part, block, outs=[target], indexing_maps=maps)
        i64 = ir.IntegerType.get_signless(64)
        product.owner.attributes[MARK] = ir.IntegerAttr.get(i64, height)
        return product


def _split(places: Sequence[ir.Value | int]) -> tuple[list[ir.Value], list[int]]:
    values = [place for place in places if isinstance(place, ir.Value)]
    return values, [_DYNAMIC if isinstance(place, ir.Value) else place for place in places]


def extract(
    value: ir.Value, at: Sequence[ir.Value | int], sizes: list[int], shape: list[int]
) -> ir.Value:
    values, static = _split(at)
    type_ = tensor_of(shape, element_type(value))
    return tensor.extract_slice(type_, value, values, [], [], static, sizes, [1] * len(sizes))


def insert(
    part: ir.Value, into: ir.Value, at: Sequence[ir.Value | int], sizes: list[int]
) -> ir.Value:
    values, static = _split(at)
    return tensor.insert_slice(part, into, values, [], [], static, sizes, [1] * len(sizes))
