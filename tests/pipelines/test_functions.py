"""The functions of exponential.py, inverse_circular.py, error_functions.py: accuracy, edges."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from .conftest import Compile, function, tensor
from .test_math import DTYPES, N, padded, specials, unary

POINTS = 96


def quantile(p: mp.mpf) -> mp.mpf:
    return -mp.sqrt(2) * mp.erfinv(1 - 2 * p)


def log_ndtr(x: mp.mpf) -> mp.mpf:
    return mp.log(mp.erfc(-x / mp.sqrt(2)) / 2)


#: The function in 60 digits, where to try it, and its error in units of the last place of f64.
FUNCTIONS = {
    "exp2": (lambda x: mp.mpf(2) ** x, [(-1, 1), (-1070, 1020)], 1.5),
    "expm1": (mp.expm1, [(-1e-3, 1e-3), (-1, 1), (-40, 700)], 2),
    "log1p": (mp.log1p, [(-1e-3, 1e-3), (-0.99, 1), (1, 1e10)], 2),
    "log2": (lambda x: mp.log(x, 2), [(0.5, 2), (1e-30, 1), (1, 1e30)], 2),
    "log10": (mp.log10, [(0.5, 2), (1e-30, 1), (1, 1e30)], 2),
    "sinh": (mp.sinh, [(-1e-3, 1e-3), (-2, 2), (-710, 710)], 2.5),
    "cosh": (mp.cosh, [(-1, 1), (-710, 710)], 2),
    "asinh": (mp.asinh, [(-1e-3, 1e-3), (-3, 3), (-1e12, 1e12)], 3),
    "acosh": (mp.acosh, [(1, 1.001), (1, 3), (1, 1e12)], 3),
    "atanh": (mp.atanh, [(-1e-3, 1e-3), (-0.999, 0.999)], 3),
    "asin": (mp.asin, [(-1e-3, 1e-3), (-1, 1), (0.999, 1)], 2.5),
    "acos": (mp.acos, [(-1e-3, 1e-3), (-1, 1), (0.999, 1)], 2.5),
    "atan": (mp.atan, [(-1e-3, 1e-3), (-3, 3), (-1e5, 1e5)], 2),
    "erf": (mp.erf, [(-1e-3, 1e-3), (-1, 1), (-6, 6)], 2),
    "erfc": (mp.erfc, [(-1, 1), (-6, 6), (6, 26)], 5),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), [(-1, 1), (-20, 20)], 5),
    "erfinv": (mp.erfinv, [(-1e-3, 1e-3), (-0.9, 0.9), (0.9, 1)], 8),
    "ndtri": (quantile, [(1e-9, 1e-3), (0.01, 0.4), (0.6, 0.99)], 8),
    "log_ndtr": (log_ndtr, [(-30, -1), (-1, 1), (1, 8)], 8),
}


def ulps(got: float, exact: mp.mpf, dtype: type) -> float:
    with np.errstate(over="ignore"):
        rounded = dtype(float(exact))
    unit = float(np.spacing(np.abs(rounded)))
    return 0.0 if got == rounded else float(abs(mp.mpf(float(got)) - exact) / unit)


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy(compiled: Compile, name: str, element: str) -> None:
    exact, ranges, limit = FUNCTIONS[name]
    dtype = DTYPES[element]
    run = compiled(unary(name, element))
    rng = np.random.default_rng(0)
    with mp.workdps(60):
        for low, high in ranges:
            if element == "f32":
                low, high = max(low, -87 if name != "erfcx" else -9), min(high, 87)
            x = rng.uniform(low, high, N).astype(dtype)
            x = x[(x > low) & (x < high)][:POINTS]
            [got] = run.call_leaves([padded(x)])
            worst = max(
                ulps(g, exact(mp.mpf(float(v))), dtype)
                for g, v in zip(got[: len(x)], x, strict=True)
            )
            assert worst <= (limit if element == "f64" else 2), (low, high, worst)


NUMPY = {
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.round,
}


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("name", NUMPY)
def test_special_values(compiled: Compile, name: str, element: str) -> None:
    x = padded(specials(DTYPES[element]))
    [got] = compiled(unary(name, element)).call_leaves([x])
    same_as(got, NUMPY[name], x)


def same_as(got: np.ndarray, function, *operands: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        want = function(*(x.astype(np.longdouble) for x in operands)).astype(got.dtype)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(got.dtype).eps)
    known = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(want)[known])


ERRORS = {  # at nan, inf, -inf, 0, -0, 1, -1
    "erf": (np.nan, 1, -1, 0.0, -0.0, 0.8427007929497149, -0.8427007929497149),
    "erfc": (np.nan, 0, 2, 1, 1, 0.15729920705028513, 1.8427007929497148),
    "erfcx": (np.nan, 0, np.inf, 1, 1, 0.427583576155807, 5.00898008076228),
    "erfinv": (np.nan, np.nan, np.nan, 0.0, -0.0, np.inf, -np.inf),
    "ndtri": (np.nan, np.nan, np.nan, -np.inf, -np.inf, np.inf, np.nan),
    "log_ndtr": (
        np.nan, 0, -np.inf, -0.6931471805599453, -0.6931471805599453, -0.17275377902344988,
        -1.8410216450092634,
    ),
}  # fmt: skip


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("name", ERRORS)
def test_special_values_of_error_functions(compiled: Compile, name: str, element: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1], DTYPES[element])
    [got] = compiled(unary(name, element)).call_leaves([padded(x)])
    want = np.array(ERRORS[name], x.dtype)
    np.testing.assert_allclose(got[: len(x)], want, rtol=8 * np.finfo(x.dtype).eps)
    if name in ("erf", "erfinv"):
        np.testing.assert_array_equal(np.signbit(got[3:5]), [False, True])


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("name", ["atan2", "fmod"])
def test_two_operands(compiled: Compile, name: str, element: str) -> None:
    dtype, type_ = DTYPES[element], tensor((N,), element)
    text = function(f"  %r = pb.{name} %x, %y : {type_}", {"%x": type_, "%y": type_}, {"%r": type_})
    run = compiled(text)
    info = np.finfo(dtype)
    edges = [np.nan, np.inf, 0.0, 1, 3, 0.5, info.max, info.tiny, info.smallest_subnormal, 7e-39]
    with np.errstate(all="ignore"):
        edges = np.array([*edges, *(-e for e in edges)], dtype)
    rng = np.random.default_rng(0)
    crossed = tuple(padded(grid.ravel()) for grid in np.meshgrid(edges, edges))
    near = rng.normal(size=N), rng.normal(size=N)
    far = rng.lognormal(0, 30, N), rng.normal(size=N)
    for left, right in (crossed, near, far):
        with np.errstate(all="ignore"):
            x, y = left.astype(dtype), right.astype(dtype)
        [got] = run.call_leaves([x, y])
        if name == "atan2":
            same_as(got, np.arctan2, x, y)
        else:
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(got, np.fmod(x, y))
