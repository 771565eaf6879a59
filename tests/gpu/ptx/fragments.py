"""Matrix fragments: which element of a matrix lies in which register of which lane.

mma.sync and ldmatrix, as the PTX ISA manual draws them: lane L is in group L // 4, and is thread
L % 4 of it. What the machine calls for these instructions; arrays are (warps, 32, registers).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import floating
from .values import Array, UnknownInstruction

LANES = 32
#: (group, thread, element of the lane) -> (row, column).
Place = Callable[[int, int, int], tuple[int, int]]


@dataclass(frozen=True)
class Layout:
    """`rows`, `columns`: (32, elements a lane); the matrix is `shape`."""

    shape: tuple[int, int]
    rows: Array
    columns: Array

    def gathered(self, elements: Array) -> Array:
        """(warps, 32, elements) -> (warps, *shape)."""
        matrix = np.empty((len(elements), *self.shape), elements.dtype)
        matrix[:, self.rows, self.columns] = elements
        return matrix

    def scattered(self, matrix: Array) -> Array:
        """(warps, *shape) -> (warps, 32, elements)."""
        return matrix[:, self.rows, self.columns]


def _layout(shape: tuple[int, int], place: Place) -> Layout:
    count = shape[0] * shape[1] // LANES
    places = [[place(lane // 4, lane % 4, i) for i in range(count)] for lane in range(LANES)]
    both = np.array(places)
    return Layout(shape, both[..., 0], both[..., 1])


#: (shape, bits of an element of A and B) -> layouts of A, B, and of C and D.
_PLACES: dict[tuple[str, int], tuple[Place, Place, Place]] = {
    ("m16n8k16", 16): (
        lambda g, t, i: (g + 8 * (i // 2 % 2), 2 * t + i % 2 + 8 * (i // 4)),
        lambda g, t, i: (2 * t + i % 2 + 8 * (i // 2), g),
        lambda g, t, i: (g + 8 * (i // 2), 2 * t + i % 2),
    ),
    ("m16n8k8", 16): (
        lambda g, t, i: (g + 8 * (i // 2), 2 * t + i % 2),
        lambda g, t, i: (2 * t + i, g),
        lambda g, t, i: (g + 8 * (i // 2), 2 * t + i % 2),
    ),
    ("m16n8k8", 32): (
        lambda g, t, i: (g + 8 * (i % 2), t + 4 * (i // 2)),
        lambda g, t, i: (t + 4 * i, g),
        lambda g, t, i: (g + 8 * (i // 2), 2 * t + i % 2),
    ),
    ("m16n8k4", 32): (
        lambda g, t, i: (g + 8 * i, t),
        lambda g, t, i: (t, g),
        lambda g, t, i: (g + 8 * (i // 2), 2 * t + i % 2),
    ),
    ("m8n8k4", 64): (
        lambda g, t, i: (g, t),
        lambda g, t, i: (t, g),
        lambda g, t, i: (g, 2 * t + i),
    ),
}
#: (shape, type of A and B) -> types of C and D.
_KINDS = {
    ("m16n8k16", "f16"): ("f16", "f32"),
    ("m16n8k16", "bf16"): ("f32",),
    ("m16n8k8", "f16"): ("f16", "f32"),
    ("m16n8k8", "bf16"): ("f32",),
    ("m16n8k8", "tf32"): ("f32",),
    ("m16n8k4", "tf32"): ("f32",),
    ("m8n8k4", "f64"): ("f64",),
}
_BITS = {"f16": 16, "bf16": 16, "tf32": 32, "f32": 32, "f64": 64}


def sizes(shape: str) -> tuple[int, int, int]:
    """m, n and k of "m16n8k16"."""
    m, n, k = (int(part) for part in shape[1:].replace("n", " ").replace("k", " ").split())
    return m, n, k


@functools.cache
def layouts(shape: str, bits: int) -> tuple[Layout, Layout, Layout]:
    """Of A, B, and C; raises KeyError for a shape that nothing is known about."""
    m, n, k = sizes(shape)
    of_a, of_b, of_c = _PLACES[shape, bits]
    return _layout((m, k), of_a), _layout((k, n), of_b), _layout((m, n), of_c)


def registers(mnemonic: tuple[str, ...]) -> tuple[int, int, int, int]:
    """How many registers a lane has of D, A, B and C."""
    shape, of_c = _checked(mnemonic)
    of_a = mnemonic[-3]
    lay_a, lay_b, lay_c = layouts(shape, _BITS[of_a])
    size = 64 if of_a == "f64" else 32
    a, b = (lay.rows.shape[1] * _BITS[of_a] // size for lay in (lay_a, lay_b))
    c = lay_c.rows.shape[1] * _BITS[of_c] // size
    return c, a, b, c


def _checked(mnemonic: tuple[str, ...]) -> tuple[str, str]:
    """The shape, and the type of C and D."""
    shape, of_d, of_a, of_b, of_c = (*mnemonic[3:4], *mnemonic[-4:])
    known = mnemonic[:3] == ("mma", "sync", "aligned") and mnemonic[4:-4] == ("row", "col")
    if not known or of_a != of_b or of_c != of_d or of_c not in _KINDS.get((shape, of_a), ()):
        raise UnknownInstruction(".".join(mnemonic))
    return shape, of_c


def mma(mnemonic: tuple[str, ...], a: Array, b: Array, c: Array) -> Array:
    """Registers of D = A B + C; (warps, 32, registers) of uint32, or of uint64 for f64.

    Products of f16, bf16 and tf32 are exact, and added in f64 before the one rounding to the
    type of D: hardware's sums differ within the rounding of f32. f64 is a chain of fma.
    """
    shape, of_c = _checked(mnemonic)
    of_a = mnemonic[-3]
    lay_a, lay_b, lay_c = layouts(shape, _BITS[of_a])
    with np.errstate(all="ignore"):
        left = lay_a.gathered(_numbers(a, of_a))
        right = lay_b.gathered(_numbers(b, of_a))
        total = lay_c.gathered(_numbers(c, of_c))
        if of_a == "f64":
            for k in range(left.shape[2]):
                total = floating.fma(left[:, :, k, None], right[:, k, None, :], total, "f64")
        else:
            total = left @ right + total
        return _registers(lay_c.scattered(total), of_c)


def _numbers(registers: Array, type_: str) -> Array:
    """As f64; two 16-bit elements a register, the first in the low half."""
    registers = np.ascontiguousarray(registers)
    if type_ in ("f16", "bf16"):
        registers = registers.astype("<u4", copy=False).view("<u2")
    if type_ == "tf32":
        registers, type_ = registers & np.uint32(0xFFFFE000), "f32"
    return floating.number(registers, type_).astype(np.float64)


def _registers(values: Array, type_: str) -> Array:
    raw = np.ascontiguousarray(floating.bits(values, type_))
    return raw.view("<u4") if type_ == "f16" else raw


def ldmatrix(count: int, transposed: bool) -> tuple[Array, Array]:
    """Where `count` (1, 2, 4) matrices of 8 x 8 16-bit elements come from.

    Returns (lanes, offsets), each (32, count, 2): half h (0 the low one) of register r of lane L
    is the two bytes at the address given by lane lanes[L, r, h], plus offsets[L, r, h].
    """
    if count not in (1, 2, 4):
        raise UnknownInstruction(f"ldmatrix.x{count}")
    lane, matrix, half = np.ogrid[:LANES, :count, :2]
    across, along = lane // 4, 2 * (lane % 4) + half
    row, column = (along, across) if transposed else (across, along)
    whole = (LANES, count, 2)
    return np.broadcast_to(8 * matrix + row, whole), np.broadcast_to(2 * column, whole)
