"""One arena for all temporaries: every buffer becomes a slice of the caller's workspace.

Buffers that are in use at the same time do not overlap; slices are 64-byte aligned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlir import ir
from mlir.dialects import memref

from ..dialects.errors import InternalError
from .builders import symbol, walk
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
    """One allocation, live from operation `first` of the function to operation `last`."""

    size: int
    first: int
    last: int
    offset: int = 0

    def meets(self, other: Buffer) -> bool:
        return self.first <= other.last and other.first <= self.last


def place(buffers: list[Buffer]) -> int:
    """Gives each buffer its offset: large ones first, as low as they fit. Returns the size."""
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
    main = next(op for op in module.body.operations if symbol(op) == "main")
    block = main.regions[0].blocks[0]
    with module.context, main.location:
        _hoist(block)
        compute_in_place(block)
        position = _positions(block)
        buffers = {}
        for op in block.operations:
            if op.operation.name == "memref.alloc":
                size = -(-size_of(op.results[0].type) // ALIGNMENT) * ALIGNMENT
                uses = _uses(op.results[0], block, position) or [position[op.operation]]
                buffers[op.operation] = Buffer(size, min(uses), max(uses))
        size = place(list(buffers.values()))
        if size:
            _replace(main, block, buffers, size)
    return size


def _hoist(block: ir.Block) -> None:
    """Allocations inside loops move in front of them: each iteration writes before it reads."""
    for top in list(block.operations):
        inner: list[ir.Operation] = []

        def visit(op: ir.Operation, into: list[ir.Operation] = inner) -> None:
            if op.name == "memref.alloc":
                into.append(op)

        if top.regions:
            walk(top, visit)
        for op in inner:
            if list(op.operands):
                raise InternalError("a temporary has no static size")
            op.move_before(top.operation)


def _positions(block: ir.Block) -> dict[ir.Operation, int]:
    """The place of each operation, until operands change: the bindings hash by them."""
    return {op.operation: number for number, op in enumerate(block.operations)}


def compute_in_place(block: ir.Block) -> None:
    """An elementwise loop that reads a buffer for the last time may write its result there."""
    operations = list(block.operations)
    position = _positions(block)
    replaced: list[ir.Operation] = []
    for number, op in enumerate(operations):
        if op.operation.name != "linalg.generic":
            continue
        maps = list(ir.ArrayAttr(op.attributes["indexing_maps"]))
        loops = len(ir.ArrayAttr(op.attributes["iterator_types"]))
        # Each element is visited once.
        whole = ir.AffineMapAttr.get(ir.AffineMap.get_identity(loops))
        operands = list(op.operands)
        inputs = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])[0]
        for out in range(inputs, len(operands)):
            made = operands[out].owner
            if isinstance(made, ir.Block) or made.operation.name != "memref.alloc":
                continue
            if maps[out] != whole or min(_uses(operands[out], block, position)) != number:
                continue
            for place in range(inputs):
                same = maps[place] == whole and operands[place].type == operands[out].type
                if same and _ends_at(operands[place], number, block, position):
                    first = position[operands[place].owner.operation]
                    users = [use.owner.operation for use in operands[out].uses]
                    if all(position.get(user, number) > first for user in users):
                        moved = [(user, position[user]) for user in users if user in position]
                        operands[out].replace_all_uses_with(operands[place])
                        position.update(moved)
                        replaced.append(made.operation)
                        operands = list(op.operands)
                        break
    for allocation in replaced:
        allocation.erase()


def _ends_at(
    value: ir.Value, number: int, block: ir.Block, position: dict[ir.Operation, int]
) -> bool:
    """Is this a temporary that operation `number` reads once, and nothing uses afterwards?"""
    while not isinstance(value.owner, ir.Block) and value.owner.operation.name in VIEWS:
        value = value.owner.operation.operands[0]
    if isinstance(value.owner, ir.Block) or value.owner.operation.name != "memref.alloc":
        return False
    uses = _uses(value, block, position)
    return max(uses) == number and uses.count(number) == 1


def _uses(value: ir.Value, block: ir.Block, position: dict[ir.Operation, int]) -> list[int]:
    """Where the function reads or writes a buffer, directly or through views."""
    found = []
    for use in value.uses:
        owner = use.owner.operation
        if owner.name == "scf.yield":
            raise InternalError("a temporary leaves a loop")
        if owner.name in VIEWS:
            found += _uses(owner.results[0], block, position)
            continue
        while owner.block != block:
            parent = owner.parent
            assert parent is not None
            owner = parent.operation
        found.append(position[owner])
    return found


def _replace(
    main: ir.OpView, block: ir.Block, buffers: dict[ir.Operation, Buffer], size: int
) -> None:
    i8, index = ir.IntegerType.get_signless(8), ir.IndexType.get()
    workspace = block.add_argument(ir.MemRefType.get([size], i8), main.location)
    types = [argument.type for argument in block.arguments]
    main.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, []))
    promises = ir.ArrayAttr(main.attributes["arg_attrs"])
    apart = ir.DictAttr.get({"llvm.noalias": ir.UnitAttr.get()})
    main.attributes["arg_attrs"] = ir.ArrayAttr.get([*promises, apart])
    for op, buffer in buffers.items():
        with ir.InsertionPoint(op), op.location:
            offset = constant(index, buffer.offset)
            view = memref.view(op.results[0].type, workspace, offset, [])
        op.results[0].replace_all_uses_with(view)
        op.erase()
