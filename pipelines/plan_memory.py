"""One arena for all temporaries: every buffer becomes a slice of the caller's workspace.

Buffers that are in use at the same time do not overlap; slices are 64-byte aligned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlir import ir
from mlir.dialects import memref

from ..dialects.errors import InternalError
from .scalars import constant

ALIGNMENT = 64
VIEWS = {
    "memref.subview",
    "memref.collapse_shape",
    "memref.expand_shape",
    "memref.cast",
    "memref.reinterpret_cast",
    "memref.view",
}


@dataclass(eq=False)
class Buffer:
    """One allocation: live from operation `first` to operation `last` of the function, inclusive."""

    size: int
    first: int
    last: int
    offset: int = 0

    def meets(self, other: Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


def place(buffers: list[Buffer]) -> int:
    """Gives each buffer its offset; returns the size of the arena. Large ones first, each as low as it fits."""
    placed: list[Buffer] = []
    end = 0
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first)):
        offset = 0
        for other in sorted(filter(buffer.meets, placed), key=lambda b: b.offset):
            if offset + buffer.size <= other.offset:
                break
            offset = max(offset, other.offset + other.size)
        buffer.offset = offset
        end = max(end, offset + buffer.size)
        placed.append(buffer)
    return end


def size_of(type_: ir.Type) -> int:
    assert isinstance(type_, ir.MemRefType)
    element = type_.element_type
    assert isinstance(element, (ir.IntegerType, ir.FloatType))
    return math.prod(type_.shape) * ((element.width + 7) // 8)


def run(module: ir.Module) -> int:
    """Replaces the allocations of @main by slices of a new last argument; returns its size."""
    main = next(
        op
        for op in module.body.operations
        if ir.StringAttr(op.attributes["sym_name"]).value == "main"
    )
    block = main.regions[0].blocks[0]
    with module.context, main.location:
        _hoist(block)
        operations = list(block.operations)
        position = {op.operation: number for number, op in enumerate(operations)}
        buffers = {
            op.operation: Buffer(
                -(-size_of(op.results[0].type) // ALIGNMENT) * ALIGNMENT,
                number,
                _last_use(op.results[0], block, position, number),
            )
            for number, op in enumerate(operations)
            if op.operation.name == "memref.alloc"
        }
        size = place(list(buffers.values()))
        if size:
            _replace(main, block, buffers, size)
    return size


def _hoist(block: ir.Block) -> None:
    """Allocations inside loops move in front of them: each iteration writes before it reads."""
    for top in list(block.operations):
        inner: list[ir.Operation] = []

        def visit(op: ir.Operation, into: list[ir.Operation] = inner) -> ir.WalkResult:
            if op.name == "memref.alloc":
                into.append(op)
            return ir.WalkResult.ADVANCE

        for region in top.regions:
            for nested in region.blocks:
                for op in nested.operations:
                    op.operation.walk(visit)
        for op in inner:
            if list(op.operands):
                raise InternalError("a temporary has no static size")
            op.move_before(top.operation)


def _last_use(
    value: ir.Value, block: ir.Block, position: dict[ir.Operation, int], number: int
) -> int:
    last = number
    for use in value.uses:
        owner = use.owner.operation
        if owner.name in VIEWS:
            last = max(last, _last_use(owner.results[0], block, position, number))
        if owner.name == "scf.yield":
            raise InternalError("a temporary leaves a loop")
        while owner.block != block:
            parent = owner.parent
            assert parent is not None
            owner = parent.operation
        last = max(last, position[owner])
    return last


def _replace(
    main: ir.OpView, block: ir.Block, buffers: dict[ir.Operation, Buffer], size: int
) -> None:
    i8, index = ir.IntegerType.get_signless(8), ir.IndexType.get()
    workspace = block.add_argument(ir.MemRefType.get([size], i8), main.location)
    types = [argument.type for argument in block.arguments]
    main.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, []))
    promises = ir.ArrayAttr(main.attributes["arg_attrs"])
    main.attributes["arg_attrs"] = ir.ArrayAttr.get([*promises, promises[0]])
    for op, buffer in buffers.items():
        with ir.InsertionPoint(op), op.location:
            offset = constant(index, buffer.offset)
            view = memref.view(op.results[0].type, workspace, offset, [])
        op.results[0].replace_all_uses_with(view)
        op.erase()
