"""Each loop nest of @main becomes a function of the buffers that it touches; equal ones become one.

Inside it the buffers are known not to overlap, which slices of one workspace would not be; and
each nest has a name in assembly and profiles.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlir import ir
from mlir.dialects import func

from .builders import symbol, walk
from .control import CONTROL
from .plan_memory import VIEWS, size_of

INTERNAL = "#llvm.linkage<internal>"
#: Bytes of a buffer from which on a call costs nothing beside the loop.
_LARGE = 4096
#: With more loop nests than this, compile time matters more than calls do.
_MANY = 64
#: On a function or a loop: the outermost loop, or this one, has independent iterations.
PARALLEL = "pb.parallel"
_LARGE_PARALLEL = 1 << 16
_TERMINATORS = {"func.return", "scf.yield", "scf.condition"}
_CLONED = VIEWS | {"arith.constant", "memref.get_global"}


def run(module: ir.Module) -> None:
    main = next(op for op in module.body.operations if symbol(op) == "main")
    block = main.regions[0].blocks[0]
    with module.context:
        known: dict[str, func.FuncOp] = {}
        blocks = list(_blocks(block))
        groups = [group for each in blocks for group in _groups(each)]
        for number, group in enumerate(groups):
            _merge(_outline(module, f"main.{number}", group), known)
        _keep_apart(main, list(known.values()))
        for each in reversed(blocks):
            for op in reversed(list(each.operations)):
                if _may_go(op) and not any(list(r.uses) for r in op.results):
                    op.operation.erase()


def _may_go(op: ir.OpView) -> bool:
    return op.operation.name in _CLONED or _is_index(op)


def _blocks(block: ir.Block) -> Iterator[ir.Block]:
    """The block, and the bodies of the loops and branches in it that hold loop nests."""
    yield block
    for op in block.operations:
        if CONTROL in op.attributes:
            for region in op.regions:
                for inner in region.blocks:
                    yield from _blocks(inner)


def _groups(block: ir.Block) -> list[list[ir.Operation]]:
    """Operations that belong together: a loop nest with the fills and scalars before it."""
    groups: list[list[ir.Operation]] = []
    pending: list[ir.Operation] = []
    for op in block.operations:
        name = op.operation.name
        if _may_go(op):
            continue
        if CONTROL in op.attributes or name in _TERMINATORS:
            pending = []  # scalars that it needs: they stay
            continue
        pending.append(op.operation)
        if len(pending) > 1 and _parallel(op.operation):
            # What starts a reduction is not repeated by each chunk.
            groups.append(pending[:-1])
            pending = pending[-1:]
        if name != "linalg.fill" and not _needed_later(pending):
            groups.append(pending)
            pending = []
    return [*groups, pending] if pending else groups


def _is_index(op: ir.OpView) -> bool:
    """Computes a place in a buffer: repeated where it is used."""
    return op.operation.name.startswith("arith.") and op.results[0].type == ir.IndexType.get()


def _parallel(op: ir.Operation) -> bool:
    """Is this a loop nest whose outermost loop has independent iterations, and enough of them?"""
    if op.name != "linalg.generic":
        return False
    kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
    sizes = [size_of(value.type) for value in op.operands]
    return bool(kinds) and "parallel" in kinds[0] and max(sizes) >= _LARGE_PARALLEL


def _needed_later(group: list[ir.Operation]) -> bool:
    """Is a result of the group used by an operation that is not in it?"""
    block = group[0].block
    inside = set(group)
    for op in group:
        for result in op.results:
            for use in result.uses:
                owner = use.owner.operation
                while owner.block != block:
                    parent = owner.parent
                    assert parent is not None
                    owner = parent.operation
                if owner not in inside:
                    return True
    return False


def _outline(
    module: ir.Module, name: str, group: list[ir.Operation]
) -> tuple[func.FuncOp, func.CallOp]:
    roots: dict[ir.Value, None] = {}
    inside: dict[ir.Value, ir.Operation] = {}
    # Results of the group itself are not captured: a copy of the op would read memory too early.
    own = {result for op in group for result in op.results}
    for op in group:
        for value in captured(op):
            if value not in own:
                trace(value, roots, inside)
    location = group[-1].location
    with location:
        types = [value.type for value in roots]
        with ir.InsertionPoint(module.body):
            kernel = func.FuncOp(name, ir.FunctionType.get(types, []))
        kernel.attributes["sym_visibility"] = ir.StringAttr.get("private")
        kernel.attributes["llvm.linkage"] = ir.Attribute.parse(INTERNAL)
        if _parallel(group[-1]):
            kernel.attributes[PARALLEL] = ir.UnitAttr.get()
        promise = ir.DictAttr.get({"llvm.noalias": ir.UnitAttr.get()})
        nothing = ir.DictAttr.get({})
        promises = [promise if isinstance(t, ir.MemRefType) else nothing for t in types]
        kernel.arg_attrs = ir.ArrayAttr.get(promises)
        body = kernel.add_entry_block()
        with ir.InsertionPoint(group[-1]):
            call = func.CallOp([], name, list(roots))
        with ir.InsertionPoint(body):
            end = func.ReturnOp([])
        values = dict(zip(roots, body.arguments, strict=True))
        repeat(inside, values, end)
        for op in group:
            op.move_before(end.operation)
            remap(op, values)
    return kernel, call


def _merge(made: tuple[func.FuncOp, func.CallOp], known: dict[str, func.FuncOp]) -> None:
    """Keeps one of several equal functions."""
    kernel, call = made
    text = kernel.operation.get_asm(use_local_scope=True, assume_verified=True).replace(
        f"@{kernel.name.value}(", "@(", 1
    )
    if (same := known.setdefault(text, kernel)) is not kernel:
        call.attributes["callee"] = ir.FlatSymbolRefAttr.get(same.name.value)
        kernel.operation.erase()


def _keep_apart(main: ir.OpView, kernels: list[func.FuncOp]) -> None:
    """Forbids inlining but of a few small ones: the optimiser is best at one nest at a time."""
    calls: list[ir.Attribute] = []

    def visit(op: ir.Operation) -> None:
        if op.name == "func.call":
            calls.append(op.attributes["callee"])

    walk(main, visit)
    for kernel in kernels:
        called = sum(ir.FlatSymbolRefAttr(callee).value == kernel.name.value for callee in calls)
        buffers = [t for t in kernel.type.inputs if isinstance(t, ir.MemRefType)]
        small = all(size_of(type_) < _LARGE for type_ in buffers)
        if called > 1 or not small or len(kernels) > _MANY:
            kernel.attributes["passthrough"] = ir.ArrayAttr.get([ir.StringAttr.get("noinline")])


def captured(op: ir.Operation) -> list[ir.Value]:
    """Values that the op and what is nested in it use, but that are made outside."""
    found: dict[ir.Value, None] = dict.fromkeys(op.operands)
    if op.regions:
        made: set[ir.Value] = set()
        used: dict[ir.Value, None] = {}
        _scan(op, made, used)
        found |= {value: None for value in used if value not in made}
    return list(found)


def _scan(op: ir.Operation, made: set[ir.Value], used: dict[ir.Value, None]) -> None:
    for region in op.regions:
        for block in region.blocks:
            made.update(block.arguments)
            for inner in block.operations:
                used |= dict.fromkeys(inner.operands)
                made.update(inner.results)
                _scan(inner.operation, made, used)


def trace(
    value: ir.Value, roots: dict[ir.Value, None], inside: dict[ir.Value, ir.Operation]
) -> None:
    """Sorts a value, and what it is a view of, into buffers to pass and operations to repeat."""
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name == "memref.view":
        roots[value] = None
        return
    if value in inside:
        return
    for operand in owner.operands:
        trace(operand, roots, inside)
    inside[value] = owner.operation


def repeat(
    inside: dict[ir.Value, ir.Operation], values: dict[ir.Value, ir.Value], end: ir.OpView
) -> None:
    """Clones operations in front of `end`, on the values that they have there."""
    for value, op in inside.items():
        clone = op.clone(ir.InsertionPoint(end))
        remap(clone.operation, values)
        values[value] = clone.operation.results[0]


def remap(op: ir.Operation, values: dict[ir.Value, ir.Value]) -> None:
    for number, operand in enumerate(op.operands):
        if operand in values:
            op.operands[number] = values[operand]
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                remap(inner.operation, values)
