"""Calls on bf16 and f16: their rules see f32, and what they give is rounded once at the end.

So a rule of several pb ops (softmax, a mean, a norm) is as exact as torch's kernel, which holds
f32 inside too, and a sum on the way to a mean cannot overflow f16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from mlir import ir

from ..graph import Value
from .emitter import Emitter, dtype_of, result_type

HALF = (torch.bfloat16, torch.float16)
#: Calls that are about the bits of a number.
_REFUSED = (torch.ops.aten.nextafter.default, torch.ops.aten.view.dtype)


def involved(outs: tuple[Value, ...], *trees: Any) -> bool:
    return any(value.dtype in HALF for value in outs) or any(
        dtype_of(leaf) in HALF for tree in trees for leaf in _values(tree)
    )


def call(
    e: Emitter, target: Any, rule: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> list[ir.Value]:
    """The rule on f32; results have the dtypes of `e.outs`."""
    if target in _REFUSED:
        raise NotImplementedError("not supported for bfloat16 and float16; convert to float32")
    outs = e.outs
    if torch.Tag.pointwise in target.tags:
        args = _promoted(e, args)
    e.storage = outs[0].dtype
    e.outs = tuple(replace(v, dtype=_wide(v.dtype)) for v in outs)
    try:
        made = rule(e, *_widened(e, args), **{k: _widened(e, v) for k, v in kwargs.items()})
    finally:
        e.outs, e.storage = outs, None
    results = made if isinstance(made, list) else [made]
    return [e.convert(r, v.dtype) for r, v in zip(results, outs, strict=True)]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in HALF else dtype


def _values(tree: Any) -> list[ir.Value]:
    if isinstance(tree, (list, tuple)):
        return [value for item in tree for value in _values(item)]
    return [tree] if isinstance(tree, ir.Value) else []


def _widened(e: Emitter, tree: Any) -> Any:
    if isinstance(tree, (list, tuple)):
        return [_widened(e, item) for item in tree]
    if isinstance(tree, torch.dtype):
        return _wide(tree)
    if isinstance(tree, ir.Value) and dtype_of(tree) in HALF:
        return e.convert(tree, torch.float32)
    return tree


def _promoted(e: Emitter, args: Any) -> Any:
    """Operands rounded to the common dtype first, as torch does; in arithmetic numbers are not."""
    tensors = [a for a in args if isinstance(a, ir.Value) and dtype_of(a) is not torch.bool]
    common = result_type(*tensors) if tensors else torch.bool
    if common not in HALF:
        return args
    compares = all(value.dtype is torch.bool for value in e.outs)
    result = []
    for a in args:
        if isinstance(a, ir.Value) and dtype_of(a) is not torch.bool:
            a = e.convert(a, common)
        elif compares and isinstance(a, (int, float)) and not isinstance(a, bool):
            a = torch.tensor(a, dtype=torch.float64).to(common).item()
        result.append(a)
    return result
