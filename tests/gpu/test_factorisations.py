"""Factorisations on GPUs against torch's in f64: one thread, one block, and many for a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pullback
import pytest
import torch
from pullback.frontend import compile as frontend
from pullback.pipelines.gpu import ptxas
from pullback.pipelines.gpu.plan import Launch

from .device import Device, device
from .fibers import machine
from .fibers.compare import Opinions

F32, F64 = torch.float32, torch.float64
DTYPES = pytest.mark.parametrize("dtype", [F32, F64], ids=["f32", "f64"])
#: Of large matrices two kinds are enough, as one step is much like another.
KINDS = [(1, F32), (3, F64), (1, F64), (3, F32)]


def kinds(*shapes: tuple[int, int]) -> Any:
    """Shapes with one matrix and several, in f32 and f64."""
    cases = [
        pytest.param(shape, *kind, id=f"{shape[0]}x{shape[1]}-{kind[0]}-{str(kind[1])[-2:]}")
        for shape in shapes
        for kind in KINDS[: 4 if max(shape) <= 17 else 2]
    ]
    return pytest.mark.parametrize(("shape", "batch", "dtype"), cases)


SQUARE = [(n, n) for n in (1, 2, 5, 17, 33, 64)]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=F64)


def positive(*shape: int) -> torch.Tensor:
    x = normal(*shape, shape[-1])
    return x @ x.mT / shape[-1] + torch.eye(shape[-1], dtype=F64)


def run(function: Callable[..., Any], *wide: torch.Tensor, dtype: torch.dtype) -> list[Any]:
    """The results in f64, and the device."""
    arguments = [x.to(dtype) for x in wide]
    found = device(function, *arguments)
    results = [torch.from_numpy(x) for x in found([x.numpy() for x in arguments])]
    return [*(x.double() if x.is_floating_point() else x for x in results), found]


def near(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype, by: float = 8) -> None:
    """As near as so many roundings for each row and column leave it, of the largest element."""
    limit = by * torch.finfo(dtype).eps * sum(want.shape[-2:]) * max(1, want.abs().max().item())
    torch.testing.assert_close(got, want, rtol=0, atol=limit)


def names(found: Device) -> list[str]:
    return [name for name, _ in found.counters]


@kinds(*SQUARE, (75, 75), (100, 100))
def test_cholesky(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    n = shape[0]
    x = positive(batch, n)
    factor, found = run(lambda x: torch.linalg.cholesky_ex(x)[0], x, dtype=dtype)
    near(factor, torch.linalg.cholesky(x), dtype)
    assert torch.equal(factor, factor.tril())
    assert any(name.startswith("cholesky") for name in names(found)) == (n > 8)


SYSTEMS = [
    {"upper": upper, "left": left, "unitriangular": unit}
    for upper in (False, True)
    for left in (False, True)
    for unit in (False, True)
]


def all_systems(a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for options in SYSTEMS:
        y = b if options["left"] else b.mT
        found.append(torch.linalg.solve_triangular(a, y, **options))
    return found


@DTYPES
@pytest.mark.parametrize("columns", [1, 3, 40])
@pytest.mark.parametrize("n", [2, 5, 17, 64, 75])
def test_triangular_solve(n: int, columns: int, dtype: torch.dtype) -> None:
    """All eight kinds at once; what the other triangle holds does not count."""
    a, b = positive(2, n), normal(2, n, columns)
    *results, _ = run(all_systems, a, b, dtype=dtype)
    for got, want in zip(results, all_systems(a, b), strict=True):
        near(got, want, dtype)


def test_right_hand_sides_are_spread_over_blocks() -> None:
    a, b = positive(1, 40).tril(), normal(1, 40, 300)
    y, found = run(lambda a, b: torch.linalg.solve_triangular(a, b, upper=False), a, b, dtype=F32)
    near(a @ y, b, F32)
    [step] = found.plan.steps
    assert step.grid[0] == 10


def lu(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> Device:
    """Pivots are LAPACK's, of the same rounded matrix."""
    x = normal(batch, *shape).to(dtype).double()
    factor, pivots, found = run(lambda x: torch.linalg.lu_factor_ex(x)[:2], x, dtype=dtype)
    want, places = torch.linalg.lu_factor(x)
    assert torch.equal(pivots, places)
    near(factor, want, dtype, by=50)
    p, lower, upper = torch.lu_unpack(factor, pivots)
    near(p @ lower @ upper, x, dtype, by=2)
    return found


@kinds(*SQUARE, (17, 5), (33, 3), (75, 75), (20, 45), (45, 20), (90, 70), (40, 80), (3, 70))
def test_lu(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    found = lu(shape, batch, dtype)
    assert any(name.startswith("lu") for name in names(found)) == (max(shape) > 8)


def test_pivots_of_ties_and_nan() -> None:
    """The first of equal magnitudes, and what LAPACK does about no number: as on the CPU."""
    x = normal(4, 20, 20)
    x[0] = x[0].sign()
    x[1, 7, 0] = x[2, 0, 0] = torch.nan
    x[3, :, 5] = 0
    factor, pivots, _ = run(lambda x: torch.linalg.lu_factor_ex(x)[:2], x, dtype=F64)
    want = pullback.jit(lambda x: torch.linalg.lu_factor_ex(x)[:2])(x)
    assert torch.equal(pivots, torch.as_tensor(want[1]))
    torch.testing.assert_close(factor, torch.as_tensor(want[0]), rtol=0, atol=1e-9, equal_nan=True)


@kinds(*SQUARE, (20, 45), (45, 20), (3, 70), (70, 3), (75, 75))
def test_qr(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    x = normal(batch, *shape)
    x[0, :, 0] = 0
    x[0, 0, 0] = 1
    q, r, full, more, found = run(
        lambda x: (*torch.linalg.qr(x), *torch.linalg.qr(x, mode="complete")), x, dtype=dtype
    )
    for left, right, want in (
        (q, r, torch.linalg.qr(x)),
        (full, more, torch.linalg.qr(x, mode="complete")),
    ):
        near(left @ right, x, dtype, by=4)
        near(left.mT @ left, torch.eye(left.shape[-1], dtype=F64).expand(batch, -1, -1), dtype)
        assert torch.equal(right, right.triu())
        signs = torch.sign(right.diagonal(dim1=-2, dim2=-1))
        assert torch.equal(signs, torch.sign(want[1].diagonal(dim1=-2, dim2=-1)))
    assert any(name.startswith("qr") for name in names(found)) == (max(shape) > 8)


def identity(n: int) -> torch.Tensor:
    return torch.eye(n, dtype=F64)


@kinds(*SQUARE)
def test_eigh(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    """In f64 whatever the type: as exact as the rounded matrix."""
    n = shape[0]
    x = normal(batch, n, n).to(dtype).double()
    x = x + x.mT
    values, vectors, found = run(lambda x: tuple(torch.linalg.eigh(x)), x, dtype=dtype)
    near(values, torch.linalg.eigvalsh(x), dtype, by=1)
    near(x @ vectors, vectors * values[:, None], dtype, by=2)
    near(vectors.mT @ vectors, identity(n).expand(batch, -1, -1), dtype, by=1)
    # The sign is by the first component that is not much smaller than the largest.
    large = vectors.abs() > 0.6180339887 * vectors.abs().amax(-2, keepdim=True)
    assert (vectors.gather(-2, large.int().argmax(-2, keepdim=True)) > 0).all()
    assert any(name.startswith("eigh") for name in names(found)) == (n > 8)


@kinds(*SQUARE, (20, 45), (45, 20), (1, 30))
def test_svd(shape: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    x = normal(batch, *shape).to(dtype).double()
    u, s, vh, found = run(lambda x: tuple(torch.linalg.svd(x, full_matrices=False)), x, dtype=dtype)
    near(s, torch.linalg.svdvals(x), dtype, by=1)
    near(u * s[:, None] @ vh, x, dtype, by=2)
    for rows in (u.mT, vh):
        near(rows @ rows.mT, identity(min(shape)).expand(batch, -1, -1), dtype, by=1)
    assert any(name.startswith("svd") for name in names(found)) == (max(shape) > 8)


@pytest.mark.parametrize("shape", [(20, 20), (12, 30), (30, 12)], ids=str)
def test_singular_vectors_of_what_vanishes(shape: tuple[int, int]) -> None:
    """Of a rank of three, and of zeros: the vectors are made up, and orthogonal."""
    x = torch.stack([normal(shape[0], 3) @ normal(3, shape[1], seed=1), torch.zeros(shape)])
    u, s, vh, _ = run(lambda x: tuple(torch.linalg.svd(x, full_matrices=False)), x, dtype=F64)
    near(u * s[:, None] @ vh, x, F64)
    assert (s[0, 3:] < 1e-13).all() and (s[1] == 0).all()
    for rows in (u.mT, vh):
        near(rows @ rows.mT, identity(min(shape)).expand(2, -1, -1), F64)


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_what_is_not_finite_spoils_its_own_matrix(bad: float) -> None:
    x = normal(3, 12, 12)
    x = x + x.mT
    x[1, 4, 4] = bad
    values, _, s, _ = run(lambda x: (*torch.linalg.eigh(x), torch.linalg.svdvals(x)), x, dtype=F64)
    for found in (values, s):
        assert torch.equal(found.isnan().all(-1), torch.tensor([False, True, False]))
        assert torch.equal(found.isnan().any(-1), torch.tensor([False, True, False]))


def both(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return *torch.linalg.eigh(x), *torch.linalg.svd(x, full_matrices=False)


@pytest.mark.parametrize("n", [12, 21])
def test_equal_eigenvalues(n: int) -> None:
    """Of zeros, the identity, ones, a matrix that swaps rows, and one with three eigenvalues."""
    basis = torch.linalg.qr(normal(n, n))[0]
    three = basis * (torch.arange(n) % 3).double() @ basis.mT
    x = torch.stack([torch.zeros(n, n), identity(n), torch.ones(n, n), identity(n).flip(0), three])
    x = (x + x.mT) / 2
    values, vectors, u, s, vh, _ = run(both, x, dtype=F64)
    near(values, torch.linalg.eigvalsh(x), F64)
    near(vectors * values[:, None] @ vectors.mT, x, F64)
    near(s, torch.linalg.svdvals(x), F64)
    near(u * s[:, None] @ vh, x, F64)
    for rows in (vectors.mT, u.mT, vh):
        near(rows @ rows.mT, identity(n).expand(len(x), -1, -1), F64)


@DTYPES
@pytest.mark.parametrize("shape", [(0, 0, 0), (2, 0, 0), (0, 20, 20)], ids=str)
def test_spectra_of_nothing(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    *results, _ = run(both, torch.zeros(shape, dtype=F64), dtype=dtype)
    assert [x.shape for x in results] == [x.shape for x in both(torch.zeros(shape))]


def test_spectra_are_the_cpus() -> None:
    """Signs and order too; the other triangle is not read."""
    x = normal(2, 13, 13)
    *results, _ = run(both, x, dtype=F64)
    for got, want in zip(results, pullback.jit(both)(x), strict=True):
        torch.testing.assert_close(got, torch.as_tensor(want), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["eigh", "svd"])
def test_a_block_for_each_matrix(name: str) -> None:
    """With many threads, and for ptxas."""
    function = getattr(torch.linalg, name)
    found = device(lambda x: tuple(function(x)), normal(5, 3, 16, 16).float())
    [step] = [
        step
        for step in found.plan.steps
        if isinstance(step, Launch) and found.plan.kernels[step.kernel].startswith(name)
    ]
    assert step.grid == (15, 1, 1)
    assert step.block[0] >= 64
    if ptxas.find():
        for architecture in ptxas.ARCHITECTURES:
            ptxas.assemble(found.compilation.ptx, architecture)


@pytest.mark.skipif(not machine.available(), reason="fibers need x86 and a C compiler")
@DTYPES
@pytest.mark.parametrize("shape", [(2, 9, 9), (1, 18, 18)], ids=str)
def test_second_opinion(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The same bits by other means, threads in either order; the last matrix has no full rank."""
    x = normal(*shape).to(dtype)
    x[-1, :, 4:7] = x[-1, 4:7] = 0
    lowered = frontend.lower(both, (x,), {})
    Opinions(lowered.module(), lowered.interface)([x.numpy()])


@pytest.mark.parametrize("size", [1e-160, 1e160])
def test_sizes_whose_squares_are_no_numbers(size: float) -> None:
    x = normal(1, 12, 12) * size
    s, values, _ = run(lambda x: (torch.linalg.svdvals(x), torch.linalg.eigvalsh(x)), x, dtype=F64)
    near(s / size, torch.linalg.svdvals(x / size), F64)
    near(values / size, torch.linalg.eigvalsh(x / size), F64)


def message(function: Callable[..., Any], bad: torch.Tensor) -> str:
    """Of the error that a call raises, without the line."""
    with pytest.raises(RuntimeError) as caught:
        function(bad)
    return str(caught.value).partition(" (")[0]


ERRORS: dict[str, Callable[..., Any]] = {
    "cholesky": torch.linalg.cholesky,
    "solve": lambda x: torch.linalg.solve(x, x[..., :2]),
    "inverse": torch.linalg.inv,
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("n", [3, 17, 75])
def test_errors_are_the_cpus(name: str, n: int, built: Any) -> None:
    """A matrix of a batch that has no factorisation, from its last row but one on."""
    good, function = positive(2, n), ERRORS[name]
    bad = good.clone()
    bad[1, n - 2 :, :] = bad[1, :, n - 2 :] = 0
    compiled = built(function, good)
    near(torch.from_numpy(compiled(good).numpy()), function(good), F64)
    assert message(compiled, bad) == message(pullback.jit(function), bad)
    assert np.isfinite(compiled(good).numpy()).all()


def likelihood(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of a Gaussian process: a factorisation and two solves."""
    factor = torch.linalg.cholesky_ex(x)[0]
    weights = torch.cholesky_solve(y[..., None], factor)[..., 0]
    return -0.5 * (y * weights).sum() - factor.diagonal(dim1=-2, dim2=-1).log().sum()


def solution(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (torch.linalg.solve_ex(x, y)[0] ** 2).sum() + torch.linalg.slogdet(x)[1].sum()


def least_squares(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    q, r = torch.linalg.qr(x)
    return (q.mT @ y[..., None]).sin().sum() + r.cos().sum()


def spectrum(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(x + x.mT)
    u, s, vh = torch.linalg.svd(x + y[..., None], full_matrices=False)
    return (values.sin() * (vectors.mT @ y[..., None])[..., 0] ** 2 + (u * vh.mT).sum(-2) * s).sum()


LOSSES = {f.__name__: f for f in (likelihood, solution, least_squares, spectrum)}


#: Of a spectrum a large one takes the interpreter long, and does what 64 rows do above.
SIZED = [(n, name) for name in LOSSES for n in (4, 20, 70) if (n, name) != (70, "spectrum")]


@pytest.mark.parametrize(("n", "name"), SIZED)
def test_derivatives(n: int, name: str) -> None:
    x, y = positive(2, n), normal(2, n)
    gradient = pullback.grad(LOSSES[name], argnums=(0, 1))
    *results, _ = run(gradient, x, y, dtype=F64)
    wanted = torch.func.grad(LOSSES[name], argnums=(0, 1))(x, y)
    for got, want in zip(results, wanted, strict=True):
        near(got, want, F64)
