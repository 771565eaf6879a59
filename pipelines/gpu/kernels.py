"""Stage `kernels`: every loop nest of @main becomes a `gpu.launch`; loops that hold nests stay.

What no kernel is written for runs in one thread: correct, and slow.
"""

from __future__ import annotations

from typing import Any

from mlir import ir
from mlir.dialects import linalg

from ...dialects.errors import InternalError
from ..builders import symbol
from ..control import CONTROL
from ..plan_memory import VIEWS, compute_in_place
from ..stages import run_passes
from . import maps, reductions
from .launch import launch
from .nests import Nest, cloned

_GENERAL = "linalg-generalize-named-ops"
_STAYS = {*VIEWS, "memref.alloc", "memref.get_global", "func.return", "scf.yield", "gpu.launch"}


def run(module: ir.Module) -> None:
    main = next(op for op in module.body.operations if symbol(op) == "main")
    block = main.regions[0].blocks[0]
    with module.context, main.location:
        _replace_copies(block)
        run_passes(module, _GENERAL)
        compute_in_place(block)
        _convert(block)
        _erase_unused(block)


def _replace_copies(block: ir.Block) -> None:
    for op in list(block.operations):
        for region in op.operation.regions:
            for inner in region.blocks:
                _replace_copies(inner)
        if op.operation.name == "memref.copy":
            with ir.InsertionPoint(op), op.location:
                linalg.copy(op.operands[0], outs=[op.operands[1]])
            op.operation.erase()


def _convert(block: ir.Block) -> None:
    serial: list[Any] = []
    for op in list(block.operations):
        kind = _kind(op)
        if kind == "serial":
            serial.append(op)
            continue
        if kind == "host":
            continue
        _flush(serial)
        with ir.InsertionPoint(op), op.location:
            if kind == "control":
                for region in op.operation.regions:
                    for inner in region.blocks:
                        _convert(inner)
            elif kind == "nest":
                _emit(Nest(op.operation))
                op.operation.erase()
    _flush(serial)


def _kind(op: Any) -> str:
    name = op.operation.name
    if name in _STAYS:
        return "end" if name in ("func.return", "scf.yield", "gpu.launch") else "host"
    if name == "scf.condition":
        return "end"
    if CONTROL in op.operation.attributes:
        return "control"
    if name == "linalg.generic":
        return "nest"
    if name.startswith("arith.") or name == "memref.load":
        return "host" if _decides(op) else "serial"
    return "serial"


def _decides(op: Any) -> bool:
    """Is this a constant, an offset, or the condition of a branch?"""
    if op.operation.name == "arith.constant":
        return True
    for use in op.operation.results[0].uses:
        user = use.owner.operation
        if user.name == "scf.condition" or user.name in VIEWS or CONTROL in user.attributes:
            continue
        if not (user.name.startswith("arith.") and _decides(user)):
            return False
    return True


def _emit(nest: Nest) -> None:
    if 0 in nest.domain:
        return
    if any(start is not None for start in nest.starts):
        reductions.emit(nest)
    elif nest.reduced:
        raise InternalError("a reduction without a start")
    else:
        maps.emit(nest)


def _flush(serial: list[Any]) -> None:
    """Consecutive ops as one kernel of one thread."""
    if not serial:
        return
    with ir.InsertionPoint(serial[0]), serial[0].location, launch("serial", 1, 1):
        cloned(serial, {}, [])
    for op in reversed(serial):
        if any(list(result.uses) for result in op.operation.results):
            raise InternalError(f"a kernel cannot give a value to the host: {op}")
        op.operation.erase()
    serial.clear()


def _erase_unused(block: ir.Block) -> None:
    for op in reversed(list(block.operations)):
        name = op.operation.name
        if (name == "memref.alloc" or name in VIEWS) and not list(op.operation.results[0].uses):
            op.operation.erase()
