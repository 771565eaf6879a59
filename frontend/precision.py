"""How a target is to compile, as far as torch was told: TF32 for products of f32 on GPUs."""

from __future__ import annotations

from typing import Any

import torch

from ..pipelines.targets import Target, pipeline


def tf32_allowed() -> bool:
    """Whether ``torch.set_float32_matmul_precision`` (or its successor) allows TF32 on GPUs."""
    return torch.backends.cuda.matmul.fp32_precision == "tf32"


def options(target: Target, tf32: bool | None = None) -> Any:
    """The options of the target's pipeline. ValueError: no such target, or TF32 on a CPU."""
    chosen = pipeline(target)
    if target == "cuda":
        return chosen.Options(tf32=tf32_allowed() if tf32 is None else tf32)
    if tf32:
        raise ValueError("tf32 is for the target cuda")
    return chosen.Options()
