"""Ahead-of-time compiler for torch functions, their derivatives and their batched versions.

Everything is imported on first use: ``pullback.runtime`` alone loads neither torch nor MLIR.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "grad": "frontend.api",
    "grad_and_value": "frontend.api",
    "vmap": "frontend.api",
    "vjp": "frontend.api",
    "jvp": "frontend.api",
    "jacrev": "frontend.api",
    "jacfwd": "frontend.api",
    "hessian": "frontend.api",
    "linearize": "frontend.api",
    "functionalize": "frontend.api",
    "functional_call": "frontend.modules",
    "stack_module_state": "frontend.modules",
    "rearrange": "frontend.rearrange",
    "replace_all_batch_norm_modules_": "torch.func",
    "debug_unwrap": "torch.func",
    "checkpoint": "frontend.control",
    "cond": "frontend.control",
    "fori_loop": "frontend.control",
    "scan": "frontend.control",
    "while_loop": "frontend.control",
    "jit": "frontend.jit",
    "custom_jvp": "frontend.custom_rules",
    "custom_vjp": "frontend.custom_rules",
    "compile": "frontend.compile",
    "load": "runtime",
    "PullbackError": "runtime.errors",
    "ArtifactError": "runtime.errors",
    "ArgumentError": "runtime.errors",
    "CompileError": "dialects.errors",
    "CaptureError": "dialects.errors",
    "UnsupportedOpError": "dialects.errors",
    "ShapeError": "dialects.errors",
    "NotDifferentiableError": "dialects.errors",
    "CustomRuleError": "dialects.errors",
    "MissingRuleError": "dialects.errors",
    "VerifyError": "dialects.errors",
    "ToolchainError": "dialects.errors",
    "InternalError": "dialects.errors",
}

__all__ = [*_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    path = module if module == "torch.func" else f".{module}"
    value = getattr(importlib.import_module(path, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
