"""A captured graph as a callable on flat lists of tensors, compiled when it is first run.

``jit.py`` makes these from traces; derived programs (the vjp behind torch.autograd, the two halves
of a linearisation) are made from the graph, without tracing again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mlir import ir

from ..dialects.pb.types import shape
from ..pipelines import cache
from ..pipelines.artifact import Interface, TensorSpec
from ..pipelines.targets import Target, options
from ..runtime import ArtifactError, Function, load
from ..runtime.arrays import to_numpy, to_torch
from . import autograd, split
from .aten.emitter import dtype_of_type
from .graph import Graph, Node, Value, Vjp, dtype_name
from .importer import import_graph
from .precision import tf32_wanted


def machine_code(
    module: ir.Module, source: str, target: Target = "cpu", how: Any = None
) -> Function:
    """@main of ``module`` as a callable: compiled (``how`` are the options) or from the cache."""
    main = split.lookup(module, "main")
    inputs, outputs = main.type.inputs, main.type.results
    interface = Interface(
        name="jitted",
        inputs=[_spec(f"in{i}", type_) for i, type_ in enumerate(inputs)],
        outputs=[_spec(f"out{i}", type_) for i, type_ in enumerate(outputs)],
        in_tree=_flat(len(inputs)),
        out_tree=_flat(len(outputs)),
        arg_names=[f"in{i}" for i in range(len(inputs))],
        source=source,
    )
    found: list[Function] = []

    def usable(path: Path) -> bool:
        with contextlib.suppress(ArtifactError, OSError):
            found.append(load(path))
        return bool(found)

    with module.context, cache.library(module, interface, how, usable, target) as path:
        return found[0] if found else load(path)


def _spec(name: str, type_: ir.Type) -> TensorSpec:
    return TensorSpec(name, dtype_name(dtype_of_type(type_)), shape(type_))


def _flat(count: int) -> dict[str, Any]:
    return {"kind": "tuple", "items": [{"kind": "leaf"}] * count}


class Compiled:
    """@main of a module on tensors; no torch graph is made."""

    def __init__(
        self, module: Callable[[], ir.Module], source: str, target: Target = "cpu"
    ) -> None:
        self._module, self._source = module, source
        self.target: Target = target
        self._how = options(
            target, tf32_wanted(target)
        )  # as torch is set now, not at the first call
        self._lock = threading.RLock()  # two threads may come first; a module serves once

    @cached_property
    def function(self) -> Function:
        with self._lock:
            if "function" not in self.__dict__:
                self.__dict__["function"] = machine_code(
                    self._module(), self._source, self.target, self._how
                )
            return self.__dict__["function"]

    def run(self, tensors: Sequence[Any], as_numpy: bool = False) -> list[Any]:
        outputs = self.function.call_leaves(list(tensors))
        if as_numpy:
            return [to_numpy(o) for o in outputs]
        return [o if isinstance(o, torch.Tensor) else to_torch(o) for o in outputs]


class Program(Compiled):
    """``graph`` as a function of its inputs, which torch can differentiate."""

    def __init__(self, graph: Graph, target: Target = "cpu") -> None:
        super().__init__(lambda: import_graph(graph), graph.name, target)
        self.graph = graph
        self._pullbacks: dict[tuple[int, ...], Program] = {}
        self._tracked: dict[tuple[int, ...], tuple[bool, ...]] = {}
        self._halves: dict[tuple[tuple[int, ...], bool], tuple[Compiled, Compiled]] = {}

    def __call__(self, tensors: list[Any], as_numpy: bool = False) -> list[Any]:
        if not as_numpy and autograd.wanted(tensors, self):
            return autograd.call(self, tensors)
        return self.run(tensors, as_numpy)

    def pullback(self, wrt: tuple[int, ...]) -> Program:
        """(inputs, cotangents of the float outputs) to the cotangents of the inputs ``wrt``."""
        if wrt not in self._pullbacks:
            graph = self.graph
            inputs = [Value(v.shape, v.dtype) for v in graph.inputs]
            seeds = [Value(v.shape, v.dtype) for v in graph.outputs if v.is_float]
            outs = [Value(v.shape, v.dtype) for v in graph.outputs]
            grads = [Value(graph.inputs[i].shape, graph.inputs[i].dtype) for i in wrt]
            operands, results = (*inputs, *seeds), (*outs, *grads)
            node = Node(Vjp(graph, wrt), operands, {}, results, graph.location)
            name = f"vjp_{graph.name}"
            derived = Graph(name, list(operands), [node], grads, graph.location)
            self._pullbacks[wrt] = Program(derived, self.target)
        return self._pullbacks[wrt]

    def linearized(self, wrt: tuple[int, ...], transposed: bool) -> tuple[Compiled, Compiled]:
        """Inputs to (outputs, residuals), and (residuals, tangents) to tangents of the outputs.

        Transposed, the second takes cotangents of the float outputs to those of ``wrt``.
        """
        key = (wrt, transposed)
        with self._lock:
            if key not in self._halves:
                forward, linear = split.halves(import_graph(self.graph), wrt, transposed)
                name, target = self.graph.name, self.target
                self._halves[key] = (
                    Compiled(lambda: forward, name, target),
                    Compiled(lambda: linear, name, target),
                )
            return self._halves[key]

    def tracked(self, wrt: tuple[int, ...]) -> tuple[bool, ...]:
        """Which outputs have a derivative with respect to the inputs ``wrt``, zero or not."""
        if wrt not in self._tracked:
            found = self.graph.tracked(self.graph.inputs[index] for index in wrt)
            self._tracked[wrt] = tuple(output in found for output in self.graph.outputs)
        return self._tracked[wrt]
