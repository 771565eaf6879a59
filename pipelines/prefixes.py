"""What can be combined along a dimension: sums, products, extrema, log of sums, recurrences.

A prefix is a monoid on what is carried, with a way in for an element and one out for a result, so
that pieces of a dimension can be combined in any grouping, in their order. A pass from the start
to the end needs less: `in_order` says what. Sums and products of f32 are f64, as torch has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlir import ir
from mlir.dialects import arith
from mlir.dialects import math as math_ops

from .scalars import Scalars, constant

Values = Sequence[ir.Value]


def wide(type_: ir.Type) -> ir.Type:
    return ir.F64Type.get() if isinstance(type_, ir.FloatType) else type_


class Prefix:
    """A kind of prefix; it is made from the types of its elements."""

    #: What is carried, and what changes nothing when combined with.
    carried: Sequence[ir.Type]
    starts: Sequence[float | int]
    results: Sequence[ir.Type]
    #: Operands that from the end to the start are read where the step before was.
    lagging: Sequence[int] = ()
    #: Whether what comes earlier and what comes later may change places.
    in_any_order = False

    @property
    def in_order(self) -> Prefix:
        return self

    def start(self) -> list[ir.Value]:
        pairs = zip(self.carried, self.starts, strict=True)
        return [constant(type_, number) for type_, number in pairs]

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        """What is carried after the element at k (an index) alone."""
        raise NotImplementedError

    def combine(self, m: Scalars, earlier: Values, later: Values) -> Values:
        raise NotImplementedError

    def result(self, m: Scalars, carried: Values) -> Values:
        raise NotImplementedError

    def follow(self, m: Scalars, carried: Values, k: ir.Value, *elements: ir.Value) -> Values:
        """After one more element."""
        return self.combine(m, carried, self.lift(m, k, *elements))


class Sum(Prefix):
    in_any_order = True
    number, operation = 0, Scalars.add

    def __init__(self, element: ir.Type) -> None:
        self.carried, self.starts, self.results = [wide(element)], [self.number], [element]

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        return [m.convert(elements[0], self.carried[0])]

    def combine(self, m: Scalars, earlier: Values, later: Values) -> Values:
        return [type(self).operation(m, earlier[0], later[0])]

    def result(self, m: Scalars, carried: Values) -> Values:
        return [m.convert(carried[0], self.results[0])]


class Product(Sum):
    number, operation = 1, Scalars.mul


class Extremum(Prefix):
    """The extremum and its position: the later of equals; NaN is beyond everything."""

    def __init__(self, element: ir.Type, smallest: bool = False) -> None:
        i64 = ir.IntegerType.get_signless(64)
        self.predicate = "le" if smallest else "ge"
        if isinstance(element, ir.IntegerType):
            low = -(2 ** (element.width - 1))
            worst = -1 - low if smallest else low
        else:
            worst = math.inf if smallest else -math.inf
        # Nothing has no position, and is beaten by all.
        self.carried, self.starts, self.results = [element, i64], [worst, -1], [i64]

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        return [elements[0], arith.index_cast(self.carried[1], k)]

    def combine(self, m: Scalars, earlier: Values, later: Values) -> Values:
        something = m.compare("ge", later[1], constant(later[1].type, 0))
        return self._chosen(m, m.all(self._beats(m, earlier, later), something), earlier, later)

    def follow(self, m: Scalars, carried: Values, k: ir.Value, *elements: ir.Value) -> Values:
        later = self.lift(m, k, *elements)
        return self._chosen(m, self._beats(m, carried, later), carried, later)

    def _beats(self, m: Scalars, earlier: Values, later: Values) -> ir.Value:
        better = m.compare(self.predicate, later[0], earlier[0])
        return arith.ori(better, m.compare("ne", later[0], later[0]))

    def _chosen(self, m: Scalars, takes: ir.Value, earlier: Values, later: Values) -> Values:
        return [m.select(takes, new, old) for new, old in zip(later, earlier, strict=True)]

    def result(self, m: Scalars, carried: Values) -> Values:
        return [carried[1]]


class Smallest(Extremum):
    def __init__(self, element: ir.Type) -> None:
        super().__init__(element, smallest=True)


class Logsumexp(Prefix):
    """The maximum, and the sum of exp(x - maximum): never above the number of elements."""

    def __init__(self, element: ir.Type) -> None:
        self.carried, self.starts = [element, ir.F64Type.get()], [-math.inf, 0]
        self.results = [element]

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        return [elements[0], constant(self.carried[1], 1)]

    def combine(self, m: Scalars, earlier: Values, later: Values) -> Values:
        top = m.maximum(earlier[0], later[0])
        distance = m.neg(math_ops.absf(m.sub(earlier[0], later[0])))
        # Infinities have no difference, but are equal.
        same = m.compare("eq", earlier[0], later[0])
        shrunk = m.exp(m.select(same, constant(top.type, 0), distance))
        factor = m.convert(shrunk, self.carried[1])
        is_later = m.compare("lt", earlier[0], later[0])
        kept, added = (
            m.select(is_later, x, y) for x, y in ((later[1], earlier[1]), (earlier[1], later[1]))
        )
        return [top, m.add(kept, m.mul(added, factor))]

    def result(self, m: Scalars, carried: Values) -> Values:
        top, total = carried
        return [m.add(m.log(m.convert(total, top.type)), top)]


class _InOrder(Prefix):
    """A recurrence from its start on."""

    lagging = (0,)

    def __init__(self, element: ir.Type) -> None:
        self.carried, self.starts, self.results = [wide(element)], [0], [element]

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        return [m.convert(elements[1], self.carried[0])]

    def follow(self, m: Scalars, carried: Values, k: ir.Value, *elements: ir.Value) -> Values:
        factor, term = (m.convert(x, self.carried[0]) for x in elements)
        return [m.add(m.mul(factor, carried[0]), term)]

    def result(self, m: Scalars, carried: Values) -> Values:
        return [m.convert(carried[0], self.results[0])]


class Recurrence(Prefix):
    """h -> factor h + term: the two numbers of such functions, one after the other."""

    lagging = (0,)

    def __init__(self, element: ir.Type, _: ir.Type) -> None:
        self.carried, self.starts = [wide(element)] * 2, [1, 0]
        self.results = [element]

    @property
    def in_order(self) -> Prefix:
        return _InOrder(self.results[0])

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        factor, term = (m.convert(x, self.carried[0]) for x in elements)
        zero = constant(factor.type, 0)
        first = arith.cmpi(arith.CmpIPredicate.eq, k, constant(k.type, 0))
        return [arith.select(first, zero, factor), term]

    def combine(self, m: Scalars, earlier: Values, later: Values) -> Values:
        # In order, a factor meets numbers only: not the zero of the identity, nor, being infinite,
        # the zero of an earlier factor, after which all is constant.
        identity = [m.compare("eq", x, y) for x, y in zip(earlier, self.start(), strict=True)]
        term = m.add(m.mul(later[0], earlier[1]), later[1])
        zero = constant(later[0].type, 0)
        is_constant = m.compare("eq", earlier[0], zero)
        factor = m.select(is_constant, zero, m.mul(earlier[0], later[0]))
        return [factor, m.select(m.all(*identity), later[1], term)]

    def result(self, m: Scalars, carried: Values) -> Values:
        return [m.convert(carried[1], self.results[0])]


class Carried(Prefix):
    """What a prefix has carried so far, once more."""

    def __init__(self, of: Prefix) -> None:
        self.of = of
        self.carried, self.starts, self.results = of.carried, of.starts, of.carried

    def lift(self, m: Scalars, k: ir.Value, *elements: ir.Value) -> Values:
        return elements

    def combine(self, m: Scalars, earlier: Values, later: Values) -> Values:
        return self.of.combine(m, earlier, later)

    def result(self, m: Scalars, carried: Values) -> Values:
        return carried


#: By what an op asks for.
KINDS: dict[str, Any] = {
    "sum": Sum,
    "product": Product,
    "largest": Extremum,
    "smallest": Smallest,
    "logsumexp": Logsumexp,
    "recurrence": Recurrence,
}
