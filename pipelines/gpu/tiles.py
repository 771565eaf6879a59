"""Kernels of products of matrices: tiles in shared memory, and of these tiles in registers.

256 threads compute a tile of the result. Slices of both factors go through shared memory, the next
one while this one is used; register_tiles.py and tensor_cores.py multiply them. What follows the
product element by element is computed before its result is stored. Where there are too few tiles
for the machine, the sum is cut into parts, which a second kernel adds in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from ..scalars import width
from . import asynchronous
from .launch import BLOCK, Threads, launch, less, unravelled, when
from .products import Product
from .register_tiles import RegisterTiles
from .slices import Values
from .tensor_cores import TensorCores

#: Blocks that keep the machine busy, and terms that are worth a part of the sum.
_BUSY, _PART = 132, 128
#: Blocks on a multiprocessor: up to 128 registers a thread.
_RESIDENT = 2

#: Takes batch, row, column and the sum there.
Store = Callable[[ir.Value, ir.Value, ir.Value, ir.Value], None]


@dataclass(frozen=True)
class Tiling:
    """A tile of the result, and how many parts the sum has."""

    rows: int
    columns: int
    parts: int

    @staticmethod
    def of(product: Product, bits: int) -> Tiling:
        smallest = _multiplier(product).smallest
        batch, m, n, k = (
            product.size(loops)
            for loops in (product.batch, product.rows, product.columns, product.terms)
        )
        largest = 128 if bits <= 32 else 64
        rows, columns = (min(largest, max(smallest, _power(size))) for size in (m, n))

        def blocks() -> int:
            return batch * -(-m // rows) * -(-n // columns)

        while blocks() < _BUSY and max(rows, columns) > 32:
            if rows >= columns:
                rows //= 2
            else:
                columns //= 2
        parts = 1
        if 2 * blocks() <= _BUSY and k >= 2 * _PART:
            parts = min(k // _PART, -(-_BUSY // blocks()))
        return Tiling(rows, columns, parts)


def _power(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def _multiplier(product: Product) -> type[RegisterTiles | TensorCores]:
    return RegisterTiles if product.cores is None else TensorCores


def emit(product: Product, store: Store) -> None:
    """The kernels, here; `store` is called in them, where there is an element."""
    nest = product.nest
    element = nest.yielded[0].type
    tiling = Tiling.of(product, width(element))
    kernel = _Kernel(product, tiling, element)
    if tiling.parts == 1:
        kernel.emit(lambda _, *place: store(*place))
        return
    sizes = [kernel.batch, kernel.m, kernel.n]
    partial = memref.alloc(ir.MemRefType.get([tiling.parts, *sizes], element), [], [])

    def keep(part: ir.Value, b: ir.Value, i: ir.Value, j: ir.Value, value: ir.Value) -> None:
        memref.store(value, partial, [part, b, i, j])

    kernel.emit(keep)
    count = kernel.batch * kernel.m * kernel.n
    with (
        launch(f"{kernel.name}_parts", -(-count // BLOCK), BLOCK) as t,
        when(less(t.flat(), count)),
    ):
        b, i, j = place = unravelled(t.flat(), sizes)
        total = memref.load(partial, [index_constant(0), *place])
        for part in range(1, tiling.parts):
            total = arith.addf(total, memref.load(partial, [index_constant(part), *place]))
        store(b, i, j, total)


class _Kernel:
    def __init__(self, product: Product, tiling: Tiling, element: ir.Type) -> None:
        self.product, self.tiling, self.element = product, tiling, element
        self.batch, self.m, self.n, self.k = (
            product.size(loops)
            for loops in (product.batch, product.rows, product.columns, product.terms)
        )
        name = "product" if product.cores is None else f"product_{product.cores.kind}"
        self.name = f"{name}_{tiling.rows}x{tiling.columns}"
        self.block = _multiplier(product)(product, tiling.rows, tiling.columns)
        self.left, self.right = self.block.left, self.block.right

    def emit(self, store: Callable[..., None]) -> None:
        tiling = self.tiling
        counts = [
            tiling.parts,
            self.batch,
            -(-self.m // tiling.rows),
            -(-self.n // tiling.columns),
        ]
        grid = counts[0] * counts[1] * counts[2] * counts[3]
        with launch(self.name, grid, BLOCK, resident=_RESIDENT) as t:
            part, batch, tile_row, tile_column = unravelled(t.block_id, counts)
            domain = self.product.nest.domain
            at = unravelled(batch, [domain[d] for d in self.product.batch])
            firsts = (
                arith.muli(tile_row, index_constant(tiling.rows)),
                arith.muli(tile_column, index_constant(tiling.columns)),
            )
            each = -(-self.k // tiling.parts)
            depth = self.block.layout.depth
            length = -(-each // depth) * depth
            start = arith.muli(part, index_constant(length))
            end = arith.minui(arith.addi(start, index_constant(length)), index_constant(self.k))
            sums = self._sums(t, at, firsts, start, end, length)
            self._store(store, part, batch, firsts, sums)

    def _sums(
        self,
        t: Threads,
        at: Values,
        firsts: tuple[ir.Value, ir.Value],
        start: ir.Value,
        end: ir.Value,
        length: int,
    ) -> Values:
        depth = self.block.layout.depth
        nothing = self.block.begin(t)
        sides = list(zip((self.left, self.right), firsts, strict=True))
        zero = index_constant(0)
        late = all(side.copied for side, _ in sides)
        for side, first in sides:
            if late:
                side.copy(zero, at, first, start, end)
            else:
                side.keep(zero, side.load(at, first, start, end))
        if late:
            asynchronous.commit()
        else:
            t.barrier()
        slices = index_constant(-(-length // depth))
        loop = scf.ForOp(zero, slices, index_constant(1), nothing)
        with block_of(loop.body):
            s, sums = loop.induction_variable, list(loop.inner_iter_args)
            half = arith.andi(s, index_constant(1))
            other = arith.xori(half, index_constant(1))
            following = arith.addi(
                start, arith.muli(arith.addi(s, index_constant(1)), index_constant(depth))
            )
            if late:
                asynchronous.wait(0)
                t.barrier()  # the slice is there, and nobody uses the one before any more
                for side, first in sides:
                    side.copy(other, at, first, following, end)
                asynchronous.commit()
                sums = self.block.multiply(half, sums)
            else:
                fetched = [side.load(at, first, following, end) for side, first in sides]
                sums = self.block.multiply(half, sums)
                for (side, _), values in zip(sides, fetched, strict=True):
                    side.keep(other, values)
                t.barrier()
            scf.YieldOp(sums)
        return list(loop.results)

    def _store(
        self,
        store: Callable[..., None],
        part: ir.Value,
        batch: ir.Value,
        firsts: tuple[ir.Value, ir.Value],
        sums: Values,
    ) -> None:
        for row, column, value in self.block.places(sums):
            at, to = arith.addi(firsts[0], row), arith.addi(firsts[1], column)
            conditions = []
            if self.m % self.tiling.rows:
                conditions.append(less(at, self.m))
            if self.n % self.tiling.columns:
                conditions.append(less(to, self.n))
            if not conditions:
                store(part, batch, at, to, value)
                continue
            good = conditions[0] if len(conditions) == 1 else arith.andi(*conditions)
            with when(good):
                store(part, batch, at, to, value)
