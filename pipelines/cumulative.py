"""Lowering of partial sums: one pass over the elements, with a row of sums that is carried.

Elements stand as (outer, length, inner). The sums of an f32 are f64, as torch has them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlir import ir
from mlir.dialects import arith, tensor

from .builders import index_constant
from .loop_emission import Emission
from .loop_graph import Node
from .scalars import constant
from .sorting import Values, loop

if TYPE_CHECKING:
    from .lowering import Lowering


def cumulative_sum(lowering: Lowering, x: Node, dim: int, reverse: bool) -> Node:
    if not x.size:
        return lowering.full(x.shape, x.element, 0)
    outer, length, inner = (math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :]))
    wide = ir.F64Type.get() if isinstance(x.element, ir.FloatType) else x.element
    rows = lowering.reshape(x, (outer, length, inner))

    def emit(emission: Emission, destination: ir.Value, values: ir.Value) -> ir.Value:
        m, last = emission.scalars, index_constant(length - 1)
        sums = emission.empty((inner,), wide)
        zero = constant(wide, 0)

        def block(o: ir.Value, carried: Values) -> Values:
            out, sums = carried
            sums = emission.filled(sums, zero)

            def step(k: ir.Value, carried: Values) -> Values:
                at = arith.subi(last, k) if reverse else k

                def element(i: ir.Value, carried: Values) -> Values:
                    out, sums = carried
                    value = m.convert(tensor.extract(values, [o, at, i]), wide)
                    total = m.add(tensor.extract(sums, [i]), value)
                    out = tensor.insert(m.convert(total, x.element), out, [o, at, i])
                    return [out, tensor.insert(total, sums, [i])]

                return loop(0, inner, 1, carried, element)

            return loop(0, length, 1, [out, sums], step)

        return loop(0, outer, 1, [destination, sums], block)[0]

    found = lowering.whole(rows.shape, x.element, [rows], emit)
    return lowering.reshape(found, x.shape)
