"""exp, log, sin, cos, tanh, logistic and pow: accuracy, and every special value."""

from __future__ import annotations

import numpy as np
import pytest

from .conftest import Compile, function, tensor

N = 4096
UNARY = {
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
}
#: In units of the last place, against extended precision.
ULPS = {"exp": 1, "log": 1, "sin": 1.5, "cos": 1.5, "tanh": 3, "logistic": 2.5}
RANGES = {
    "exp": [(-1, 1), (-80, 80)],
    "log": [(1e-30, 1), (0.5, 2), (1, 1e30)],
    "sin": [(-4, 4), (-1e5, 1e5), (-1e12, 1e12)],
    "cos": [(-4, 4), (-1e5, 1e5), (-1e12, 1e12)],
    "tanh": [(-1e-3, 1e-3), (-1, 1), (-30, 30)],
    "logistic": [(-4, 4), (-80, 80)],
}
DTYPES = {"f32": np.float32, "f64": np.float64}


def unary(name: str, element: str) -> str:
    type_ = tensor((N,), element)
    return function(f"  %r = pb.{name} %x : {type_}", {"%x": type_}, {"%r": type_})


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of the exact value; equal values are 0 apart."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(got.dtype)
        unit = np.maximum(np.spacing(np.abs(rounded)), np.finfo(got.dtype).smallest_subnormal)
        distance = np.abs(got.astype(np.longdouble) - exact) / unit
    return np.where((got == rounded) | (np.isnan(got) & np.isnan(exact)), 0, distance)


def specials(dtype: type) -> np.ndarray:
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    edges = [np.nan, np.inf, 0.0, info.tiny, tiny, info.max, info.eps, 1.0, 0.5, 20.0]
    # where exp overflows, becomes denormal and vanishes
    edges += [88.7, 88.73, 87.4, 103.5, 104.5, 709.78, 709.79, 745.1, 745.2]
    return np.array([*edges, *(-x for x in edges)], dtype)


def padded(values: np.ndarray) -> np.ndarray:
    return np.resize(values, N)


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_accuracy(compiled: Compile, name: str, element: str) -> None:
    run = compiled(unary(name, element))
    rng = np.random.default_rng(0)
    for low, high in RANGES[name]:
        x = rng.uniform(low, high, N).astype(DTYPES[element])
        [got] = run.call_leaves([x])
        exact = UNARY[name](x.astype(np.longdouble))
        assert ulps(got, exact).max() <= ULPS[name]


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_special_values(compiled: Compile, name: str, element: str) -> None:
    dtype = DTYPES[element]
    values = specials(dtype)
    if name in ("sin", "cos"):
        # numpy's extended precision is not reduced exactly for large arguments
        values = values[~(np.abs(values) > 1e15) | np.isinf(values)]
    [got] = compiled(unary(name, element)).call_leaves([padded(values)])
    with np.errstate(all="ignore"):
        exact = UNARY[name](padded(values).astype(np.longdouble))
    assert ulps(got, exact).max() <= 3
    known = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(exact)[known])


# sin of these from 60-digit arithmetic; the last is the f64 that is closest to a multiple of pi/2
LARGE = {
    1e22: -0.8522008497671888,
    1.7e16: -0.9654979450026108,
    -1e300: 0.8178819121159085,
    5.319372648326541e255: 1.0,
}


def test_large_arguments(compiled: Compile) -> None:
    x = padded(np.array(list(LARGE)))
    [got] = compiled(unary("sin", "f64")).call_leaves([x])
    np.testing.assert_allclose(got, padded(np.array(list(LARGE.values()))), rtol=4e-16)
    [got] = compiled(unary("cos", "f64")).call_leaves([x])
    # closest to pi/2: its cosine is the part of the reduction that is hardest to keep
    np.testing.assert_allclose(got[3], -4.6871659242546276e-19, rtol=1e-15)


@pytest.mark.parametrize("element", DTYPES)
def test_pow(compiled: Compile, element: str) -> None:
    dtype = DTYPES[element]
    type_ = tensor((N,), element)
    text = function(f"  %r = pb.pow %x, %y : {type_}", {"%x": type_, "%y": type_}, {"%r": type_})
    run = compiled(text)
    rng = np.random.default_rng(0)
    limit = 80 if element == "f32" else 500
    for x, y in (
        (rng.lognormal(0, 2, N), rng.normal(size=N)),
        (rng.uniform(0.7, 1.5, N), rng.uniform(-limit, limit, N)),
        (rng.normal(size=N), rng.integers(-8, 9, N)),
    ):
        x, y = x.astype(dtype), y.astype(dtype)
        [got] = run.call_leaves([x, y])
        exact = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
        assert ulps(got, exact).max() <= 2

    half, large = dtype(0.5), dtype(2.0**53)
    edges = [np.nan, np.inf, 0.0, 1, 2, 3, half, 1.5, large, np.finfo(dtype).smallest_subnormal]
    edges = np.array([*edges, *(-e for e in edges)], dtype)
    x, y = (padded(grid.ravel()) for grid in np.meshgrid(edges, edges))
    [got] = run.call_leaves([x, y])
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), y.astype(np.float64)).astype(dtype)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)
    known = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(want)[known])


@pytest.mark.parametrize("length", [1, 3, 7, 8, 9, 31])
def test_remainders(compiled: Compile, length: int) -> None:
    """Scalar and vector versions agree to the bit."""
    type_ = tensor((length,), "f32")
    text = function(f"  %r = pb.exp %x : {type_}", {"%x": type_}, {"%r": type_})
    x = np.random.default_rng(0).normal(size=N).astype(np.float32)
    [whole] = compiled(unary("exp", "f32")).call_leaves([x])
    [part] = compiled(text).call_leaves([x[:length].copy()])
    np.testing.assert_array_equal(part, whole[:length])


@pytest.mark.parametrize("element", ["i32", "i64"])
def test_integers_never_trap(compiled: Compile, element: str) -> None:
    dtype = {"i32": np.int32, "i64": np.int64}[element]
    low = np.iinfo(dtype).min
    type_ = tensor((4,), element)
    text = function(f"  %r = pb.div %x, %y : {type_}", {"%x": type_, "%y": type_}, {"%r": type_})
    x, y = np.array([7, low, -7, low], dtype), np.array([0, -1, 2, 0], dtype)
    [got] = compiled(text).call_leaves([x, y])
    np.testing.assert_array_equal(got, np.array([0, low, -3, 0], dtype))


def test_conversion_saturates(compiled: Compile) -> None:
    source, target = tensor((5,), "f64"), tensor((5,), "i32")
    text = function(f"  %r = pb.convert %x : {source} -> {target}", {"%x": source}, {"%r": target})
    x = np.array([np.nan, np.inf, -np.inf, 1e300, -2.9])
    [got] = compiled(text).call_leaves([x])
    np.testing.assert_array_equal(got, [0, 2**31 - 1, -(2**31), 2**31 - 1, -2])
