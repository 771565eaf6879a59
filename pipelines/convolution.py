"""Lowering of conv: which of its three sides is the image, the taps and the result; then loops.

The relation joins a position i of the image with a tap k and a result o. Where the image has unit
steps, i = base + per_tap * k + per_result * o; other steps are made so first, by phases of the
result or by zeros between the elements of the image. Small and odd cases are a fused sum of
products, the others go to windows.py and correlation.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mlir import ir

from ..dialects.pb.builders.convolution import Relation
from .affine import Index, dim, fixed
from .correlation import Correlation
from .image import Image, fitted
from .loop_emission import Emission
from .loop_graph import Node
from .matmul import Blocking
from .windows import Windows

if TYPE_CHECKING:
    from .lowering import Lowering

#: The largest unfolded image, in elements.
_UNFOLDED = 1 << 24
#: More phases than this cost more in code than the zeros between elements cost in time.
_MANY_PHASES = 16

#: Where each result reads the image: base, step of a tap, step of a result.
Places = tuple[Sequence[int], Sequence[int], Sequence[int]]


def convolution(
    lowering: Lowering, x: Node, w: Node, relation: Relation, shape: Sequence[int]
) -> Node:
    """x [N, G, C, i..], w [G, F, C, k..], result `shape` = [N, G, F, o..]."""
    if not (x.size and w.size and math.prod(shape)):
        return lowering.full(shape, x.element, 0)
    spatial = [math.prod(dims) for dims in (x.shape[3:], w.shape[3:], shape[3:])]
    taps = min((1, 0, 2), key=lambda side: spatial[side])
    image_is_w = not _unit(relation.x_steps) and _unit(relation.w_steps)
    if taps == 0 or (taps == 2 and image_is_w):
        return _swapped(lowering, x, w, relation, shape)
    present = lowering.full([1, 1, 1, *x.shape[3:]], ir.IntegerType.get_signless(1), 1)
    if not _unit(relation.x_steps):
        phases = math.prod(map(abs, relation.x_steps))
        if taps == 1 and _unit(relation.out_steps) and phases <= _MANY_PHASES:
            return _by_phases(lowering, x, w, relation, shape)
        x, present = (_spread(lowering, node, relation) for node in (x, present))
        relation = relation._replace(x_steps=tuple(s // abs(s) for s in relation.x_steps))
    return _unit_image(lowering, x, present, w, relation, shape, taps == 2)


def _unit(steps: Sequence[int]) -> bool:
    return all(abs(step) == 1 for step in steps)


def _swapped(
    lowering: Lowering, x: Node, w: Node, relation: Relation, shape: Sequence[int]
) -> Node:
    """The same sum with the operands exchanged: [F, G, C, k..] with [G, N, C, i..]."""
    spatial = list(range(3, len(shape)))
    order = [1, 0, 2, *spatial]
    image, taps = lowering.transpose(w, order), lowering.transpose(x, order)
    swapped = [shape[2], shape[1], shape[0], *shape[3:]]
    found = convolution(lowering, image, taps, relation.permuted(1, 0, 2), swapped)
    return lowering.transpose(found, [2, 1, 0, *spatial])


def _spread(lowering: Lowering, x: Node, relation: Relation) -> Node:
    """x with zeros between its elements: its steps become 1 or -1."""
    apart = [1, 1, 1, *map(abs, relation.x_steps)]
    dims = [(n - 1) * step + 1 for n, step in zip(x.shape, apart, strict=True)]
    zero = lowering.full((), x.element, 0)
    return lowering.pad(x, zero, dims, [0] * len(dims), apart)


def _by_phases(
    lowering: Lowering, x: Node, w: Node, relation: Relation, shape: Sequence[int]
) -> Node:
    """The results o = a q + r of each phase r need only some taps, and unit steps of x."""
    a = [abs(step) for step in relation.x_steps]
    parts, offsets = [], []
    for phase in itertools.product(*(range(min(s, n)) for s, n in zip(a, shape[3:], strict=True))):
        dims = [_phase(*numbers) for numbers in zip(*relation, a, phase, w.shape[3:], strict=True)]
        if any(found is None for found in dims):
            continue
        first, every, count, x_steps, w_steps, out_steps, at = zip(*dims, strict=True)
        taps = lowering.slice(w, [*w.shape[:3], *count], [0, 0, 0, *first], [1, 1, 1, *every])
        sizes = [-(-(n - r) // s) for n, r, s in zip(shape[3:], phase, a, strict=True)]
        part = Relation(x_steps, w_steps, out_steps, at)
        parts.append(convolution(lowering, x, taps, part, [*shape[:3], *sizes]))
        offsets.append([0, 0, 0, *phase])
    zeros = lowering.full(shape, x.element, 0)
    return lowering.inserted(zeros, parts, offsets, [1, 1, 1, *a]) if parts else zeros


class _Phase(NamedTuple):
    first: int
    every: int
    count: int
    x_step: int
    w_step: int
    out_step: int
    offset: int


def _phase(
    x_step: int, w_step: int, out_step: int, offset: int, a: int, r: int, taps: int
) -> _Phase | None:
    """x_step i + w_step k + out_step (a q + r) = offset over the taps k = first + every t."""
    common = math.gcd(w_step, a)
    every = a // common
    rest = offset - out_step * r
    first = next((k for k in range(min(every, taps)) if (rest - w_step * k) % a == 0), None)
    if first is None:
        return None
    count = -(-(taps - first) // every)
    at = (rest - w_step * first) // a
    return _Phase(first, every, count, x_step // a, w_step * every // a, out_step, at)


def _unit_image(
    lowering: Lowering,
    x: Node,
    present: Node,
    w: Node,
    relation: Relation,
    shape: Sequence[int],
    few_results: bool,
) -> Node:
    """x has unit steps: i = base + per_tap * k + per_result * o.

    `present` says which positions of x are not zeros that were put in. Products with these do not
    count, which an infinite tap would show; large ones do count them, for the sake of their speed.
    """
    signs = [int(s) for s in relation.x_steps]
    base = [s * c for s, c in zip(signs, relation.offsets, strict=True)]
    per_tap = [-s * k for s, k in zip(signs, relation.w_steps, strict=True)]
    per_result = [-s * o for s, o in zip(signs, relation.out_steps, strict=True)]
    lows, sizes = [], []
    for i, (k, o) in enumerate(zip(per_tap, per_result, strict=True)):
        ends = [k * (w.shape[3 + i] - 1), o * (shape[3 + i] - 1)]
        low = base[i] + sum(min(end, 0) for end in ends)
        lows.append(low)
        sizes.append(base[i] + sum(max(end, 0) for end in ends) - low + 1)
    base = [start - low for start, low in zip(base, lows, strict=True)]
    n, g, features = shape[:3]
    depth = x.shape[2]
    taps, results = math.prod(w.shape[3:]), math.prod(shape[3:])
    floats = isinstance(x.element, ir.FloatType)
    volume = n * g * features * depth * taps * results
    large = lowering.large_product is not None and volume >= lowering.large_product
    if floats and shape[3:] and large:
        element = x.element
        assert isinstance(element, ir.FloatType)
        blocking = Blocking.of(lowering.vector_bytes, element.width // 8)
        if few_results and min(per_tap) > 0 and n >= 2 and features >= 2:
            image = Image.of(lowering, x, lows, sizes, per_tap)
            return Correlation(image, w, base, per_result, shape, blocking).lower(lowering)
        if not few_results and min(per_result) > 0 and features >= 2 and depth * taps >= 8:
            if n == 1 or results >= blocking.lanes:
                image = Image.of(lowering, x, lows, sizes, per_result)
                windows = Windows(image, w, base, per_tap, shape, blocking)
                if windows.waste <= 2:
                    return windows.lower(lowering)
            if n * g * depth * taps * results <= _UNFOLDED:
                x = fitted(lowering, x, lows, sizes)
                return _unfolded(lowering, x, w, (base, per_tap, per_result), shape)
    x, present = (fitted(lowering, node, lows, sizes) for node in (x, present))
    tiled = lowering.tiled_product is not None and volume >= lowering.tiled_product
    counted = None if tiled else present
    return _product_sum(lowering, x, counted, w, (base, per_tap, per_result), shape)


def _unfolded(lowering: Lowering, x: Node, w: Node, places: Places, shape: Sequence[int]) -> Node:
    """A contraction with the unfolded image: for small results of many examples."""
    count = len(shape) - 3
    k, o = range(3, 3 + count), range(3 + count, 3 + 2 * count)
    at = [
        fixed(base).plus(dim(k[i]).scaled(per_tap)).plus(dim(o[i]).scaled(per_result))
        for i, (base, per_tap, per_result) in enumerate(zip(*places, strict=True))
    ]
    sizes = [*x.shape[:3], *w.shape[3:], *shape[3:]]
    columns = lowering.moved(x, sizes, [dim(0), dim(1), dim(2), *at])
    contracted = [2, *k]
    found = lowering.dot_general(w, columns, ([0], [1]), (contracted, contracted))
    # group, feature, example, results
    return lowering.transpose(found, [2, 0, 1, *range(3, 3 + count)])


def _product_sum(
    lowering: Lowering,
    x: Node,
    present: Node | None,
    w: Node,
    places: Places,
    shape: Sequence[int],
) -> Node:
    """As a sum over products, whose innermost loop runs along rows of the longest of its sides."""
    count = len(shape) - 3
    taps = list(w.shape[3:])
    along_taps = bool(count) and taps[-1] > shape[-1]
    # n, g, f, results, c, taps; or n, g, f, results but the last, c, taps, the last result
    outer = [3 + i for i in range(count if along_taps or not count else count - 1)]
    after = 3 + len(outer)
    c, k = after, [after + 1 + i for i in range(count)]
    o = outer if len(outer) == count else [*outer, after + 1 + count]
    sizes = {0: shape[0], 1: shape[1], 2: shape[2], c: x.shape[2]}
    sizes |= dict(zip(k, taps, strict=True)) | dict(zip(o, shape[3:], strict=True))
    at = [
        fixed(base).plus(dim(k[i]).scaled(per_tap)).plus(dim(o[i]).scaled(per_result))
        for i, (base, per_tap, per_result) in enumerate(zip(*places, strict=True))
    ]
    taps_at: list[Index] = [dim(1), dim(2), dim(c), *map(dim, k)]
    zero = fixed(0)

    def multiplied(emission: Emission, left: ir.Value, right: ir.Value, *there: ir.Value):
        m = emission.scalars
        found = m.mul(left, right)
        return m.select(there[0], found, m.constant(left.type, 0)) if there else found

    product = lowering.pointwise(
        [sizes[d] for d in range(len(sizes))],
        x.element,
        [
            (x, [dim(0), dim(1), dim(c), *at]),
            (w, taps_at),
            *([(present, [zero, zero, zero, *at])] if present else []),
        ],
        multiplied,
    )
    return lowering.reduce_sum(product, [c, *k])
