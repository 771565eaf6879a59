"""Calls that stand on factorisations, against torch: what samples of ops and OpInfos leave out."""

from __future__ import annotations

import pullback as pb
import pytest
import torch
from torch.testing import assert_close

GENERATOR = torch.Generator().manual_seed(3)
pytestmark = pytest.mark.usefixtures("interpreted")


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=GENERATOR)


@pytest.mark.parametrize("driver", [None, "gels", "gelsd"])
def test_least_squares_have_what_their_driver_has(driver) -> None:
    def function(a, b):
        return tuple(torch.linalg.lstsq(a, b, driver=driver))

    a, b = normal(4, 2), normal(4, 3)
    for ours, theirs in zip(pb.jit(function)(a, b), function(a, b), strict=True):
        assert_close(ours, theirs)


def test_residuals_of_a_singular_system_are_an_error() -> None:
    function = pb.jit(lambda a, b: torch.linalg.lstsq(a, b, driver="gelsd").solution)
    with pytest.raises(torch.linalg.LinAlgError, match="lstsq"):
        function(torch.ones(3, 2, dtype=torch.float64), normal(3, 1))


@pytest.mark.parametrize("size", [1e2, 1e5, 1e9])
def test_exponential_of_a_large_rotation(size) -> None:
    angle = torch.tensor(size, dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    x = torch.stack([torch.stack([zero, -angle]), torch.stack([angle, zero])])
    rows = [[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]]
    expected = torch.stack([torch.stack(row) for row in rows])
    assert_close(pb.jit(torch.matrix_exp)(x), expected, rtol=0, atol=1e-14 * size)


def test_one_example_without_a_number_leaves_the_others() -> None:
    x = torch.stack([torch.full((2, 2), float("nan")).double(), -1e4 * torch.eye(2).double()])
    found = pb.jit(torch.matrix_exp)(x)
    assert found[0].isnan().all()
    assert_close(found[1], torch.zeros(2, 2, dtype=torch.float64))


def test_complex_results_name_a_way_out() -> None:
    with pytest.raises(NotImplementedError, match="eigh"):
        pb.jit(torch.linalg.eig)(normal(2, 2))


@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigenvalues_read_one_triangle(triangle) -> None:
    x = normal(3, 3)
    other = x.triu(1) if triangle == "L" else x.tril(-1)
    nans = torch.where(other != 0, float("nan"), x)
    expected = torch.linalg.eigvalsh(x, UPLO=triangle)
    assert_close(pb.jit(lambda x: torch.linalg.eigvalsh(x, UPLO=triangle))(nans), expected)


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_derivative_of_a_product_of_reflectors(size) -> None:
    """Against the product written out: torch's own derivative has no digits for large vectors."""

    def product(a, tau):
        q = torch.eye(*a.shape, dtype=a.dtype)
        for i in reversed(range(len(tau))):
            v = torch.cat([a.new_zeros(i), a.new_ones(1), a[i + 1 :, i]])
            q = q - tau[i] * torch.outer(v, v @ q)
        return q

    a, tau, weights = size * normal(4, 3), size * normal(2), normal(4, 3)

    def gradients(grad, function):
        return grad(lambda a, tau: (function(a, tau) * weights).sum(), (0, 1))(a, tau)

    ours = gradients(pb.grad, torch.linalg.householder_product)
    theirs = gradients(torch.func.grad, product)
    for left, right in zip(ours, theirs, strict=True):
        assert_close(left, right, rtol=1e-10, atol=1e-10 * right.abs().max().item())
