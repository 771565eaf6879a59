"""The root of every error that pullback raises, and the errors of loading and calling an artifact.

The compiler's kinds (``dialects/errors.py``) derive from the same root, so that
``except PullbackError`` catches all of them, and only them.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterable


class PullbackError(Exception):
    """An error with the user's line, notes and, where there is one, a way out.

    ``location`` is ``(file, line)`` of the user's code.
    """

    def __init__(
        self,
        message: str,
        location: tuple[str, int] | None = None,
        notes: Iterable[str] = (),
        help: str | None = None,
    ) -> None:
        super().__init__(message, location, tuple(notes), help)
        self.message = message
        self.location = location
        self.notes = tuple(notes)
        self.help = help

    def __str__(self) -> str:
        where = f"{self.location[0]}:{self.location[1]}: " if self.location else ""
        lines = [where + self.message]
        lines += [f"  note: {note}" for note in self.notes]
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


class ArtifactError(PullbackError):
    """A library, header or parameter file that is damaged, foreign, or not for this machine."""


class ArgumentError(PullbackError):
    """A call of an artifact with an argument that does not fit; see the two kinds below."""


class ArgumentValueError(ArgumentError, ValueError):
    """Wrong shape, or a value that has no place in the argument."""


class ArgumentTypeError(ArgumentError, TypeError):
    """Wrong dtype, device, structure or number of arguments."""


def exception(kind: str) -> type[Exception]:
    """The exception called `kind` that a library raises about its data.

    LinAlgError is torch's where torch is loaded. What has no such class here is a RuntimeError,
    from which torch's derives.
    """
    found = getattr(builtins, kind, None)
    if kind == "LinAlgError" and "torch" in sys.modules:
        found = sys.modules["torch"].linalg.LinAlgError
    return found if isinstance(found, type) and issubclass(found, Exception) else RuntimeError
