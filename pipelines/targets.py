"""The pipelines by the name of their target: where the frontend and the tools choose one."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

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


def options(target: str, tf32: bool = False) -> Any:
    """How a target's pipeline is to compile. ValueError: no such target, or TF32 on a CPU."""
    chosen = pipeline(target)
    if target == "cuda":
        return chosen.Options(tf32=tf32)
    if tf32:
        raise ValueError("tf32 is for the target cuda")
    return chosen.Options()
