"""Samples of random bits, against Threefry-2x32 written with integers of 64 bits."""

from __future__ import annotations

import numpy as np
import torch

from .making import Array, Sample

WORD = 2**32 - 1


def anything(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).integers(-(2**63), 2**63 - 1, shape)


def rotated(x, by):
    return (x << by | x >> (32 - by)) & WORD


def threefry(count):
    def bits(key: torch.Tensor, counter: torch.Tensor) -> torch.Tensor:
        k = [key >> 32 & WORD, key & WORD]
        k.append(k[0] ^ k[1] ^ 0x1BD11BDA)
        x, y = (counter >> 32) + k[0] & WORD, counter + k[1] & WORD
        for i in range(20):
            by = (13, 15, 26, 6, 17, 29, 16, 24)[i % 8]
            x = x + y & WORD
            y = rotated(y, by) ^ x
            if i % 4 == 3:
                s = i // 4 + 1
                x, y = x + k[s % 3] & WORD, y + k[(s + 1) % 3] + s & WORD
        both = x << 32 | y
        return both if count == 64 else both >> (64 - count) & (1 << count) - 1

    return bits


RANDOM: dict[str, list[Sample]] = {
    "pb.random_bits": [
        Sample(
            lambda b, key, counter, n=n: b.random_bits(key, counter, n),
            threefry(n),
            (anything(3, 4), anything(3, 4, seed=1)),
        )
        for n in (64, 53, 24, 1)
    ],
}
