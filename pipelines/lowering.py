"""What the `lower` rule of an op is written with: builds the loop graph of a function.

A rule gets the operands as nodes and returns the node of its result. Nothing is emitted here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mlir import ir
from mlir.dialects import arith

from . import control
from .affine import Index, Shape, dim, fixed, identity
from .builders import dense
from .contraction import contraction
from .convolution import convolution
from .cumulative import cumulative
from .error_status import Errors, ErrorSite
from .indexing import gathered, scattered
from .linalg_lowering import LinalgLowering
from .loop_emission import Emission, tensor_of
from .loop_graph import Graph, Monoid, Node, Part, Pointwise, Reduction, Reshaped, Stored, Whole
from .scalars import Scalars, element, width
from .sorting import argsorted


def _lowest(type_: ir.Type) -> float | int:
    if isinstance(type_, ir.FloatType):
        return -math.inf
    return 0 if width(type_) == 1 else -(2 ** (width(type_) - 1))


def _reassociated_sum(m: Scalars, x: ir.Value, y: ir.Value) -> ir.Value:
    if not isinstance(element(x.type), ir.FloatType):
        return m.add(x, y)
    # The one place where the order of additions is LLVM's to choose: without it sums stay scalar.
    return arith.addf(x, y, fastmath=ir.Attribute.parse("#arith.fastmath<reassoc>"))


SUM = Monoid("sum", lambda _: 0, _reassociated_sum)
MAXIMUM = Monoid("maximum", _lowest, lambda m, x, y: m.maximum(x, y))


class Lowering(Errors, LinalgLowering):
    """The graph of one function, built op by op."""

    #: What emits the graph.
    emission: type[Emission] = Emission
    scalars: type[Scalars] = Scalars
    #: From this many products on, a schedule is worth its compile time; None: never.
    large_product: int | None = 1 << 15
    #: From this many products on, sums of them become tiles without a schedule; None: never.
    tiled_product: int | None = None
    #: From this many terms on, a sum across rows is made in two steps; None: never.
    long_sum: int | None = 2048

    def __init__(self, vector_bytes: int, errors: list[ErrorSite] | None = None) -> None:
        self.vector_bytes = vector_bytes
        self.graph = Graph()
        self.errors: list[ErrorSite] = [] if errors is None else errors
        self.error_flags: list[Node] = []
        self.location = ir.Location.unknown()
        self.i32 = ir.IntegerType.get_signless(32)

    # Nodes.

    def stored(self, tensor: ir.Value, shape: Shape, element: ir.Type) -> Node:
        return self._add(Stored, shape, element, tensor=tensor)

    def _add(self, kind: type[Node], shape: Shape, element: ir.Type, **fields: Any) -> Any:
        return self.graph.add(
            kind, shape=tuple(shape), element=element, location=self.location, **fields
        )

    def pointwise(
        self,
        shape: Sequence[int],
        element: ir.Type,
        reads: Sequence[tuple[Node, Sequence[Index]]],
        body: Callable[..., ir.Value],
        cost: int = 1,
        tensors: Sequence[Node] = (),
        **flags: bool,
    ) -> Node:
        """Each element by body(emission, [indices,] elements read...)."""
        kept = [(node, tuple(indices)) for node, indices in reads]
        loads = sum(node.weight for node, _ in kept)
        if flags.get("moves"):
            loads = min(loads, 1)  # of something costly, the source is stored
        return self._add(
            Pointwise,
            tuple(shape),
            element,
            weight=cost + loads,
            reads=kept,
            body=body,
            tensors=tensors,
            **flags,
        )

    def whole(
        self, shape: Sequence[int], element: ir.Type, sources: Sequence[Node], emit: Callable
    ) -> Node:
        """A tensor by emit(emission, destination, tensors...)."""
        return self._add(Whole, tuple(shape), element, sources=tuple(sources), emit=emit)

    def wholes(
        self, types: Sequence[tuple[Shape, ir.Type]], sources: Sequence[Node], emit: Callable
    ) -> list[Node]:
        """Several tensors by emit(emission, destinations, tensors...), a list."""
        if len(types) == 1:
            [(shape, element)] = types
            return [self.whole(shape, element, sources, lambda e, d, *t: emit(e, [d], *t)[0])]
        first = self._add(Whole, *types[0], sources=tuple(sources), emit=emit)
        first.more.extend(self._add(Part, *type_, whole=first) for type_ in types[1:])
        return first.results()

    # Loops and branches.

    def nested(self) -> Lowering:
        """For the body of a loop or branch: a graph of its own, errors numbered with ours."""
        return type(self)(self.vector_bytes, self.errors)

    def in_memory(
        self,
        types: Sequence[tuple[Shape, ir.Type]],
        sources: Sequence[Node],
        emit: Callable,
        share: tuple[int, int] = (0, 0),
    ) -> list[Node]:
        """Several tensors that emit(emission, memrefs, tensors...) writes to memory itself.

        One without elements has no memory: None.

        `share`: from this source on, so many start out in the memory of the results.
        """
        full = [position for position, (shape, _) in enumerate(types) if math.prod(shape)]
        nodes = [self.full(shape, element, 0) for shape, element in types]
        if not full:
            return nodes

        def emit_full(emission: Emission, places: Sequence[Any], *tensors: Any) -> None:
            given = dict(zip(full, places, strict=True))
            emit(emission, [given.get(i) for i in range(len(types))], *tensors)

        first, *more = (types[position] for position in full)
        whole = self._add(Whole, *first, sources=tuple(sources), emit=emit_full, in_memory=True)
        whole.more.extend(self._add(Part, *type_, whole=whole) for type_ in more)
        start, count = share
        for position, node in zip(full, whole.results(), strict=True):
            nodes[position] = node
            if position < count:
                whole.shares[node] = sources[start + position]
        return nodes

    def inlined(self, block: ir.Block, arguments: Sequence[Node]) -> list[Node]:
        return control.lower_block(self, block, arguments)

    def scan(self, *loop: Any) -> list[Node]:
        return control.scan(self, *loop)

    def while_loop(self, *loop: Any) -> list[Node]:
        return control.while_loop(self, *loop)

    def one_more(self, number: Node) -> Node:
        def plus_one(emission: Emission, value: ir.Value) -> ir.Value:
            return arith.addi(value, emission.scalars.constant(value.type, 1))

        return self.pointwise((), number.element, [(number, ())], plus_one)

    def cond(self, blocks: Sequence[ir.Block], pred: Node, args: Sequence[Node]) -> list[Node]:
        return control.cond(self, blocks, pred, args)

    # Elementwise ops.

    def elementwise(self, op: Any, *operands: Node) -> Node:
        """An op with a `scalar` rule."""
        shape, element = result_type(op)
        at = identity(len(shape))
        return self.pointwise(
            shape,
            element,
            [(operand, at) for operand in operands],
            lambda emission, *elements: op.scalar(emission.scalars, *elements),
            op.cost,
        )

    def full(self, shape: Sequence[int], element: ir.Type, number: float | int) -> Node:
        return self.pointwise(
            shape, element, [], lambda emission: emission.scalars.constant(element, number), 0
        )

    def constant(self, array: np.ndarray, element: ir.Type) -> Node:
        """Data that is read only in the library."""
        if not array.size:
            return self.full(array.shape, element, 0)
        stored = array.astype(np.int8) if array.dtype == np.bool_ else array
        literal: Any = dense(stored)
        tensor = arith.ConstantOp(tensor_of(array.shape, element), literal).result
        return self.stored(tensor, array.shape, element)

    def generated(
        self, shape: Sequence[int], element: ir.Type, body: Callable[..., ir.Value], cost: int = 1
    ) -> Node:
        """Each element from its indices: body(scalars, indices)."""
        return self.pointwise(
            shape, element, [], lambda e, indices: body(e.scalars, indices), cost, indexed=True
        )

    # Moving elements.

    def moved(self, x: Node, shape: Sequence[int], indices: Sequence[Index]) -> Node:
        """result[i] = x[indices(i)]."""
        reads = [(x, tuple(indices))]
        return self.pointwise(shape, x.element, reads, lambda _, value: value, 0, moves=True)

    def broadcast(self, x: Node, shape: Sequence[int], dims: Sequence[int]) -> Node:
        return self.moved(x, shape, [dim(d) for d in dims])

    def transpose(self, x: Node, permutation: Sequence[int]) -> Node:
        place = {d: position for position, d in enumerate(permutation)}
        shape = [x.shape[d] for d in permutation]
        return self.moved(x, shape, [dim(place[d]) for d in range(len(shape))])

    def slice(
        self, x: Node, shape: Sequence[int], offsets: Sequence[int], strides: Sequence[int]
    ) -> Node:
        places = zip(strides, offsets, strict=True)
        return self.moved(x, shape, [dim(d, *place) for d, place in enumerate(places)])

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        if x.size == 0:
            return self.full(shape, x.element, 0)
        return self._add(Reshaped, tuple(shape), x.element, source=x, weight=x.weight)

    def pad(
        self,
        x: Node,
        value: Node,
        shape: Sequence[int],
        offsets: Sequence[int],
        strides: Sequence[int],
    ) -> Node:
        wider = [d for d, size in enumerate(x.shape) if size != shape[d]]
        if len(wider) == 1 and set(strides) == {1} and x.size:
            # Only what is around is filled.
            [d] = wider
            low, high = offsets[d], shape[d] - offsets[d] - x.shape[d]
            ends = [[*shape[:d], n, *shape[d + 1 :]] if n else None for n in (low, high)]
            before, after = ([self.moved(value, end, [])] if end else [] for end in ends)
            return self.concatenate([*before, x, *after], d)
        around = self.moved(value, shape, [])
        return self.inserted(around, [x], [list(offsets)], list(strides))

    def concatenate(self, xs: Sequence[Node], along: int) -> Node:
        shape = list(xs[0].shape)
        shape[along] = sum(x.shape[along] for x in xs)
        offsets, start = [], 0
        for x in xs:
            offsets.append([start if d == along else 0 for d in range(len(shape))])
            start += x.shape[along]
        return self.inserted(None, xs, offsets, [1] * len(shape), tuple(shape))

    def inserted(
        self,
        around: Node | None,
        parts: Sequence[Node],
        offsets: Sequence[Sequence[int]],
        strides: Sequence[int],
        shape: Shape = (),
    ) -> Node:
        shape = shape if around is None else around.shape
        element = parts[0].element
        pairs = [(p, o) for p, o in zip(parts, offsets, strict=True) if p.size]
        sources = [part for part, _ in pairs] + ([] if around is None else [around])

        def emit(emission: Emission, destination: ir.Value, *tensors: ir.Value) -> ir.Value:
            result = destination if around is None else emission.copied(tensors[-1], destination)
            for (_, offset), value in zip(pairs, tensors, strict=False):
                result = emission.inserted(value, result, offset, strides)
            return result

        return self.whole(shape, element, sources, emit)

    # Reductions and contractions.

    def reduce(self, x: Node, dims: Sequence[int], monoid: Monoid) -> Node:
        single = [d for d in dims if x.shape[d] == 1]
        if single:
            kept = [d for d in range(len(x.shape)) if d not in single]
            places = [fixed(0) if d in single else dim(kept.index(d)) for d in range(len(x.shape))]
            x = self.moved(x, [x.shape[d] for d in kept], places)
            dims = [kept.index(d) for d in dims if d not in single]
        shape = tuple(n for d, n in enumerate(x.shape) if d not in dims)
        if x.size == 0 or not dims:
            start = self.full(shape, x.element, monoid.start(x.element))
            return start if x.size == 0 else x
        return self._add(Reduction, shape, x.element, source=x, dims=frozenset(dims), monoid=monoid)

    def reduce_sum(self, x: Node, dims: Sequence[int]) -> Node:
        dims = sorted(dims)
        # Along rows LLVM keeps many partial sums; across long columns rounding would add up.
        long = self.long_sum
        rows = long is None or len(x.shape) - 1 in dims
        across = [] if long is None or rows else [d for d in dims if x.shape[d] >= long]
        if long is not None and x.size and across and isinstance(x.element, ir.FloatType):
            d = across[0]
            inner = next((n for n in range(long // 8, 15, -1) if x.shape[d] % n == 0), None)
            if inner is not None:
                split = (*x.shape[:d], x.shape[d] // inner, inner, *x.shape[d + 1 :])
                partial = self.reduce(self.reshape(x, split), [d + 1], SUM)
                return self.reduce_sum(partial, dims)
        return self.reduce(x, dims, SUM)

    def reduce_max(self, x: Node, dims: Sequence[int]) -> Node:
        return self.reduce(x, dims, MAXIMUM)

    def dot_general(
        self,
        x: Node,
        y: Node,
        batch: tuple[Sequence[int], Sequence[int]],
        contract: tuple[Sequence[int], Sequence[int]],
    ) -> Node:
        return contraction(self, x, y, batch, contract)

    def conv(self, x: Node, w: Node, relation: Any, shape: Sequence[int]) -> Node:
        return convolution(self, x, w, relation, shape)

    # Computed positions.

    def gather(
        self, x: Node, indices: Sequence[Node], axes: Sequence[int], batch_dims: int, checked: bool
    ) -> Node:
        return gathered(self, x, indices, axes, batch_dims, checked)

    def scatter_add(self, x: Node, *rest: Any) -> Node:
        return scattered(self, x, *rest, combine=lambda m, old, new: m.add(old, new))

    def scatter_max(self, x: Node, *rest: Any) -> Node:
        return scattered(self, x, *rest, combine=lambda m, old, new: m.maximum(old, new))

    def scatter(self, x: Node, *rest: Any) -> Node:
        return scattered(self, x, *rest, combine=None)

    def cumulative(
        self, kind: str, operands: Sequence[Node], along: int, reverse: bool = False
    ) -> Node:
        return cumulative(self, kind, operands, along, reverse)

    def argsort(self, x: Node, along: int, descending: bool) -> Node:
        return argsorted(self, x, along, descending)


def result_type(op: Any) -> tuple[Shape, ir.Type]:
    return result_types(op)[0]


def result_types(op: Any) -> list[tuple[Shape, ir.Type]]:
    return [(tuple(r.type.shape), r.type.element_type) for r in op.results]
