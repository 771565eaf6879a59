"""What capture hands to the importer: a functional graph of aten calls and transform calls.

``capture.py`` builds these, ``importer.py`` turns each into a ``func.func``. Values are SSA: the
recorder has already resolved views and in-place writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .location import Location

_SHORT = {
    torch.bfloat16: "bf16",
    torch.float16: "f16",
    torch.float32: "f32",
    torch.float64: "f64",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "bool",
}


def dtype_name(dtype: torch.dtype) -> str:
    return _SHORT.get(dtype, str(dtype).removeprefix("torch."))


@dataclass(eq=False, slots=True)
class Value:
    """One tensor value. ``varies`` is False where no input of any kind can change it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    varies: bool = True

    @property
    def is_float(self) -> bool:
        return self.dtype.is_floating_point

    def __str__(self) -> str:
        return f"{dtype_name(self.dtype)}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal of the function's body, ``torch.tensor([1.0, 2.0])``."""

    data: np.ndarray

    def __str__(self) -> str:
        return f"constant {np.array2string(self.data, threshold=8)}"


@dataclass(frozen=True, slots=True)
class Basis:
    """Example ``i`` is one at flat position ``i`` of the result's shape without its first dim."""

    id: int

    def __str__(self) -> str:
        return f"basis {self.id}"


@dataclass(frozen=True, slots=True)
class RandomBits:
    """The bits of a key (i64) at the positions 0, 1, ... of the result, all from `start` on."""

    bits: int
    start: int = 0

    def __str__(self) -> str:
        return f"random_bits {self.bits} from {self.start}"


@dataclass(frozen=True, slots=True)
class StopGradient:
    """A derivative stop: ``x.detach()``, or a value computed under ``torch.no_grad()``."""

    reverse_only: bool = False

    def __str__(self) -> str:
        return "no_grad" if self.reverse_only else "detach"


@dataclass(frozen=True, slots=True)
class Call:
    graph: Graph

    def __str__(self) -> str:
        return f"call @{self.graph.name}"


@dataclass(frozen=True, slots=True)
class Vmap:
    graph: Graph
    in_dims: tuple[int, ...]  # -1: not batched
    out_dims: tuple[int, ...]
    axis_size: int

    def __str__(self) -> str:
        dims = f"in_dims={self.in_dims}, out_dims={self.out_dims}, axis_size={self.axis_size}"
        return f"vmap @{self.graph.name} {dims}"


@dataclass(frozen=True, slots=True)
class Jvp:
    graph: Graph
    wrt: tuple[int, ...]

    def __str__(self) -> str:
        return f"jvp @{self.graph.name} wrt={self.wrt}"


@dataclass(frozen=True, slots=True)
class Vjp:
    graph: Graph
    wrt: tuple[int, ...]

    def __str__(self) -> str:
        return f"vjp @{self.graph.name} wrt={self.wrt}"


@dataclass(eq=False, slots=True)
class Custom:
    """A call of a function with a derivative of its own; see pb.custom_call."""

    graph: Graph  # the primal
    rules: dict[str, Graph]  # by the name of the attribute; filled while they are captured
    captured: int
    differentiable: tuple[int, ...]
    saved: tuple[int, ...] = ()
    opaque: bool = False
    recursive: bool = False  # a rule calls the function again

    def __str__(self) -> str:
        rules = ", ".join(f"{name}=@{graph.name}" for name, graph in self.rules.items())
        return f"custom @{self.graph.name} {rules}"


@dataclass(frozen=True, slots=True)
class Cond:
    """Arguments: the predicate, then operands, of which each branch takes those at its places."""

    branches: tuple[Graph, Graph]
    places: tuple[tuple[int, ...], tuple[int, ...]]

    def __str__(self) -> str:
        return f"cond @{self.branches[0].name} else @{self.branches[1].name}"


@dataclass(frozen=True, slots=True)
class Scan:
    """Arguments: constants, carried values, stacks; the body takes the constants last."""

    body: Graph
    consts: int
    carries: int
    length: int
    reverse: bool

    def __str__(self) -> str:
        reverse = ", reverse" if self.reverse else ""
        return f"scan @{self.body.name} length={self.length}{reverse}"


@dataclass(frozen=True, slots=True)
class While:
    """Arguments: constants, then carried values; each function takes the constants last."""

    condition: Graph
    body: Graph
    #: The constants that each of the two takes.
    places: tuple[tuple[int, ...], tuple[int, ...]]
    carries: int
    max_steps: int | None

    def __str__(self) -> str:
        bound = "" if self.max_steps is None else f" max_steps={self.max_steps}"
        return f"while @{self.condition.name} do @{self.body.name}{bound}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    body: Graph

    def __str__(self) -> str:
        return f"checkpoint @{self.body.name}"


Transform = Call | Vmap | Jvp | Vjp
Control = Checkpoint | Cond | Scan | While
Target = (
    Control
    | Custom
    | RandomBits
    | torch._ops.OpOverload
    | Constant
    | Basis
    | StopGradient
    | Transform
)


@dataclass(eq=False, slots=True)
class Node:
    """One recorded call. ``grad_enabled`` is the user's grad mode at that line."""

    target: Target
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Value, ...]
    location: Location
    grad_enabled: bool = True

    def inputs(self) -> Iterator[Value]:
        yield from values_in(self.args)
        yield from values_in(self.kwargs)


def graphs_of(target: Target) -> tuple[Graph, ...]:
    """The functions that a node calls."""
    match target:
        case Call() | Vmap() | Jvp() | Vjp():
            return (target.graph,)
        case Cond(branches):
            return branches
        case Scan(body) | Checkpoint(body):
            return (body,)
        case While(condition, body):
            return condition, body
        case Custom(graph, rules):
            return (graph, *rules.values())
    return ()


def values_in(tree: Any) -> Iterator[Value]:
    """The values in an argument list (aten nests at most lists in it)."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, dict):
        for item in tree.values():
            yield from values_in(item)
    elif isinstance(tree, (tuple, list)):
        for item in tree:
            yield from values_in(item)


@dataclass(eq=False)
class Graph:
    """A captured function: ``inputs`` are the arguments, then the tensors it closed over."""

    name: str
    inputs: list[Value]
    nodes: list[Node]
    outputs: list[Value]
    location: Location
    grad_enabled: bool = True
    _renamed: dict[tuple[int, ...], Graph] = field(default_factory=dict)

    def keeping(self, kept: Iterable[int]) -> Graph:
        """The same function returning only some of its outputs."""
        indices = tuple(kept)
        if indices == tuple(range(len(self.outputs))):
            return self
        if indices not in self._renamed:
            self._renamed[indices] = Graph(
                self.name,
                self.inputs,
                self.nodes,
                [self.outputs[i] for i in indices],
                self.location,
                self.grad_enabled,
            )
        return self._renamed[indices]

    def dependent(self, sources: Iterable[Value]) -> set[Value]:
        """Every value computed from one of ``sources``."""
        found = set(sources)
        for node in self.nodes:
            if any(value in found for value in node.inputs()):
                found.update(node.outputs)
        return found

    def tracked(self, sources: Iterable[Value]) -> set[Value]:
        """The floats computed from ``sources`` with no derivative stop in between."""
        found = set(sources)
        for node in self.nodes:
            target, stopped = node.target, self.grad_enabled and not node.grad_enabled
            if stopped or isinstance(target, StopGradient):
                continue
            if isinstance(target, (Call, Vmap)):
                graph = target.graph
                pairs = zip(graph.inputs, node.args, strict=True)
                inner = graph.tracked(here for here, given in pairs if given in found)
                pairs = zip(node.outputs, graph.outputs, strict=True)
                found.update(out for out, result in pairs if result in inner)
            elif isinstance(target, Custom):
                if any(value in found for value in node.args[: len(node.args) - target.captured]):
                    found.update(node.outputs[i] for i in target.differentiable)
            elif any(value in found for value in node.inputs()):
                found.update(value for value in node.outputs if value.is_float)
        return found

    def __str__(self) -> str:
        return "\n\n".join(_print_function(graph) for graph in _reachable(self))


def _reachable(root: Graph) -> list[Graph]:
    order: list[Graph] = []
    todo = [root]
    while todo:
        graph = todo.pop(0)
        if graph in order:
            continue
        order.append(graph)
        todo += [called for node in graph.nodes for called in graphs_of(node.target)]
    return order


def _print_function(graph: Graph) -> str:
    names: dict[Value, str] = {}

    def show(item: Any) -> str:
        if isinstance(item, Value):
            return names.setdefault(item, f"%{len(names)}")
        if isinstance(item, (list, tuple)):
            return "[" + ", ".join(map(show, item)) + "]"
        return str(item)

    header = ", ".join(f"{show(value)}: {value}" for value in graph.inputs)
    lines = [f"func @{graph.name}({header}):  # {graph.location}"]
    for node in graph.nodes:
        left = ", ".join(f"{show(value)}: {value}" for value in node.outputs)
        arguments = [show(item) for item in node.args]
        arguments += [f"{key}={show(item)}" for key, item in node.kwargs.items()]
        mode = "" if node.grad_enabled else "  [no_grad]"
        call = f"{node.target}({', '.join(arguments)})"
        lines.append(f"  {left} = {call}{mode}  # {node.location}")
    lines.append(f"  return {', '.join(map(show, graph.outputs))}")
    return "\n".join(lines)
