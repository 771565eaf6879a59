"""Loads compiled libraries and calls them; the last step of the data flow.

Needs only numpy: neither torch nor MLIR is imported here, and torch tensors are served when the
caller has imported torch. Names are resolved on first use, so that importing this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ArgumentError, ArtifactError, PullbackError
    from .loader import Function, load

__all__ = ["ArgumentError", "ArtifactError", "Function", "PullbackError", "load"]

_HOME = {"load": "loader", "Function": "loader"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME.get(name, 'errors')}", __name__), name)
