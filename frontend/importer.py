"""Captured graphs to a pb module: one func.func for each function, lines kept.

Comes after ``capture.py``. What a graph's node means is in ``aten/``; here are functions, calls,
transform ops, derivative stops, and the one error that lists all unsupported calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mlir import ir
from mlir.dialects import func

from ..dialects import pb
from ..dialects.diagnostics import source_line, translated
from ..dialects.errors import InternalError, UnsupportedOpError
from ..dialects.pb.types import tensor
from . import regions
from .aten import RULES, half, has_help, help_for
from .aten.emitter import Emitter, instead_of, mlir_type, supported
from .graph import (
    Basis,
    Call,
    Checkpoint,
    Cond,
    Constant,
    Control,
    Custom,
    Graph,
    Jvp,
    Node,
    RandomBits,
    Scan,
    StopGradient,
    Value,
    Vjp,
    Vmap,
    While,
    dtype_name,
    graphs_of,
)
from .location import Location


def import_graph(graph: Graph) -> ir.Module:
    """The module whose public function @main is ``graph``."""
    missing = list(_unsupported(graph, set()))
    if missing:
        raise _unsupported_error(missing)
    context = ir.Context()
    module = ir.Module.create(ir.Location.unknown(context))
    importer = _Importer(module)
    with translated(InternalError):
        importer.function(graph, "main", public=True)
    if importer.refused:
        raise _unsupported_error(importer.refused)
    return module


def _unsupported(graph: Graph, seen: set[Graph]) -> Any:
    if graph in seen:
        return
    seen.add(graph)
    for node in graph.nodes:
        target = node.target
        if graphs_of(target):
            for called in graphs_of(target):
                yield from _unsupported(called, seen)
            continue
        wrong = [v.dtype for v in node.outputs if not supported(v.dtype)]
        known = not isinstance(target, torch._ops.OpOverload) or target in RULES
        if wrong and (known or not has_help(target)):
            name = dtype_name(wrong[0])
            yield node, f"its result has the dtype {name}; {instead_of(wrong[0])}"
        elif not known:
            yield node, help_for(target)


def _unsupported_error(found: Sequence[tuple[Node, str]]) -> UnsupportedOpError:
    """One error for all of them, a line for each call and place."""
    lines: dict[str, None] = {}
    for node, reason in found:
        text = source_line(node.location.place)
        code = f"\n      {text}" if text else ""
        lines[f"{node.location}: {node.target}: {reason}{code}"] = None
    first = found[0][0].location
    number = f"{len(lines)} unsupported call" + ("s" if len(lines) > 1 else "")
    message = f"{number}:\n" + "\n".join(f"    {line}" for line in lines)
    return UnsupportedOpError(message, first.place, first.notes())


class _Importer:
    def __init__(self, module: ir.Module) -> None:
        self.module = module
        self.context = module.context
        self.symbols: dict[Any, str] = {}  # content of a graph -> its symbol
        self.by_graph: dict[Graph, str] = {}
        self.used: set[str] = {"main"}
        self.basis_ids: dict[int, int] = {}
        self.refused: list[tuple[Node, str]] = []

    # --- functions ------------------------------------------------------------------------

    def symbol(self, graph: Graph) -> str:
        """The private function of a graph. Graphs of equal content share one."""
        if graph in self.by_graph:
            return self.by_graph[graph]
        key = self.content(graph)
        if key not in self.symbols:
            self.symbols[key] = name = self.fresh(graph)
            self.function(graph, name, public=False)
        self.by_graph[graph] = self.symbols[key]
        return self.symbols[key]

    def fresh(self, graph: Graph) -> str:
        stem = "".join(c if c.isalnum() or c == "_" else "_" for c in graph.name) or "f"
        name, number = stem, 1
        while name in self.used:
            name, number = f"{stem}_{number}", number + 1
        self.used.add(name)
        return name

    def recursive(self, target: Custom) -> None:
        """The functions of a custom call whose rules make that call again: names come first."""
        new = [graph for graph in graphs_of(target) if graph not in self.by_graph]
        self.by_graph |= {graph: self.fresh(graph) for graph in new}
        for graph in new:
            self.function(graph, self.by_graph[graph], public=False)

    def content(self, graph: Graph) -> Any:
        """Equal for graphs that do the same, as when a loop takes grad(g) anew each time."""
        numbers: dict[Value, int] = {}

        def of(item: Any) -> Any:
            if isinstance(item, Value):
                number = numbers.setdefault(item, len(numbers))
                return ("value", number, item.shape, item.dtype)
            if isinstance(item, (list, tuple)):
                return tuple(map(of, item))
            if isinstance(item, dict):
                return tuple((key, of(value)) for key, value in item.items())
            return (type(item), repr(item))

        def target_of(node: Node) -> Any:
            target = node.target
            if isinstance(target, Constant):
                data = target.data
                return (data.dtype.str, data.shape, data.tobytes())
            if isinstance(target, Call):
                return ("call", self.symbol(target.graph))
            if isinstance(target, Vmap):
                dims = (target.in_dims, target.out_dims, target.axis_size)
                return ("vmap", self.symbol(target.graph), *dims)
            if isinstance(target, (Jvp, Vjp)):
                return (type(target), self.symbol(target.graph), target.wrt)
            if isinstance(target, Control):
                options = regions.options(target)
                return (type(target), *map(self.symbol, graphs_of(target)), options)
            if isinstance(target, Custom) and target.recursive:
                return ("custom", id(target))
            if isinstance(target, Custom):
                rules = tuple((key, self.symbol(rule)) for key, rule in target.rules.items())
                facts = (target.captured, target.differentiable, target.saved, target.opaque)
                return ("custom", self.symbol(target.graph), rules, facts)
            return target

        nodes = tuple(
            (target_of(n), of(n.args), of(n.kwargs), of(n.outputs), n.location, n.grad_enabled)
            for n in graph.nodes
        )
        return (of(graph.inputs), nodes, of(graph.outputs), graph.grad_enabled)

    def function(self, graph: Graph, name: str, public: bool) -> None:
        for node in graph.nodes:  # callees first
            if isinstance(node.target, Custom) and node.target.recursive:
                self.recursive(node.target)
            for called in graphs_of(node.target):
                self.symbol(called)
        location = self.location(graph.location)
        inputs = [self.type_of(value) for value in graph.inputs]
        results = [self.type_of(value) for value in graph.outputs]
        with ir.InsertionPoint(self.module.body), location:
            op = func.FuncOp(
                name, (inputs, results), visibility="public" if public else "private", loc=location
            )
            block = op.add_entry_block()
        _Body(self, graph, block, location).write()

    def location(self, place: Location) -> ir.Location:
        if not place.line:
            return ir.Location.name(place.function, context=self.context)
        return ir.Location.file(place.file, place.line, place.column, self.context)

    def type_of(self, value: Value) -> ir.Type:
        return tensor(value.shape, mlir_type(value.dtype, self.context))

    def basis_id(self, id: int) -> int:
        return self.basis_ids.setdefault(id, len(self.basis_ids))


class _Body:
    """Writes the ops of one function."""

    def __init__(
        self, importer: _Importer, graph: Graph, block: ir.Block, location: ir.Location
    ) -> None:
        self.importer, self.graph, self.location = importer, graph, location
        self.ip = ir.InsertionPoint(block)
        self.builder = pb.Builder(self.ip, location)
        self.emitter = Emitter(self.builder, importer.context)
        self.values = dict(zip(graph.inputs, block.arguments, strict=True))
        self.untracked: set[Value] = set()  # made under no_grad
        self.stopped: dict[Value, ir.Value] = {}

    def write(self) -> None:
        for node in self.graph.nodes:
            self.builder.location = self.importer.location(node.location)
            tracked = node.grad_enabled or not self.graph.grad_enabled
            try:
                results = self.call(node, self.arguments(node.args, tracked), tracked)
            except NotImplementedError as error:  # go on, to list the others as well
                self.importer.refused.append((node, str(error)))
                results = [self.builder.zeros(self.importer.type_of(v)) for v in node.outputs]
            self.values.update(zip(node.outputs, results, strict=True))
            if not tracked:
                self.untracked.update(value for value in node.outputs if value.is_float)
        self.builder.location = self.location
        outputs = self.arguments(self.graph.outputs, True)
        func.ReturnOp(outputs, loc=self.location, ip=self.ip)

    def arguments(self, tree: Any, tracked: bool) -> Any:
        """MLIR values for captured ones; what no_grad made is stopped where it is used."""
        if isinstance(tree, Value):
            if not tracked or tree not in self.untracked:
                return self.values[tree]
            if tree not in self.stopped:
                stop = self.builder.stop_gradient(self.values[tree], reverse_only=True)
                self.stopped[tree] = stop
            return self.stopped[tree]
        if isinstance(tree, (list, tuple)):
            return [self.arguments(item, tracked) for item in tree]
        return tree

    def call(self, node: Node, args: list[Any], tracked: bool) -> Sequence[ir.Value]:
        target, b = node.target, self.builder
        types = [self.importer.type_of(value) for value in node.outputs]
        match target:
            case Constant(data):
                return [b.constant(np.asarray(data), types[0])]
            case StopGradient(reverse_only):
                return [
                    b.stop_gradient(args[0], reverse_only) if node.outputs[0].is_float else args[0]
                ]
            case Basis(id):
                shape, dtype = node.outputs[0].shape[1:], node.outputs[0].dtype
                element = mlir_type(dtype, self.importer.context)
                return [b.basis(self.importer.basis_id(id), shape, element)]
            case RandomBits(bits, start):
                shape = node.outputs[0].shape
                i64 = mlir_type(torch.int64, self.importer.context)
                count = b.iota((math.prod(shape),), 0, i64)
                if start:
                    count = b.add(count, b.full_like(count, start))
                return [b.random_bits(args[0], b.reshape(count, shape), bits)]
            case Call(graph):
                return b.call(self.importer.symbol(graph), args, types)
            case Vmap(graph, in_dims, out_dims, axis_size):
                symbol = self.importer.symbol(graph)
                return b.vmap(symbol, args, in_dims, out_dims, axis_size, types)
            case Jvp(graph, wrt):
                primals, tangents = args[: len(graph.inputs)], args[len(graph.inputs) :]
                return b.jvp(self.importer.symbol(graph), primals, tangents, wrt, types)
            case Vjp(graph, wrt):
                primals, cotangents = args[: len(graph.inputs)], args[len(graph.inputs) :]
                return b.vjp(self.importer.symbol(graph), primals, cotangents, wrt, types)
            case Checkpoint() | Cond() | Scan() | While():
                return regions.emit(self.importer, b, target, args)
            case Custom(graph, rules, captured, differentiable, saved, opaque, _):
                names = {key: self.importer.symbol(rule) for key, rule in rules.items()}
                primal = self.importer.symbol(graph)
                return b.custom_call(
                    primal, args, types, captured, differentiable, saved, opaque, **names
                )
        self.emitter.outs = node.outputs
        keywords = {key: self.arguments(item, tracked) for key, item in node.kwargs.items()}
        if half.involved(node.outputs, args, list(keywords.values())):
            return half.call(self.emitter, target, RULES[target], args, keywords)
        result = RULES[target](self.emitter, *args, **keywords)
        return result if isinstance(result, list) else [result]
