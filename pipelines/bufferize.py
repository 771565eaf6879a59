"""Stage `bufferized`: loops on tensors become loops on memory, all of it the caller's."""

from __future__ import annotations

from mlir import ir
from mlir.dialects import linalg

from . import outline, plan_memory, schedule
from .builders import walk
from .stages import run_passes

# No CSE before this: it would merge buffers that must stay apart, and copies would follow.
PASSES = "eliminate-empty-tensors,one-shot-bufferize{buffer-alignment=64},canonicalize"


def run(module: ir.Module) -> int:
    """Returns the size of the workspace in bytes."""
    run_passes(module, PASSES)
    with module.context:
        _replace_strided_copies(module)
    workspace = plan_memory.run(module)
    outline.run(module)
    schedule.finish(module)
    return workspace


def _replace_strided_copies(module: ir.Module) -> None:
    """memref.copy of anything but whole buffers becomes a call of MLIR's C runtime: use loops."""
    copies = []

    def visit(op: ir.Operation) -> None:
        if op.name == "memref.copy" and not all(_dense(value.type) for value in op.operands):
            copies.append(op)

    walk(module, visit)
    for op in copies:
        source, target = op.operands
        with ir.InsertionPoint(op), op.location:
            linalg.copy(source, outs=[target])
        op.erase()


def _dense(type_: ir.Type) -> bool:
    assert isinstance(type_, ir.MemRefType)
    return type_.layout == ir.AffineMapAttr.get(ir.AffineMap.get_identity(type_.rank))
