"""Factorisations on GPUs: a thread for each matrix of a batch, on the CPU's own loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlir import ir
from mlir.dialects import memref

from ..buffers import in_memory
from ..linalg_lowering import matrices
from ..loop_emission import Emission
from ..loop_graph import Node
from ..memory_loops import Buffer
from .launch import launch, less, when
from .wholes import memory_of

if TYPE_CHECKING:
    from .lowering import GpuLowering

_BLOCK = 32


def on_matrices(
    lowering: GpuLowering,
    results: Sequence[tuple[Sequence[int], ir.Type]],
    sources: Sequence[Node],
    body: Callable[..., None],
    copied: Sequence[int | None],
    scratches: Sequence[Sequence[int]],
) -> list[Node]:
    """Results of these shapes (of rank 3), by body(*results, *sources, *scratch)."""
    flat = [lowering.reshape(source, matrices(source)) for source in sources]
    count = results[0][0][0]

    def emit(_: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        given = [memory_of(tensor) for tensor in tensors]
        element = in_memory(sources[0].element)
        temporary = [
            memref.alloc(ir.MemRefType.get([count, *shape], element), [], []) for shape in scratches
        ]
        with launch("matrices", -(-count // _BLOCK), _BLOCK) as t, when(less(t.flat(), count)):
            example = t.flat()
            ours = [Buffer(place, example) for place in places]
            theirs = [Buffer(memory, example) for memory in given]
            for result, source in zip(ours, copied, strict=True):
                if source is not None:
                    result.copy_from(theirs[source])
            body(*ours, *theirs, *(Buffer(memory, example) for memory in temporary))

    types = [(tuple(shape), element) for shape, element in results]
    assert all(math.prod(shape) for shape, _ in types)
    return lowering.in_memory(types, flat, emit)
