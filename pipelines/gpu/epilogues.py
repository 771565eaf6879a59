"""A product of matrices with the loop nest that follows it, element by element, as one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlir import ir
from mlir.dialects import arith, memref

from ..builders import index_constant
from ..plan_memory import VIEWS
from . import tiles
from .nests import Nest, is_dense
from .products import Product
from .row_groups import ELEMENT, RowNest, origin, root

#: A body is repeated for each of a thread's sums.
_LARGEST_BODY = 60


@dataclass
class Fused:
    """`after` takes the product's elements out of registers; its buffer is not needed then."""

    product: Product
    after: RowNest | None
    #: The loops of the product as its result lies in memory, and how many give a row of `after`.
    order: Sequence[int] = ()
    split: int = 0

    @property
    def nests(self) -> list[Nest]:
        return [self.product.nest, *([self.after.nest] if self.after else [])]

    @staticmethod
    def of(product: Product, following: Nest | None) -> Fused:
        alone = Fused(product, None)
        if following is None or following.reduced or len(following.body) > _LARGEST_BODY:
            return alone
        order = _order(product)
        found = None
        for split in _splits(product, order):
            found = found or Fused._split(product, following, order, split)
        if found is None or found.after is None:
            return alone
        after = found.after
        buffer = origin(product.nest.outputs[0].buffer)
        if isinstance(buffer.owner, ir.Block) or buffer.owner.name != "memref.alloc":
            return alone
        overwrites = False
        for number, access in enumerate(following.accesses):
            if not isinstance(access.buffer.type, ir.MemRefType) or origin(access.buffer) != buffer:
                continue
            if number < len(following.inputs) and not following.used[number]:
                continue
            if after.form(access) != ELEMENT or root(access.buffer) != buffer:
                return alone
            overwrites |= number >= len(following.inputs)
        # What others read is the product, unless it is overwritten here.
        if not overwrites and _users(buffer) - {product.nest.op, following.op}:
            return alone
        return found

    @staticmethod
    def _split(product: Product, following: Nest, order: Sequence[int], split: int) -> Fused | None:
        after = RowNest.of(following, product.size(order[:split]))
        return None if after is None else Fused(product, after, order, split)

    def emit(self) -> None:
        tiles.emit(self.product, self._store_after if self.after else self._store)

    def _store(self, batch: ir.Value, row: ir.Value, column: ir.Value, value: ir.Value) -> None:
        [access] = self.product.nest.outputs
        memref.store(value, access.buffer, access.at(self._loops(batch, row, column)))

    def _loops(self, batch: ir.Value, row: ir.Value, column: ir.Value) -> list[ir.Value]:
        product = self.product
        loops: list[ir.Value] = [index_constant(0)] * len(product.nest.domain)
        groups = (product.batch, batch), (product.rows, row), (product.columns, column)
        for dims, flat in groups:
            sizes = [product.nest.domain[d] for d in dims]
            for d, index in zip(dims, tiles.unravelled(flat, sizes), strict=True):
                loops[d] = index
        return loops

    def _place(self, batch: ir.Value, row: ir.Value, column: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The row of `after`, and the element in it, of an element of the product."""
        product = self.product
        if self.order == _row_major(product):
            if not product.batch:
                return row, column
            count = index_constant(product.size(product.rows))
            return arith.addi(arith.muli(batch, count), row), column
        loops = self._loops(batch, row, column)
        outer, inner = (
            self._flat(loops, dims) for dims in (self.order[: self.split], self.order[self.split :])
        )
        return outer, inner

    def _flat(self, loops: Sequence[ir.Value], dims: Sequence[int]) -> ir.Value:
        flat = loops[dims[0]]
        for d in dims[1:]:
            size = index_constant(self.product.nest.domain[d])
            flat = arith.addi(arith.muli(flat, size), loops[d])
        return flat

    def _store_after(
        self, batch: ir.Value, row: ir.Value, column: ir.Value, value: ir.Value
    ) -> None:
        assert self.after is not None
        nest = self.after.nest
        buffer = origin(self.product.nest.outputs[0].buffer)
        loops = self.after.loops(*self._place(batch, row, column))
        known = {
            number: value
            for number, access in enumerate(nest.inputs)
            if isinstance(access.buffer.type, ir.MemRefType) and origin(access.buffer) == buffer
        }
        results = nest.run(loops, nest.loads(loops, known))
        for access, result in zip(nest.outputs, results, strict=True):
            memref.store(result, access.buffer, access.at(loops))


def _row_major(product: Product) -> list[int]:
    return [*product.batch, *product.rows, *product.columns]


def _splits(product: Product, order: Sequence[int]) -> Sequence[int]:
    """How many of the loops may give a row; where columns are the last ones, all the others."""
    if order == _row_major(product):
        return [len(product.batch) + len(product.rows)]
    return range(len(order) - 1, 0, -1)


def _order(product: Product) -> list[int]:
    """The loops as the result lies in memory, or none if it does not lie there whole."""
    nest = product.nest
    [access] = nest.outputs
    type_ = access.buffer.type
    assert isinstance(type_, ir.MemRefType)
    dims = [terms[0][0] for offset, terms in access.indices if offset == 0 and len(terms) == 1]
    sizes = [nest.domain[d] for d in dims]
    whole = is_dense(access.buffer) and sorted(dims) == sorted(_row_major(product))
    return dims if whole and sizes == list(type_.shape) else []


def _users(buffer: ir.Value) -> set[ir.Operation]:
    found: set[ir.Operation] = set()
    for use in buffer.uses:
        owner = use.owner.operation
        found |= _users(owner.results[0]) if owner.name in VIEWS else {owner}
    return found
