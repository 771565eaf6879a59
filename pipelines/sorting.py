"""Lowering of argsort: a merge sort of positions, row by row, without recursion.

Runs of 1, 2, 4, ... elements are merged from the result into a scratch row and back, so that the
order ends in the result. Nothing is allocated: the scratch row is part of the workspace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mlir import ir
from mlir.dialects import arith, scf, tensor

from .builders import index_constant
from .loop_emission import Emission
from .loop_graph import Node
from .scalars import Scalars, is_float

if TYPE_CHECKING:
    from .lowering import Lowering

Values = Sequence[ir.Value]


def argsorted(lowering: Lowering, x: Node, along: int, descending: bool) -> Node:
    i64 = ir.IntegerType.get_signless(64)
    order = [d for d in range(len(x.shape)) if d != along] + [along]
    if x.size == 0:
        return lowering.full(x.shape, i64, 0)
    moved = [x.shape[d] for d in order]
    length = moved[-1]
    ordered = (
        x if moved == list(x.shape) and along == len(order) - 1 else lowering.transpose(x, order)
    )
    rows = lowering.reshape(ordered, (x.size // length, length))

    def emit(emission: Emission, destination: ir.Value, keys: ir.Value) -> ir.Value:
        scratch = emission.empty((length,), i64)
        sort = _Sort(emission, keys, rows.element, length, descending)
        return loop(0, rows.shape[0], 1, [destination, scratch], sort.row)[0]

    found = lowering.whole(rows.shape, i64, [rows], emit)
    back = [order.index(d) for d in range(len(order))]
    return lowering.transpose(lowering.reshape(found, moved), back)


def loop(
    low: int | ir.Value,
    high: int | ir.Value,
    step: int | ir.Value,
    carried: Values,
    body: Callable[[ir.Value, Values], Values],
) -> Values:
    """for i = low to high by step, carrying values."""
    start, end, by = (index_constant(n) if isinstance(n, int) else n for n in (low, high, step))
    loop = scf.ForOp(start, end, by, list(carried))
    with ir.InsertionPoint(loop.body):
        scf.YieldOp(list(body(loop.induction_variable, list(loop.inner_iter_args))))
    return list(loop.results)


def precedes(m: Scalars, x: ir.Value, y: ir.Value, descending: bool) -> ir.Value:
    """Does x come strictly before y? NaN counts as larger than everything else."""
    if descending:
        x, y = y, x
    less = m.compare("lt", x, y)
    if not is_float(x):
        return less
    return arith.ori(less, m.all(m.compare("ne", y, y), m.compare("eq", x, x)))


class _Sort:
    """Sorts the positions of one row of `keys` after the other."""

    def __init__(
        self, emission: Emission, keys: ir.Value, element: ir.Type, length: int, descending: bool
    ) -> None:
        self.emission, self.keys, self.element = emission, keys, element
        self.length, self.descending = length, descending

    def row(self, row: ir.Value, carried: Values) -> Values:
        out, scratch = carried
        i64 = ir.IntegerType.get_signless(64)

        def number(at: ir.Value, into: Values) -> Values:
            return [tensor.insert(arith.index_cast(i64, at), into[0], [row, at])]

        def double_pass(_: ir.Value, state: Values) -> Values:
            out, scratch, width = state
            scratch = self._pass(row, out, [row], scratch, [], width)
            width = arith.addi(width, width)
            out = self._pass(row, scratch, [], out, [row], width)
            return [out, scratch, arith.addi(width, width)]

        (out,) = loop(0, self.length, 1, [out], number)
        passes = math.ceil((self.length - 1).bit_length() / 2)
        one = index_constant(1)
        return loop(0, passes, 1, [out, scratch, one], double_pass)[:2]

    def _pass(
        self,
        row: ir.Value,
        source: ir.Value,
        source_row: list[ir.Value],
        target: ir.Value,
        target_row: list[ir.Value],
        width: ir.Value,
    ) -> ir.Value:
        """Merges neighbouring sorted runs of `width` positions from source into target."""
        m, end, zero, one = self.emission.scalars, *map(index_constant, (self.length, 0, 1))
        last = index_constant(self.length - 1)

        def merge(low: ir.Value, carried: Values) -> Values:
            middle = arith.minsi(arith.addi(low, width), end)
            high = arith.minsi(arith.addi(middle, width), end)

            def take(at: ir.Value, state: Values) -> Values:
                target, left, right = state
                positions, keys = [], []
                for place in (left, right):
                    at_most = arith.minsi(place, last)  # a run that is used up is not looked at
                    positions.append(tensor.extract(source, [*source_row, at_most]))
                    keys.append(self._key(row, positions[-1]))
                strictly = precedes(m, keys[1], keys[0], self.descending)
                used_up = m.compare("ge", left, middle)
                from_right = m.all(m.compare("lt", right, high), arith.ori(used_up, strictly))
                chosen = m.select(from_right, positions[1], positions[0])
                target = tensor.insert(chosen, target, [*target_row, at])
                left = arith.addi(left, m.select(from_right, zero, one))
                right = arith.addi(right, m.select(from_right, one, zero))
                return [target, left, right]

            return loop(low, high, 1, [carried[0], low, middle], take)[:1]

        return loop(0, end, arith.addi(width, width), [target], merge)[0]

    def _key(self, row: ir.Value, position: ir.Value) -> ir.Value:
        at = arith.index_cast(ir.IndexType.get(), position)
        return self.emission.from_memory(tensor.extract(self.keys, [row, at]), self.element)
