"""Which aten calls are recorded as they are and which are taken apart first.

``capture.py`` asks for the Python function that expresses a call in simpler ones. Calls that the
importer knows are kept: it writes them so that their derivatives are torch's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import core_aten_decompositions

from . import aten as rules
from .samplers import COMPOSITIONS

aten = torch.ops.aten
#: The values of their argument do not matter to what these return.
OF_SHAPE = {
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.empty_like.default,
    aten.new_zeros.default,
    aten.new_ones.default,
    aten.new_full.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
}
_IMPLICIT = "CompositeImplicitAutograd"


@functools.cache
def _table() -> dict[Any, Callable[..., Any]]:
    return dict(core_aten_decompositions())


@functools.cache
def find(func: Any) -> Callable[..., Any] | None:
    """The decomposition of ``func``; None if it is to be recorded."""
    if func in COMPOSITIONS:
        return COMPOSITIONS[func]
    if func in rules.RULES:
        return None
    if func in _table():
        return _table()[func]
    if (viewed := _view_of_copy(func)) is not None:
        return viewed
    if func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), _IMPLICIT
    ):
        return func.decompose
    return None


def _view_of_copy(func: Any) -> Callable[..., Any] | None:
    """``view_copy`` is ``view``, and the result a tensor of its own."""
    name = func._schema.name.removeprefix("aten::")
    packet = getattr(aten, name.removesuffix("_copy"), None) if name.endswith("_copy") else None
    view = getattr(packet, func._overloadname, None)
    if view is None:
        return None

    def copied(*args: Any, **kwargs: Any) -> Any:
        found = view(*args, **kwargs)
        return found.clone() if isinstance(found, torch.Tensor) else [t.clone() for t in found]

    return copied
