"""What kernels of ops with loops of their own are written with: tensors as memory, and threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlir import ir
from mlir.dialects import bufferization, scf

from ...dialects.pb.types import element_type, shape
from ..buffers import strided
from ..builders import block_of, index_constant
from .launch import BLOCK, launch, less, unravelled, when


def memory_of(tensor: ir.Value) -> ir.Value:
    """The memory behind a tensor, to be read."""
    if _stays(tensor):
        type_ = strided(shape(tensor), element_type(tensor))
    else:
        type_ = ir.MemRefType.get(shape(tensor), element_type(tensor))
    return bufferization.to_buffer(type_, tensor, read_only=True)


def _stays(tensor: ir.Value) -> bool:
    """Whether it is (a part of) memory already. What is yet to be computed may be put into a
    part of something with other strides, and a copy, which is made then, starts at its start."""
    views = ("tensor.extract_slice", "tensor.collapse_shape", "tensor.expand_shape")
    while isinstance(tensor.owner, ir.Operation) and tensor.owner.name in views:
        tensor = tensor.owner.operands[0]
    return isinstance(tensor.owner, ir.Operation) and tensor.owner.name == "bufferization.to_tensor"


@contextmanager
def each(name: str, sizes: Sequence[int]) -> Iterator[list[ir.Value]]:
    """A kernel with a thread for each element of this shape: its indices."""
    count = 1
    for size in sizes:
        count *= size
    block = min(BLOCK, -(-count // 32) * 32)
    with launch(name, -(-count // block), block) as t, when(less(t.flat(), count)):
        yield unravelled(t.flat(), sizes)


@contextmanager
def steps(count: int | ir.Value, start: int | ir.Value = 0) -> Iterator[ir.Value]:
    """for i = start to count."""
    low, high = (index_constant(n) if isinstance(n, int) else n for n in (start, count))
    loop = scf.ForOp(low, high, index_constant(1))
    with block_of(loop.body):
        yield loop.induction_variable
        scf.YieldOp([])
