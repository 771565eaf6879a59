"""Integers and bits: what the instructions of the same names compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .values import SIGNED, UNSIGNED, Array, Meaning, Run, only, signed, unsigned, width


def wide(x: Array, y: Array, type_: str) -> Array:
    size = width(type_)
    if type_[0] == "s":
        double = SIGNED[2 * size]
        product = signed(x, size).astype(double) * signed(y, size).astype(double)
        return unsigned(product, 2 * size)
    double = UNSIGNED[2 * size]
    return x.astype(double) * y.astype(double)


def high(x: Array, y: Array, type_: str) -> Array:
    size = width(type_)
    if size < 64:
        return (wide(x, y, type_) >> np.uint64(size)).astype(UNSIGNED[size])
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    x1, x0, y1, y0 = x >> half, x & mask, y >> half, y & mask
    middle = x1 * y0 + ((x0 * y0) >> half)
    other = x0 * y1 + (middle & mask)
    result = x1 * y1 + (middle >> half) + (other >> half)
    if type_[0] == "s":
        zero = np.uint64(0)
        result = result - np.where(signed(x, 64) < 0, y, zero)
        result = result - np.where(signed(y, 64) < 0, x, zero)
    return result


def quotient(x: Array, y: Array, type_: str) -> tuple[Array, Array]:
    """Truncated, and the remainder. By zero all bits are set, as the hardware does."""
    size = width(type_)
    ones = UNSIGNED[size](2**size - 1)
    by_zero = y == 0
    safe = np.where(by_zero, UNSIGNED[size](1), y)
    if type_[0] == "u":
        quotient = x // safe
        return np.where(by_zero, ones, quotient), np.where(by_zero, x, x - quotient * safe)
    a, b = signed(x, size), signed(safe, size)
    magnitude = np.abs(a).view(UNSIGNED[size]) // np.abs(b).view(UNSIGNED[size])
    quotient = np.where((a < 0) != (b < 0), ~magnitude + UNSIGNED[size](1), magnitude)
    return np.where(by_zero, ones, quotient), np.where(by_zero, x, x - quotient * safe)


def logic(run: Run) -> Callable:
    def make(modifiers: list[str]) -> Meaning:
        size = width(modifiers[-1])
        return Meaning(size, (size,) * 2, run)

    return make


def complement(modifiers: list[str]) -> Meaning:
    size = width(modifiers[-1])
    return Meaning(size, (size,), lambda x: ~x)


def left(modifiers: list[str]) -> Meaning:
    size = width(modifiers[-1])

    def run(x: Array, by: Array) -> Array:
        amount = np.minimum(by, np.uint32(size - 1)).astype(x.dtype)
        return np.where(by >= size, x.dtype.type(0), x << amount)

    return Meaning(size, (size, 32), run)


def right(modifiers: list[str]) -> Meaning:
    type_ = modifiers[-1]
    size = width(type_)

    def run(x: Array, by: Array) -> Array:
        amount = np.minimum(by, np.uint32(size - 1)).astype(x.dtype)
        if type_[0] == "s":
            return unsigned(signed(x, size) >> signed(amount, size), size)
        return np.where(by >= size, x.dtype.type(0), x >> amount)

    return Meaning(size, (size, 32), run)


def funnel(modifiers: list[str]) -> Meaning:
    direction, mode, _ = modifiers

    def run(low: Array, high: Array, by: Array) -> Array:
        amount = by & np.uint32(31) if mode == "wrap" else np.minimum(by, np.uint32(32))
        both = low.astype(np.uint64) | (high.astype(np.uint64) << np.uint64(32))
        wide = amount.astype(np.uint64)
        shifted = (both << wide) >> np.uint64(32) if direction == "l" else both >> wide
        return shifted.astype(np.uint32)

    return Meaning(32, (32, 32, 32), run)


def permuted(modifiers: list[str]) -> Meaning:
    only(modifiers[:-1], set())

    def run(x: Array, y: Array, selector: Array) -> Array:
        both = x.astype(np.uint64) | (y.astype(np.uint64) << np.uint64(32))
        result = np.zeros(np.broadcast_shapes(x.shape, y.shape, selector.shape), np.uint32)
        for byte in range(4):
            choice = (selector >> np.uint32(4 * byte)) & np.uint32(15)
            shift = ((choice & np.uint32(7)) * np.uint32(8)).astype(np.uint64)
            value = ((both >> shift) & np.uint64(255)).astype(np.uint32)
            sign = np.where(value & np.uint32(128), np.uint32(255), np.uint32(0))
            value = np.where(choice & np.uint32(8), sign, value)
            result |= value << np.uint32(8 * byte)
        return result

    return Meaning(32, (32, 32, 32), run)


def extracted(modifiers: list[str]) -> Meaning:
    type_ = modifiers[-1]
    size = width(type_)

    def run(x: Array, start: Array, length: Array) -> Array:
        kind = UNSIGNED[size]
        first = (start & np.uint32(255)).astype(np.int64)
        count = (length & np.uint32(255)).astype(np.int64)
        result = np.zeros(np.broadcast_shapes(x.shape, start.shape, length.shape), kind)
        last = np.minimum(first + count - 1, size - 1)
        sign = (x >> np.clip(last, 0, size - 1).astype(kind)) & kind(1)
        fill = (sign == 1) & (count > 0) if type_[0] == "s" else np.zeros(1, bool)
        for bit in range(size):
            inside = (bit < count) & (first + bit < size)
            at = np.clip(first + bit, 0, size - 1).astype(kind)
            value = np.where(inside, (x >> at) & kind(1), fill.astype(kind))
            result |= value << kind(bit)
        return result

    return Meaning(size, (size, 32, 32), run)


def inserted(modifiers: list[str]) -> Meaning:
    """The low `length` bits of x, put into y from bit `start` on."""
    size = width(modifiers[-1])
    kind = UNSIGNED[size]

    def run(x: Array, y: Array, start: Array, length: Array) -> Array:
        first, count = start & np.uint32(255), length & np.uint32(255)
        ones = np.full(1, 2**size - 1, kind)
        low = np.where(count >= size, ones, ~(ones << (count % np.uint32(size)).astype(kind)))
        shift = (first % np.uint32(size)).astype(kind)
        mask = np.where(first >= size, kind(0), low << shift)
        return (y & ~mask) | ((x << shift) & mask)

    return Meaning(size, (size, size, 32, 32), run)


def highest(modifiers: list[str]) -> Meaning:
    """The place of the highest bit that is not the sign's; all ones if there is none."""
    type_ = modifiers[-1]
    size = width(type_)
    only(modifiers[:-1], {"shiftamt"})

    def run(x: Array) -> Array:
        if type_[0] == "s":
            x = np.where(signed(x, size) < 0, ~x, x)
        zeros = leading_zeros(x, size)
        place = zeros if "shiftamt" in modifiers else np.uint32(size - 1) - zeros
        return np.where(x == 0, np.uint32(0xFFFFFFFF), place)

    return Meaning(32, (size,), run)


def is_zero(modifiers: list[str]) -> Meaning:
    size = width(modifiers[-1])
    return Meaning(size, (size,), lambda x: (x == 0).astype(x.dtype))


def counted(run: Callable[[Array, int], Array]) -> Callable:
    def make(modifiers: list[str]) -> Meaning:
        size = width(modifiers[-1])
        return Meaning(32, (size,), lambda x: run(x, size))

    return make


def leading_zeros(x: Array, size: int) -> Array:
    count = np.full(x.shape, size, np.uint32)
    for bit in range(size):
        count = np.where(
            (x >> x.dtype.type(bit)) & x.dtype.type(1), np.uint32(size - 1 - bit), count
        )
    return count


def ones(x: Array, size: int) -> Array:
    count = np.zeros(x.shape, np.uint32)
    for bit in range(size):
        count += ((x >> x.dtype.type(bit)) & x.dtype.type(1)).astype(np.uint32)
    return count


def reversed(modifiers: list[str]) -> Meaning:
    size = width(modifiers[-1])

    def run(x: Array) -> Array:
        result, one = np.zeros_like(x), x.dtype.type(1)
        for bit in range(size):
            result |= ((x >> x.dtype.type(bit)) & one) << x.dtype.type(size - 1 - bit)
        return result

    return Meaning(size, (size,), run)


def lop3(_: list[str]) -> Meaning:
    def run(x: Array, y: Array, z: Array, table: Array) -> Array:
        result = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.uint32)
        for row in range(8):
            if int(table.flat[0]) >> row & 1:
                a = x if row & 4 else ~x
                b = y if row & 2 else ~y
                c = z if row & 1 else ~z
                result |= a & b & c
        return result

    return Meaning(32, (32, 32, 32, 32), run)
