"""What the recorder of ``capture.py`` knows: graphs being recorded, and the state of each tensor.

A tensor is a cell, which in-place writes give a new value, or a view into a cell.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .graph import Graph, Node, Value
from .location import Location
from .views import Link


@dataclass(slots=True)
class Draws:
    """What a frame that is run several times does with random draws.

    ``kind``: "different" for each of ``count`` runs, "error" where vmap refuses them, "loop" where
    the number of runs is not known. ``keys``: where there were draws, the keys of the runs, a
    value of the frame around.
    """

    kind: str
    count: int = 0
    keys: Value | None = None


class Frame:
    """One graph being recorded.

    ``writes`` says what becomes of writes to its inputs and to tensors of outer frames: "kept",
    so that whoever made the frame passes them on; or "refused", with the reason of a derivative
    ("grad", "jvp") or of anything else.
    """

    def __init__(
        self, parent: Frame | None, writes: str = "refused", draws: Draws | None = None
    ) -> None:
        self.parent = parent
        self.writes = writes
        self.written: dict[Cell, Value] = {}  # and the value that was there before
        self.batched: list[Value] = []  # under vmap, the inputs that differ between examples
        self.nodes: list[Node] = []
        self.owned: set[Value] = set()
        self.captured: dict[Value, Value] = {}  # value of the parent -> input here
        self.grad_enabled = torch.is_grad_enabled()
        self.open = True
        self.draws = draws
        self.key: Value | None = None  # of the random draws made here

    def own(self, value: Value) -> Value:
        self.owned.add(value)
        return value


@dataclass(eq=False, slots=True)
class Cell:
    """A tensor with storage of its own: its present value, replaced by in-place writes."""

    frame: Frame
    value: Value
    origin: str | None = None  # what it is, if it comes from outside its frame
    version: int = 0
    seen: bool = False  # written by something that derivatives see


@dataclass(eq=False, slots=True)
class View:
    """A tensor that looks into a cell, through another view or directly."""

    base: Cell
    parent: Cell | View
    link: Link
    version: int = -1
    value: Value | None = None
    frame: Frame | None = None


def same_view(x: Cell | View | None, y: Cell | View | None) -> bool:
    return (
        isinstance(x, View)
        and isinstance(y, View)
        and x.parent is y.parent
        and (x.link.target, x.link.args) == (y.link.target, y.link.args)
    )


@dataclass(slots=True)
class Hidden:
    """A real tensor that the function reached without its arguments."""

    tensor: torch.Tensor
    fake: torch.Tensor
    value: Value
    literal: bool
    location: Location  # of its first use


@dataclass(slots=True)
class Write:
    """A tensor from outside the graph that it writes to; the new value is a further output."""

    cell: Cell
    input: int | None  # the number of the input that it is, if it is one
    unseen: bool  # by derivatives: under no_grad, or through detach


@dataclass(slots=True)
class Subgraph:
    """A recorded inner function: its graph, the outer values it closes over, its raw result."""

    graph: Graph
    captured: list[Value]
    result: Any
    written: list[Write] = field(default_factory=list)


def graph_name(function: object) -> str:
    """``loss``, and ``grad_loss`` for a function that a transform made."""
    made = getattr(function, "graph_name", None)
    return made or getattr(function, "__name__", type(function).__name__).strip("<>")


def map_tensors(tree: Any, function: Callable[[torch.Tensor], Any]) -> Any:
    """An argument list of aten with its tensors replaced."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(item, function) for key, item in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_tensors(item, function) for item in tree)
    return tree


def leaves_of(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [leaf for item in result for leaf in leaves_of(item)]
    return [result]


def read_memory(tensor: torch.Tensor) -> np.ndarray:
    """A copy of a CPU tensor's elements; no torch kernel runs. bfloat16 becomes float32."""
    if tensor.dtype is torch.bfloat16:
        return (_elements(tensor, np.dtype(np.uint16)).astype(np.uint32) << 16).view(np.float32)
    return _elements(tensor, np.dtype(str(tensor.dtype).removeprefix("torch.")))


def _elements(tensor: torch.Tensor, dtype: np.dtype) -> np.ndarray:
    if tensor.numel() == 0:
        return np.empty(tuple(tensor.shape), dtype)
    strides = [stride * dtype.itemsize for stride in tensor.stride()]
    span = sum(s * (n - 1) for s, n in zip(strides, tensor.shape, strict=True)) + dtype.itemsize
    storage = int(tensor.untyped_storage().data_ptr())
    start = storage + int(tensor.storage_offset()) * dtype.itemsize
    memory = ctypes.string_at(start, span)
    return np.ndarray(tuple(tensor.shape), dtype, memory, strides=strides).copy()
