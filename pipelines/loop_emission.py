"""The loops that fusion.py has chosen, as linalg on tensors.

Truth values are bytes in memory: a tensor of i1 here is a tensor of i8, read with `!= 0` and
written as 0 or 1; half floats are their bits, i16 (see half.py). A value that is a result of the
function is written where the caller wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mlir import ir
from mlir.dialects import arith, bufferization, linalg, memref, tensor

from ..dialects.pb.types import element_type
from ..dialects.pb.types import shape as shape_of
from .affine import (
    Access,
    Index,
    Indices,
    Shape,
    affine_map,
    compose,
    dim,
    identity,
    merge_dims,
    without_products,
)
from .buffers import in_memory, product, reshaped, tensor_of
from .fusion import Fusion, Step, read_through
from .half import is_half
from .loop_graph import Node, Pointwise, Reduction, Reshaped, Stored, Whole
from .scalars import Scalars, constant

#: On a linalg op: the tile sizes that schedule.py gives its loops.
TILES = "pb.tiles"
_TILE = 8
#: Buffers from this many elements on do not stay in the first-level cache.
_LARGE = 4096


class _Read(NamedTuple):
    node: Node
    view: Shape | None
    indices: Indices


def _whole(step: Step) -> Whole:
    [node] = step.members
    assert isinstance(node, Whole)
    return node


class Emission:
    """Emits the steps in order; `tensor` gives what a node has become."""

    def __init__(self, fusion: Fusion, scalars: Scalars, outputs: dict[Node, ir.Value]) -> None:
        self.scalars = scalars
        self._fusion = fusion
        #: The memref that a node is to be written to.
        self._outputs = outputs
        self._tensors: dict[tuple[Node, Shape], ir.Value] = {}
        self._places: dict[Node, tuple[Any, ir.Value | None]] = {}
        self._parallel = ir.Attribute.parse("#linalg.iterator_type<parallel>")
        self._reduction = ir.Attribute.parse("#linalg.iterator_type<reduction>")

    def run(self) -> None:
        for step in self._fusion.steps:
            for node in _whole(step).results() if step.whole else ():
                # Here already, so that what is inserted into it can be computed in place.
                with node.location:
                    self._places[node] = self._place(_whole(step), node)
        for step in self._fusion.steps:
            with step.members[0].location:
                if step.whole:
                    self._emit_whole(step)
                elif 0 in step.domain:
                    for node in step.members:
                        self._tensors[node, node.shape] = self.empty(node.shape, node.element)
                else:
                    self._emit_loops(step)

    # Tensors.

    def tensor(self, node: Node, shape: Shape | None = None) -> ir.Value:
        """The stored node, seen under another shape."""
        shape = node.shape if shape is None else shape
        if (node, shape) not in self._tensors:
            if isinstance(node, Reshaped) and node not in self._fusion.step_of:
                value = self.tensor(node.source, shape)
            elif isinstance(node, Stored) and shape == node.shape:
                value = node.tensor
            else:
                value = reshaped(self.tensor(node), shape)
            self._tensors[node, shape] = value
        return self._tensors[node, shape]

    def empty(self, shape: Sequence[int], element: ir.Type) -> ir.Value:
        return tensor.empty(list(shape), in_memory(element))

    def filled(self, destination: ir.Value, number: ir.Value) -> ir.Value:
        return linalg.fill(number, outs=[destination])

    def copied(self, source: ir.Value, destination: ir.Value) -> ir.Value:
        """The elements of `source` where `destination` is."""
        return linalg.copy(source, outs=[destination])

    def inserted(
        self, value: ir.Value, into: ir.Value, offsets: Sequence[int], strides: Sequence[int]
    ) -> ir.Value:
        sizes = list(shape_of(value))
        return tensor.insert_slice(value, into, [], [], [], list(offsets), sizes, list(strides))

    def from_memory(self, value: ir.Value, element: ir.Type) -> ir.Value:
        if value.type == element:
            return value
        if is_half(element):
            return arith.bitcast(element, value)
        return arith.cmpi(arith.CmpIPredicate.ne, value, constant(value.type, 0))

    def to_memory(self, value: ir.Value) -> ir.Value:
        stored = in_memory(value.type)
        if stored == value.type:
            return value
        emit = arith.bitcast if is_half(value.type) else arith.extui
        return emit(stored, value)

    def load(self, node: Node, indices: Sequence[ir.Value]) -> ir.Value:
        """An element of a stored node, inside a loop body."""
        return self.from_memory(tensor.extract(self.tensor(node), list(indices)), node.element)

    def _destination(self, node: Node, shape: Shape) -> tuple[ir.Value, ir.Value | None]:
        """Where to write a node under this shape: a tensor, and the output memref behind it."""
        output = self._outputs.get(node)
        if output is None:
            return self.empty(shape, node.element), None
        view = reshaped(output, shape)
        type_ = tensor_of(shape, node.element)
        return bufferization.to_tensor(type_, view, restrict=True, writable=True), view

    def _place(self, whole: Whole, node: Node) -> tuple[ir.Value | None, ir.Value | None]:
        """Where a whole writes one of its results."""
        if not whole.in_memory:
            return self._destination(node, node.shape)
        if (output := self._outputs.get(node)) is not None:
            return None, reshaped(output, node.shape)
        type_ = ir.MemRefType.get(list(node.shape), in_memory(node.element))
        return None, memref.alloc(type_, [], [])

    def _written(self, result: ir.Value, view: ir.Value | None) -> None:
        if view is not None:
            bufferization.materialize_in_destination(
                None, result, view, restrict=True, writable=True
            )

    # Steps.

    def _emit_whole(self, step: Step) -> None:
        whole = _whole(step)
        nodes = whole.results()
        if whole.in_memory:
            places = [self._places[node][1] for node in nodes]
            whole.emit(self, places, *map(self.tensor, whole.sources))
            for node, place in zip(nodes, places, strict=True):
                type_ = tensor_of(node.shape, node.element)
                made = bufferization.to_tensor(type_, place, restrict=True)
                self._tensors[node, node.shape] = made
            return
        destinations = [self._places[node][0] for node in nodes]
        sources = [self.tensor(source) for source in whole.sources]
        made = whole.emit(self, destinations if whole.more else destinations[0], *sources)
        results: list[ir.Value] = made if whole.more else [made]
        for node, result in zip(nodes, results, strict=True):
            self._written(result, self._places[node][1])
            self._tensors[node, node.shape] = result

    def _emit_loops(self, step: Step) -> None:
        rank = len(step.domain)
        order, leaves = self._plan(step)
        writes = [_write_access(node, rank) for node in step.members]
        reads = [Access(r.view or r.node.shape, r.indices) for r in leaves]
        for read in order:  # made here, not in a body, where nobody else could use them
            for source in getattr(read.node, "tensors", ()):
                self.tensor(source)
        pinned = {
            d
            for read in order
            if isinstance(read.node, Pointwise) and read.node.indexed
            for index in read.indices
            for d in index.dims()
        }
        domain, kept, accesses, dims = merge_dims(step.domain, [*reads, *writes], pinned)
        accesses = [without_products(access, domain) for access in accesses]
        inputs = [
            _narrowed(self.tensor(read.node, access.shape), access, domain)
            for read, access in zip(leaves, accesses, strict=False)
        ]
        written = accesses[len(leaves) :]
        destinations = [
            self._destination(node, access.shape)
            for node, access in zip(step.members, written, strict=True)
        ]
        starts = [
            self._start(node, destination)
            for node, (destination, _) in zip(step.members, destinations, strict=True)
        ]
        # A loop that no buffer runs along gets its length from one that is never read.
        i8 = ir.IntegerType.get_signless(8)
        lengths = [d for d in range(len(domain)) if not any(dim(d) in a.indices for a in accesses)]
        inputs += [tensor.empty([domain[d]], i8) for d in lengths]
        accesses[len(leaves) : len(leaves)] = [Access((domain[d],), (dim(d),)) for d in lengths]
        maps = [affine_map(len(domain), access.indices) for access in accesses]
        reduced = step.reduced or frozenset()
        generic = linalg.GenericOp(
            [start.type for start in starts],
            inputs,
            starts,
            ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
            ir.ArrayAttr.get([self._reduction if d in reduced else self._parallel for d in kept]),
        )
        self._mark(generic, step, domain, accesses)
        arguments = [element_type(value) for value in (*inputs, *starts)]
        block = generic.regions[0].blocks.append(
            *arguments, arg_locs=[step.members[0].location] * len(arguments)
        )
        with ir.InsertionPoint(block):
            self._emit_body(step, order, leaves, block, dims)
        for node, access, (_, view), result in zip(
            step.members, written, destinations, generic.results, strict=True
        ):
            self._written(result, view)
            self._tensors[node, access.shape] = result
            if access.shape != node.shape:
                self._tensors[node, node.shape] = reshaped(result, node.shape)

    def _mark(
        self, generic: linalg.GenericOp, step: Step, domain: Shape, accesses: Sequence[Access]
    ) -> None:
        """Attributes for the stages after this one."""
        if sizes := _tiles(domain, accesses):
            generic.operation.attributes[TILES] = ir.DenseI64ArrayAttr.get(sizes)

    def _start(self, node: Node, destination: ir.Value) -> ir.Value:
        if not isinstance(node, Reduction):
            return destination
        number = constant(in_memory(node.element), node.monoid.start(node.element))
        return self.filled(destination, number)

    def _plan(self, step: Step) -> tuple[list[_Read], list[_Read]]:
        """What the body computes, operands first, and what it loads."""
        rank = len(step.domain)
        roots = []
        for node in step.members:
            root = node.source if isinstance(node, Reduction) else node
            roots.append(_Read(root, None, identity(rank)))
        members = {node for node in step.members if isinstance(node, Pointwise)}
        order: dict[_Read, None] = {}
        leaves: dict[_Read, None] = {}
        stack = [(root, False) for root in reversed(roots)]
        while stack:
            read, ready = stack.pop()
            if read in order or read in leaves:
                continue
            if self._fusion.is_tensor(read.node) and read.node not in members:
                leaves[read] = None
            elif ready:
                order[read] = None
            else:
                stack.append((read, True))
                stack += [(operand, False) for operand in reversed(_operands(read))]
        return list(order), list(leaves)

    def _emit_body(
        self,
        step: Step,
        order: list[_Read],
        leaves: list[_Read],
        block: ir.Block,
        dims: Sequence[Index],
    ) -> None:
        arguments = list(block.arguments)
        values = {
            read: self.from_memory(argument, read.node.element)
            for read, argument in zip(leaves, arguments, strict=False)
        }
        for read in order:
            operands = [values[operand] for operand in _operands(read)]
            if not isinstance(read.node, Pointwise):
                [values[read]] = operands
                continue
            with read.node.location:
                indices: list[Sequence[ir.Value]] = []
                if read.node.indexed:
                    indices = [[_index_value(i.at(dims)) for i in read.indices]]
                values[read] = read.node.body(self, *indices, *operands)
        results = []
        identical = identity(len(step.domain))
        for node, previous in zip(step.members, arguments[-len(step.members) :], strict=True):
            if isinstance(node, Reduction):
                value = values[_Read(node.source, None, identical)]
                before = self.from_memory(previous, node.element)
                value = node.monoid.combine(self.scalars, before, value)
            else:
                value = values[_Read(node, None, identical)]
            results.append(self.to_memory(value))
        linalg.YieldOp(results)


def _tiles(domain: Shape, accesses: Sequence[Access]) -> list[int]:
    """Tile sizes for loops that go across the rows of a large buffer, as a transpose does."""
    crossing = set()
    inner = len(domain) - 1
    for access in accesses:
        if product(access.shape, range(len(access.shape))) < _LARGE:
            continue
        strided = any(inner in index.dims() for index in access.indices)
        along = {d for index in access.indices[-1:] for d, step in index.terms if step == 1}
        if strided and inner not in along:
            crossing |= along
    if not crossing:
        return []
    crossing.add(len(domain) - 1)
    sizes = [_TILE if d in crossing and domain[d] > _TILE else 0 for d in range(len(domain))]
    return sizes if sum(map(bool, sizes)) > 1 else []


def _narrowed(value: ir.Value, access: Access, domain: Shape) -> ir.Value:
    """The part of a buffer that loops run along from its start: linalg takes sizes for lengths."""
    sizes = [
        domain[index.terms[0][0]] if index == dim(index.terms[0][0] if index.terms else 0) else size
        for index, size in zip(access.indices, access.shape, strict=True)
    ]
    if tuple(sizes) == access.shape:
        return value
    rank = len(sizes)
    type_ = tensor_of(sizes, element_type(value))
    return tensor.extract_slice(type_, value, [], [], [], [0] * rank, sizes, [1] * rank)


def _operands(read: _Read) -> list[_Read]:
    node, view, indices = read
    if isinstance(node, Reshaped):
        return [_Read(node.source, *read_through(node, view, indices))]
    assert isinstance(node, Pointwise)
    if view is not None:
        return [_Read(operand, view, indices) for operand, _ in node.reads]
    return [_Read(operand, None, compose(inner, indices)) for operand, inner in node.reads]


def _write_access(node: Node, rank: int) -> Access:
    if isinstance(node, Reduction):
        kept = [d for d in range(rank) if d not in node.dims]
        return Access(node.shape, tuple(identity(rank)[d] for d in kept))
    return Access(node.shape, identity(rank))


def _index_value(index: Index) -> ir.Value:
    type_ = ir.IndexType.get()
    result: ir.Value | None = None
    for d, coefficient in index.terms:
        term = linalg.IndexOp(d).result
        if coefficient != 1:
            term = arith.muli(term, constant(type_, coefficient))
        result = term if result is None else arith.addi(result, term)
    if result is None:
        return constant(type_, index.offset)
    return arith.addi(result, constant(type_, index.offset)) if index.offset else result
