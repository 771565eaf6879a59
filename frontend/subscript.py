"""``x[i]`` and ``x[i] = v`` where ``i`` is a 0-dim integer tensor, as vmap makes of index vectors.

torch would ask for the number in ``i``. Here, between ``capture.py`` and torch's subscripts, the
index becomes a vector of one, and the dimension that it adds is removed again.
"""

from __future__ import annotations

from typing import Any

import torch


def has_number_tensors(index: Any, known: Any) -> bool:
    """``known(tensor)``: it is a literal, whose number torch may well have."""
    return any(_is_number(item) and not known(item) for item in _items(index))


def _items(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _is_number(item: Any) -> bool:
    if not isinstance(item, torch.Tensor) or item.dim() > 0:
        return False
    return not (item.is_floating_point() or item.is_complex() or item.dtype is torch.bool)


def is_mask(item: Any) -> bool:
    return isinstance(item, torch.Tensor) and item.dim() == 0 and item.dtype is torch.bool


def _vectors(items: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(item.reshape(1) if _is_number(item) else item for item in items)


def _added(x: torch.Tensor, items: tuple[Any, ...]) -> tuple[int, int] | None:
    """Where the added dimension is, and how many follow it; None if it is broadcast away."""
    if any(isinstance(i, (list, torch.Tensor)) and not _is_number(i) for i in items):
        return None
    basic = sum(item is not None and item is not Ellipsis for item in items)
    position, places = 0, []
    for item in items:
        if item is Ellipsis:
            position += x.dim() - basic
        elif item is None or isinstance(item, slice):
            position += 1
        elif isinstance(item, torch.Tensor):
            places.append(position)
    if Ellipsis not in [item for item in items if not isinstance(item, torch.Tensor)]:
        position += x.dim() - basic
    adjacent = len(set(places)) == 1
    at = places[0] if adjacent else 0
    return at, position - at


def get(x: torch.Tensor, index: Any) -> torch.Tensor:
    items = _items(index)
    out, added = x[_vectors(items)], _added(x, items)
    return out if added is None else out.squeeze(added[0])


def put(x: torch.Tensor, index: Any, value: Any) -> None:
    items = _items(index)
    if len(items) == 1 and is_mask(items[0]):  # all of x or nothing
        if isinstance(value, torch.Tensor) and value.dim() > x.dim():
            value = value.squeeze(0)
        x.copy_(torch.where(items[0], value, x))
        return
    added = _added(x, items)
    if added is not None and isinstance(value, torch.Tensor) and value.dim() >= added[1]:
        value = value.unsqueeze(value.dim() - added[1])
    x[_vectors(items)] = value
