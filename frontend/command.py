"""The texts of the command line as Python values: FILE.py:FUNCTION and --arg.

``tools/cli.py`` parses options with these and goes on in ``compile.py``.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..dialects.errors import CaptureError
from . import forms, imported
from .expression import apply
from .trace import parameters_of

_DTYPES = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "f32": torch.float32,
    "f64": torch.float64,
    "i32": torch.int32,
    "i64": torch.int64,
    "bool": torch.bool,
}
_TENSOR = re.compile(r"(\w+)\[([^\]]*)\]")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]|\[(['\"])(.*?)\3\]")


@dataclass(frozen=True)
class Job:
    """What to compile: the transformed function and what it is called with."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str
    transform: str


def resolve(
    target: str,
    transform: str | None = None,
    arguments: Sequence[str] = (),
    inputs: str | None = None,
    name: str | None = None,
) -> Job:
    """``inputs`` names a function in the same file that returns the example arguments."""
    namespace, function, stem = load_function(target)
    transformed = apply(transform, function) if transform else function
    if inputs is not None:
        if arguments:
            raise CaptureError("--arg and an example-inputs function exclude each other")
        args, kwargs = example_inputs(namespace, inputs)
    elif not arguments and (known := forms.examples(transformed)) is not None:
        args, kwargs = known
    else:
        args, kwargs = parse_arguments(arguments, transformed)
    return Job(transformed, args, kwargs, name or stem, transform or "")


def load_function(target: str) -> tuple[Any, Callable[..., Any], str]:
    """The module of FILE.py:NAME or package.module:NAME, what has the name, and its last name.

    NAME is a function, a torch.nn.Module, a GraphModule or an ExportedProgram; FILE.pt2 alone is
    the program that torch.export.save wrote there.
    """
    if target.endswith(".pt2"):
        program = imported.load(target)
        return None, program, re.sub(r"\W", "_", program.graph_name)
    file, separator, path = target.rpartition(":")
    if not separator or not path:
        raise CaptureError(f"{target!r} is not of the form FILE.py:FUNCTION, or FILE.pt2")
    module = _module(file)
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise CaptureError(f"{file} has no {path}", help=_choices(module))
        found = getattr(found, part)
    if isinstance(found, type):
        raise CaptureError(
            f"{target} is a class", help=f"make one in the file, model = {path}(...), and name that"
        )
    if not callable(found):
        raise CaptureError(f"{target} is a {type(found).__name__}, not a function")
    return module, imported.callable_of(found, target), path.rpartition(".")[2]


def _module(file: str) -> Any:
    source = Path(file).resolve()
    if not source.is_file() and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", file):
        folder = str(Path.cwd())
        sys.path.insert(0, folder)  # as python -m would
        try:
            if importlib.util.find_spec(file) is not None:
                return importlib.import_module(file)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{file}.".startswith(f"{error.name}."):
                raise
        finally:
            sys.path.remove(folder)
    if not source.is_file():
        raise CaptureError(f"there is no file {file}")
    name = source.stem
    spec = importlib.util.spec_from_file_location(name, source)
    if spec is None or spec.loader is None:
        raise CaptureError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(source.parent))  # as python FILE.py would
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(source.parent))
    return module


def _choices(module: Any) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    return "functions in the file: " + (", ".join(own) or "none")


def parse_arguments(
    texts: Sequence[str], function: Callable[..., Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """``x=f64[256,6]``, ``params.w=f32[3]``, ``params[0]=...``, ``n=3`` to arguments."""
    tree: dict[Any, Any] = {}
    for text in texts:
        path, separator, value = text.partition("=")
        root = re.match(r"\s*([A-Za-z_]\w*)", path)
        if not separator or root is None:
            raise CaptureError(f"--arg {text!r} is not of the form name=dtype[shape] or name=value")
        steps: list[Any] = [root.group(1), *_steps(path[root.end() :].strip(), text)]
        _place(tree, steps, _value(value.strip(), text), text)
    given = {name: _collect(value, name) for name, value in tree.items()}
    state = forms.state_of(function)
    if state is not None and "params" not in given:
        given = {"params": state} | given
    return _bind(function, given)


def _steps(rest: str, text: str) -> list[Any]:
    steps, position = [], 0
    while position < len(rest):
        found = _STEP.match(rest, position)
        if found is None:
            raise CaptureError(f"--arg {text!r}: cannot read {rest[position:]!r}")
        name, index, _quote, key = found.groups()
        steps.append(int(index) if index is not None else name or key)
        position = found.end()
    return steps


def _value(value: str, text: str) -> Any:
    found = _TENSOR.fullmatch(value)
    if found and found.group(1) in _DTYPES:
        sizes = [size.strip() for size in found.group(2).split(",") if size.strip()]
        if not all(size.isdigit() for size in sizes):
            raise CaptureError(
                f"--arg {text!r}: dimensions must be whole numbers",
                help="symbolic dimensions are not supported yet; compile once for each size",
            )
        return torch.empty(tuple(map(int, sizes)), dtype=_DTYPES[found.group(1)], device="meta")
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise CaptureError(
            f"--arg {text!r}: {value!r} is neither a tensor nor a Python value",
            help=f"tensors are written f32[2,3], dtypes are {', '.join(_DTYPES)}; "
            "strings need quotes",
        ) from None


def _place(tree: dict[Any, Any], steps: list[Any], value: Any, text: str) -> None:
    for step in steps[:-1]:
        tree = tree.setdefault(step, {})
        if not isinstance(tree, dict):
            raise CaptureError(f"--arg {text!r}: {step} was given as a whole before")
    if steps[-1] in tree:
        raise CaptureError(f"--arg {text!r}: given twice")
    tree[steps[-1]] = value


def _collect(value: Any, name: str) -> Any:
    """Nested dicts of steps to dicts and, where all steps are numbers, lists."""
    if not isinstance(value, dict):
        return value
    if all(isinstance(key, int) for key in value):
        if sorted(value) != list(range(len(value))):
            raise CaptureError(f"--arg: the items of {name} must be numbered from 0")
        return [_collect(value[i], name) for i in range(len(value))]
    return {key: _collect(item, name) for key, item in value.items()}


def _bind(
    function: Callable[..., Any], given: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Names to the positional and keyword arguments of the function."""
    parameters = parameters_of(function)
    if parameters is None or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return tuple(given.values()), {}
    signature = inspect.Signature(parameters)
    expected = ", ".join(signature.parameters) or "no arguments"
    try:
        positional = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
        first = [given[name] for name in positional if name in given]
        rest = {name: value for name, value in given.items() if name not in positional}
        bound = signature.bind(*first, **rest)
    except TypeError as error:
        raise CaptureError(f"--arg: {error}", help=f"the function takes {expected}") from None
    return bound.args, bound.kwargs


def example_inputs(namespace: Any, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that the file's own function gives: a tuple, a dict, or one argument."""
    function = getattr(namespace, name, None)
    if not callable(function) or namespace is None:
        raise CaptureError(f"the file has no function {name}", help=_choices(namespace))
    given = function()
    if isinstance(given, tuple):
        return given, {}
    return ((), given) if isinstance(given, dict) else ((given,), {})
