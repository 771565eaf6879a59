"""``compile``: a function and example arguments to a library on disk.

The ahead-of-time counterpart of ``jit.py``, and what the command line works with: trace, import,
describe the interface, hand over to the pipeline of the target.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from mlir import ir
from torch.utils._pytree import tree_flatten

from ..dialects.errors import CaptureError
from ..pipelines.artifact import Interface, Params, TensorSpec
from ..pipelines.targets import Target, options, pipeline
from ..runtime import Function, load
from . import pytree, reach
from .api import Transformed
from .graph import Value, dtype_name
from .imported import Imported, callable_of
from .importer import import_graph
from .location import of_function
from .precision import tf32_wanted
from .state import graph_name
from .trace import Traced, argument_names, is_tensor, names_of_tensors, positional_names, trace

_RESERVED = re.compile(
    "main|asm|auto|bool|break|case|catch|char|class|const|continue|default|delete|do|double|else|"
    "enum|extern|false|float|for|friend|goto|if|inline|int|long|new|operator|private|protected|"
    "public|register|return|short|signed|sizeof|static|struct|switch|template|this|throw|true|try|"
    "typedef|union|unsigned|using|virtual|void|volatile|while|memcpy|memmove|memset"
)
ParamsMode = Literal["args", "embed", "file"]


@dataclass(frozen=True)
class Lowered:
    """A traced function with its interface; ``module`` makes its pb module anew each time."""

    traced: Traced
    interface: Interface

    def module(self) -> ir.Module:
        return import_graph(self.traced.graph)


def compile(
    fn: Callable[..., Any],
    *args: Any,
    name: str | None = None,
    out: str | os.PathLike[str] = ".",
    params: ParamsMode = "embed",
    kwargs: dict[str, Any] | None = None,
    target: Target = "cpu",
    tf32: bool | None = None,
) -> Function:
    """Writes NAME.so and NAME.h into the directory ``out`` and returns the loaded function.

    ``args`` and ``kwargs`` are examples: of tensors and arrays only shape and dtype count (tensors
    on the meta device will do), other values are fixed. ``params`` says where tensors go that the
    function reaches otherwise: further inputs, into the library, or into NAME.params. A function
    that draws random numbers gets a last input ``key``, an int64: equal keys give equal numbers.
    With the target ``cuda`` the library is for NVIDIA GPUs; it is made without one. ``tf32`` says
    whether its products of f32 may round their factors to TF32 (10 bits of mantissa), for tensor
    cores; None: what ``torch.set_float32_matmul_precision`` says. ValueError: ``tf32`` for a CPU.
    """
    chosen, how = pipeline(target), options(target, tf32_wanted(target, tf32))
    lowered = lower(fn, args, kwargs or {}, name=name, params=params)
    directory = Path(out)
    directory.mkdir(parents=True, exist_ok=True)
    module = lowered.module()
    with module.context:
        path = chosen.build(module, lowered.interface, directory, how)
    return load(path)


def lower(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str | None = None,
    params: ParamsMode = "embed",
    transform: str | None = None,
) -> Lowered:
    """Everything before the pipeline. ``transform`` overrides the text in the manifest."""
    if params not in ("args", "embed", "file"):
        raise ValueError(f"params must be 'args', 'embed' or 'file', got {params!r}")
    fn = callable_of(fn, "compile")
    name = symbol(name or graph_name(fn))
    traced = trace(fn, args, kwargs)
    if traced.writes:
        raise CaptureError(
            "the function writes to an argument or to a tensor around it, but a library only reads "
            "its inputs",
            of_function(fn).place,
            help="return the new value; a model is compiled after model.eval()",
        )
    leaves, spec = tree_flatten((args, kwargs))
    names = argument_names(fn, args, kwargs)
    arguments, keywords = spec.children()
    if traced.draws:  # the key is an argument of the library, behind the others
        given = traced.graph.inputs
        given.insert(traced.arguments, given.pop())
    inputs = traced.graph.inputs[: traced.arguments]
    items = _items(arguments, leaves) + _items(keywords, leaves[arguments.num_leaves :])
    result = [object() if isinstance(leaf, Value) else leaf for leaf in traced.out_leaves]
    arg_names = [*positional_names(fn, len(args)), *kwargs]
    specs = [
        TensorSpec(leaf, dtype_name(value.dtype), value.shape)
        for leaf, value in zip(names_of_tensors(leaves, names), inputs, strict=True)
    ]
    if traced.draws:
        key = "key" if "key" not in arg_names else "random_key"
        specs.append(TensorSpec(key, "i64", ()))
        items.append({"kind": "leaf"})
        arg_names.append(key)
    interface = Interface(
        name=name,
        inputs=specs,
        outputs=_outputs(traced),
        params=_params(fn, traced, params, leaves),
        in_tree={"kind": "tuple", "items": items},
        out_tree=pytree.describe(traced.out_spec, result, lambda leaf: type(leaf) is object),
        arg_names=arg_names,
        source=source_of(fn),
        transform=describe(fn) if transform is None else transform,
    )
    return Lowered(traced, interface)


def _items(spec: Any, leaves: Sequence[Any]) -> list[dict[str, Any]]:
    items, start = [], 0
    for child in spec.children():
        part = leaves[start : start + child.num_leaves]
        items.append(pytree.describe(child, part, is_tensor))
        start += child.num_leaves
    return items


def _outputs(traced: Traced) -> list[TensorSpec]:
    markers = traced.result([object() for _ in traced.graph.outputs])
    names = pytree.leaf_names(markers, "out")
    given = [
        name for name, leaf in zip(names, traced.out_leaves, strict=True) if isinstance(leaf, Value)
    ]
    return [
        TensorSpec(name, dtype_name(value.dtype), value.shape)
        for name, value in zip(given, traced.graph.outputs, strict=True)
    ]


def _params(
    fn: Callable[..., Any], traced: Traced, mode: ParamsMode, leaves: Sequence[Any]
) -> Params:
    if not traced.hidden:
        return Params()
    statics = [leaf for leaf in leaves if not is_tensor(leaf)]
    plan = reach.plan([fn, *statics], ["", *(f"static{i}" for i in range(len(statics)))])
    roots = 1 + len(statics)
    specs, taken = [], set()
    for index, known in enumerate(traced.hidden):
        number = plan.tensors.get(id(known.tensor))
        name = f"literal{index}" if number is None else plan.steps[number - roots].path
        while name in taken:
            name += "_"
        taken.add(name)
        specs.append(TensorSpec(name, dtype_name(known.value.dtype), known.value.shape))
    data = [array_of(known.tensor) for known in traced.hidden]
    return Params(mode, specs, data)


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's elements; shares memory where it can. Those of bfloat16 as their bits."""
    dense = tensor.detach().resolve_neg().contiguous().cpu()
    return (dense.view(torch.int16) if dense.dtype is torch.bfloat16 else dense).numpy()


def symbol(name: str) -> str:
    """``name`` if it can be the name of a C function."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or _RESERVED.fullmatch(name):
        raise CaptureError(f"{name!r} cannot be the name of a C function", help="give a name=")
    return name


def innermost(fn: Any) -> Any:
    """The function under all transforms."""
    while not isinstance(fn, Imported) and hasattr(fn, "graph_name"):
        fn = fn.func
    return fn


def source_of(fn: Any) -> str:
    """``file.py:function``, for the manifest."""
    inner = innermost(fn)
    if isinstance(inner, Imported):
        return inner.source
    location = of_function(inner)
    return f"{Path(location.file).name}:{graph_name(inner)}"


def describe(fn: Any) -> str:
    """``vmap(grad(f), in_dims=(None, 0, 0))``; empty for a plain function."""
    return fn.text if isinstance(fn, Transformed) else ""
