"""Normalising layers and distances, from means, variances and norms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mlir import ir

from .elementwise import maximum
from .emitter import Emitter, count, shape
from .reduction import centred, p_norm, safe_sqrt, spread

aten = torch.ops.aten
Maybe = ir.Value | None


def _normal(
    e: Emitter, x: ir.Value, dims: list[int], eps: float
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """x with mean 0 and variance 1 over ``dims``; the mean; one over the deviation."""
    difference, mean = centred(e, x, dims)
    squares = e.b.reduce_sum(e.b.mul(difference, difference), dims)
    variance = e.b.div(squares, e.like(squares, count([shape(x)[d] for d in dims])))
    scale = _inverse_root(e, variance, eps)
    return e.b.mul(difference, spread(e, scale, x, dims)), mean, scale


def _inverse_root(e: Emitter, variance: ir.Value, eps: float) -> ir.Value:
    root = e.b.sqrt(e.b.add(variance, e.like(variance, eps)))
    return e.b.div(e.like(variance, 1), root)


def _affine(e: Emitter, x: ir.Value, weight: Maybe, bias: Maybe, dims: list[int]) -> ir.Value:
    if weight is not None:
        x = e.b.mul(x, e.b.broadcast(weight, shape(x), dims))
    if bias is not None:
        x = e.b.add(x, e.b.broadcast(bias, shape(x), dims))
    return x


def layer_norm(
    e: Emitter, x: ir.Value, normal: list[int], weight: Maybe, bias: Maybe, eps: float
) -> list[ir.Value]:
    dims = list(range(len(shape(x)) - len(normal), len(shape(x))))
    y, mean, scale = _normal(e, x, dims, eps)
    y = _affine(e, y, weight, bias, dims)
    return [y, e.b.reshape(mean, e.outs[1].shape), e.b.reshape(scale, e.outs[2].shape)]


def group_norm(
    e: Emitter,
    x: ir.Value,
    weight: Maybe,
    bias: Maybe,
    n: int,
    c: int,
    _: int,
    group: int,
    eps: float,
) -> list[ir.Value]:
    grouped = e.b.reshape(x, (n, group, count(shape(x)) // max(n * group, 1)))
    y, mean, scale = _normal(e, grouped, [2], eps)
    return [_affine(e, e.b.reshape(y, shape(x)), weight, bias, [1]), mean, scale]


def batch_norm(
    e: Emitter,
    x: ir.Value,
    weight: Maybe,
    bias: Maybe,
    mean: Maybe,
    variance: Maybe,
    training: bool,
    _momentum: float,
    eps: float,
    *_: Any,
) -> ir.Value:
    if not training and mean is not None and variance is not None:
        x = e.b.sub(x, e.b.broadcast(mean, shape(x), [1]))
        scale = _inverse_root(e, variance, eps)
        return _affine(e, e.b.mul(x, e.b.broadcast(scale, shape(x), [1])), weight, bias, [1])
    if mean is not None:
        raise NotImplementedError(
            "batch norm in training mode changes its running statistics; use model.eval(), "
            "track_running_stats=False, or LayerNorm"
        )
    y, _mean, _scale = _normal(e, x, [d for d in range(len(shape(x))) if d != 1], eps)
    return _affine(e, y, weight, bias, [1])


def cosine_similarity(
    e: Emitter, x: ir.Value, y: ir.Value, dim: int = 1, eps: float = 1e-8
) -> ir.Value:
    common = torch.broadcast_shapes(shape(x), shape(y))
    x, y = (e.tensor(t, common, e.out.dtype) for t in (x, y))
    dims = e.dims(dim, len(common))

    def norm(t: ir.Value) -> ir.Value:
        found = safe_sqrt(e, e.b.reduce_sum(e.b.mul(t, t), dims))
        return maximum(e, found, eps)

    return e.b.div(e.b.reduce_sum(e.b.mul(x, y), dims), e.b.mul(norm(x), norm(y)))


def _distance(e: Emitter, difference: ir.Value, p: float, dim: int) -> ir.Value:
    result = p_norm(e, difference, p, [dim])
    if p != 0:
        return result
    # A number of differences, but NaN is not one of them.
    missing = e.b.compare("ne", difference, difference)
    missing = e.b.select(missing, e.b.stop_gradient(difference), e.like(difference, 0))
    return e.b.add(result, e.b.reduce_sum(missing, [dim]))


def cdist(e: Emitter, x: ir.Value, y: ir.Value, p: float, *_: Any) -> ir.Value:
    *_batch, rows, columns = e.out.shape
    full = (*e.out.shape, shape(x)[-1])
    last, size = len(full) - 1, shape(x)[-1]
    left = e.broadcast(e.b.reshape(x, (*shape(x)[:-2], rows, 1, size)), full)
    right = e.broadcast(e.b.reshape(y, (*shape(y)[:-2], 1, columns, size)), full)
    difference = e.b.sub(left, right)
    return _distance(e, difference, p, last)


def pdist(e: Emitter, x: ir.Value, p: float = 2) -> ir.Value:
    pairs = [np.array(i) for i in np.triu_indices(shape(x)[0], 1)]
    left, right = (
        e.b.gather(x, [e.b.constant(i, e.element(torch.int64))], [0], in_bounds=True) for i in pairs
    )
    difference = e.b.sub(left, right)
    return _distance(e, difference, p, 1)


def bilinear(e: Emitter, x: ir.Value, y: ir.Value, weight: ir.Value, bias: Maybe = None) -> Any:
    """sum over i and j of x[.., i] weight[k, i, j] y[.., j]."""
    *outer, left = shape(x)
    rows = count(outer)
    first = e.b.dot_general(
        e.b.reshape(x, (rows, left)), weight, x_contract=[1], y_contract=[1]
    )  # rows, k, j
    flat = e.b.reshape(y, (rows, shape(y)[-1]))
    out = e.b.reshape(e.b.dot_general(first, flat, [0], [0], [2], [1]), e.out.shape)
    return _affine(e, out, None, bias, [len(outer)])


RULES: dict[Any, Any] = {
    aten.native_layer_norm.default: layer_norm,
    aten.native_group_norm.default: group_norm,
    aten.batch_norm.default: batch_norm,
    aten.cosine_similarity.default: cosine_similarity,
    aten._cdist_forward.default: cdist,
    aten._pdist_forward.default: pdist,
    aten.bilinear.default: bilinear,
}
