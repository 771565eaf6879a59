"""Device memory: one arena with bounds for each allocation, and what has been written."""

from __future__ import annotations

import bisect

import numpy as np

from .trap import Trap

_GUARD = 256


class Memory:
    """`buffer`: the bytes of the arena, the first of which has the address `base`."""

    def __init__(self, buffer: np.ndarray, base: int = 0x7F0000000000) -> None:
        size = buffer.size // 16 * 16
        self.base = base
        self.bytes = buffer[:size]
        self.initialised = np.zeros(size, np.uint8)
        self.alive = np.zeros(size, np.uint8)
        self._starts: list[int] = []
        self._sizes: dict[int, int] = {}
        self._dead: dict[int, int] = {}

    def allocate(self, size: int, align: int = 256) -> int:
        """The address of new memory, which is not initialised. MemoryError if there is none."""
        start = _GUARD
        for other in self._starts:
            if start + size + _GUARD <= other:
                break
            start = -(-(other + self._sizes[other] + _GUARD) // align) * align
        if start + size + _GUARD > self.bytes.size:
            raise MemoryError(f"{size} bytes")
        bisect.insort(self._starts, start)
        self._sizes[start] = size
        self.alive[start : start + size] = 1
        self.initialised[start : start + size] = 0
        return self.base + start

    def free(self, address: int) -> None:
        start = address - self.base
        if start not in self._sizes:
            raise Trap("free", f"{address:#x} is not allocated")
        self.alive[start : start + self._sizes[start]] = 0
        del self._sizes[start]
        self._starts.remove(start)

    def read(self, address: int, size: int) -> np.ndarray:
        """A copy of bytes, for the host."""
        start = self._host(address, size)
        return self.bytes[start : start + size].copy()

    def write(self, address: int, data: np.ndarray) -> None:
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        start = self._host(address, raw.size)
        self.bytes[start : start + raw.size] = raw
        self.initialised[start : start + raw.size] = 1

    def leaks(self) -> list[tuple[int, int]]:
        """Address and size of what is still allocated."""
        return [(self.base + start, self._sizes[start]) for start in self._starts]

    @property
    def end(self) -> int:
        """The first byte behind all allocations, from the base."""
        return self._starts[-1] + self._sizes[self._starts[-1]] if self._starts else 0

    def _host(self, address: int, size: int) -> int:
        start = address - self.base
        inside = start >= 0 and start + size <= self.bytes.size
        if not inside or not self.alive[start : start + size].all():
            raise Trap("out of bounds", f"the host at {address:#x}, {size} bytes")
        return start

    # For kernels: places of many threads at once.

    def places(self, addresses: np.ndarray, size: int) -> np.ndarray:
        """Offsets in the arena; all `size` bytes of each are allocated and aligned."""
        offsets = (addresses - np.uint64(self.base)).view(np.int64)
        if size > 1 and (offsets & (size - 1)).any():
            bad = int(addresses[np.flatnonzero(offsets & (size - 1))[0]])
            raise Trap("misaligned", f"{bad:#x} for {size} bytes")
        outside = (offsets < 0) | (offsets > self.bytes.size - size)
        if outside.any():
            raise Trap("out of bounds", f"{int(addresses[np.flatnonzero(outside)[0]]):#x}")
        dead = (self.alive[offsets] & self.alive[offsets + (size - 1)]) == 0
        if dead.any():
            raise Trap("out of bounds", f"{int(addresses[np.flatnonzero(dead)[0]]):#x}")
        return offsets


def load(memory: np.ndarray, initialised: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Elements of `size` bytes; all of them were written before."""
    kind = np.dtype(f"uint{8 * size}")
    index = places >> (size.bit_length() - 1)
    known = initialised.view(kind)[index]
    ones = kind.type(int.from_bytes(b"\1" * size, "little"))
    if (known != ones).any():
        raise Trap("uninitialised", f"a read of {size} bytes")
    return memory.view(kind)[index]


def store(
    memory: np.ndarray, initialised: np.ndarray, places: np.ndarray, value: np.ndarray, size: int
) -> None:
    kind = np.dtype(f"uint{8 * size}")
    index = places >> (size.bit_length() - 1)
    memory.view(kind)[index] = value
    initialised.view(kind)[index] = kind.type(int.from_bytes(b"\1" * size, "little"))
