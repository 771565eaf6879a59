"""The image of a large convolution, as it is stored for register tiles: flat, with its padding.

Where results (or taps) are s apart, the phases of the image lie one after the other, so that steps
are one everywhere. Then all results of a tap read one run of the flat image, shifted by a number
that belongs to the tap. windows.py and correlation.py read such runs; nothing is ever unfolded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlir import ir
from mlir.dialects import arith

from .affine import dim, identity
from .builders import index_constant
from .loop_graph import Node, without_moves
from .matmul import extract

if TYPE_CHECKING:
    from .lowering import Lowering


def stored_order(x: Node) -> tuple[Node, list[int]]:
    """What x is a permutation of the first three dimensions of, and where these are in it."""
    node, indices = without_moves(x, identity(len(x.shape)))
    order = [index.terms[0][0] if len(index.terms) == 1 else -1 for index in indices]
    plain = len(order) == len(x.shape) and sorted(order) == list(range(len(x.shape)))
    plain = plain and all(index == dim(d) for index, d in zip(indices, order, strict=True))
    plain = plain and order[3:] == list(range(3, len(order)))
    if plain and all(node.shape[place] == x.shape[d] for place, d in enumerate(order)):
        return node, [order.index(d) for d in range(3)]
    return x, [0, 1, 2]


def fitted(lowering: Lowering, x: Node, lows: Sequence[int], sizes: Sequence[int]) -> Node:
    """The spatial positions lows .. lows + sizes of x, with zeros where it has none."""
    kept = []
    for low, size, n in zip(lows, sizes, x.shape[3:], strict=True):
        start, end = max(low, 0), min(low + size, n)
        if start >= end:
            return lowering.full([*x.shape[:3], *sizes], x.element, 0)
        kept.append((start, end - start))
    part = [*x.shape[:3], *(count for _, count in kept)]
    ones = [1] * len(part)
    if tuple(part) != x.shape:
        x = lowering.slice(x, part, [0, 0, 0, *(start for start, _ in kept)], ones)
    before = [start - low for (start, _), low in zip(kept, lows, strict=True)]
    dims = [*x.shape[:3], *sizes]
    if tuple(dims) == x.shape:
        return x
    zero = lowering.full((), x.element, 0)
    return lowering.pad(x, zero, dims, [0, 0, 0, *before], ones)


def mixed_radix(number: ir.Value, sizes: Sequence[int]) -> list[ir.Value]:
    """The digits of a number, the last one running fastest."""
    digits = []
    for position in range(len(sizes) - 1, -1, -1):
        if position:
            size = index_constant(sizes[position])
            digits.append(arith.remui(number, size))
            number = arith.divui(number, size)
        else:
            digits.append(number)
    return digits[::-1]


def _flat(numbers: Sequence[ir.Value], sizes: Sequence[int]) -> ir.Value:
    result = numbers[0]
    for number, size in zip(numbers[1:], sizes[1:], strict=True):
        result = arith.addi(arith.muli(result, index_constant(size)), number)
    return result


@dataclass(frozen=True)
class Image:
    """x with its padding, [three dimensions, phases, positions], all positions of a phase flat."""

    node: Node
    #: Where the dimensions N, G and C are.
    places: Sequence[int]
    #: Phases and positions of each phase, by spatial dimension.
    strides: Sequence[int]
    sizes: Sequence[int]

    @staticmethod
    def of(
        lowering: Lowering,
        x: Node,
        lows: Sequence[int],
        sizes: Sequence[int],
        strides: Sequence[int],
    ) -> Image:
        x, places = stored_order(x)
        inner = [-(-size // s) for size, s in zip(sizes, strides, strict=True)]
        padded = [n * s for n, s in zip(inner, strides, strict=True)]
        x = fitted(lowering, x, lows, padded)
        outer, count = list(x.shape[:3]), len(strides)
        if math.prod(strides) > 1:
            split = [number for pair in zip(inner, strides, strict=True) for number in pair]
            x = lowering.reshape(x, [*outer, *split])
            order = [*range(4, 3 + 2 * count, 2), *range(3, 3 + 2 * count, 2)]
            x = lowering.transpose(x, [0, 1, 2, *order])
        x = lowering.reshape(x, [*outer, math.prod(strides), math.prod(inner)])
        return Image(x, places, tuple(strides), tuple(inner))

    def pitch(self, d: int) -> int:
        """How far apart neighbours along spatial dimension d are."""
        return math.prod(self.sizes[d + 1 :])

    def run(self, counts: Sequence[int]) -> int:
        """From the first to the last of a block of `counts` positions."""
        return sum((n - 1) * self.pitch(d) for d, n in enumerate(counts)) + 1

    def shift(
        self, digits: Sequence[ir.Value], base: Sequence[int], steps: Sequence[int]
    ) -> tuple[ir.Value, ir.Value]:
        """Phase and flat position of base + steps * digits."""
        phases, positions = [], []
        for digit, start, step, stride in zip(digits, base, steps, self.strides, strict=True):
            at = arith.addi(arith.muli(digit, index_constant(step)), index_constant(start))
            phases.append(arith.remui(at, index_constant(stride)))
            positions.append(arith.divui(at, index_constant(stride)))
        return _flat(phases, self.strides), _flat(positions, self.sizes)

    def rows(
        self,
        value: ir.Value,
        at: Sequence[ir.Value | int],
        phase: ir.Value,
        first: ir.Value,
        role: int,
        rows: int,
        count: int,
    ) -> ir.Value:
        """[rows, count]: rows along dimension `role` (N, G or C), from `at` in all three."""
        start: list[ir.Value | int] = [0, 0, 0, phase, first]
        sizes = [1, 1, 1, 1, count]
        for place, position in zip(self.places, at, strict=True):
            start[place] = position
        sizes[self.places[role]] = rows
        return extract(value, start, sizes, [rows, count])
