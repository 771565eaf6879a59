"""Kernels that read along other loops than they write along: tiles of 32 x 32 in shared memory.

Both sides are touched along rows of memory; the elements change places in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref

from ..builders import index_constant
from .launch import Threads, divided, launch, less, unravelled, when
from .nests import Nest

TILE = 32
_ROWS = 8
BLOCK = TILE * _ROWS
#: Smaller things are in a cache anyway.
_FEWEST, _SHORTEST = 1 << 12, 16


def crossing(nest: Nest) -> int | None:
    """The loop that runs along rows of what is read, if the last one runs along the results."""
    last = len(nest.domain) - 1
    if nest.reduced or last < 1 or math.prod(nest.domain) < _FEWEST:
        return None
    if any(access.along() != last for access in nest.outputs):
        return None
    for number, access in enumerate(nest.inputs):
        along = access.along() if nest.used[number] else None
        if along is None or along == last or last not in access.loops():
            continue
        if min(nest.domain[along], nest.domain[last]) >= _SHORTEST:
            return along
    return None


def emit(nest: Nest, along: int) -> None:
    """The kernel, here."""
    last = len(nest.domain) - 1
    crossed = [
        number
        for number, access in enumerate(nest.inputs)
        if nest.used[number] and access.along() == along and last in access.loops()
    ]
    others = [d for d in range(last) if d != along]
    counts = [
        *(nest.domain[d] for d in others),
        -(-nest.domain[along] // TILE),
        -(-nest.domain[last] // TILE),
    ]
    with launch(nest.name.replace("map", "transpose", 1), math.prod(counts), BLOCK) as t:
        *outer, tile_along, tile_last = unravelled(t.block_id, counts)
        firsts = [arith.muli(tile, index_constant(TILE)) for tile in (tile_along, tile_last)]
        row, lane = divided(t.thread_id, TILE, BLOCK)
        kernel = _Kernel(nest, t, along, others, outer, firsts, row, lane)
        tiles = kernel.load(crossed)
        t.barrier()
        kernel.compute(tiles)


class _Kernel:
    def __init__(
        self,
        nest: Nest,
        t: Threads,
        along: int,
        others: Sequence[int],
        outer: Sequence[ir.Value],
        firsts: Sequence[ir.Value],
        row: ir.Value,
        lane: ir.Value,
    ) -> None:
        self.nest, self.t, self.along = nest, t, along
        self.others, self.outer, self.firsts = others, outer, firsts
        self.row, self.lane = row, lane

    def load(self, crossed: Sequence[int]) -> dict[int, Any]:
        """Tiles of what is read across, by threads along its rows."""
        tiles = {}
        for number in crossed:
            type_ = self.nest.inputs[number].buffer.type
            assert isinstance(type_, ir.MemRefType)
            # One column more than needed: lanes that go down a column meet different banks.
            tiles[number] = self.t.shared([TILE, TILE + 1], type_.element_type)
        for step in range(TILE // _ROWS):
            down = self._down(step)
            loops, inside = self._loops(self.lane, down)
            with when(inside):
                for number, tile in tiles.items():
                    memref.store(self.nest.load(number, loops), tile, [down, self.lane])
        return tiles

    def compute(self, tiles: dict[int, Any]) -> None:
        for step in range(TILE // _ROWS):
            down = self._down(step)
            loops, inside = self._loops(down, self.lane)
            with when(inside):
                known = {n: memref.load(tile, [self.lane, down]) for n, tile in tiles.items()}
                results = self.nest.run(loops, self.nest.loads(loops, known))
                for access, value in zip(self.nest.outputs, results, strict=True):
                    memref.store(value, access.buffer, access.at(loops))

    def _down(self, step: int) -> ir.Value:
        return arith.addi(self.row, index_constant(step * _ROWS)) if step else self.row

    def _loops(self, along: ir.Value, last: ir.Value) -> tuple[list[ir.Value], ir.Value]:
        domain = self.nest.domain
        places = [arith.addi(f, at) for f, at in zip(self.firsts, (along, last), strict=True)]
        found: dict[int, ir.Value] = dict(zip(self.others, self.outer, strict=True))
        found[self.along], found[len(domain) - 1] = places
        inside = arith.andi(less(places[0], domain[self.along]), less(places[1], domain[-1]))
        return [found[d] for d in range(len(domain))], inside
