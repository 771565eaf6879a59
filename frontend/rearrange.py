"""``rearrange`` of torch.func: einops' notation as permute and reshape.

torch reads the notation and words the errors; its own way from there, through functorch's
first-class dimensions, cannot be traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from functorch.dim import DimensionBindError
from functorch.einops import _parsing as notation

from .api import Transformed
from .capture import Recorder, current


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> torch.Tensor:
    """``rearrange(x, "b (h w) c -> b c h w", h=4)``; a list of tensors is stacked first."""
    if current() is not None:
        return _rearrange(tensor, pattern, axes_lengths)

    def record(_: Recorder, args: tuple[Any, ...], __: dict[str, Any]) -> Any:
        return _rearrange(args[0], pattern, axes_lengths)

    options = (pattern, tuple(axes_lengths.items()))
    return Transformed("rearrange", _rearrange, options, record)(tensor)


def _rearrange(tensor: Any, pattern: str, lengths: dict[str, int]) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        tensor = torch.stack(tensor)
    left, right = notation.parse_pattern(pattern, lengths)
    notation.validate_rearrange_expressions(left, right, lengths)
    groups, spare = _groups(left.composition, tensor.dim())
    axes, sizes = [], []
    for group, size in zip(groups, tensor.shape, strict=True):
        axes += group
        sizes += _split(group, int(size), lengths)
    spread = [f"...{index}" for index in range(spare)]
    order, shape = [], []
    at, size_of = {axis: i for i, axis in enumerate(axes)}, dict(zip(axes, sizes, strict=True))
    for entry in right.composition:
        if entry == notation._ellipsis:
            order += spread
            shape += [size_of[axis] for axis in spread]
            continue
        group = [
            part for axis in entry for part in (spread if axis == notation._ellipsis else [axis])
        ]
        order += group
        product = 1
        for axis in group:
            product *= size_of[axis]
        shape.append(product)
    return tensor.reshape(sizes).permute([at[axis] for axis in order]).reshape(shape)


def _groups(composition: Sequence[Any], rank: int) -> tuple[list[list[Any]], int]:
    """The axes that each dimension of the tensor is made of, and how many "..." stands for."""
    if notation._ellipsis not in composition:
        if len(composition) != rank:
            raise ValueError(
                f"Number of dimensions in pattern ({len(composition)}) must be equal to the number "
                f"of dimensions in the tensor ({rank})"
            )
        return [list(group) for group in composition], 0
    spare = rank - (len(composition) - 1)
    if spare < 0:
        raise ValueError(
            f"Number of dimensions in pattern ({len(composition) - 1}) must be less than or equal "
            f"to the number of dimensions in the tensor ({rank})"
        )
    groups: list[list[Any]] = []
    for group in composition:
        if group == notation._ellipsis:
            groups += [[f"...{index}"] for index in range(spare)]
        else:
            groups.append(list(group))
    return groups, spare


def _split(group: Sequence[Any], size: int, lengths: dict[str, int]) -> list[int]:
    """The sizes of the axes in a dimension; at most one of them may be left open."""
    known = 1
    for axis in group:
        known *= lengths.get(axis, 1)
    open_ = [axis for axis in group if axis not in lengths]
    if len(open_) > 1:
        raise DimensionBindError(
            f"cannot infer the sizes of two dimensions at once: give all but one of {open_}"
        )
    if (size % known if open_ else size != known) or (not group and size != 1):
        raise DimensionBindError(
            f"inferred dimension does not evenly fit into larger dimension: {size} vs {group} "
            f"with {lengths}"
        )
    return [lengths[axis] if axis in lengths else size // known for axis in group]
