"""A product of matrices with the loop nest that follows it, element by element, as one kernel."""

from __future__ import annotations

from dataclasses import dataclass

from mlir import ir
from mlir.dialects import arith, memref

from ..builders import index_constant
from ..plan_memory import VIEWS
from . import tiles
from .nests import Nest
from .products import Product
from .row_groups import ELEMENT, RowNest, origin, root

#: A body is repeated for each of a thread's sums.
_LARGEST_BODY = 60


@dataclass
class Fused:
    """`after` takes the product's elements out of registers; its buffer is not needed then."""

    product: Product
    after: RowNest | None

    @property
    def nests(self) -> list[Nest]:
        return [self.product.nest, *([self.after.nest] if self.after else [])]

    @staticmethod
    def of(product: Product, following: Nest | None) -> Fused:
        alone = Fused(product, None)
        if following is None or following.reduced or len(following.body) > _LARGEST_BODY:
            return alone
        rows = product.size(product.batch) * product.size(product.rows)
        after = RowNest.of(following, rows)
        if after is None or not _is_row_major(product):
            return alone
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
        return Fused(product, after)

    def emit(self) -> None:
        tiles.emit(self.product, self._store_after if self.after else self._store)

    def _store(self, batch: ir.Value, row: ir.Value, column: ir.Value, value: ir.Value) -> None:
        product = self.product
        [access] = product.nest.outputs
        loops: list[ir.Value] = [index_constant(0)] * len(product.nest.domain)
        groups = (product.batch, batch), (product.rows, row), (product.columns, column)
        for dims, flat in groups:
            sizes = [product.nest.domain[d] for d in dims]
            for d, index in zip(dims, tiles.unravelled(flat, sizes), strict=True):
                loops[d] = index
        memref.store(value, access.buffer, access.at(loops))

    def _store_after(
        self, batch: ir.Value, row: ir.Value, column: ir.Value, value: ir.Value
    ) -> None:
        assert self.after is not None
        nest = self.after.nest
        buffer = origin(self.product.nest.outputs[0].buffer)
        count = self.product.size(self.product.rows)
        at = row
        if self.product.batch:
            at = arith.addi(arith.muli(batch, index_constant(count)), row)
        loops = self.after.loops(at, column)
        known = {
            number: value
            for number, access in enumerate(nest.inputs)
            if isinstance(access.buffer.type, ir.MemRefType) and origin(access.buffer) == buffer
        }
        results = nest.run(loops, nest.loads(loops, known))
        for access, result in zip(nest.outputs, results, strict=True):
            memref.store(result, access.buffer, access.at(loops))


def _is_row_major(product: Product) -> bool:
    """Does the result lie in memory as (batch, rows, columns)?"""
    nest = product.nest
    order = [*product.batch, *product.rows, *product.columns]
    [access] = nest.outputs
    type_ = access.buffer.type
    assert isinstance(type_, ir.MemRefType)
    rank = len(access.indices)
    if type_.layout != ir.AffineMapAttr.get(ir.AffineMap.get_identity(type_.rank)):
        return False
    dims = [terms[0][0] for offset, terms in access.indices if offset == 0 and len(terms) == 1]
    sizes = [nest.domain[d] for d in dims]
    return len(dims) == rank and dims == order and sizes == list(type_.shape)


def _users(buffer: ir.Value) -> set[ir.Operation]:
    found: set[ir.Operation] = set()
    for use in buffer.uses:
        owner = use.owner.operation
        found |= _users(owner.results[0]) if owner.name in VIEWS else {owner}
    return found
