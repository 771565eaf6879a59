"""The pipelines by the name of their target: where the frontend and the tools choose one."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

Target = Literal["cpu", "cuda"]


def pipeline(target: str) -> ModuleType:
    """The module with ``Options``, ``build`` and ``show`` for a target. ValueError: no such."""
    if target == "cpu":
        from . import cpu

        return cpu
    if target == "cuda":
        from .gpu import pipeline as gpu

        return gpu
    raise ValueError(f"target must be 'cpu' or 'cuda', got {target!r}")
