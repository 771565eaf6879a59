"""Samples of checks, factorisations and what is solved with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mlir import ir

from .making import Array, Sample, integers, normal


def check(x: Array) -> Sample:
    def build(b: Any, x: ir.Value) -> ir.Value:
        b.check(b.compare("eq", x, x), "LinAlgError: x is NaN")
        return x

    return Sample(build, torch.clone, (x,))


def positive_definite(b: Any, x: ir.Value) -> ir.Value:
    """x x^T + n I"""
    from pullback.dialects.pb.types import element_type, rank, shape

    n = shape(x)[-1]
    shift = b.mul(b.identity_matrix(n, element_type(x)), b.full((n, n), n, element_type(x)))
    at = [rank(x) - 2, rank(x) - 1]
    return b.add(b.matmul(x, x, y_transposed=True), b.broadcast(shift, shape(x), at))


def torch_positive_definite(x: torch.Tensor) -> torch.Tensor:
    n = x.shape[-1]
    return x @ x.mT + n * torch.eye(n, dtype=x.dtype)


def cholesky(*shape: int) -> Sample:
    return Sample(
        lambda b, x: b.cholesky(positive_definite(b, x)),
        lambda x: torch.linalg.cholesky(torch_positive_definite(x)),
        (normal(*shape),),
    )


def system(*shape: int, seed: int = 0) -> Array:
    """Matrices far from singular."""
    return normal(*shape, seed=seed) / shape[-1] + 2 * np.eye(shape[-1])


def triangular(
    a: Array, b: Array, upper: bool = False, unit: bool = False, transposed: bool = False
) -> Sample:
    def function(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a = a.mT if transposed else a
        return torch.linalg.solve_triangular(a, b, upper=upper != transposed, unitriangular=unit)

    return Sample(
        lambda g, a, b: g.triangular_solve(a, b, upper, unit, transposed), function, (a, b)
    )


def lu(*shape: int) -> Sample:
    x = normal(*shape) + (2 * np.eye(shape[-2], shape[-1]))[::-1]  # rows are swapped
    return Sample(lambda b, x: b.lu(x)[0], lambda x: torch.linalg.lu_factor(x)[0], (x,))


def lu_solve(a: Array, b: Array, transposed: bool = False) -> Sample:
    def build(g: Any, a: ir.Value, b: ir.Value) -> ir.Value:
        factors, _, permutation = g.lu(a)
        return g.lu_solve(a, factors, permutation, b, transposed)

    return Sample(
        build, lambda a, b: torch.linalg.solve(a.mT if transposed else a, b), (a[..., ::-1, :], b)
    )


def determinant(a: Array, log: bool = False) -> Sample:
    def function(a: torch.Tensor) -> torch.Tensor:
        return torch.linalg.slogdet(a)[1] if log else torch.linalg.det(a)

    return Sample(lambda b, a: b.determinant(a, *b.lu(a), log), function, (a,))


def singular_determinant() -> Sample:
    """torch's own derivative is zero here unless a graph is built, and in forward mode.

    The second derivative is that of a matrix nearby, too rough to be compared.
    """
    return Sample(
        lambda b, a: b.determinant(a, *b.lu(a)),
        lambda a: a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0],
        (np.array([[1.0, 2.0], [2.0, 4.0]]),),
        smooth=False,
        one_way=True,
        either_zero=True,
    )


def qr(*shape: int, part: int = 0, complete: bool = False) -> Sample:
    mode = "complete" if complete else "reduced"
    return Sample(
        lambda b, x: b.qr(x, complete)[part],
        lambda x: torch.linalg.qr(x, mode)[part],
        (0.3 * normal(*shape) + 2 * np.eye(*shape[-2:]),),
    )


def complete_q(*shape: int) -> Sample:
    """Without a derivative."""

    def build(b: Any, x: ir.Value) -> ir.Value:
        q, r = b.qr(b.stop_gradient(x), True)
        return b.matmul(q, r)

    def function(x: torch.Tensor) -> torch.Tensor:
        q, r = torch.linalg.qr(x.detach(), "complete")
        return q @ r

    return Sample(build, function, (normal(*shape),), smooth=False)


SAMPLES: dict[str, list[Sample]] = {
    "pb.check": [check(normal(2, 3)), check(normal()), check(normal(0, 2)), check(integers(3))],
    "pb.cholesky": [cholesky(3, 3), cholesky(1, 1), cholesky(0, 0), cholesky(2, 4, 4)],
    "pb.triangular_solve": [
        triangular(system(3, 3), normal(3, 2)),
        triangular(system(3, 3), normal(3, 2), upper=True),
        triangular(system(3, 3), normal(3, 2), unit=True, transposed=True),
        triangular(system(3, 3), normal(3, 1), upper=True, unit=True),
        triangular(system(2, 4, 4), normal(2, 4, 3), upper=True, transposed=True),
        triangular(system(1, 1), normal(1, 1)),
        triangular(system(0, 0), normal(0, 2)),
        triangular(system(2, 2), normal(2, 0)),
    ],
    "pb.lu": [lu(3, 3), lu(2, 4, 3), lu(3, 5), lu(1, 1), lu(0, 0), lu(0, 3)],
    "pb.lu_solve": [
        lu_solve(system(3, 3), normal(3, 2)),
        lu_solve(system(3, 3), normal(3, 2), transposed=True),
        lu_solve(system(2, 4, 4), normal(2, 4, 3)),
        lu_solve(system(2, 4, 4), normal(2, 4, 1), transposed=True),
        lu_solve(system(1, 1), normal(1, 2)),
        lu_solve(system(0, 0), normal(0, 2)),
    ],
    "pb.determinant": [
        determinant(system(3, 3)[::-1].copy()),
        determinant(system(3, 3)[::-1].copy(), log=True),
        determinant(system(2, 4, 4)),
        determinant(system(2, 1, 1), log=True),
        determinant(system(0, 0)),
        singular_determinant(),
    ],
    "pb.qr": [
        qr(3, 3),
        qr(3, 3, part=1),
        qr(2, 4, 3),
        qr(4, 3, part=1),
        qr(3, 5),
        qr(3, 5, part=1, complete=True),
        qr(1, 1),
        qr(0, 0, part=1),
        qr(3, 0),
        complete_q(4, 2),
    ],
}
