"""One whole trace: a function and its arguments to a main graph and what surrounds it.

``jit.py`` and ``compile.py`` start here; the result goes through ``importer.py`` to the pipeline.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ..dialects.errors import CaptureError
from . import autograd_function, layers, pytree, reach, torch_func
from . import hops as _  # noqa: F401  (torch's control flow reaches the recorder)
from .aten.emitter import instead_of, supported
from .capture import Recorder
from .graph import Graph, Value, dtype_name
from .guards import same
from .location import Location, of_function
from .state import Cell, Hidden, View, Write, graph_name
from .writeback import WriteBack

_NUMPY = {
    np.dtype(np.float16): torch.float16,
    np.dtype(np.float32): torch.float32,
    np.dtype(np.float64): torch.float64,
    np.dtype(np.int32): torch.int32,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.bool_): torch.bool,
}


def is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, (torch.Tensor, np.ndarray))


def dtype_of(leaf: Any) -> torch.dtype:
    if isinstance(leaf, torch.Tensor):
        return leaf.dtype
    dtype = _NUMPY.get(leaf.dtype)
    if dtype is None:
        raise CaptureError(
            f"numpy arrays of {leaf.dtype} are not supported",
            help="convert to float16, float32, float64, int32, int64 or bool",
        )
    return dtype


@dataclass(frozen=True)
class Traced:
    """``graph`` takes the tensor leaves of the arguments, ``hidden``, and the key if it draws."""

    graph: Graph
    arguments: int
    hidden: list[Hidden]
    draws: bool
    out_spec: TreeSpec
    out_leaves: list[Any]  # a Value for tensors, otherwise the plain value itself
    writes: list[WriteBack]  # the last outputs: new values of inputs of the graph
    reads_memory: Location | None  # where as_strided takes inputs to be contiguous

    def result(self, tensors: Sequence[Any]) -> Any:
        """The function's result around the tensors a compiled call returned."""
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, Value) else leaf for leaf in self.out_leaves]
        return tree_unflatten(leaves, self.out_spec)


def trace(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
    """Runs ``fn`` once on fake tensors."""
    leaves, spec = tree_flatten((args, kwargs))
    names = argument_names(fn, args, kwargs)
    recorder = Recorder(of_function(fn))

    def run() -> tuple[list[Value], TreeSpec, list[Any]]:
        inner, inputs = list(leaves), []
        for position, leaf in enumerate(leaves):
            if is_tensor(leaf):
                origin = f"the argument '{names[position]}'"
                fake = recorder.new_input(tuple(leaf.shape), dtype_of(leaf), origin)
                inner[position] = fake
                inputs.append(recorder.read(fake))
                cells.append(recorder.states[id(fake)])
        given = tree_unflatten(inner, spec)
        before = tree_flatten(given)[1]  # not always ``spec``: a torch.Size becomes a tuple
        out_leaves, out_spec = tree_flatten(fn(*given[0], **given[1]))
        left, after = tree_flatten(given)
        kept = after == before and all(
            a is b if is_tensor(b) else same(a, b) for a, b in zip(left, inner, strict=True)
        )
        if not kept:
            raise CaptureError(
                "the function changes a list or dict among its arguments",
                of_function(fn).place,
                help="return what is new: at a compiled call the arguments stay as they are",
            )
        for leaf in out_leaves:
            if not isinstance(leaf, torch.Tensor) and reach.plan([[leaf]], [""]).fakes:
                raise CaptureError(
                    f"the result holds a tensor inside a {type(leaf).__name__}",
                    of_function(fn).place,
                    help="return tensors in tuples, lists, dicts and namedtuples",
                )
        results = [
            recorder.read(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in out_leaves
        ]
        all_cells = [*cells, *(recorder.states[id(h.fake)] for h in recorder.hidden.values())]
        found, values = recorder.taken_back(recorder.main, all_cells)
        written.extend(found)
        new_values.extend(values)
        return inputs, out_spec, results

    cells: list[Cell | View] = []
    written: list[Write] = []
    new_values: list[Value] = []
    grad_enabled = torch.is_grad_enabled()
    with layers.taken_apart(), torch_func.recorded(), autograd_function.hooked():
        inputs, out_spec, out_leaves = recorder.trace(run)
    hidden = list(recorder.hidden.values())
    for name, value in zip(names_of_tensors(leaves, names), inputs, strict=True):
        if not supported(value.dtype):
            raise CaptureError(
                f"the argument '{name}' has the dtype {dtype_name(value.dtype)}",
                help=instead_of(value.dtype),
            )
    for known in hidden:
        if not supported(known.value.dtype):
            raise CaptureError(
                f"a captured tensor has the dtype {dtype_name(known.value.dtype)}",
                help=instead_of(known.value.dtype),
            )
    key = [] if recorder.main.key is None else [recorder.main.key]
    graph = Graph(
        graph_name(fn),
        [*inputs, *(known.value for known in hidden), *key],
        recorder.main.nodes,
        [*(leaf for leaf in out_leaves if isinstance(leaf, Value)), *new_values],
        of_function(fn),
        grad_enabled,
    )
    writes = [WriteBack(w.input, w.unseen) for w in written if w.input is not None]
    memory = recorder.reads_memory
    return Traced(graph, len(inputs), hidden, bool(key), out_spec, out_leaves, writes, memory)


def names_of_tensors(leaves: Sequence[Any], names: Sequence[str]) -> list[str]:
    return [name for leaf, name in zip(leaves, names, strict=True) if is_tensor(leaf)]


def argument_names(fn: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> list[str]:
    """The name of each leaf of the arguments, as ``--arg`` and manifests write it."""
    names: list[str] = []
    for name, arg in zip(positional_names(fn, len(args)), args, strict=True):
        names += pytree.leaf_names(arg, name)
    for name, arg in kwargs.items():
        names += pytree.leaf_names(arg, name)
    return names


def positional_names(fn: Callable[..., Any], count: int) -> list[str]:
    parameters = parameters_of(fn) or []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in positional][:count]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), "arg")
    return names + [f"{rest}{index}" for index in range(count - len(names))]


def parameters_of(fn: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of the function under all transforms; None where Python cannot tell.

    A transform whose result takes other arguments says so with a ``__signature__``.
    """
    inner = inspect.unwrap(fn, stop=lambda f: hasattr(f, "__signature__"))
    inner = inner.forward if isinstance(inner, torch.nn.Module) else inner
    try:
        return list(inspect.signature(inner).parameters.values())
    except (TypeError, ValueError):
        return None
