"""Copies from global to shared memory that go on while the threads compute (cp.async)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlir import ir
from mlir.dialects import arith, llvm, memref, nvvm

from ..builders import index_constant
from ..plan_memory import size_of
from ..scalars import constant

#: Types of pointers.
GLOBAL, SHARED = "!llvm.ptr<1>", "!llvm.ptr<3>"


def copy(
    to: ir.Value,
    place: Sequence[ir.Value],
    source: ir.Value,
    at: Sequence[ir.Value],
    bytes_: int,
    inside: ir.Value,
) -> None:
    """So many bytes from source[at] to to[place]; zeros, and nothing read, unless `inside`."""
    i32 = ir.IntegerType.get_signless(32)
    wanted = arith.select(inside, constant(i32, bytes_), constant(i32, 0))
    target, origin = pointer(to, place, SHARED), pointer(source, at, GLOBAL)
    # Only 16 bytes at once go around the first-level cache.
    kind = "cg" if bytes_ == 16 else "ca"
    modifier = ir.Attribute.parse(f"#nvvm<load_cache_modifier {kind}>")
    nvvm.CpAsyncOp(target, origin, bytes_, modifier, cpSize=wanted)


def commit() -> None:
    """The copies of this thread since the last one are a group."""
    nvvm.cp_async_commit_group()


def wait(left: int) -> None:
    """Until all but the last `left` groups of this thread are there."""
    nvvm.cp_async_wait_group(left)


def pointer(buffer: ir.Value, indices: Sequence[ir.Value], kind: str) -> ir.Value:
    """To an element of memory that is dense."""
    type_ = buffer.type
    assert isinstance(type_, ir.MemRefType)
    i64 = ir.IntegerType.get_signless(64)
    item = size_of(ir.MemRefType.get([1], type_.element_type))
    address = memref.extract_aligned_pointer_as_index(buffer)
    for d, index in enumerate(indices):
        step = math.prod(type_.shape[d + 1 :]) * item
        address = arith.addi(address, arith.muli(index, index_constant(step)))
    return llvm.inttoptr(ir.Type.parse(kind), arith.index_cast(i64, address))
