"""Factorisations on GPUs: a thread for each of many tiny matrices, a block for each larger one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlir import ir
from mlir.dialects import memref

from ..buffers import in_memory
from ..linalg_lowering import Method, matrices
from ..loop_emission import Emission
from ..loop_graph import Node
from ..memory_loops import Buffer
from . import factorisations, spectral
from .launch import launch, less, when
from .wholes import memory_of

if TYPE_CHECKING:
    from .lowering import GpuLowering

#: Sizes up to which more than one thread finds nothing to do.
_TINY = 8
_BLOCK = 32
#: Of what a block does: takes results and sources, and emits kernels.
_IN_BLOCKS: dict[str, Callable[..., None]] = {
    "cholesky": factorisations.cholesky,
    "triangular_solve": factorisations.triangular_solve,
    "lu": factorisations.lu,
    "qr": factorisations.qr,
    "eigh": spectral.eigh,
    "svd": spectral.svd,
}


def on_matrices(
    lowering: GpuLowering,
    results: Sequence[tuple[Sequence[int], ir.Type]],
    sources: Sequence[Node],
    method: Method,
) -> list[Node]:
    """Results of these shapes (of rank 3)."""
    flat = [lowering.reshape(source, matrices(source)) for source in sources]
    tiny = all(max(source.shape[1:]) <= _TINY for source in flat)

    def emit(_: Emission, places: Sequence[Any], *tensors: ir.Value) -> None:
        ours = [Buffer(place) for place in places]
        theirs = [Buffer(memory_of(tensor)) for tensor in tensors]
        if tiny or method.name not in _IN_BLOCKS:
            _by_threads(method, ours, theirs)
        else:
            _IN_BLOCKS[method.name](*ours, *theirs, **method.options)

    types = [(tuple(shape), element) for shape, element in results]
    assert all(math.prod(shape) for shape, _ in types)
    return lowering.in_memory(types, flat, emit)


def _by_threads(method: Method, results: Sequence[Buffer], sources: Sequence[Buffer]) -> None:
    """The CPU's own loops, in a thread for each matrix."""
    count = results[0].type.shape[0]
    element = in_memory(sources[0].element)
    temporary = [
        Buffer(memref.alloc(ir.MemRefType.get([count, *shape], element), [], []))
        for shape in method.scratches
    ]
    with launch("matrices", -(-count // _BLOCK), _BLOCK) as t, when(less(t.flat(), count)):
        ours, theirs, more = (
            [buffer.of(t.flat()) for buffer in buffers] for buffers in (results, sources, temporary)
        )
        for result, source in zip(ours, method.copied, strict=True):
            if source is not None:
                result.copy_from(theirs[source])
        method.alone(*ours, *theirs, *more)
