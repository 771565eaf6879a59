"""The transforms whose Python form is no function of tensors, as functions of all their inputs.

An artifact has inputs and outputs only. So for the command line ``vjp(f)`` takes the primals and
the cotangent, ``jvp(f)`` and ``linearize(f)`` the primals and the tangents, and ``functional(f)``
of a module its parameters first. ``command.py`` reads these in ``--transform``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any

import torch

from ..dialects.errors import CaptureError
from . import transforms
from .api import Transformed
from .capture import Recorder
from .checks import Argnums
from .imported import Imported, module_of
from .modules import functional_call
from .trace import parameters_of

Function = Callable[..., Any]


def vjp(func: Function, argnums: Argnums | None = None) -> Transformed:
    """(primals..., ct) to (output, cotangents of the primals, or of ``argnums``)."""

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _positional("vjp", kwargs)
        *primals, ct = args
        output, pull = transforms.vjp_call(recorder, func, tuple(primals), argnums=argnums)
        return output, pull(ct)

    made = Transformed("vjp", func, (argnums,), record, **_shown(argnums))
    return _signed(made, [*_parameters(func), _parameter("ct")])


def jvp(func: Function, argnums: Argnums | None = None) -> Transformed:
    """(primals..., tangents...) to (output, tangent of the output)."""
    return _jvp("jvp", func, argnums)


def linearize(func: Function, argnums: Argnums | None = None) -> Transformed:
    """As ``jvp``: a library has no state in which the linear function could stay."""
    return _jvp("linearize", func, argnums)


def _jvp(kind: str, func: Function, argnums: Argnums | None) -> Transformed:
    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _positional(kind, kwargs)
        moving = len(args) // 2 if argnums is None else len(_tuple(argnums))
        primals, tangents = args[: len(args) - moving], args[len(args) - moving :]
        return transforms.jvp_call(recorder, func, primals, tangents, False, False, argnums)

    made = Transformed(kind, func, (argnums,), record, **_shown(argnums))
    given = _parameters(func)
    moving = given if argnums is None else [given[n] for n in _tuple(argnums) if n < len(given)]
    return _signed(made, [*given, *(_parameter(f"{p.name}_dot") for p in moving)])


def functional(func: Any) -> Transformed:
    """(params, arguments...) to ``func``'s result with those parameters; buffers stay its own."""
    module = module_of(func, "functional(f)")
    if not isinstance(module, torch.nn.Module):
        raise CaptureError(
            f"functional(f): f is a {type(func).__name__}, and only modules have parameters",
            help="for a function of its parameters, they are arguments already",
        )

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        params, *rest = args
        return functional_call(module, dict(params), tuple(rest), kwargs)

    made = Transformed("functional", func, (), record)
    return _signed(made, [_parameter("params"), *_parameters(func)])


def state_of(fn: Any) -> dict[str, Any] | None:
    """Shapes for the ``params`` of ``functional(f)`` under transforms; None without it."""
    while isinstance(fn, Transformed):
        if fn.kind == "functional":
            module: Any = fn.func  # an Imported has the names of its module
            return {name: p.detach().to("meta") for name, p in module.named_parameters()}
        fn = fn.func
    return None


def examples(fn: Any) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Arguments for a transformed ExportedProgram, from those it was exported with."""
    if isinstance(fn, Imported):
        return fn.examples()
    if not isinstance(fn, Transformed):
        return None
    inner = examples(fn.func)
    if inner is None or fn.kind in ("vmap", "vjp"):
        return None
    args, kwargs = inner
    if fn.kind == "functional":
        return (state_of(fn), *args), kwargs
    if fn.kind in ("jvp", "linearize"):
        (argnums,) = fn.options
        moving = args if argnums is None else tuple(args[n] for n in _tuple(argnums))
        return (*args, *moving), kwargs
    return args, kwargs


def _parameters(func: Any) -> list[Parameter]:
    """Those that must be given, by position: what has a default keeps it."""
    known = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    found = [p for p in parameters_of(func) or [] if p.kind in known]
    return [_parameter(p.name) for p in found if p.default is Parameter.empty]


def _parameter(name: str) -> Parameter:
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD)


def _signed(made: Transformed, parameters: list[Parameter]) -> Transformed:
    names: list[str] = []
    for parameter in parameters:
        name = parameter.name
        while name in names:  # jvp(jvp(f)), or a parameter of the user's is named ct
            name += "_"
        names.append(name)
    made.__signature__ = inspect.Signature([_parameter(name) for name in names])
    return made


def _tuple(argnums: Argnums) -> tuple[int, ...]:
    return (argnums,) if isinstance(argnums, int) else argnums


def _shown(argnums: Argnums | None) -> dict[str, Any]:
    return {} if argnums is None else {"argnums": argnums}


def _positional(kind: str, kwargs: dict[str, Any]) -> None:
    if kwargs:
        raise CaptureError(
            f"{kind}(f) takes its arguments by position, and {next(iter(kwargs))} is a keyword",
            help="make it a positional parameter of the function",
        )
