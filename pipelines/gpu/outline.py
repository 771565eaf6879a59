"""Stage `outlined`: the launches of @main become kernels, and @main becomes the launch plan.

A kernel gets the buffers that it touches, each as one pointer, and the numbers of the loops around
it; views and offsets are computed again inside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlir import ir
from mlir.dialects import arith, func, memref

from ...dialects.errors import InternalError
from ..builders import symbol, walk
from ..plan_memory import VIEWS
from . import plan
from .launch import EXCHANGES, NAME, RESIDENT, SHARED, launch
from .nests import cloned
from .plan import Argument, For, If, Kind, Launch, Step, While

#: At the start of the workspace: the status of the call, and the byte that a branch goes by.
STATUS_BYTES, CONDITION_BYTES = 64, 64
#: On a kernel: threads of a block.
BLOCK = "pb.block"
_MOST_SHARED = 48 << 10


@dataclass(frozen=True)
class _Parameter:
    """What a kernel gets: an argument of a type; a loop's number has type index."""

    argument: Argument
    type: ir.Type


@dataclass
class _Plan:
    """The kernels and steps found so far."""

    module: ir.Module
    places: dict[ir.Value, Argument]
    has_status: bool
    kernels: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    variables: dict[ir.Value, int] = field(default_factory=dict)
    header: int = 0
    branches: bool = False


def run(
    module: ir.Module, leading: Sequence[Argument], has_status: bool, workspace: int
) -> plan.Plan:
    """The plan of @main, which leaves the module; `leading` are its first arguments.

    The status, if there is one, and the workspace, if there are temporaries, follow them.
    """
    main = next(op for op in module.body.operations if symbol(op) == "main")
    block = main.regions[0].blocks[0]
    arguments = list(leading)
    if has_status:
        arguments.append(Argument(Kind.STATUS))
    branches = any(op.name in ("scf.if", "scf.while") for op in _host(block))
    header = STATUS_BYTES * has_status + CONDITION_BYTES * branches
    if workspace:
        arguments.append(Argument(Kind.WORKSPACE, 0, header))
    places: dict[ir.Value, Argument] = {}
    places.update(zip(block.arguments, arguments, strict=True))
    with module.context, main.location:
        state = _Plan(module, places, has_status, header=header, branches=branches)
        steps = _steps(state, block)
        main.operation.erase()
    variables = len(state.variables)
    return plan.Plan(state.kernels, steps, header + workspace, variables, has_status)


def _host(block: ir.Block) -> Iterator[ir.Operation]:
    """The ops of @main that are in no kernel."""
    for op in block.operations:
        yield op.operation
        if op.operation.name != "gpu.launch":
            for region in op.operation.regions:
                for inner in region.blocks:
                    yield from _host(inner)


# Steps.


def _steps(state: _Plan, block: ir.Block) -> list[Step]:
    steps: list[Step] = []
    for op in list(block.operations):
        match op.operation.name:
            case "gpu.launch":
                steps.append(_launch(state, op))
            case "scf.for":
                steps.append(_loop(state, op))
            case "scf.if":
                steps += _branch(state, op)
            case "scf.while":
                steps.append(_while(state, op))
            case "func.return" | "scf.yield" | "scf.condition" | "memref.get_global":
                pass
            case name if name in VIEWS or name.startswith("arith.") or name == "memref.load":
                pass  # computed again where it is used
            case name:
                raise InternalError(f"{name} is neither in a kernel nor a loop")
    return steps


def _loop(state: _Plan, op: Any) -> For:
    low, high, by = (_constant(value) for value in list(op.operation.operands)[:3])
    if low != 0 or by != 1 or high is None or list(op.operation.results):
        raise InternalError("a loop around kernels that does not count from 0 by 1")
    body = op.operation.regions[0].blocks[0]
    number = len(state.variables)
    state.variables[body.arguments[0]] = number
    return For(number, high, _steps(state, body))


def _branch(state: _Plan, op: Any) -> list[Step]:
    regions = [region.blocks for region in op.operation.regions]
    then, orelse = (_steps(state, blocks[0]) if len(blocks) else [] for blocks in regions)
    with ir.InsertionPoint(op):
        decide = _decide(state, op.operation.operands[0])
    return [decide, If(_condition(state), then, orelse)]


def _while(state: _Plan, op: Any) -> While:
    before, after = (region.blocks[0] for region in op.operation.regions)
    test = _steps(state, before)
    last = before.operations[len(before.operations) - 1]
    with ir.InsertionPoint(last):
        test.append(_decide(state, last.operation.operands[0]))
    return While(test, _condition(state), _steps(state, after))


def _condition(state: _Plan) -> Argument:
    return Argument(Kind.WORKSPACE, 0, STATUS_BYTES * state.has_status)


def _decide(state: _Plan, condition: ir.Value) -> Launch:
    """A kernel of one thread that leaves the truth value where the plan reads it."""
    i8 = ir.IntegerType.get_signless(8)
    with launch("decide", 1, 1) as t:
        memref.store(arith.extui(i8, condition), _placeholder(state, i8), [])
    return _launch(state, t.op)


def _placeholder(state: _Plan, element: ir.Type) -> ir.Value:
    """A buffer that stands for the byte of conditions."""
    main = next(op for op in state.module.body.operations if symbol(op) == "main")
    block = main.regions[0].blocks[0]
    place = _condition(state)
    for value, argument in state.places.items():
        if argument == place and isinstance(value, ir.BlockArgument):
            return value
    added = block.add_argument(ir.MemRefType.get([], element), main.location)
    state.places[added] = place
    return added


def _constant(value: ir.Value) -> int | None:
    owner = value.owner
    if isinstance(owner, ir.Block) or owner.name != "arith.constant":
        return None
    return ir.IntegerAttr(owner.attributes["value"]).value


def _size(value: ir.Value) -> int:
    found = _constant(value)
    if found is None:
        raise InternalError("a launch whose size is not known")
    return found


# Kernels.


def _launch(state: _Plan, op: Any) -> Launch:
    sizes = [_size(value) for value in op.operation.operands]
    grid, block = (sizes[0], sizes[1], sizes[2]), (sizes[3], sizes[4], sizes[5])
    body = op.operation.regions[0].blocks[0]
    outside = _captured(op.operation)
    order, parameters = _slice(state, outside)
    function = _function(state, op, body, order, parameters, block[0])
    number = _number(state, function, str(op.operation.attributes[NAME]).strip('"'))
    return Launch(number, grid, block, [parameter.argument for parameter in parameters.values()])


def _captured(op: ir.Operation) -> list[ir.Value]:
    """Values from outside that the body of a launch uses."""
    inside: set[ir.Value] = set()
    found: dict[ir.Value, None] = {}

    def visit(inner: ir.Operation) -> None:
        for region in inner.regions:
            for block in region.blocks:
                inside.update(block.arguments)
        if inner != op:
            found.update(dict.fromkeys(v for v in inner.operands if v not in inside))
        inside.update(inner.results)

    walk(op, visit)  # type: ignore[arg-type]
    return list(found)


def _slice(
    state: _Plan, values: Sequence[ir.Value]
) -> tuple[list[ir.Operation], dict[ir.Value, _Parameter]]:
    """The ops that compute these values, in order, and the parameters they start from."""
    order: dict[ir.Operation, None] = {}
    parameters: dict[ir.Value, _Parameter] = {}
    done: set[ir.Value] = set()

    def reach(value: ir.Value) -> None:
        if value in done:
            return
        done.add(value)
        if value in state.places:
            parameters[value] = _Parameter(state.places[value], value.type)
            return
        if value in state.variables:
            argument = Argument(Kind.VARIABLE, state.variables[value])
            parameters[value] = _Parameter(argument, value.type)
            return
        owner = value.owner
        if isinstance(owner, ir.Block):
            raise InternalError("a kernel uses a value that is known to no plan")
        op = owner.operation
        if op.name == "memref.view":
            base, offset = op.operands[0], _constant(op.operands[1])
            place = state.places.get(base)
            if place is None or offset is None:
                raise InternalError("a slice of something that is not the workspace")
            moved = Argument(place.kind, place.index, place.offset + offset)
            parameters[value] = _Parameter(moved, value.type)
            return
        if not (op.name in VIEWS or op.name.startswith("arith.") or op.name in _RECOMPUTED):
            raise InternalError(f"a kernel uses the result of {op.name}")
        for operand in op.operands:
            reach(operand)
        order[op] = None

    for value in values:
        reach(value)
    return list(order), parameters


_RECOMPUTED = {"memref.get_global", "memref.load"}


def _function(
    state: _Plan,
    op: Any,
    body: ir.Block,
    order: Sequence[ir.Operation],
    parameters: dict[ir.Value, _Parameter],
    threads: int,
) -> func.FuncOp:
    i64 = ir.IntegerType.get_signless(64)
    types = [p.type if isinstance(p.type, ir.MemRefType) else i64 for p in parameters.values()]
    with ir.InsertionPoint(state.module.body), op.location:
        function = func.FuncOp("kernel.new", ir.FunctionType.get(types, []))
        apart = EXCHANGES not in op.operation.attributes
        function.arg_attrs = ir.ArrayAttr.get([_promises(p, apart) for p in parameters.values()])
        function.attributes[BLOCK] = ir.IntegerAttr.get(i64, threads)
        if RESIDENT in op.operation.attributes:
            function.attributes[RESIDENT] = op.operation.attributes[RESIDENT]
        block = function.add_entry_block()
        with ir.InsertionPoint(block):
            known: dict[ir.Value, Any] = {}
            for value, argument in zip(parameters, block.arguments, strict=True):
                loop = not isinstance(value.type, ir.MemRefType)
                known[value] = arith.index_cast(value.type, argument) if loop else argument
            cloned(order, known, [])
            cloned(list(body.operations)[:-1], known, [])
            func.ReturnOp([])
    return function


def _promises(parameter: _Parameter, apart: bool) -> ir.DictAttr:
    """`apart`: nobody else touches the memory meanwhile; LLVM would move reads over barriers.

    No promise of alignment: LLVM would read past the end of what is only aligned, not longer.
    """
    if not apart or not isinstance(parameter.type, ir.MemRefType):
        return ir.DictAttr.get({})
    return ir.DictAttr.get({"llvm.noalias": ir.UnitAttr.get()})


def _number(state: _Plan, function: func.FuncOp, name: str) -> int:
    """The number of the kernel: equal ones are one."""
    text = function.operation.get_asm(use_local_scope=True)  # else all of the module is numbered
    if text in state.known:
        function.operation.erase()
        return state.known[text]
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    unique, count = name, 1
    while unique in state.kernels:
        count += 1
        unique = f"{name}_{count}"
    number = state.known[text] = len(state.kernels)
    state.kernels.append(unique)
    function.attributes["sym_name"] = ir.StringAttr.get(unique)
    _share(state.module, function, unique)
    return number


def _share(module: ir.Module, function: func.FuncOp, name: str) -> None:
    """Memory of the block becomes variables of the module."""
    found: list[ir.Operation] = []

    def visit(op: ir.Operation) -> None:
        if op.name == "memref.alloca" and _is_shared(op.results[0].type):
            found.append(op)

    walk(function, visit)
    for number, op in enumerate(found):
        type_ = op.results[0].type
        variable = f"{name}_shared{number}"
        with ir.InsertionPoint(module.body), op.location:
            declared = memref.GlobalOp(variable, type_, sym_visibility="private")
            declared.operation.attributes["initial_value"] = ir.UnitAttr.get()
            alignment = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), 16)
            declared.operation.attributes["alignment"] = alignment
        with ir.InsertionPoint(op), op.location:
            op.results[0].replace_all_uses_with(memref.get_global(type_, variable))
        op.erase()


def _is_shared(type_: ir.Type) -> bool:
    return isinstance(type_, ir.MemRefType) and str(type_.memory_space).startswith(f"{SHARED} ")
