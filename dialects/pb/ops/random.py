"""Random bits of a key and a counter; samplers are compositions (frontend/samplers.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Elementwise
from ..opdef import ZERO, Tangent, register

if TYPE_CHECKING:
    from ..builder import Builder

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Threefry-2x32-20 on arrays of uint32."""
    words = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY))
    x, y = counter[0] + words[0], counter[1] + words[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation)))
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def words(x: Any) -> tuple[Any, Any]:
    """High and low word of each 64-bit integer."""
    x = np.asarray(x, np.int64).view(np.uint64)
    return (x >> np.uint64(32)).astype(np.uint32), x.astype(np.uint32)


@register(gen.RandomBitsOp)
class RandomBits(Elementwise):
    cost = 100  # 20 rounds: stored rather than made twice

    def jvp(self, b: Builder, key_dot: Tangent, counter_dot: Tangent) -> Tangent:
        return ZERO

    def reference(self, key: Any, counter: Any) -> Any:
        high, low = threefry(words(key), words(counter))
        bits = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
        return (bits >> np.uint64(64 - self.bits.value)).view(np.int64)

    def scalar(self, m: Any, key: ir.Value, counter: ir.Value) -> ir.Value:
        return m.random_bits(key, counter, self.bits.value)
