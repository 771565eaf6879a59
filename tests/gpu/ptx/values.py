"""The form in which meanings are given, and views of bits as numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Run = Callable[..., Array]

UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
FLOATING = ("f16", "bf16", "f32", "f64")


class UnknownInstruction(Exception):
    """A mnemonic that nothing is known about."""


@dataclass(frozen=True)
class Meaning:
    """`run` takes the sources' bits, and gives the result's; `sources` are their widths."""

    result: int
    sources: tuple[int, ...]
    run: Run
    flops: int = 0


def width(type_: str) -> int:
    if type_ == "pred":
        return 1
    return 32 if type_.endswith("x2") else int(type_.lstrip("bfsu").replace("f", ""))


def signed(value: Array, bits_: int) -> Array:
    return value.view(SIGNED[bits_])


def unsigned(value: Array, bits_: int) -> Array:
    return np.ascontiguousarray(value).view(UNSIGNED[bits_])


def only(found: list[str], known: set[str]) -> None:
    """KeyError if a modifier is none of these."""
    if set(found) - known:
        raise KeyError(str(found))
