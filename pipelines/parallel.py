"""Loops that the caller's parallel_for may share out: part of stage `llvm-dialect`.

The body of such a loop becomes a function of a range. In its place stands a call of NAME.run,
which calls it once for the whole range, or hands parallel_for a fixed number of chunks. Chunks
never share what they write and run the same code, so results do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlir import ir
from mlir.dialects import func, scf

from . import outline
from .builders import symbol, walk

#: Operations in a chunk: enough that handing it out costs little.
_CHUNK = 1 << 16
_MOST_CHUNKS = 32
_CALL_COST = 15
_PARALLEL_FOR_OFFSET, _POOL_OFFSET = 8, 16


@dataclass(frozen=True)
class Shared:
    """A loop that was taken out; NAME.run has its `types`, then the pullback_call."""

    name: str
    types: tuple[str, ...]
    end: int
    step: int
    chunks: int


def run(module: ir.Module) -> list[Shared]:
    """Takes the loops out. If there are any, @main gets the pullback_call as its last argument."""
    with module.context:
        call_type = ir.Type.parse("!llvm.ptr")
        found: list[Shared] = []
        kernels = {symbol(op): op for op in module.body.operations if isinstance(op, func.FuncOp)}
        changed = []
        for name, kernel in kernels.items():
            before = len(found)
            for number, loop in enumerate(list(_loops(kernel))):
                chunks = min(_trips(loop), _work(loop) // _CHUNK, _MOST_CHUNKS)
                if chunks > 1:
                    found.append(_take_out(module, f"{name}.{number}", loop, chunks, call_type))
            if len(found) > before:
                changed.append(name)
        if found:
            _pass_call(kernels["main"], changed, call_type)
        return found


def _loops(kernel: func.FuncOp) -> Iterator[scf.ForOp]:
    if kernel.is_external:
        return
    if outline.PARALLEL in kernel.attributes:
        [*_, last] = [op for op in kernel.entry_block.operations if isinstance(op, scf.ForOp)] or [
            None
        ]
        if last is not None:
            yield last
        return
    yield from _marked(kernel.entry_block)


def _marked(block: ir.Block) -> Iterator[scf.ForOp]:
    for op in block.operations:
        if isinstance(op, scf.ForOp):
            if outline.PARALLEL in op.attributes:
                yield op
            else:
                yield from _marked(op.body)


def _bound(value: ir.Value) -> int | None:
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.operation.name != "arith.constant":
        return None
    return ir.IntegerAttr(owner.operation.attributes["value"]).value


def _trips(loop: scf.ForOp) -> int:
    bounds = [_bound(value) for value in list(loop.operation.operands)[:3]]
    low, high, step = bounds
    if low != 0 or high is None or not step or len(loop.operation.results):
        return 0
    return -(-high // step)


def _work(loop: scf.ForOp) -> int:
    """Operations of a loop, roughly."""
    total = 0
    for op in loop.body.operations:
        if isinstance(op, scf.ForOp):
            total += _work(op)
        else:
            total += _CALL_COST if isinstance(op, func.CallOp) else _width(op)
    low, high, step = (_bound(value) for value in list(loop.operation.operands)[:3])
    trips = 1 if None in (low, high, step) else -(-(high - low) // step)  # type: ignore[operator]
    return total * trips


def _width(op: ir.OpView) -> int:
    for result in op.results:
        if isinstance(result.type, ir.VectorType):
            return max(result.type.shape)
    return 1


def _take_out(
    module: ir.Module, name: str, loop: scf.ForOp, chunks: int, call_type: ir.Type
) -> Shared:
    operation = loop.operation
    roots: dict[ir.Value, None] = {}
    inside: dict[ir.Value, ir.Operation] = {}
    _, high, step = list(operation.operands)[:3]
    end, by = _bound(high), _bound(step)
    assert end is not None and by is not None
    for value in outline.captured(operation):
        outline.trace(value, roots, inside)
    index = ir.IndexType.get()
    with operation.location:
        types = [value.type for value in roots]
        with ir.InsertionPoint(module.body):
            body = func.FuncOp(f"{name}.body", ir.FunctionType.get([index, index, *types], []))
            runner = func.FuncOp(f"{name}.run", ir.FunctionType.get([*types, call_type], []))
        for function in (body, runner):
            function.attributes["sym_visibility"] = ir.StringAttr.get("private")
        body.attributes["passthrough"] = ir.ArrayAttr.get([ir.StringAttr.get("noinline")])
        nothing = ir.DictAttr.get({})
        promise = ir.DictAttr.get({"llvm.noalias": ir.UnitAttr.get()})
        promises = [promise if isinstance(t, ir.MemRefType) else nothing for t in types]
        body.arg_attrs = ir.ArrayAttr.get([nothing, nothing, *promises])
        block = body.add_entry_block()
        with ir.InsertionPoint(block):
            end_op = func.ReturnOp([])
        values = dict(zip(roots, list(block.arguments)[2:], strict=True))
        outline.repeat(inside, values, end_op)
        call = _kernel_call(operation, call_type)
        with ir.InsertionPoint(operation):
            func.CallOp([], runner.name.value, [*roots, call])
        operation.move_before(end_op.operation)
        outline.remap(operation, values)
        operation.operands[0], operation.operands[1] = block.arguments[0], block.arguments[1]
    texts = tuple("!llvm.ptr" if isinstance(t, ir.MemRefType) else "i64" for t in types)
    return Shared(name, texts, end, by, chunks)


def _kernel_call(operation: ir.Operation, call_type: ir.Type) -> ir.Value:
    """The pullback_call of the function around an operation, which gets it as its last argument."""
    owner = operation.parent
    while owner is not None and owner.operation.name != "func.func":
        owner = owner.operation.parent
    assert owner is not None
    block = owner.operation.regions[0].blocks[0]
    if not block.arguments or block.arguments[len(block.arguments) - 1].type != call_type:
        block.add_argument(call_type, operation.location)
        _retype(owner.operation, block)
    return block.arguments[len(block.arguments) - 1]


def _retype(function: ir.Operation, block: ir.Block) -> None:
    types = [argument.type for argument in block.arguments]
    function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(types, []))
    promises = list(ir.ArrayAttr(function.attributes["arg_attrs"]))
    function.attributes["arg_attrs"] = ir.ArrayAttr.get([*promises, ir.DictAttr.get({})])


def _pass_call(main: func.FuncOp, changed: list[str], call_type: ir.Type) -> None:
    """@main takes the pullback_call, and hands it to the functions that want it."""
    with main.location:
        block = main.entry_block
        call = block.add_argument(call_type, main.location)
        _retype(main.operation, block)
        calls: list[ir.Operation] = []
        walk(main, lambda op: calls.append(op) if op.name == "func.call" else None)
        for op in calls:
            callee = ir.FlatSymbolRefAttr(op.attributes["callee"]).value
            if callee in changed:
                with ir.InsertionPoint(op), op.location:
                    func.CallOp([], callee, [*op.operands, call])
                op.erase()


def text(shared: Shared) -> str:
    """NAME.run and what parallel_for calls, in the LLVM dialect."""
    name, types = shared.name, shared.types
    body_type = ", ".join(["i64", "i64", *types])
    slots = f"!llvm.array<{max(len(types), 1)} x i64>"
    parameters = ", ".join(f"%a{i}: {t}" for i, t in enumerate(types))
    passed = "".join(f", %a{i}" for i in range(len(types)))
    store, load = [], []
    for i, type_ in enumerate(types):
        place = f"llvm.getelementptr %context[{8 * i}] : (!llvm.ptr) -> !llvm.ptr, i8"
        store += [f"%p{i} = {place}", f"llvm.store %a{i}, %p{i} : {type_}, !llvm.ptr"]
        load += [f"%p{i} = {place}", f"%a{i} = llvm.load %p{i} : !llvm.ptr -> {type_}"]
    lines = "\n    ".join
    trips = -(-shared.end // shared.step)
    return f"""
  llvm.func @{name}.body({body_type})
  llvm.func internal @{name}.chunk(%context: !llvm.ptr, %i: i64) {{
    {lines(load)}
    %trips = llvm.mlir.constant({trips} : i64) : i64
    %chunks = llvm.mlir.constant({shared.chunks} : i64) : i64
    %step = llvm.mlir.constant({shared.step} : i64) : i64
    %one = llvm.mlir.constant(1 : i64) : i64
    %next = llvm.add %i, %one : i64
    %0 = llvm.mul %i, %trips : i64
    %1 = llvm.udiv %0, %chunks : i64
    %low = llvm.mul %1, %step : i64
    %2 = llvm.mul %next, %trips : i64
    %3 = llvm.udiv %2, %chunks : i64
    %high = llvm.mul %3, %step : i64
    llvm.call @{name}.body(%low, %high{passed}) : ({body_type}) -> ()
    llvm.return
  }}
  llvm.func internal @{name}.run({parameters + ", " if types else ""}%call: !llvm.ptr) {{
    %one = llvm.mlir.constant(1 : i64) : i64
    %context = llvm.alloca %one x {slots} : (i64) -> !llvm.ptr
    %null = llvm.mlir.zero : !llvm.ptr
    %none = llvm.icmp "eq" %call, %null : !llvm.ptr
    llvm.cond_br %none, ^serial, ^look
  ^look:
    %place = llvm.getelementptr %call[{_PARALLEL_FOR_OFFSET}] : (!llvm.ptr) -> !llvm.ptr, i8
    %parallel_for = llvm.load %place : !llvm.ptr -> !llvm.ptr
    %absent = llvm.icmp "eq" %parallel_for, %null : !llvm.ptr
    llvm.cond_br %absent, ^serial, ^parallel
  ^serial:
    %low = llvm.mlir.constant(0 : i64) : i64
    %high = llvm.mlir.constant({trips * shared.step} : i64) : i64
    llvm.call @{name}.body(%low, %high{passed}) : ({body_type}) -> ()
    llvm.return
  ^parallel:
    {lines(store)}
    %pool_place = llvm.getelementptr %call[{_POOL_OFFSET}] : (!llvm.ptr) -> !llvm.ptr, i8
    %pool = llvm.load %pool_place : !llvm.ptr -> !llvm.ptr
    %chunk = llvm.mlir.addressof @{name}.chunk : !llvm.ptr
    %chunks = llvm.mlir.constant({shared.chunks} : i64) : i64
    llvm.call %parallel_for(%pool, %chunk, %context, %chunks)
      : !llvm.ptr, (!llvm.ptr, !llvm.ptr, !llvm.ptr, i64) -> ()
    llvm.return
  }}
"""
