"""Lowering of dot_general: a fused sum of products where it is small, else register blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlir import ir

from .affine import dim
from .loop_graph import Node
from .matmul import Blocking, Matmul, Shape

if TYPE_CHECKING:
    from .lowering import Lowering

DimPair = tuple[Sequence[int], Sequence[int]]


def contraction(lowering: Lowering, x: Node, y: Node, batch: DimPair, contract: DimPair) -> Node:
    free = (
        [d for d in range(len(x.shape)) if d not in (*batch[0], *contract[0])],
        [d for d in range(len(y.shape)) if d not in (*batch[1], *contract[1])],
    )
    m, k = _size(x, free[0]), _size(x, contract[0])
    n = _size(y, free[1])
    volume = _size(x, batch[0]) * m * n * k
    floats = isinstance(x.element, ir.FloatType)
    large = lowering.large_product is not None and volume >= lowering.large_product
    if floats and large and m >= 4 and n >= 2 and k >= 8:
        return _blocked(lowering, x, y, batch, contract, free)
    return _product_sum(lowering, x, y, batch, contract, free)


def _size(x: Node, dims: Sequence[int]) -> int:
    return math.prod(x.shape[d] for d in dims)


def _product_sum(
    lowering: Lowering, x: Node, y: Node, batch: DimPair, contract: DimPair, free: DimPair
) -> Node:
    """As a sum over products: fuses with what is around it."""
    b, m, n, k = len(batch[0]), len(free[0]), len(free[1]), len(contract[0])
    # The innermost loop should run along rows of both operands, or of one and of the result.
    along_depth = len(y.shape) - 1 in contract[1] and len(x.shape) - 1 in contract[0]
    order = "mnk" if along_depth else "mkn" if n else "km"
    first = {}
    place = b
    for group in order:
        first[group] = place
        place += {"m": m, "n": n, "k": k}[group]
    x_place = dict(zip(batch[0], range(b), strict=True))
    x_place |= {d: first["m"] + i for i, d in enumerate(free[0])}
    y_place = dict(zip(batch[1], range(b), strict=True))
    y_place |= {d: first["n"] + i for i, d in enumerate(free[1])}
    for i, (left, right) in enumerate(zip(*contract, strict=True)):
        x_place[left] = y_place[right] = first["k"] + i
    sizes = {place: x.shape[d] for d, place in x_place.items()}
    sizes |= {place: y.shape[d] for d, place in y_place.items()}
    product = lowering.pointwise(
        [sizes[place] for place in range(b + m + n + k)],
        x.element,
        [
            (x, [dim(x_place[d]) for d in range(len(x.shape))]),
            (y, [dim(y_place[d]) for d in range(len(y.shape))]),
        ],
        lambda emission, left, right: emission.scalars.mul(left, right),
    )
    return lowering.reduce_sum(product, range(first["k"], first["k"] + k))


def _blocked(
    lowering: Lowering, x: Node, y: Node, batch: DimPair, contract: DimPair, free: DimPair
) -> Node:
    """As blocks, on operands of rank 3: batch and two more, either of which may come first."""
    # The contracted dimensions may come in any order, if it is the same in both operands.
    pairs = sorted(zip(*contract, strict=True), key=lambda pair: pair[1])
    contract = ([left for left, _ in pairs], [right for _, right in pairs])
    left, x_transposed = _rank_3(lowering, x, batch[0], free[0], contract[0])
    right, y_plain = _rank_3(lowering, y, batch[1], free[1], contract[1])
    m, n = _size(x, free[0]), _size(y, free[1])
    shape = Shape(_size(x, batch[0]), m, n, _size(x, contract[0]), x_transposed, not y_plain)
    element = x.element
    assert isinstance(element, ir.FloatType)
    blocking = Blocking.of(lowering.vector_bytes, element.width // 8)
    product = lowering.whole(
        (shape.batch, m, n),
        element,
        [left, right],
        Matmul(shape, blocking, element).emit,
    )
    result = [*(x.shape[d] for d in (*batch[0], *free[0])), *(y.shape[d] for d in free[1])]
    return lowering.reshape(product, result)


def _rank_3(
    lowering: Lowering,
    x: Node,
    batch: Sequence[int],
    free: Sequence[int],
    contract: Sequence[int],
) -> tuple[Node, bool]:
    """x as (batch, free, contracted), or as (batch, contracted, free) and True."""
    sizes = [_size(x, dims) for dims in (batch, free, contract)]
    natural = list(range(len(x.shape)))
    rows, columns = [*batch, *free, *contract], [*batch, *contract, *free]
    # Where x must be rearranged, what is contiguous stays so.
    swapped = columns == natural or (rows != natural and natural[-1] in free)
    order = columns if swapped else rows
    if order != natural:
        x = lowering.transpose(x, order)
    return lowering.reshape(x, (sizes[0], sizes[2], sizes[1]) if swapped else sizes), swapped
