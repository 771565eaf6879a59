"""Kernels of products of matrices: tiles in shared memory, and of these tiles in registers.

256 threads compute a tile of the result. Slices of both factors, 16 terms long, go through shared
memory, the next one while this one is used; each thread keeps up to 8 x 8 sums. What follows the
product element by element is computed before its result is stored. Where there are too few tiles
for the machine, the sum is cut into parts, which a second kernel adds in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlir import ir
from mlir.dialects import arith, math, memref, scf, vector

from ..builders import block_of, index_constant
from ..scalars import constant, width
from . import asynchronous
from .launch import Threads, divided, launch, less, unravelled, when
from .nests import is_dense
from .products import Factor, Product

SIDE = 16
BLOCK = SIDE * SIDE
DEPTH = 16
#: Blocks that keep the machine busy, and terms that are worth a part of the sum.
_BUSY, _PART = 132, 128

Values = list[ir.Value]
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
        batch, m, n, k = (
            product.size(loops)
            for loops in (product.batch, product.rows, product.columns, product.terms)
        )
        largest = 128 if bits <= 32 else 64
        rows, columns = (min(largest, max(SIDE, _power(size))) for size in (m, n))

        def blocks() -> int:
            return batch * -(-m // rows) * -(-n // columns)

        while blocks() < _BUSY and max(rows, columns) > 2 * SIDE:
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


class _Side:
    """A factor on its way through shared memory: `length` of its rows (or columns) in a tile."""

    def __init__(self, kernel: _Kernel, factor: Factor, own: list[int], length: int) -> None:
        self.kernel, self.factor, self.own, self.length = kernel, factor, own, length
        product = kernel.product
        self.size = product.size(own)
        #: Elements a thread moves, and whether neighbouring threads take neighbouring terms.
        self.each = -(-length * DEPTH // BLOCK)
        self.terms_first = factor.along(product.terms) and not factor.along(own)
        if not own:
            self.terms_first = True
        self.pad = 16 // (width(kernel.element) // 8)
        self.memory: Any = None
        self.copied = copied_at_once(factor, own, length)

    def allocate(self, t: Threads) -> None:
        self.memory = t.shared([2, DEPTH, self.length + self.pad], self.kernel.element)

    def place(self, n: int) -> tuple[ir.Value, ir.Value]:
        """Term and row, in the tile, of the n-th element that this thread moves."""
        thread = self.kernel.t.thread_id
        flat = arith.addi(thread, index_constant(n * BLOCK)) if n else thread
        inner = DEPTH if self.terms_first else self.length
        outer, at = divided(flat, inner, BLOCK * self.each)
        return (at, outer) if self.terms_first else (outer, at)

    def load(self, batch: Values, first: ir.Value, term: ir.Value, end: ir.Value) -> Values:
        """This thread's elements of the slice from `term` on; zero where there is nothing."""
        values = []
        for n in range(self.each):
            k, row = self.place(n)
            k, row = arith.addi(k, term), arith.addi(row, first)
            inside = arith.andi(less(k, end), less(row, self.size))
            zero = constant(self.kernel.element, 0)
            choice = scf.IfOp(inside, [self.kernel.element], has_else=True)
            with block_of(choice.then_block):
                scf.YieldOp([self.factor.at(self.loops(batch, row, k))])
            with block_of(choice.else_block):
                scf.YieldOp([zero])
            values.append(choice.results[0])
        return values

    def loops(self, batch: Values, row: ir.Value, k: ir.Value) -> Values:
        product = self.kernel.product
        zero = index_constant(0)
        found = [zero] * len(product.nest.domain)
        for loops, values in (
            (product.batch, batch),
            (self.own, self._indices(self.own, row)),
            (product.terms, self._indices(product.terms, k)),
        ):
            for d, value in zip(loops, values, strict=True):
                found[d] = value
        return found

    def _indices(self, loops: Sequence[int], flat: ir.Value) -> Values:
        return unravelled(flat, [self.kernel.product.nest.domain[d] for d in loops])

    def keep(self, half: ir.Value, values: Values) -> None:
        for n, value in enumerate(values):
            k, row = self.place(n)
            if (n + 1) * BLOCK > self.length * DEPTH:
                flat = arith.addi(self.kernel.t.thread_id, index_constant(n * BLOCK))
                with when(less(flat, self.length * DEPTH)):
                    memref.store(value, self.memory, [half, k, row])
            else:
                memref.store(value, self.memory, [half, k, row])

    def copy(
        self, half: ir.Value, batch: Values, first: ir.Value, term: ir.Value, end: ir.Value
    ) -> None:
        """Has the slice copied to shared memory, while this thread goes on."""
        many = self.copied
        bytes_ = many * width(self.kernel.element) // 8
        count = self.length * DEPTH // many
        number = self.factor.plain
        assert number is not None
        access = self.kernel.product.nest.accesses[number]
        for n in range(-(-count // BLOCK)):
            flat = arith.addi(self.kernel.t.thread_id, index_constant(n * BLOCK))
            inner = DEPTH if self.terms_first else self.length // many
            outer, to = divided(flat, inner, -(-count // BLOCK) * BLOCK)
            k, row = (to, outer) if self.terms_first else (outer, to)
            row = arith.muli(row, index_constant(many))
            source_k, source_row = arith.addi(k, term), arith.addi(row, first)
            inside = arith.andi(less(source_k, end), less(source_row, self.size))
            loops = self.loops(batch, source_row, source_k)
            places = self.memory, [half, k, row], access.buffer, access.at(loops)
            if (n + 1) * BLOCK > count:
                with when(less(flat, count)):
                    asynchronous.copy(*places, bytes_, inside)
            else:
                asynchronous.copy(*places, bytes_, inside)

    def register_rows(self, thread: ir.Value) -> list[tuple[ir.Value, int]]:
        """Where the rows of a thread begin, and how many are beside each other."""
        each = self.length // SIDE
        beside = min(each, self.pad)
        step = SIDE * beside
        first = arith.muli(thread, index_constant(beside))
        return [
            (arith.addi(first, index_constant(g * step)) if g else first, beside)
            for g in range(each // beside)
        ]

    def registers(self, half: ir.Value, k: ir.Value, thread: ir.Value) -> Values:
        values: Values = []
        for first, beside in self.register_rows(thread):
            at = [half, k, first]
            if beside == 1:
                values.append(memref.load(self.memory, at))
                continue
            type_ = ir.VectorType.get([beside], self.kernel.element)
            bytes_ = beside * width(self.kernel.element) // 8
            loaded = vector.LoadOp(type_, self.memory, at, alignment=bytes_).result
            values += [vector.extract(loaded, [], [lane]) for lane in range(beside)]
        return values


def copied_at_once(factor: Factor, own: list[int], length: int) -> int:
    """How many elements the hardware copies at once, without a thread's registers; 0: it cannot.

    Neighbours must lie beside each other on both sides, and rows begin at multiples of 16 bytes.
    """
    number = factor.plain
    if number is None:
        return 0
    access = factor.nest.accesses[number]
    type_ = access.buffer.type
    if not isinstance(type_, ir.MemRefType) or not is_dense(access.buffer):
        return 0
    bits = width(type_.element_type)
    if bits not in (32, 64):
        return 0
    many = 128 // bits
    last = own[-1] if own else None
    beside = access.along() == last is not None and len(own) == 1
    whole = beside and factor.nest.domain[own[0]] % many == 0 and length % many == 0
    rows = all(size % many == 0 for size in type_.shape[-1:])
    unshifted = access.indices and access.indices[-1] == (0, ((last, 1),))
    return many if whole and rows and unshifted else 1


class _Kernel:
    def __init__(self, product: Product, tiling: Tiling, element: ir.Type) -> None:
        self.product, self.tiling, self.element = product, tiling, element
        self.batch, self.m, self.n, self.k = (
            product.size(loops)
            for loops in (product.batch, product.rows, product.columns, product.terms)
        )
        self.name = f"product_{tiling.rows}x{tiling.columns}"
        self.t: Any = None
        self.left = _Side(self, product.left, product.rows, tiling.rows)
        self.right = _Side(self, product.right, product.columns, tiling.columns)

    def emit(self, store: Callable[..., None]) -> None:
        tiling = self.tiling
        counts = [
            tiling.parts,
            self.batch,
            -(-self.m // tiling.rows),
            -(-self.n // tiling.columns),
        ]
        grid = counts[0] * counts[1] * counts[2] * counts[3]
        with launch(self.name, grid, BLOCK) as t:
            self.t = t
            part, batch, tile_row, tile_column = unravelled(t.block_id, counts)
            domain = self.product.nest.domain
            at = unravelled(batch, [domain[d] for d in self.product.batch])
            firsts = (
                arith.muli(tile_row, index_constant(tiling.rows)),
                arith.muli(tile_column, index_constant(tiling.columns)),
            )
            each = -(-self.k // tiling.parts)
            length = -(-each // DEPTH) * DEPTH
            start = arith.muli(part, index_constant(length))
            end = arith.minui(arith.addi(start, index_constant(length)), index_constant(self.k))
            column, row = (divided(t.thread_id, SIDE, BLOCK)[i] for i in (1, 0))
            sums = self._sums(at, firsts, start, end, length, row, column)
            self._store(store, part, batch, firsts, row, column, sums)

    def _sums(
        self,
        at: Values,
        firsts: tuple[ir.Value, ir.Value],
        start: ir.Value,
        end: ir.Value,
        length: int,
        row: ir.Value,
        column: ir.Value,
    ) -> Values:
        sides = (self.left, self.right)
        for side in sides:
            side.allocate(self.t)
        zero = index_constant(0)
        late = all(side.copied for side in sides)
        for side, first in zip(sides, firsts, strict=True):
            if late:
                side.copy(zero, at, first, start, end)
            else:
                side.keep(zero, side.load(at, first, start, end))
        if late:
            asynchronous.commit()
        else:
            self.t.barrier()
        count = (self.left.length // SIDE) * (self.right.length // SIDE)
        nothing = [constant(self.element, 0)] * count
        slices = index_constant(-(-length // DEPTH))
        loop = scf.ForOp(zero, slices, index_constant(1), nothing)
        with block_of(loop.body):
            s, sums = loop.induction_variable, list(loop.inner_iter_args)
            half = arith.andi(s, index_constant(1))
            other = arith.xori(half, index_constant(1))
            following = arith.addi(
                start, arith.muli(arith.addi(s, index_constant(1)), index_constant(DEPTH))
            )
            if late:
                for side, first in zip(sides, firsts, strict=True):
                    side.copy(other, at, first, following, end)
                asynchronous.commit()
                asynchronous.wait(1)  # all but the slice that was just asked for
                self.t.barrier()
                sums = self._multiply(half, row, column, sums)
                self.t.barrier()
                scf.YieldOp(sums)
                return list(loop.results)
            fetched = [
                side.load(at, first, following, end)
                for side, first in zip(sides, firsts, strict=True)
            ]
            sums = self._multiply(half, row, column, sums)
            for side, values in zip(sides, fetched, strict=True):
                side.keep(other, values)
            self.t.barrier()
            scf.YieldOp(sums)
        return list(loop.results)

    def _multiply(self, half: ir.Value, row: ir.Value, column: ir.Value, sums: Values) -> Values:
        for k in range(DEPTH):
            at = index_constant(k)
            left = self.left.registers(half, at, row)
            right = self.right.registers(half, at, column)
            sums = [
                math.fma(x, y, sums[i * len(right) + j])
                for i, x in enumerate(left)
                for j, y in enumerate(right)
            ]
        return sums

    def _store(
        self,
        store: Callable[..., None],
        part: ir.Value,
        batch: ir.Value,
        firsts: tuple[ir.Value, ir.Value],
        row: ir.Value,
        column: ir.Value,
        sums: Values,
    ) -> None:
        rows = _places(self.left.register_rows(row), firsts[0])
        columns = _places(self.right.register_rows(column), firsts[1])
        for i, at in enumerate(rows):
            for j, to in enumerate(columns):
                conditions = []
                if self.m % self.tiling.rows:
                    conditions.append(less(at, self.m))
                if self.n % self.tiling.columns:
                    conditions.append(less(to, self.n))
                value = sums[i * len(columns) + j]
                if not conditions:
                    store(part, batch, at, to, value)
                    continue
                good = conditions[0] if len(conditions) == 1 else arith.andi(*conditions)
                with when(good):
                    store(part, batch, at, to, value)


def _places(groups: list[tuple[ir.Value, int]], first: ir.Value) -> Values:
    found = []
    for start, beside in groups:
        base = arith.addi(first, start)
        found += [
            arith.addi(base, index_constant(lane)) if lane else base for lane in range(beside)
        ]
    return found
