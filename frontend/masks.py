"""Masks whose elements are known while tracing: ``x[torch.tensor([True, False])]``.

``capture.py`` lets them become the positions of their true elements, so that the shape of the
result is known, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from .capture import Recorder

aten = torch.ops.aten
#: Calls with a list of indices as their second argument.
_INDEXED = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._unsafe_index_put.default,
)


def resolved(recorder: Recorder, func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The call with positions instead of known masks."""
    if func in _INDEXED:
        indices: list[torch.Tensor | None] = []
        for index in args[1]:
            indices += [index] if index is None else _positions(recorder, index)
        return func, (args[0], indices, *args[2:])
    if func is aten.masked_select.default and _known(recorder, args[1]) is not None:
        x, mask = args
        if x.shape == mask.shape:
            return aten.index.Tensor, (x, _positions(recorder, mask))
    return func, args


def nonzero(recorder: Recorder, x: torch.Tensor) -> torch.Tensor | None:
    """The result of x.nonzero(), if x is known."""
    data = recorder.known_data(x)
    return None if data is None else recorder.constant(np.argwhere(data))


def _known(recorder: Recorder, mask: torch.Tensor) -> np.ndarray | None:
    if mask.dtype is not torch.bool or not mask.dim():
        return None
    return recorder.known_data(mask)


def _positions(recorder: Recorder, index: torch.Tensor) -> list[torch.Tensor]:
    data = _known(recorder, index)
    return [index] if data is None else [recorder.constant(i) for i in data.nonzero()]
