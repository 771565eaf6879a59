"""Stage `linalg`: the pb function @main becomes loops on tensors, in a function of memrefs.

Calls each op's `lower`, and nothing else decides how an op is computed. The new function
takes inputs, then outputs, then (if anything can go wrong) a status: inputs are read only, each
result is written where its output lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlir import ir
from mlir.dialects import bufferization, func

from ..dialects.errors import InternalError
from ..dialects.pb.types import element_type, shape
from .control import lower_block
from .fusion import Fusion
from .loop_emission import in_memory, tensor_of
from .loop_graph import Node, Reshaped
from .lowering import ErrorSite, Lowering
from .math_library import MathLibrary
from .plan_memory import size_of
from .scalars import Scalars


@dataclass(frozen=True)
class Lowered:
    """What the entry point must know about the function; see entry.py."""

    errors: list[ErrorSite]
    math: MathLibrary
    cost: dict[str, int]


def run(module: ir.Module, vector_bytes: int, target: type[Lowering] = Lowering) -> Lowered:
    functions = {
        ir.StringAttr(op.attributes["sym_name"]).value: op for op in module.body.operations
    }
    main = functions.get("main")
    if main is None or len(main.regions[0].blocks) != 1:
        raise InternalError("the module has no function @main with a body")
    block = main.regions[0].blocks[0]
    returned = list(block.operations[len(block.operations) - 1].operands)
    with module.context, main.location:
        cost = _cost(block)
        function, memrefs = _declare(module, [*block.arguments, *returned])
        body = function.entry_block
        with ir.InsertionPoint(body):
            lowering = target(vector_bytes)
            count = len(block.arguments)
            nodes = _inputs(lowering, memrefs[:count], block.arguments)
            results = lower_block(lowering, block, nodes)
            outputs = memrefs[count:]
            if (status := lowering.status()) is not None:
                results.append(status)
                outputs.append(_status_argument(function, body))
            math = MathLibrary(vector_bytes)
            _emit(lowering, results, outputs, lowering.scalars(math))
            func.ReturnOp([])
        for operation in functions.values():
            operation.operation.erase()
        function.attributes["sym_name"] = ir.StringAttr.get("main")
        math.declare(module)
    return Lowered(lowering.errors, math, cost)


def _cost(block: ir.Block) -> dict[str, int]:
    """Operations by the ops' own counts; bytes if every input and result moves once."""
    operations: list[Any] = list(block.operations)
    moved = [*block.arguments, *operations[-1].operands]
    return {
        "flops": sum(op.flops() for op in operations[:-1]),
        "bytes": sum(size_of(_memref(shape(v), element_type(v))) for v in moved),
    }


def _declare(
    module: ir.Module, values: Sequence[ir.Value]
) -> tuple[func.FuncOp, list[ir.Value | None]]:
    """The new function, and its argument for each value; None where there are no elements."""
    types = [_memref(shape(value), element_type(value)) for value in values]
    stored = [type_ for type_ in types if size_of(type_)]
    with ir.InsertionPoint(module.body):
        function = func.FuncOp("main.memory", ir.FunctionType.get(stored, []))
    arguments = iter(function.add_entry_block().arguments)
    _mark_arguments(function, len(stored))
    return function, [next(arguments) if size_of(type_) else None for type_ in types]


def _memref(dims: Sequence[int], element: ir.Type) -> ir.Type:
    return ir.MemRefType.get(list(dims), in_memory(element))


def _mark_arguments(function: func.FuncOp, count: int) -> None:
    promise = ir.DictAttr.get({"llvm.noalias": ir.UnitAttr.get()})
    function.arg_attrs = ir.ArrayAttr.get([promise] * count)


def _status_argument(function: func.FuncOp, body: ir.Block) -> ir.Value:
    type_ = _memref((), ir.IntegerType.get_signless(32))
    argument = body.add_argument(type_, function.location)
    inputs = [value.type for value in body.arguments]
    function.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, []))
    _mark_arguments(function, len(inputs))
    return argument


def _inputs(
    lowering: Lowering, memrefs: Sequence[ir.Value | None], arguments: Sequence[ir.Value]
) -> list[Node]:
    nodes = []
    for memref, argument in zip(memrefs, arguments, strict=True):
        dims, element = shape(argument), element_type(argument)
        if memref is None:
            nodes.append(lowering.full(dims, element, 0))
            continue
        tensor = bufferization.to_tensor(tensor_of(dims, element), memref, restrict=True)
        nodes.append(lowering.stored(tensor, dims, element))
    return nodes


def _emit(
    lowering: Lowering,
    results: Sequence[Node],
    outputs: Sequence[ir.Value | None],
    scalars: Scalars,
) -> None:
    fusion = Fusion(lowering.graph, results)
    # A loop can write a value to one output; further ones, and inputs returned, are copied.
    direct: dict[Node, ir.Value] = {}
    for node, output in zip(results, outputs, strict=True):
        origin = _origin(node)
        if output is not None and origin in fusion.step_of:
            direct.setdefault(origin, output)
    emission = lowering.emission(fusion, scalars, direct)
    emission.run()
    for node, output in zip(results, outputs, strict=True):
        if output is not None and direct.get(_origin(node)) is not output:
            with node.location:
                bufferization.materialize_in_destination(
                    None, emission.tensor(node), output, restrict=True, writable=True
                )


def _origin(node: Node) -> Node:
    """The node whose elements these are, under whatever shape."""
    while isinstance(node, Reshaped):
        node = node.source
    return node
