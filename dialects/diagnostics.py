"""Locations in the IR and the user's file and line; MLIR's diagnostics as our errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlir import ir

from .errors import CompileError, VerifyError

__all__ = ["source_line", "translated", "user_location"]


def user_location(location: ir.Location) -> tuple[str, int] | None:
    """The innermost file and line of a location, through names, call sites and fusions."""
    if location.is_a_file():
        return location.filename, location.start_line
    if location.is_a_name():
        return user_location(location.child_loc)
    if location.is_a_callsite():
        return user_location(location.callee) or user_location(location.caller)
    if location.is_a_fused():
        return next(filter(None, map(user_location, location.locations)), None)
    return None


def source_line(location: tuple[str, int]) -> str | None:
    """The text of a line of the user's file, if it can be read."""
    import linecache

    return linecache.getline(*location).strip() or None


@contextmanager
def translated(kind: type[CompileError] = VerifyError) -> Iterator[None]:
    """Turns an MLIRError inside into `kind`, with the line of the op it is about."""
    try:
        yield
    except ir.MLIRError as error:  # pyright: ignore[reportAttributeAccessIssue]
        diagnostics = error.error_diagnostics
        if not diagnostics:
            raise kind(str(error)) from None
        first, *rest = diagnostics
        notes = [note.message for note in first.notes] + [other.message for other in rest]
        raise kind(first.message, user_location(first.location), notes) from None
