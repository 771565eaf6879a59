"""What else may stand where a function does: exported programs, traced graphs, compiled functions.

``api.py``, ``jit.py`` and ``compile.py`` pass what the user gave through ``callable_of``. A
torch.nn.Module is a function already, and so is a torch.fx.GraphModule; where its nodes remember
the user's lines, ``location.py`` reads them there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..dialects.errors import CaptureError

Function = Callable[..., Any]


class Imported:
    """An ExportedProgram as a function of the arguments it was exported with.

    Parameters and buffers are those of the program, reached like any module's. Dynamic dimensions
    take the sizes of the arguments at hand.
    """

    kind = "imported"
    options = ()

    def __init__(self, program: Any, name: str = "exported", source: str = "") -> None:
        self.program, self.source = program, source or type(program).__name__
        self.func: torch.nn.Module = program.module()
        self.graph_name = self.__name__ = name
        self.__wrapped__ = self.func  # for inspect.unwrap: the names of the arguments

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.func(*args, **kwargs)
        except AssertionError as error:
            if not str(error).startswith("Guard failed"):
                raise
            raise CaptureError(
                f"the program was exported for other arguments: {error}",
                help="export it with dynamic_shapes, or call it with the shapes it was made for",
            ) from None

    def __getattr__(self, name: str) -> Any:
        if name in ("func", "program"):  # while an object is copied
            raise AttributeError(name)
        return getattr(self.func, name)  # exported.named_parameters()

    def examples(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments it was exported with."""
        given = self.program.example_inputs
        if given is None:
            raise CaptureError("the exported program holds no example inputs", help="give --arg")
        args, kwargs = given
        return tuple(args), dict(kwargs)


def is_exported(func: Any) -> bool:
    """Whether it is an ExportedProgram; torch.export is not imported to tell."""
    exported = sys.modules.get("torch.export.exported_program")
    return exported is not None and isinstance(func, exported.ExportedProgram)


def callable_of(func: Any, api: str) -> Any:
    """``func``, or the function that stands behind it."""
    if is_exported(func):
        known = vars(func).get("_pullback")  # one module for each program: compiled code is kept
        if known is None:
            known = func._pullback = Imported(func)
        return known
    if isinstance(func, (torch.jit.ScriptFunction, torch.jit.ScriptModule)):
        raise CaptureError(
            f"{api}: torch.jit is not supported",
            help="give the Python function or module itself, or torch.export.export of it",
        )
    if isinstance(func, torch.nn.Module) and "_orig_mod" in func._modules:
        return func._modules["_orig_mod"]  # of torch.compile
    if hasattr(func, "__dict__"):
        func = vars(func).get("_torchdynamo_orig_callable", func)
    if not callable(func):
        raise TypeError(f"{api}: expected a function, got {type(func).__name__}")
    return func


def module_of(func: Any, api: str) -> Any:
    """The torch.nn.Module whose parameters ``func`` has; anything else as it is, for torch to say.

    That of torch.compile is refused: its parameters go by other names than the module's.
    """
    if isinstance(func, torch.nn.Module) and "_orig_mod" in func._modules:
        raise CaptureError(
            f"{api}: this module was made by torch.compile",
            help="give the module that torch.compile was given",
        )
    func = callable_of(func, api) if is_exported(func) else func
    while getattr(type(func), "kind", None) in ("jit", "imported"):
        func = func.func
    return func


def load(file: str | Path) -> Imported:
    """The program in a ``.pt2`` file of torch.export.save."""
    path = Path(file)
    if not path.is_file():
        raise CaptureError(f"there is no file {file}")
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise CaptureError(
            f"{file} cannot be read by torch.export.load: {error}",
            help="packages of AOTInductor hold compiled code; use torch.export.save",
        ) from error
    return Imported(program, path.stem, path.name)
