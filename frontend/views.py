"""Views as functions and their inverses, for the functionalisation in ``capture.py``.

A view call is turned into one or more links. A link can be applied to a value (reading through
the view) and run backwards (what the base becomes when the view is overwritten).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .location import Location

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Link:
    """``target(base, *args)`` is the view; ``scatter`` gives the call that undoes it."""

    target: Any
    args: tuple[Any, ...]
    location: Location
    grad_enabled: bool

    def scatter(self, base_shape: tuple[int, ...]) -> tuple[Any, bool, tuple[Any, ...]] | None:
        """(target, does it read the old base, further args) of the base after a write."""
        if self.target is aten.view.default:
            return aten.view.default, False, (list(base_shape),)
        if self.target is aten.permute.default:
            inverse = [0] * len(self.args[0])
            for position, source in enumerate(self.args[0]):
                inverse[source] = position
            return aten.permute.default, False, (inverse,)
        if self.target is aten.slice.Tensor:
            return aten.slice_scatter.default, True, self.args
        if self.target is aten.select.int:
            return aten.select_scatter.default, True, self.args
        if self.target is aten.diagonal.default:
            return aten.diagonal_scatter.default, True, self.args
        if self.target is aten.as_strided.default and not overlaps(*self.args[:2]):
            return aten.as_strided_scatter.default, True, self.args
        return None


def _wrap(dim: int, rank: int) -> int:
    return dim + rank if dim < 0 else dim


def _view(base: torch.Tensor, outs: Sequence[torch.Tensor], *_: Any) -> list[Any]:
    return [(aten.view.default, (list(out.shape),)) for out in outs]


def _permute(base: torch.Tensor, outs: Any, dims: Sequence[int]) -> list[Any]:
    return [(aten.permute.default, ([_wrap(d, base.dim()) for d in dims],))]


def _transpose(base: torch.Tensor, outs: Any, dim0: int = 0, dim1: int = 1) -> list[Any]:
    order = list(range(base.dim()))
    if order:  # t() of a vector, and of a scalar, is itself
        a, b = min(_wrap(dim0, base.dim()), base.dim() - 1), _wrap(dim1, base.dim())
        b = min(b, base.dim() - 1)
        order[a], order[b] = order[b], order[a]
    return [(aten.permute.default, (order,))]


def _expand(base: torch.Tensor, outs: Sequence[torch.Tensor], *_: Any) -> list[Any]:
    return [(aten.expand.default, (list(outs[0].shape),))]


def _select(base: torch.Tensor, outs: Any, dim: int, index: int) -> list[Any]:
    dim = _wrap(dim, base.dim())
    return [(aten.select.int, (dim, _wrap(index, base.shape[dim])))]


def _slice(
    base: torch.Tensor,
    outs: Any,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> list[Any]:
    dim = _wrap(dim, base.dim())
    low, high, _ = slice(start, end).indices(base.shape[dim])
    return [(aten.slice.Tensor, (dim, low, max(low, high), step))]


def _split(base: torch.Tensor, outs: Sequence[torch.Tensor], _: Any, dim: int = 0) -> list[Any]:
    dim, links, start = _wrap(dim, base.dim()), [], 0
    for out in outs:
        links.append((aten.slice.Tensor, (dim, start, start + out.shape[dim], 1)))
        start += out.shape[dim]
    return links


def _unbind(base: torch.Tensor, outs: Sequence[torch.Tensor], dim: int = 0) -> list[Any]:
    dim = _wrap(dim, base.dim())
    return [(aten.select.int, (dim, index)) for index in range(len(outs))]


def _diagonal(
    base: torch.Tensor, outs: Any, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> list[Any]:
    return [(aten.diagonal.default, (offset, _wrap(dim1, base.dim()), _wrap(dim2, base.dim())))]


def _as_strided(base: torch.Tensor, outs: Sequence[torch.Tensor], *_: Any) -> list[Any]:
    """Positions count from the start of ``base``, which must hold them all."""
    (out,) = outs
    start = int(out.storage_offset()) - int(base.storage_offset())
    sizes, strides = list(out.shape), list(out.stride())
    last = start + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    if not base.is_contiguous() or (out.numel() and not 0 <= start <= last < base.numel()):
        raise NotImplementedError("as_strided of a view, beyond its own elements")
    return [(aten.as_strided.default, (sizes, strides, start))]


def _unfold(
    base: torch.Tensor, outs: Sequence[torch.Tensor], dim: int, size: int, step: int
) -> list[Any]:
    """As strides, which tell where windows overlap, over a contiguous tensor like ``base``."""
    if not base.dim():
        return [(aten.view.default, (list(outs[0].shape),))]
    dim, strides = _wrap(dim, base.dim()), [1] * base.dim()
    for d in reversed(range(base.dim() - 1)):
        strides[d] = strides[d + 1] * max(base.shape[d + 1], 1)
    moved = [s * step if d == dim else s for d, s in enumerate(strides)]
    return [(aten.as_strided.default, (list(outs[0].shape), [*moved, strides[dim]], 0))]


def overlaps(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """May two places of this layout be the same element? Never wrong if it says no."""
    reach = 0
    for stride, size in sorted(zip(strides, sizes, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False


def _stop(base: torch.Tensor, outs: Any) -> list[Any]:
    return [(aten.detach.default, ())]


VIEWS: dict[Any, Callable[..., list[Any]]] = {
    aten.view.default: _view,
    aten._reshape_alias.default: _view,
    aten.alias.default: _view,
    aten.unsqueeze.default: _view,
    aten.squeeze.default: _view,
    aten.squeeze.dim: _view,
    aten.squeeze.dims: _view,
    aten.permute.default: _permute,
    aten.transpose.int: _transpose,
    aten.t.default: _transpose,
    aten.expand.default: _expand,
    aten.select.int: _select,
    aten.slice.Tensor: _slice,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split,
    aten.unbind.int: _unbind,
    aten.diagonal.default: _diagonal,
    aten.as_strided.default: _as_strided,
    aten.unfold.default: _unfold,
    aten.detach.default: _stop,
}

#: Calls that make a tensor another view of its elements.
IN_PLACE_VIEWS: dict[Any, Any] = {
    aten.transpose_.default: aten.transpose.int,
    aten.swapaxes_.default: aten.transpose.int,
    aten.swapdims_.default: aten.transpose.int,
    aten.t_.default: aten.t.default,
    aten.unsqueeze_.default: aten.unsqueeze.default,
    aten.squeeze_.default: aten.squeeze.default,
    aten.squeeze_.dim: aten.squeeze.dim,
    aten.squeeze_.dims: aten.squeeze.dims,
}
