"""A pipeline is a list of named stages; each turns the state of a compilation into the next one.

Between stages the module is verified, and whoever watches is told, so that `show` can print any
stage and stop there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlir import ir
from mlir.passmanager import PassManager

from ..dialects.diagnostics import translated
from ..dialects.errors import InternalError


class State(Protocol):
    """What the stages of a pipeline work on."""

    module: ir.Module

    def text(self) -> str:
        """The program as it is now, for people."""
        ...


@dataclass(frozen=True)
class Stage:
    """A step with a name; `run` changes the state in place."""

    name: str
    run: Callable[..., None]


def run(
    stages: Sequence[Stage],
    state: State,
    until: str | None = None,
    watch: Callable[[str, State], None] | None = None,
) -> None:
    """Runs the stages in order, up to and including `until`; `watch` sees the state after each."""
    for stage in stages:
        with translated(InternalError):
            stage.run(state)
            state.module.operation.verify()
        if watch is not None:
            watch(stage.name, state)
        if stage.name == until:
            return
    if until is not None:
        raise InternalError(f"no stage {until}")


def run_passes(module: ir.Module, pipeline: str) -> None:
    """Runs MLIR passes, given as text, over the module."""
    with module.context:
        PassManager.parse(f"builtin.module({pipeline})").run(module.operation)
