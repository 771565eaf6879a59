"""Lowering of gather and the scatters, the ops whose positions are data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mlir import ir
from mlir.dialects import arith, scf, tensor

from .affine import Indices, dim
from .builders import for_loop
from .loop_emission import Emission
from .loop_graph import Node
from .scalars import Scalars, constant

if TYPE_CHECKING:
    from .lowering import Lowering


#: What becomes of an element and an update; None: the update replaces it.
Combine = Callable[[Scalars, ir.Value, ir.Value], ir.Value] | None


class Positions:
    """Where out[b, i, r] lies in x[...]; the index tensors have shape b + i."""

    def __init__(
        self, x: Node, indices: Sequence[Node], axes: Sequence[int], batch_dims: int, checked: bool
    ) -> None:
        self.x, self.axes, self.batch, self.checked = x, list(axes), batch_dims, checked
        self.index_rank = len(indices[0].shape)
        self.rest = [d for d in range(batch_dims, len(x.shape)) if d not in self.axes]
        self.shape = (*indices[0].shape, *(x.shape[d] for d in self.rest))

    def index_map(self) -> Indices:
        return tuple(map(dim, range(self.index_rank)))

    def within(self, at: Sequence[ir.Value], found: Sequence[ir.Value]) -> list[ir.Value]:
        """The position in x for loop indices `at` and the elements found in the index tensors."""
        result: list[ir.Value | None] = [None] * len(self.x.shape)
        for d in range(self.batch):
            result[d] = at[d]
        for axis, value in zip(self.axes, found, strict=True):
            result[axis] = self.clamped(value, self.x.shape[axis])
        for position, d in enumerate(self.rest):
            result[d] = at[self.index_rank + position]
        return [value for value in result if value is not None]

    def clamped(self, value: ir.Value, size: int) -> ir.Value:
        if not self.checked:
            low, high = constant(value.type, 0), constant(value.type, size - 1)
            value = arith.minsi(arith.maxsi(value, low), high)
        return arith.index_cast(ir.IndexType.get(), value)


def gathered(
    lowering: Lowering,
    x: Node,
    indices: Sequence[Node],
    axes: Sequence[int],
    batch_dims: int,
    checked: bool,
) -> Node:
    positions = Positions(x, indices, axes, batch_dims, checked)
    if x.size == 0:
        # Every index is out of range, and recorded as such: there is nothing to read.
        return lowering.full(positions.shape, x.element, 0)

    def body(emission: Emission, at: Sequence[ir.Value], *found: ir.Value) -> ir.Value:
        return emission.load(x, positions.within(at, found))

    reads = [(index, positions.index_map()) for index in indices]
    return lowering.pointwise(
        positions.shape, x.element, reads, body, cost=6, tensors=[x], indexed=True
    )


def scattered(
    lowering: Lowering,
    x: Node,
    updates: Node,
    indices: Sequence[Node],
    axes: Sequence[int],
    batch_dims: int,
    checked: bool,
    combine: Combine,
) -> Node:
    """One loop after another over the updates, in row-major order: the result is determined."""
    positions = Positions(x, indices, axes, batch_dims, checked)
    if x.size == 0 or updates.size == 0:
        return x

    def emit(
        emission: Emission,
        destination: ir.Value,
        base: ir.Value,
        new: ir.Value,
        *index_tensors: ir.Value,
    ) -> ir.Value:
        def write_one(at: list[ir.Value], into: ir.Value) -> ir.Value:
            prefix = at[: positions.index_rank]
            found = [tensor.extract(index, prefix) for index in index_tensors]
            place = positions.within(at, found)
            value = tensor.extract(new, at)
            if combine is not None:
                value = combine(emission.scalars, tensor.extract(into, place), value)
            return tensor.insert(value, into, place)

        def nest(at: list[ir.Value], into: ir.Value) -> ir.Value:
            if len(at) == len(positions.shape):
                return write_one(at, into)
            size = positions.shape[len(at)]
            loop = for_loop(size, 1, into)
            with ir.InsertionPoint(loop.body):
                scf.YieldOp([nest([*at, loop.induction_variable], loop.inner_iter_args[0])])
            return loop.results[0]

        return nest([], emission.copied(base, destination))

    return lowering.whole(x.shape, x.element, [x, updates, *indices], emit)
