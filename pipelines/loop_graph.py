"""The values of one function: what `lower` rules build, and fusion.py cuts into loops.

A value is either pointwise (each element computed from elements of others, found by affine
indices), a reduction, the same elements under another shape, or whole (an emitter of its own).
Only what fusion.py decides to keep is ever stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlir import ir

from .affine import Indices, Shape, identity

#: What one evaluation costs, in additions; a load counts as one.
CHEAP, DIVISION, TRANSCENDENTAL = 1, 8, 20
#: Up to this much is computed again rather than stored.
RECOMPUTE = 6


@dataclass(eq=False, kw_only=True)
class Node:
    shape: Shape
    element: ir.Type
    location: ir.Location
    number: int
    #: Cost of computing one element from what is stored.
    weight: int = 1

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def operands(self) -> Sequence[Node]:
        return ()


@dataclass(eq=False, kw_only=True)
class Stored(Node):
    """A tensor that exists before the loops: an input or a constant."""

    tensor: ir.Value


@dataclass(eq=False, kw_only=True)
class Pointwise(Node):
    """body(indices of this element if `indexed`, elements read, tensors) -> element."""

    reads: Sequence[tuple[Node, Indices]]
    body: Callable[..., ir.Value]
    #: Read anywhere by the body, so stored.
    tensors: Sequence[Node] = ()
    indexed: bool = False
    #: body returns its only element unchanged.
    moves: bool = False

    def operands(self) -> Sequence[Node]:
        return [node for node, _ in self.reads]

    @property
    def elementwise(self) -> bool:
        """Does element i depend on elements i only, so that it can be computed under any shape?"""
        return not self.indexed and all(
            node.shape == self.shape and indices == identity(len(self.shape))
            for node, indices in self.reads
        )


@dataclass(eq=False, kw_only=True)
class Reshaped(Node):
    source: Node

    def operands(self) -> Sequence[Node]:
        return [self.source]


@dataclass(frozen=True)
class Monoid:
    """How a reduction combines; `start` makes the neutral element's number from the type."""

    name: str
    start: Callable[[ir.Type], float | int]
    combine: Callable[[Any, ir.Value, ir.Value], ir.Value]


@dataclass(eq=False, kw_only=True)
class Reduction(Node):
    source: Node
    dims: frozenset[int]
    monoid: Monoid

    def operands(self) -> Sequence[Node]:
        return [self.source]


@dataclass(eq=False, kw_only=True)
class Whole(Node):
    """emit(emission, destination, tensors) -> tensor: an op with loops of its own.

    With `more` results, emit gets a list of destinations and returns a list of tensors.
    """

    sources: Sequence[Node]
    emit: Callable[..., Any]
    #: The second and further results.
    more: list[Part] = field(default_factory=list)
    #: emit(emission, memrefs, tensors...) writes the results to memory and returns nothing.
    in_memory: bool = False
    #: By result: the source that may lie in the same memory, if nothing else reads it then.
    shares: dict[Node, Node] = field(default_factory=dict)

    def operands(self) -> Sequence[Node]:
        return self.sources

    def results(self) -> list[Node]:
        return [self, *self.more]


@dataclass(eq=False, kw_only=True)
class Part(Node):
    """A further result of a Whole; always stored, by the step of the whole."""

    whole: Whole

    def operands(self) -> Sequence[Node]:
        return [self.whole]


@dataclass
class Graph:
    nodes: list[Node] = field(default_factory=list)

    def add(self, kind: type[Node], **fields: Any) -> Any:
        node = kind(number=len(self.nodes), **fields)
        self.nodes.append(node)
        return node


def without_moves(node: Node, indices: Indices) -> tuple[Node, Indices]:
    """The node behind broadcasts, transposes and slices, and where in it these indices are."""
    while isinstance(node, Pointwise) and node.moves:
        [(source, inner)] = node.reads
        node, indices = source, tuple(index.at(indices) for index in inner)
    return node, indices
