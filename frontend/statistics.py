"""Covariances and least squares: calls whose torch code asks for values, without those.

``decompositions.py`` looks here, by way of compositions.py.
"""

from __future__ import annotations

from typing import Any

import torch

aten = torch.ops.aten
Tensor = torch.Tensor


def cov(
    x: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """torch raises an error for negative weights; here they make the result NaN."""
    if x.dim() > 2:
        raise RuntimeError("cov(): expected input to have two or fewer dimensions")
    rows = x.reshape(1, -1) if x.dim() < 2 else x
    kind = rows.dtype if rows.is_floating_point() else torch.get_default_dtype()
    given = [w.to(kind) for w in (fweights, aweights) if w is not None]
    if any(w.dim() > 1 or w.numel() != rows.shape[1] for w in given):
        raise RuntimeError("cov(): expected weights to be 1-dimensional, one for each observation")
    given = [torch.where(w < 0, float("nan"), w) for w in given]
    rows = rows.to(kind)
    weights = None
    if given:
        weights = given[0] * given[1] if len(given) == 2 else given[0]
    total = rows.new_full((), rows.shape[1]) if weights is None else weights.sum()
    norm = total - correction
    if aweights is not None and weights is not None and correction:
        norm = total - correction * (weights * given[-1]).sum() / total
    weighted = rows if weights is None else rows * weights
    rows = rows - (weighted.sum(1) / total).unsqueeze(1)
    product = rows @ (rows if weights is None else rows * weights).mT
    return (product / torch.where(norm <= 0, 0, norm)).squeeze()


def corrcoef(x: Tensor) -> Tensor:
    if x.dim() > 2:
        raise RuntimeError("corrcoef(): expected input to have two or fewer dimensions")
    covariance = cov(x)
    if covariance.dim() == 0:
        return covariance / covariance
    deviation = covariance.diagonal().sqrt()
    return (covariance / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clip(-1, 1)


def lstsq(
    a: Tensor, b: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """By the pseudoinverse. Whether there are residuals depends on the rank: that is checked."""
    *_, rows, columns = a.shape
    vector = b.dim() == 1 or b.shape == a.shape[:-1]
    right = b.unsqueeze(-1) if vector else b
    x = torch.linalg.pinv(a, rtol=rcond) @ right
    still = a.detach()
    none = a.new_zeros((0,))
    residuals, rank, values = none, none.to(torch.int64), none
    if driver != "gels":
        rank = torch.linalg.matrix_rank(still, rtol=rcond)
    if driver in ("gelsd", "gelss"):
        values = torch.linalg.svdvals(still)
    if rows > columns and driver in ("gels", "gelsd", "gelss"):
        full = torch.linalg.matrix_rank(still, rtol=rcond) == columns
        aten._linalg_check_errors((~full).to(torch.int32), "linalg.lstsq", is_matrix=a.dim() == 2)
        residuals = (a @ x - right).square().sum(-2)
    return (x.squeeze(-1) if vector else x), residuals, rank, values


COMPOSITIONS: dict[Any, Any] = {
    aten.cov.default: cov,
    aten.corrcoef.default: corrcoef,
    aten.linalg_lstsq.default: lstsq,
}
