"""Stage `kernels`: every loop nest of @main becomes a `gpu.launch`; loops that hold nests stay.

What no kernel is written for runs in one thread: correct, and slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlir import ir
from mlir.dialects import linalg

from ...dialects.errors import InternalError
from ..builders import symbol, walk
from ..control import CONTROL
from ..plan_memory import VIEWS, compute_in_place
from ..stages import run_passes
from . import maps, reductions, resident, rows, transposes
from .epilogues import Fused
from .launch import launch
from .nests import Nest, cloned
from .products import TF32, product_of
from .row_groups import WINDOW, Group, depend, grouped, touched

_GENERAL = "linalg-generalize-named-ops,cse"
_STAYS = {*VIEWS, "memref.alloc", "memref.get_global", "func.return", "scf.yield", "gpu.launch"}


def run(module: ir.Module, tf32: bool = False) -> None:
    """With `tf32`, tensor cores may round the factors of products of f32."""
    main = next(op for op in module.body.operations if symbol(op) == "main")
    block = main.regions[0].blocks[0]
    with module.context, main.location:
        _replace_copies(block)
        run_passes(module, _GENERAL)
        compute_in_place(block)
        if tf32:
            walk(main, _allow_tf32)
        _convert(block)
        _erase_unused(block)


def _allow_tf32(op: ir.Operation) -> None:
    if op.name == "linalg.generic":
        op.attributes[TF32] = ir.UnitAttr.get()


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
    """Neighbouring ops of one kind become kernels together."""
    run: list[Any] = []
    previous, between = "", []
    for op in list(block.operations):
        kind = _kind(op)
        if kind == "host":
            between.append(op)
            continue
        if kind != previous or kind not in _TOGETHER:
            _TOGETHER.get(previous, _keep)(run)
            previous, run = kind, []
        elif between:
            for host in between:
                host.operation.move_before(run[0].operation)
        between = []
        run.append(op)
        if kind == "control" and resident.fits(op.operation):
            resident.emit(op.operation)
        elif kind == "control":
            for region in op.operation.regions:
                for inner in region.blocks:
                    _convert(inner)
    _TOGETHER.get(previous, _keep)(run)


def _keep(_: Sequence[Any]) -> None:
    """Stays as it is."""


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


def _emit_nests(operations: Sequence[Any]) -> None:
    """Kernels, before the first of them; in between is nothing that computes."""
    nests = [Nest(op.operation) for op in operations]
    for part in _with_products(nests):
        if isinstance(part, Group):
            members = [each.nest for each in part.nests]
        else:
            members = part.nests if isinstance(part, Fused) else [part]
        with ir.InsertionPoint(members[0].op), members[0].op.location:
            if isinstance(part, Group):
                rows.emit(part)
            elif isinstance(part, Fused):
                part.emit()
            else:
                _emit(part)
        for nest in members:
            nest.op.erase()


def _with_products(nests: Sequence[Nest]) -> list[Nest | Group | Fused]:
    """Products with what follows them; the nests between, as row_groups.py groups them."""
    found: list[Nest | Group | Fused] = []
    between: list[Nest] = []
    left = list(nests)
    while left:
        product = product_of(left[0])
        if product is None:
            between.append(left.pop(0))
            continue
        found += grouped(between)
        between = []
        fused = Fused.of(product, _follower(left))
        found.append(fused)
        left = [nest for nest in left if nest not in fused.nests]
    return found + grouped(between)


def _follower(nests: Sequence[Nest]) -> Nest | None:
    """What reads the first nest's result first, if nothing in between must come before."""
    results = touched(nests[0])[1]
    for number, nest in enumerate(nests[1:WINDOW], 1):
        if results & touched(nest)[0]:
            between = nests[1:number]
            return None if any(depend(nest, other) for other in between) else nest
    return None


def _emit(nest: Nest) -> None:
    if 0 in nest.domain or nest.copies_itself:
        return
    if any(start is not None for start in nest.starts):
        reductions.emit(nest)
    elif nest.reduced:
        raise InternalError("a reduction without a start")
    elif (along := transposes.crossing(nest)) is not None:
        transposes.emit(nest, along)
    else:
        maps.emit(nest)


def _emit_serial(serial: Sequence[Any]) -> None:
    """One kernel of one thread."""
    with ir.InsertionPoint(serial[0]), serial[0].location, launch("serial", 1, 1):
        cloned(serial, {}, [])
    for op in reversed(serial):
        if any(list(result.uses) for result in op.operation.results):
            raise InternalError(f"a kernel cannot give a value to the host: {op}")
        op.operation.erase()


_TOGETHER = {"nest": _emit_nests, "serial": _emit_serial}


def _erase_unused(block: ir.Block) -> None:
    for op in reversed(list(block.operations)):
        name = op.operation.name
        if (name == "memref.alloc" or name in VIEWS) and not list(op.operation.results[0].uses):
            op.operation.erase()
