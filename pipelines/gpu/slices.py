"""A factor of a product on its way through shared memory, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref, scf

from ..builders import block_of, index_constant
from ..scalars import constant, width
from . import asynchronous
from .launch import BLOCK, Threads, divided, less, unravelled, when
from .nests import is_dense
from .products import Factor, Product

Values = list[ir.Value]


@dataclass(frozen=True)
class Layout:
    """How slices lie in shared memory: so many terms, in rows with a pad of so many bytes.

    A row is of neighbours in the tile; with `terms_pad`, it is of terms (and has this pad) if those
    are neighbours in global memory.
    """

    depth: int
    pad: int
    terms_pad: int | None = None


class Slice:
    """`length` rows (or columns) of a factor, and some terms of the sum, twice."""

    def __init__(
        self, product: Product, factor: Factor, own: list[int], length: int, layout: Layout
    ) -> None:
        self.product, self.factor, self.own = product, factor, own
        self.length, self.depth = length, layout.depth
        self.element = factor.value.type
        self.size = product.size(own)
        #: Elements a thread moves, and whether neighbouring threads take neighbouring terms.
        self.each = -(-length * self.depth // BLOCK)
        self.terms_first = factor.dimension(product.terms) > factor.dimension(own)
        if not own:
            self.terms_first = True
        #: Whether neighbouring terms are beside each other.
        self.terms_inner = layout.terms_pad is not None and self.terms_first
        self.bytes = width(self.element) // 8
        self.pad = ((layout.terms_pad or 0) if self.terms_inner else layout.pad) // self.bytes
        self.copied = _copied_at_once(self)
        self.thread: Any = None
        self.memory: Any = None

    def allocate(self, t: Threads) -> None:
        outer, inner = (self.length, self.depth) if self.terms_inner else (self.depth, self.length)
        self.thread = t.thread_id
        self.memory = t.shared([2, outer, inner + self.pad], self.element)

    def at(self, half: ir.Value, term: ir.Value, row: ir.Value) -> Values:
        """The indices of an element in shared memory."""
        return [half, row, term] if self.terms_inner else [half, term, row]

    def place(self, n: int) -> tuple[ir.Value, ir.Value]:
        """Term and row, in the tile, of the n-th element that this thread moves."""
        flat = arith.addi(self.thread, index_constant(n * BLOCK)) if n else self.thread
        inner = self.depth if self.terms_first else self.length
        outer, at = divided(flat, inner, BLOCK * self.each)
        return (at, outer) if self.terms_first else (outer, at)

    def load(self, batch: Values, first: ir.Value, term: ir.Value, end: ir.Value) -> Values:
        """This thread's elements of the slice from `term` on; zero where there is nothing."""
        types = [self.element] * self.each
        more = scf.IfOp(less(term, end), types, has_else=True)
        with block_of(more.then_block):
            scf.YieldOp([self._element(n, batch, first, term, end) for n in range(self.each)])
        with block_of(more.else_block):
            scf.YieldOp([constant(self.element, 0)] * self.each)
        return list(more.results)

    def _element(
        self, n: int, batch: Values, first: ir.Value, term: ir.Value, end: ir.Value
    ) -> ir.Value:
        k, own = self.place(n)
        row = arith.addi(own, first)
        conditions = []
        if self.product.size(self.product.terms) % self.depth:
            conditions.append(less(arith.addi(k, term), end))
        if self.size % self.length:
            conditions.append(less(row, self.size))
        if not conditions:
            return self.factor.at(self.loops(batch, row, term, k))
        inside = conditions[0] if len(conditions) == 1 else arith.andi(*conditions)
        choice = scf.IfOp(inside, [self.element], has_else=True)
        with block_of(choice.then_block):
            scf.YieldOp([self.factor.at(self.loops(batch, row, term, k))])
        with block_of(choice.else_block):
            scf.YieldOp([constant(self.element, 0)])
        return choice.results[0]

    def loops(self, batch: Values, row: ir.Value, term: ir.Value, k: ir.Value) -> Values:
        """Of the k-th term after `term`, where a slice begins."""
        product = self.product
        zero = index_constant(0)
        found = [zero] * len(product.nest.domain)
        for loops, values in (
            (product.batch, batch),
            (self.own, self._indices(self.own, row)),
            (product.terms, self._terms(term, k)),
        ):
            for d, value in zip(loops, values, strict=True):
                found[d] = value
        return found

    def _terms(self, term: ir.Value, k: ir.Value) -> Values:
        """Slices that do not reach beyond an inner loop have the same place in the outer ones."""
        terms = self.product.terms
        for count in range(1, len(terms)):
            inner = self.product.size(terms[-count:])
            if inner % self.depth == 0:
                outer, within = divided(term, inner, self.product.size(terms))
                return [
                    *self._indices(terms[:-count], outer),
                    *self._indices(terms[-count:], arith.addi(within, k)),
                ]
        return self._indices(terms, arith.addi(term, k))

    def _indices(self, loops: Sequence[int], flat: ir.Value) -> Values:
        return unravelled(flat, [self.product.nest.domain[d] for d in loops])

    def keep(self, half: ir.Value, values: Values) -> None:
        for n, value in enumerate(values):
            k, row = self.place(n)
            if (n + 1) * BLOCK > self.length * self.depth:
                flat = arith.addi(self.thread, index_constant(n * BLOCK))
                with when(less(flat, self.length * self.depth)):
                    memref.store(value, self.memory, self.at(half, k, row))
            else:
                memref.store(value, self.memory, self.at(half, k, row))

    def copy(
        self, half: ir.Value, batch: Values, first: ir.Value, term: ir.Value, end: ir.Value
    ) -> None:
        """Has the slice copied to shared memory, while this thread goes on."""
        many = self.copied
        count = self.length * self.depth // many
        number = self.factor.plain
        assert number is not None
        access = self.product.nest.accesses[number]
        for n in range(-(-count // BLOCK)):
            flat = arith.addi(self.thread, index_constant(n * BLOCK))
            fast = (self.depth if self.terms_first else self.length) // many
            outer, to = divided(flat, fast, -(-count // BLOCK) * BLOCK)
            to = arith.muli(to, index_constant(many))
            k, row = (to, outer) if self.terms_first else (outer, to)
            source_k, source_row = arith.addi(k, term), arith.addi(row, first)
            inside = arith.andi(less(source_k, end), less(source_row, self.size))
            loops = self.loops(batch, source_row, term, k)
            places = self.memory, self.at(half, k, row), access.buffer, access.at(loops)
            if (n + 1) * BLOCK > count:
                with when(less(flat, count)):
                    asynchronous.copy(*places, many * self.bytes, inside)
            else:
                asynchronous.copy(*places, many * self.bytes, inside)


def _copied_at_once(side: Slice) -> int:
    """How many elements the hardware copies at once, without a thread's registers; 0: it cannot.

    It copies 4, 8 or 16 bytes, which must be neighbours on both sides, and aligned.
    """
    number = side.factor.plain
    if number is None:
        return 0
    nest = side.product.nest
    access = nest.accesses[number]
    type_ = access.buffer.type
    if not isinstance(type_, ir.MemRefType) or not is_dense(access.buffer):
        return 0
    loops = side.product.terms if side.terms_inner else side.own
    last = loops[-1] if loops else None
    length = side.depth if side.terms_inner else side.length
    beside = len(loops) == 1 and access.along() == last
    unshifted = bool(access.indices) and access.indices[-1] == (0, ((last, 1),))
    for bytes_ in (16, 8, 4):
        many = bytes_ // side.bytes
        if many == 1:
            return 1
        sizes = (nest.domain[last or 0], length, *type_.shape[-1:])
        if many and beside and unshifted and not any(size % many for size in sizes):
            return many
    return 0
