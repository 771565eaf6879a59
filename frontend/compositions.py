"""Calls of torch whose own decomposition asks for values, written with others that do not.

``decompositions.py`` looks here first. Each function has the arguments of the aten call.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch

from ..dialects.errors import CaptureError
from . import losses, recurrences, statistics, windows

aten = torch.ops.aten


def bincount(
    x: torch.Tensor, weights: torch.Tensor | None = None, minlength: int = 0
) -> torch.Tensor:
    """With as many bins as ``minlength`` says; a larger number in x is an error of the call."""
    if not minlength:
        return NotImplemented  # the number of bins depends on the values
    if weights is None:
        return x.new_zeros(minlength, dtype=torch.int64).index_add(0, x, torch.ones_like(x).long())
    dtype = torch.float32 if weights.dtype is torch.float32 else torch.float64
    return weights.new_zeros(minlength, dtype=dtype).index_add(0, x, weights.to(dtype))


def combinations(x: torch.Tensor, r: int = 2, with_replacement: bool = False) -> torch.Tensor:
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(x.shape[0]), r))
    return x[torch.tensor(rows, dtype=torch.int64).reshape(len(rows), r)]


def fill_diagonal_(x: torch.Tensor, value: float, wrap: bool = False) -> torch.Tensor:
    if wrap and x.dim() == 2 and x.shape[0] > x.shape[1] + 1:
        return NotImplemented
    dims = range(x.dim())
    number = min(x.shape)
    if x.dim() == 2:
        x.diagonal().fill_(value)
    else:
        at = torch.arange(number)
        x[tuple(at for _ in dims)] = value
    return x


def batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> torch.Tensor:
    """In training mode the running statistics are written to, unseen by derivatives."""
    if not training or running_mean is None or running_var is None:
        return NotImplemented
    dims = [d for d in range(x.dim()) if d != 1]
    with torch.no_grad():
        variance, mean = torch.var_mean(x, dims)
        try:
            for statistic, new in ((running_mean, mean), (running_var, variance)):
                statistic.copy_((1 - momentum) * statistic + momentum * new)
        except CaptureError as error:
            raise CaptureError(
                "batch norm in training mode cannot change running_mean or running_var here: "
                + error.message,
                error.location,
                error.notes,
                "use model.eval(), track_running_stats=False or replace_all_batch_norm_modules_",
            ) from None
    return torch.batch_norm(x, weight, bias, None, None, training, momentum, eps, cudnn_enabled)


def narrow(x: torch.Tensor, dim: int, start: torch.Tensor, length: int) -> torch.Tensor:
    """From a place that is a tensor: a gather, checked at the call."""
    size = x.shape[dim]
    if not 0 <= length <= size:
        raise RuntimeError(f"narrow(): length {length} of a dimension of size {size}")
    start = torch.where(start < 0, start + size, start)
    return x.index_select(dim, start.reshape(()) + torch.arange(length))


def kron(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of any strides; torch's makes a view of the product, which is not always one."""
    rank = max(x.dim(), y.dim())
    x, y = (t.reshape((*(1,) * (rank - t.dim()), *t.shape)) for t in (x, y))
    rows = x.reshape([size for n in x.shape for size in (n, 1)])
    columns = y.reshape([size for n in y.shape for size in (1, n)])
    return (rows * columns).reshape([a * b for a, b in zip(x.shape, y.shape, strict=True)])


def nll_loss(x: torch.Tensor, target: torch.Tensor, *rest: Any) -> Any:
    """A single sample's target may have one element; torch's shape function forgets it."""
    if x.dim() == 1 and target.shape == (1,):
        return aten.nll_loss_forward(x, target.reshape(()), *rest)
    return NotImplemented


def written(part: Any, put: Any) -> Callable[..., torch.Tensor]:
    """``put(x, source)`` in the dtype of x; the source must be as large as ``part(x)``."""

    def scatter(x: torch.Tensor, source: torch.Tensor, *where: Any, **more: Any) -> torch.Tensor:
        sizes = part(x, *where, **more).shape
        if source.shape != sizes:
            raise RuntimeError(
                "expected src to have a size equal to the slice of self. "
                f"src size = {list(source.shape)}, slice size = {list(sizes)}"
            )
        same = source.dtype is x.dtype
        return NotImplemented if same else put(x, source.to(x.dtype), *where, **more)

    return scatter


#: By the Python function that it stands for.
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.kron: kron,
    torch.Tensor.kron: kron,
    **losses.FUNCTIONS,
}

COMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.batch_norm.default: batch_norm,
    aten.bincount.default: bincount,
    aten.combinations.default: combinations,
    aten.fill_diagonal_.default: fill_diagonal_,
    aten.narrow.Tensor: narrow,
    aten.nll_loss_forward.default: nll_loss,
    aten.select_scatter.default: written(torch.select, aten.select_scatter),
    aten.slice_scatter.default: written(aten.slice, aten.slice_scatter),
    aten.diagonal_scatter.default: written(torch.diagonal, aten.diagonal_scatter),
    aten.as_strided_scatter.default: written(torch.as_strided, aten.as_strided_scatter),
    **losses.COMPOSITIONS,
    **recurrences.COMPOSITIONS,
    **statistics.COMPOSITIONS,
    **windows.COMPOSITIONS,
}
