"""How the loop graph of a function is built and emitted for a GPU: what differs from the CPU.

Reductions start in registers, so nothing is filled before them. Products of matrices and
convolutions are sums of products like any other; kernels.py finds them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlir import ir
from mlir.dialects import arith, linalg

from ..affine import identity
from ..buffers import in_memory
from ..fusion import Step
from ..half import is_half
from ..linalg_lowering import Method
from ..loop_emission import Emission
from ..loop_graph import CHEAP, Node, Pointwise, Reduction, Reshaped
from ..lowering import MAXIMUM, Lowering
from ..memory_loops import Product
from ..prefixes import KINDS
from ..scalars import Scalars, constant
from . import matrices, products, scans, scatters, sorting
from .nests import STARTS
from .wholes import memory_of


class GpuScalars(Scalars):
    """Has instructions between half types and f32."""

    def widened(self, x: ir.Value) -> ir.Value:
        return arith.extf(ir.F32Type.get(), x)

    def narrowed(self, x: ir.Value, to: ir.Type) -> ir.Value:
        return arith.truncf(to, x)


class GpuEmission(Emission):
    """Marks the reductions of a nest with what they start from."""

    def _start(self, node: Node, destination: ir.Value) -> ir.Value:
        return destination

    def _mark(self, generic: linalg.GenericOp, step: Step, *_: Any) -> None:
        starts: list[ir.Attribute] = []
        for node in step.members:
            if not isinstance(node, Reduction):
                starts.append(ir.UnitAttr.get())
                continue
            number, type_ = node.monoid.start(node.element), in_memory(node.element)
            if isinstance(type_, ir.FloatType):
                starts.append(ir.FloatAttr.get(type_, float(number)))
            else:
                starts.append(ir.IntegerAttr.get(type_, int(number)))
        generic.operation.attributes[STARTS] = ir.ArrayAttr.get(starts)


class GpuLowering(Lowering):
    """The graph of one function for a GPU."""

    WIDTH = 4  # no vectors
    emission = GpuEmission
    scalars = GpuScalars
    large_product = None
    tiled_product = products.LARGE
    long_sum = None

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        #: What is a half type made wide, and what it was; and what is zero everywhere.
        self._halves: dict[Node, Node] = {}
        self._zeros: set[Node] = set()

    def product(self, x: Node) -> Product:
        return Product(1)

    def full(self, shape: Sequence[int], element: ir.Type, number: float | int) -> Node:
        found = super().full(shape, element, number)
        if not number and not math.copysign(1, number) < 0:
            self._zeros.add(found)
        return found

    def elementwise(self, op: Any, *operands: Node) -> Node:
        found = super().elementwise(op, *operands)
        if (
            getattr(op, "moves", False)
            and is_half(operands[0].element)
            and isinstance(found.element, ir.F32Type)
        ):
            self._halves[found] = operands[0]
            found.weight = min(found.weight, CHEAP)  # of something costly, the half is stored
        return found

    def _half(self, x: Node) -> Node | None:
        """The half type that x is, without loss, if it is one made wide."""
        if isinstance(x, Reshaped) and (half := self._half(x.source)):
            return self.reshape(half, x.shape)
        if isinstance(x, Pointwise) and x.moves and (half := self._half(x.reads[0][0])):
            return self.moved(half, x.shape, x.reads[0][1])
        return self._halves.get(x)

    def pad(
        self,
        x: Node,
        value: Node,
        shape: Sequence[int],
        offsets: Sequence[int],
        strides: Sequence[int],
    ) -> Node:
        """Computed wherever it is read: nothing is filled, and nothing stored."""
        if x.size == 0:
            return self.moved(value, shape, [])
        half = self._half(x) if value in self._zeros else None
        if half is not None:  # half the memory, and what tensor cores read
            zero = self.full((), half.element, 0)
            padded, wide = self.pad(half, zero, shape, offsets, strides), x.element
            reads = [(padded, identity(len(shape)))]
            return self.pointwise(shape, wide, reads, lambda e, v: e.scalars.convert(v, wide), 0)

        def body(emission: Emission, at: Sequence[ir.Value], outside: ir.Value) -> ir.Value:
            m, place, good = emission.scalars, [], []
            numbers = zip(at, x.shape, shape, offsets, strides, strict=True)
            for index, size, whole, offset, stride in numbers:
                if size == whole and offset == 0 and stride == 1:
                    place.append(index)
                    continue
                moved = arith.subi(index, constant(index.type, offset))
                if stride != 1:
                    by = constant(index.type, stride)
                    good.append(m.compare("eq", arith.remui(moved, by), constant(index.type, 0)))
                    moved = arith.divui(moved, by)
                # Before the start is beyond the end, without a sign.
                end, last = constant(index.type, size), constant(index.type, size - 1)
                good.append(arith.cmpi(arith.CmpIPredicate.ult, moved, end))
                place.append(arith.minui(moved, last))
            inside = emission.load(x, place)
            return m.select(m.all(*good), inside, outside) if good else inside

        reads = [(value, ())]
        return self.pointwise(shape, x.element, reads, body, 6, tensors=[x], indexed=True)

    def scatter_add(self, x: Node, *rest: Any) -> Node:
        return scatters.scattered(self, x, *rest, monoid=scatters.SUM)

    def scatter_max(self, x: Node, *rest: Any) -> Node:
        return scatters.scattered(self, x, *rest, monoid=MAXIMUM)

    def scatter(self, x: Node, *rest: Any) -> Node:
        return scatters.scattered(self, x, *rest, monoid=None)

    def cumulative(
        self, kind: str, operands: Sequence[Node], along: int, reverse: bool = False
    ) -> Node:
        shape = operands[0].shape
        prefix = KINDS[kind](*(x.element for x in operands))
        sizes = math.prod(shape[:along]), shape[along], math.prod(shape[along + 1 :])

        def emit(emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
            sources = [memory_of(tensor) for tensor in tensors]
            scans.scan(emission.scalars, prefix, sources, places, sizes, reverse)

        rows = [self.reshape(x, sizes) for x in operands]
        [found] = self.in_memory([(sizes, type_) for type_ in prefix.results], rows, emit)
        return self.reshape(found, shape)

    def argsort(self, x: Node, along: int, descending: bool) -> Node:
        i64 = ir.IntegerType.get_signless(64)
        order = [d for d in range(len(x.shape)) if d != along] + [along]
        if x.size == 0:
            return self.full(x.shape, i64, 0)
        moved = [x.shape[d] for d in order]
        length, count = moved[-1], x.size // moved[-1]
        turned = order != sorted(order)
        rows = self.reshape(self.transpose(x, order) if turned else x, (count, length))

        def emit(_: Emission, places: Sequence[Any], keys: ir.Value) -> None:
            sorting.emit(memory_of(keys), places[0], x.element, descending)

        [found] = self.in_memory([((count, length), i64)], [rows], emit)
        found = self.reshape(found, moved)
        back = [order.index(d) for d in range(len(order))]
        return self.transpose(found, back) if turned else found

    def on_matrices(
        self,
        results: Sequence[tuple[Sequence[int], ir.Type]],
        sources: Sequence[Node],
        method: Method,
    ) -> list[Node]:
        return matrices.on_matrices(self, results, sources, method)
