"""Where in the user's code a torch call was made.

Used by ``capture.py`` while the call is still on the Python stack: the nearest frame that belongs
neither to torch nor to us is the line, the frames above it are the call chain of error messages.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch

_OURS = str(Path(__file__).parent) + "/"
_COMMANDS = str(Path(__file__).parent.parent / "tools") + "/"  # no user's code above these
_FOREIGN = (
    str(Path(torch.__path__[0])) + "/",
    _OURS,
    contextlib.__file__,
    functools.__file__,
    "<frozen ",
)


@dataclass(frozen=True, slots=True)
class Location:
    """A line of the user's code and the calls that led to it, nearest first."""

    file: str
    line: int
    column: int
    function: str
    callers: tuple[Location, ...] = ()

    @property
    def place(self) -> tuple[str, int]:
        return self.file, self.line

    def notes(self) -> list[str]:
        return [f"called from {c.file}:{c.line} in {c.function}" for c in self.callers]

    def __str__(self) -> str:
        path, here_ = Path(self.file), Path.cwd()
        shown = path.relative_to(here_) if path.is_relative_to(here_) else path
        return f"{shown}:{self.line}"


@functools.lru_cache(maxsize=4096)
def _is_users(code: CodeType) -> bool:
    return not code.co_filename.startswith(_FOREIGN)


@functools.lru_cache(maxsize=16384)
def _position(code: CodeType, instruction: int) -> tuple[int, int]:
    positions = list(code.co_positions())[instruction // 2]
    line, _, column, _ = positions
    return line or code.co_firstlineno, (column or 0) + 1


@functools.lru_cache(maxsize=16384)
def _at(code: CodeType, instruction: int) -> Location:
    line, column = _position(code, instruction)
    return Location(code.co_filename, line, column, code.co_name)


_TRACED_LINE = re.compile(r'File "(.+?)", line (\d+), in (\S+)')


def _of_graph_module(frame: FrameType) -> Location | None:
    """In the generated code of a torch.fx.GraphModule: the line that its node was traced from."""
    if not frame.f_code.co_filename.startswith("<eval_with_key>"):
        return None
    return _of_node(frame) or _of_generated(frame.f_code)


def _of_node(frame: FrameType) -> Location | None:
    module = frame.f_locals.get("self")
    if not isinstance(module, torch.fx.GraphModule):
        return None
    lines = getattr(module, "_lineno_map", None) or {}
    line = frame.f_lineno - (getattr(module, "_prologue_start", None) or 0)
    number = lines.get(line)
    nodes = list(module.graph.nodes)
    if number is None or number >= len(nodes):
        return None
    trace = nodes[number].meta.get("stack_trace") or ""
    for file, at, function in reversed(_TRACED_LINE.findall(trace)):
        if not file.startswith(_FOREIGN):
            return Location(file, int(at), 1, function)
    return None


def _of_generated(code: CodeType) -> Location | None:
    """Generated code whose name says which function it was traced from."""
    found = re.fullmatch(r"<eval_with_key>\.\d+ from (.+):(\d+) in (.+)", code.co_filename)
    return Location(found[1], int(found[2]), 1, found[3]) if found else None


def of_function(function: object) -> Location:
    """Where a function is defined, for graphs and for functions that make no torch call."""
    inner: Any = inspect.unwrap(function) if callable(function) else function
    inner = getattr(inner, "__func__", inner)
    if isinstance(inner, torch.nn.Module):
        inner = type(inner).forward
    code = getattr(inner, "__code__", None)
    if isinstance(code, CodeType) and _is_users(code):
        return _of_generated(code) or Location(
            code.co_filename, code.co_firstlineno, 1, code.co_name
        )
    return Location("<unknown>", 0, 0, getattr(function, "__name__", "<unknown>"))


def here(boundary: CodeType | None = None) -> Location:
    """The user's line that is being run; callers stop at the frame that runs ``boundary``."""
    found: list[Location] = []
    inside = True
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_COMMANDS):
            break
        if code is boundary:
            inside = False
        if _is_users(code):
            found.append(_of_graph_module(frame) or _at(code, frame.f_lasti))
        if found and not inside:
            break
        frame = frame.f_back
    if not found:
        return Location("<unknown>", 0, 0, "<unknown>")
    nearest, *callers = found
    return Location(nearest.file, nearest.line, nearest.column, nearest.function, tuple(callers))
