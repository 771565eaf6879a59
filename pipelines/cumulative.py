"""Lowering of what is combined along a dimension: one pass over the elements.

Elements stand as (outer, length, inner). Across rows a row of what is carried stands in memory,
and loops over it become vectors; along rows several go side by side in registers, for each step
waits for the one before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlir import ir
from mlir.dialects import math as math_ops

from .affine import identity
from .loop_emission import Emission
from .loop_graph import Node
from .memory_loops import Buffer, fold, in_memory_of, index, loop, minus, plus, scratch
from .prefixes import KINDS, Logsumexp, Prefix, Values, wide
from .scalars import Scalars, constant

if TYPE_CHECKING:
    from .lowering import Lowering

#: Rows that go side by side: not a power of two, or LLVM takes a vector of their elements together
#: with a gather, which is slower than to take one after the other.
_ROWS = 7


def cumulative(
    lowering: Lowering, kind: str, operands: Sequence[Node], along: int, reverse: bool
) -> Node:
    prefix = KINDS[kind](*(x.element for x in operands))
    if isinstance(prefix, Logsumexp) and math.prod(operands[0].shape[along + 1 :]) == 1:
        return _logsumexp(lowering, operands[0], along)
    [found] = _passed(lowering, prefix.in_order, operands, along, reverse)
    return found


def _passed(
    lowering: Lowering, prefix: Prefix, operands: Sequence[Node], along: int, reverse: bool
) -> list[Node]:
    shape = operands[0].shape
    sizes = math.prod(shape[:along]), shape[along], math.prod(shape[along + 1 :])

    def emit(emission: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        sources = [in_memory_of(emission, tensor) for tensor in tensors]
        results = [Buffer(place) for place in places]
        made = _Pass(emission.scalars, prefix, sources, results, sizes, reverse)
        made.along_rows() if sizes[2] == 1 else made.across_rows()

    rows = [lowering.reshape(x, sizes) for x in operands]
    found = lowering.in_memory([(sizes, type_) for type_ in prefix.results], rows, emit)
    return [lowering.reshape(x, shape) for x in found]


class _Pass:
    def __init__(
        self,
        m: Scalars,
        prefix: Prefix,
        sources: Sequence[Buffer],
        results: Sequence[Buffer],
        sizes: tuple[int, int, int],
        reverse: bool,
    ) -> None:
        self.m, self.prefix, self.sources, self.results = m, prefix, sources, results
        self.outer, self.length, self.inner = sizes
        self.reverse = reverse

    def _step(self, o: ir.Value, k: ir.Value, i: ir.Value, carried: Values | None) -> Values:
        """The result of one element; what is carried then. None: it is the first."""
        at = minus(self.length - 1, k) if self.reverse else k
        late = plus(at, 1) if self.reverse and carried is not None else at
        elements = [
            source.of(o)[late if n in self.prefix.lagging else at, i]
            for n, source in enumerate(self.sources)
        ]
        if carried is None:
            carried = self.prefix.lift(self.m, k, *elements)
        else:
            carried = self.prefix.follow(self.m, carried, k, *elements)
        values = self.prefix.result(self.m, carried)
        for value, result in zip(values, self.results, strict=True):
            result.of(o)[at, i] = value
        return carried

    def along_rows(self) -> None:
        left = self.outer % _ROWS
        whole = self.outer - left
        for start, end, count in ((0, whole, _ROWS), (whole, self.outer, left)):
            if start == end:
                continue
            with loop(start, end, count) as first:
                rows = [index(plus(first, n)) for n in range(count)]
                zero = index(0)
                starts = [self._step(row, zero, zero, None) for row in rows]
                width = len(starts[0])

                def step(k: ir.Value, *carried: ir.Value, rows=rows, width=width) -> Values:
                    found: list[ir.Value] = []
                    for n, row in enumerate(rows):
                        own = carried[n * width : (n + 1) * width]
                        found += self._step(row, k, index(0), own)
                    return found

                fold(1, self.length, [value for own in starts for value in own], step)

    def across_rows(self) -> None:
        kept = [scratch((1, 1, self.inner), type_) for type_ in self.prefix.carried]

        def keep(i: ir.Value, values: Values) -> None:
            for buffer, value in zip(kept, values, strict=True):
                buffer[0, i] = value

        with loop(0, self.outer) as o:
            with loop(0, self.inner) as i:
                keep(i, self._step(o, index(0), i, None))
            with loop(1, self.length) as k, loop(0, self.inner) as i:
                keep(i, self._step(o, k, i, [buffer[0, i] for buffer in kept]))


def _logsumexp(lowering: Lowering, x: Node, along: int) -> Node:
    """Along rows: what waits for the element before in passes, exp and log as vectors between."""
    at = identity(len(x.shape))
    top, rise = _passed(lowering, _Rises(x.element), [x], along, False)

    def exp(emission: Emission, rise: ir.Value) -> ir.Value:
        return emission.scalars.exp(emission.scalars.neg(math_ops.absf(rise)))

    def log(emission: Emission, total: ir.Value, top: ir.Value) -> ir.Value:
        return emission.scalars.add(emission.scalars.log(total), top)

    factor = lowering.pointwise(x.shape, x.element, [(rise, at)], exp, 12)
    [total] = _passed(lowering, _Rescaled(x.element, x.element), [rise, factor], along, False)
    return lowering.pointwise(x.shape, x.element, [(total, at), (top, at)], log, 12)


class _Rises(Prefix):
    """The maximum, and how far an element is above the one before it."""

    def __init__(self, element: ir.Type) -> None:
        self.carried = self.results = [element] * 2

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        return [elements[0], constant(self.carried[0], 0)]

    def follow(self, m: Scalars, carried: Values, k: ir.Value, *elements: ir.Value) -> Values:
        [x], top = elements, carried[0]
        # Infinities have no difference, but are equal.
        rise = m.select(m.compare("eq", x, top), constant(x.type, 0), m.sub(x, top))
        # A NaN is in the rise, and from there in all sums: the maximum need not carry it on.
        return [m.select(m.compare("gt", x, top), x, top), rise]

    def result(self, m: Scalars, carried: Values) -> Values:
        return carried


class _Rescaled(Prefix):
    """The sum of exp(x - maximum), from the rises of the maximum and exp(-|rise|)."""

    def __init__(self, *elements: ir.Type) -> None:
        self.carried, self.results = [wide(elements[0])], elements[:1]

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        return [constant(self.carried[0], 1)]

    def follow(self, m: Scalars, carried: Values, k: ir.Value, *elements: ir.Value) -> Values:
        rise, [total] = elements[0], carried
        factor = m.convert(elements[1], total.type)
        rises = m.compare("gt", rise, constant(rise.type, 0))
        one = constant(total.type, 1)
        shrunk = m.add(m.mul(total, factor), one)
        return [m.select(rises, shrunk, m.add(total, factor))]

    def result(self, m: Scalars, carried: Values) -> Values:
        return [m.convert(carried[0], self.results[0])]
