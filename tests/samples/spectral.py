"""Samples of eigenvalues and singular values, in compositions that no choice of signs changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mlir import ir

from .making import Array, Sample, normal


def along_columns(b: Any, x: ir.Value, like: ir.Value) -> ir.Value:
    from pullback.dialects.pb.types import rank, shape

    n = rank(like)
    return b.broadcast(x, shape(like), [*range(n - 2), n - 1])


def matrices(*shape: int) -> Array:
    """With values that are apart."""
    rows, columns = shape[-2:]
    diagonal = np.zeros((rows, columns))
    np.fill_diagonal(diagonal, 1.0 + 2 * np.arange(min(rows, columns)))
    return 0.3 * normal(*shape) + diagonal


def eigh(x: Array, part: str, smooth: bool = True) -> Sample:
    """The values; squares of the vectors; the logarithm of the matrix squared."""

    def build(b: Any, x: ir.Value) -> ir.Value:
        values, v = b.eigh(b.add(x, b.matrix_transpose(x)))
        if part == "values":
            return values
        if part == "vectors":
            return b.mul(v, v)
        scale = along_columns(b, b.mul(values, values), v)
        return b.matmul(b.mul(v, scale), v, y_transposed=True)

    def function(x: torch.Tensor) -> torch.Tensor:
        values, v = torch.linalg.eigh(x + x.mT)
        if part == "values":
            return values
        if part == "vectors":
            return v * v
        return (v * (values * values)[..., None, :]) @ v.mT

    return Sample(build, function, (x,), smooth=smooth)


def svd(x: Array, part: str) -> Sample:
    """The values; squares of entries of u and vh; u vh, the nearest orthogonal matrix."""

    def build(b: Any, x: ir.Value) -> ir.Value:
        u, s, vh = b.svd(x)
        if part == "s":
            return s
        if part == "u":
            return b.mul(u, u)
        if part == "vh":
            return b.mul(vh, vh)
        return b.matmul(u, vh)

    def function(x: torch.Tensor) -> torch.Tensor:
        u, s, vh = torch.linalg.svd(x, full_matrices=False)
        return {"s": s, "u": u * u, "vh": vh * vh}.get(part, u @ vh)

    return Sample(build, function, (x,))


def flat_eigh(x: Array) -> Sample:
    """Equal values, whose sum has a derivative. Vectors are torch's up to a turn: v v^T is 1."""

    def build(b: Any, x: ir.Value) -> ir.Value:
        values, v = b.eigh(x)
        still = b.stop_gradient(v)
        shift = along_columns(b, values, v)
        return b.matmul(b.mul(still, shift), still, y_transposed=True)

    def function(x: torch.Tensor) -> torch.Tensor:
        values, v = torch.linalg.eigh(x)
        v = v.detach()
        return (v * values[..., None, :]) @ v.mT

    return Sample(build, function, (x,), smooth=False)


def flat_svd(x: Array) -> Sample:
    """u and vh are orthonormal where some values, or all, are zero."""

    def build(b: Any, x: ir.Value) -> ir.Value:
        u, s, vh = b.svd(b.stop_gradient(x))
        both = b.add(b.matmul(u, u, x_transposed=True), b.matmul(vh, vh, y_transposed=True))
        return b.add(b.mul(both, both), b.as_diagonal(s))

    def function(x: torch.Tensor) -> torch.Tensor:
        s = torch.linalg.svdvals(x.detach())
        return torch.diag(s + 4)

    return Sample(build, function, (x,), smooth=False)


def pinv(x: Array) -> Sample:
    """Of matrices of full rank."""

    def build(b: Any, x: ir.Value) -> ir.Value:
        u, s, vh = b.svd(b.stop_gradient(x))
        inverse = b.div(b.full_like(s, 1), s)
        scaled = b.mul(u, along_columns(b, inverse, u))
        return b.pinv(x, b.matrix_transpose(b.stop_gradient(b.matmul(scaled, vh))))

    return Sample(build, torch.linalg.pinv, (x,))


SAMPLES: dict[str, list[Sample]] = {
    "pb.eigh": [
        eigh(matrices(3, 3), "values"),
        eigh(matrices(3, 3), "vectors"),
        eigh(matrices(2, 4, 4) / 10, "square"),
        eigh(1e-30 * matrices(2, 2), "values", smooth=False),  # too small to be differenced
        eigh(matrices(1, 1), "square"),
        eigh(matrices(0, 0), "square"),
        flat_eigh(np.eye(3)),
    ],
    "pb.svd": [
        svd(matrices(3, 3), "s"),
        svd(matrices(4, 3), "u"),
        svd(matrices(3, 4), "vh"),
        svd(matrices(2, 3, 2), "product"),
        svd(matrices(2, 2), "u"),
        svd(matrices(1, 1), "product"),
        svd(matrices(0, 2), "product"),
        svd(matrices(3, 0), "s"),
        flat_svd(np.zeros((3, 2))),
        flat_svd(np.eye(12) * (np.arange(12) == 5) / 8 + 1 / 8),  # of rank two
    ],
    "pb.pinv": [
        pinv(matrices(3, 3)),
        pinv(matrices(4, 2)),
        pinv(matrices(2, 2, 3)),
        pinv(np.array([[1.0, -1.0], [1.0, 1.0]])),  # equal singular values
        pinv(matrices(1, 1)),
        pinv(matrices(0, 2)),
    ],
}
