"""Updates of memory by many threads at once. Only those whose result no order can change."""

from __future__ import annotations

from collections.abc import Sequence

from mlir import ir
from mlir.dialects import llvm

from .asynchronous import pointer
from .launch import SHARED


def update(kind: str, buffer: ir.Value, place: Sequence[ir.Value], value: ir.Value) -> ir.Value:
    """buffer[place] = kind(buffer[place], value), as one step; what was there before.

    `kind`: "add", "max" and "min" (signed), "umax", "umin", "_or": integers of 32 or 64 bits.
    Nothing else is ordered by it.
    """
    assert isinstance(buffer.type, ir.MemRefType)
    space = buffer.type.memory_space
    shared = space is not None and ir.IntegerAttr(space).value == SHARED
    to = pointer(buffer, place, f"!llvm.ptr<{SHARED if shared else 1}>")
    return llvm.atomicrmw(getattr(llvm.AtomicBinOp, kind), to, value, llvm.AtomicOrdering.monotonic)
