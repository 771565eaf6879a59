"""Floating-point operations on bits: correctly rounded, NaN and signed zeros as PTX has them."""

from __future__ import annotations

import ctypes
import ctypes.util

import numpy as np

Array = np.ndarray
FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
BITS = {"f16": np.uint16, "f32": np.uint32, "f64": np.uint64}
_LIBM = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
_LIBM.fma.restype = ctypes.c_double
_LIBM.fma.argtypes = [ctypes.c_double] * 3
_ONE_BY_ONE = np.frompyfunc(_LIBM.fma, 3, 1)


def number(bits: Array, type_: str) -> Array:
    """Bits as floats; a bf16 as f32."""
    if type_ == "bf16":
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return bits.view(FLOATS[type_])


def bits(value: Array, type_: str) -> Array:
    if type_ == "bf16":
        return round_to_bf16(value if value.dtype == np.float32 else odd_single(value))
    return np.ascontiguousarray(value.astype(FLOATS[type_], copy=False)).view(BITS[type_])


def round_to_bf16(value: Array) -> Array:
    """To nearest, ties to even."""
    raw = value.view(np.uint32)
    even = (raw >> np.uint32(16)) & np.uint32(1)
    rounded = (raw + np.uint32(0x7FFF) + even) >> np.uint32(16)
    return np.where(np.isnan(value), np.uint32(0x7FFF), rounded).astype(np.uint16)


def odd_single(value: Array) -> Array:
    """f64 as f32, rounded to odd: what is rounded to fewer bits then is rounded once."""
    single = np.atleast_1d(np.asarray(value, np.float64).astype(np.float32))
    back = single.astype(np.float64)
    inexact = (back != value) & ~np.isnan(back)
    raw = single.view(np.uint32).copy()
    raw -= inexact & (np.abs(back) > np.abs(value))
    raw |= inexact
    return raw.view(np.float32)


def directed(value: Array, type_: str, mode: str) -> Array:
    """f64 as f32 or f16, rounded towards zero (rz), down (rm) or up (rp)."""
    nearest = value.astype(FLOATS[type_])
    back = nearest.astype(np.float64)
    infinity = nearest.dtype.type(np.inf)
    if mode == "rz":
        far, goal = np.abs(back) > np.abs(value), nearest.dtype.type(0)
    else:
        far, goal = (back > value, -infinity) if mode == "rm" else (back < value, infinity)
    return np.where(far, np.nextafter(nearest, goal), nearest)


def fma(a: Array, b: Array, c: Array, type_: str) -> Array:
    """a * b + c with one rounding; of bf16 as f64 that `bits` rounds once."""
    if type_ == "f64":
        return _fma64(a, b, c)
    # Products are exact in f64; the sum is rounded to odd there, and so once in the end.
    product = a.astype(np.float64) * b.astype(np.float64)
    total = _odd_sum(product, c.astype(np.float64))
    return total if type_ == "bf16" else total.astype(a.dtype)


def _two_sum(x: Array, y: Array) -> tuple[Array, Array]:
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _odd_sum(x: Array, y: Array) -> Array:
    """x + y, rounded to the neighbour whose last bit is 1 where it is not exact."""
    total, error = _two_sum(x, y)
    raw = np.atleast_1d(total).view(np.int64).copy()
    inexact = np.isfinite(total) & (error != 0) & np.isfinite(error)
    away = inexact & (np.signbit(error) != np.signbit(total))
    raw -= away
    raw |= inexact
    return raw.view(np.float64)


def _split(x: Array) -> tuple[Array, Array]:
    scaled = x * 134217729.0
    high = scaled - (scaled - x)
    return high, x - high


def _fma64(a: Array, b: Array, c: Array) -> Array:
    """Boldo and Melquiond: exact product, and a sum in which only the last step rounds."""
    a, b, c = np.broadcast_arrays(a, b, c)
    product = a * b
    (a1, a2), (b1, b2) = _split(a), _split(b)
    low = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2
    high_c, low_c = _two_sum(c, low)
    high, rest = _two_sum(product, high_c)
    result = high + _odd_sum(low_c, rest)
    size = np.maximum(np.abs(a), np.abs(b))
    small = np.minimum(np.abs(product), np.where(product == 0, np.inf, np.inf))
    risky = ~np.isfinite(result) | (size > 1e140) | ((small < 1e-250) & (a != 0) & (b != 0))
    risky |= (np.abs(c) > 1e290) | ((np.abs(result) < 1e-280) & ((c != 0) | (product != 0)))
    if risky.any():
        result = np.array(result)
        result[risky] = _ONE_BY_ONE(a[risky], b[risky], c[risky]).astype(np.float64)
    return result


def least(x: Array, y: Array, propagate: bool) -> Array:
    """min; -0 is less than 0; NaN only if both are, or, with `propagate`, if one is."""
    pick = np.minimum if propagate else np.fmin
    found = pick(x, y)
    zeros = (x == 0) & (y == 0)
    return np.where(zeros & (np.signbit(x) | np.signbit(y)), np.asarray(-0.0, x.dtype), found)


def greatest(x: Array, y: Array, propagate: bool) -> Array:
    pick = np.maximum if propagate else np.fmax
    found = pick(x, y)
    zeros = (x == 0) & (y == 0)
    both = np.signbit(x) & np.signbit(y)
    return np.where(zeros & ~both, np.asarray(0.0, x.dtype), found)
