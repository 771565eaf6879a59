"""What torch was told about the precision of products of f32 on GPUs."""

from __future__ import annotations

import torch


def tf32_allowed() -> bool:
    """Whether ``torch.set_float32_matmul_precision`` (or its successor) allows TF32 on GPUs."""
    return torch.backends.cuda.matmul.fp32_precision == "tf32"


def tf32_wanted(target: str, asked: bool | None = None) -> bool:
    """Whether to compile for TF32: as ``asked``; None: what torch was told, where it applies."""
    return target == "cuda" and tf32_allowed() if asked is None else asked
