"""What can go wrong while compiling, by who must act.

The user: CaptureError, UnsupportedOpError, ShapeError, NotDifferentiableError.
The author of an op: MissingRuleError, VerifyError. The machine: ToolchainError. Us: InternalError.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime.errors import ArtifactError, PullbackError, exception

__all__ = [
    "ArtifactError",
    "CaptureError",
    "CompileError",
    "CustomRuleError",
    "InternalError",
    "MissingRuleError",
    "NotDifferentiableError",
    "PullbackError",
    "ShapeError",
    "ToolchainError",
    "UnsupportedOpError",
    "VerifyError",
    "exception",
]


class CompileError(PullbackError):
    """Any failure between a function and its library."""


class CaptureError(CompileError, RuntimeError):
    """The function cannot be captured, for example because it branches on data."""


class UnsupportedOpError(CompileError, NotImplementedError):
    """The function uses torch ops that pullback does not know."""


class ShapeError(CompileError, ValueError):
    """Shapes, dtypes or dimensions that do not fit."""


class NotDifferentiableError(CompileError, RuntimeError):
    """A derivative that does not exist was asked for."""


class CustomRuleError(NotDifferentiableError, NotImplementedError, TypeError):
    """A function with a derivative of its own has none of the kind that is asked for.

    torch raises NotImplementedError for it, JAX TypeError.
    """


class MissingRuleError(CompileError, NotImplementedError):
    """An op has no rule that a transform needs."""


class VerifyError(CompileError):
    """Malformed IR, from a file or from a faulty rule."""


class ToolchainError(CompileError):
    """The linker or another external command failed."""

    def __init__(self, message: str, command: Sequence[str] = (), stderr: str = "") -> None:
        notes = [f"command: {' '.join(command)}"] if command else []
        super().__init__(message, notes=(*notes, *stderr.strip().splitlines()))
        self.command = tuple(command)
        self.stderr = stderr


class InternalError(CompileError):
    """A defect of pullback itself."""
