"""cvt: between all types, with PTX's roundings and saturation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .floating import bits, directed, number

Array = np.ndarray
_FLOATING = ("f16", "bf16", "f32", "f64")
_TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def _size(type_: str) -> int:
    return int(type_.lstrip("bfsu").replace("f", ""))


def conversion(modes: list[str], to: str, source: str) -> Callable[[Array], Array]:
    """Bits of `source` to bits of `to`; 8-bit values stand in 16 bits."""
    unknown = set(modes) - {"rn", "rz", "rm", "rp", *_TO_INTEGER, "sat"}
    if unknown:
        raise KeyError(str(unknown))
    if source in _FLOATING:
        if to in _FLOATING:
            return lambda x: _float_to_float(x, modes, to, source)
        return lambda x: _float_to_integer(x, modes, to, source)
    if to in _FLOATING:
        return lambda x: _integer_to_float(x, modes, to, source)
    return lambda x: _integer_to_integer(x, modes, to, source)


def _integer(x: Array, type_: str) -> Array:
    """The low bits of x as a number of this type."""
    kind = np.dtype(f"{'int' if type_[0] == 's' else 'uint'}{_size(type_)}")
    return x.astype(f"uint{_size(type_)}").view(kind)


def _stored(value: Array, to: str) -> Array:
    """As the bits of a register: 8-bit values are extended to 16."""
    size = _size(to)
    if size == 8:
        return value.astype(np.int16 if to[0] == "s" else np.uint16).view(np.uint16)
    return value.view(f"uint{size}")


def _integer_to_integer(x: Array, modes: list[str], to: str, source: str) -> Array:
    value = _integer(x, source)
    kind = np.dtype(f"{'int' if to[0] == 's' else 'uint'}{_size(to)}")
    if "sat" in modes:
        limits = np.iinfo(kind)
        low = max(int(limits.min), int(np.iinfo(value.dtype).min))
        high = min(int(limits.max), int(np.iinfo(value.dtype).max))
        value = np.clip(value, value.dtype.type(low), value.dtype.type(high))
    return _stored(value.astype(kind), to)


def _integer_to_float(x: Array, modes: list[str], to: str, source: str) -> Array:
    value = _integer(x, source)
    if modes != ["rn"]:
        raise KeyError(str(modes))
    if to in ("f32", "f64"):
        return bits(value.astype(np.float32 if to == "f32" else np.float64), to)
    if to == "bf16" and _size(source) == 64:
        raise KeyError(source)
    return bits(value.astype(np.float64), to)


def _float_to_integer(x: Array, modes: list[str], to: str, source: str) -> Array:
    """Out of range saturates. NaN is 0, but the highest bit alone from f64 or to 64 bits."""
    value = number(x, source).astype(np.float64)
    rounding = next(m for m in modes if m in _TO_INTEGER)
    value = _TO_INTEGER[rounding](value)
    size = _size(to)
    of_nan = 1 << size - 1 if source == "f64" or size == 64 else 0
    kind = np.dtype(f"{'int' if to[0] == 's' else 'uint'}{_size(to)}")
    limits = np.iinfo(kind)
    low, high = float(limits.min), float(limits.max) + 1
    inside = (value >= low) & (value < high)
    result = np.where(inside, value, 0.0).astype(kind)
    result = np.where(value >= high, kind.type(limits.max), result)
    result = np.where(value < low, kind.type(limits.min), result)
    result = np.where(np.isnan(value), np.array(of_nan, f"uint{size}").view(kind), result)
    return _stored(result.astype(kind), to)


def to_tf32(x: Array) -> Array:
    """To the nearest of 10 mantissa bits, ties away from zero."""
    rounded = (x + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isnan(x.view(np.float32)), np.uint32(0x7FFFFFFF), rounded)


def _float_to_float(x: Array, modes: list[str], to: str, source: str) -> Array:
    value = number(x, source)
    for mode in modes:
        if mode in _TO_INTEGER:
            value = _TO_INTEGER[mode](value)
    if "sat" in modes:
        value = np.where(np.isnan(value), value.dtype.type(0), np.clip(value, 0, 1))
    if to == source or _size(to) > _size(source):
        return bits(value, to)
    mode = next((m for m in modes if m in ("rz", "rm", "rp")), None)
    if mode is None:
        return bits(value, to)
    if to == "bf16":
        raise KeyError(str(modes))
    return bits(directed(value.astype(np.float64), to, mode), to)
