"""Instructions of two 16-bit numbers in a register: the one of each half."""

from __future__ import annotations

import numpy as np

from .floating import bits
from .values import Array, Meaning

#: Those that PTX has for f16x2, bf16x2, s16x2 and u16x2, half by half.
HALVED = {"add", "sub", "mul", "fma", "neg", "abs", "min", "max", "setp"}


def halved(one: Meaning) -> Meaning:
    """`one`, of 16 bits, for both halves; of a comparison the bit 1 is the upper half's."""
    if 1 in one.sources:
        raise KeyError("a predicate for two halves")
    bits_, kind = (2, np.uint8) if one.result == 1 else (32, np.uint32)
    move = kind(bits_ // 2)

    def run(*sources: Array) -> Array:
        low = one.run(*(x.astype(np.uint16) for x in sources))
        high = one.run(*((x >> np.uint32(16)).astype(np.uint16) for x in sources))
        return low.astype(kind) | (high.astype(kind) << move)

    return Meaning(bits_, (32,) * len(one.sources), run, 2 * one.flops)


def joined(type_: str) -> Meaning:
    """cvt.rn.f16x2.f32 d, a, b: a goes to the upper half."""

    def run(high: Array, low: Array) -> Array:
        upper = bits(high.view(np.float32), type_).astype(np.uint32)
        return (upper << np.uint32(16)) | bits(low.view(np.float32), type_)

    return Meaning(32, (32, 32), run)
