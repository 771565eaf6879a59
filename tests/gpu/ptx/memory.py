"""Device memory: one arena with bounds for each allocation, and what has been written."""

from __future__ import annotations

import bisect

import numpy as np

from .trap import Trap

_GUARD = 256
#: States of a byte, in bits: allocated, only to be read, freed a short while ago.
_LIVE, _CONSTANT, _FREED = 1, 2, 4


class Memory:
    """`buffer`: the bytes of the arena, the first of which has the address `base`.

    Freed memory is handed out again late: until then, whoever uses it is caught.
    """

    def __init__(self, buffer: np.ndarray, base: int = 0x7F0000000000) -> None:
        size = buffer.size // 16 * 16
        self.base = base
        self.bytes = buffer[:size]
        self.initialised = np.zeros(size, np.uint8)
        self.states = np.zeros(size, np.uint8)
        #: Places that are taken, also by what was freed, and their sizes.
        self._starts: list[int] = []
        self._sizes: dict[int, int] = {}
        self._freed: dict[int, int] = {}
        self._most_freed = size // 4

    def allocate(self, size: int, align: int = 256) -> int:
        """The address of new memory, which is not initialised. MemoryError if there is none."""
        start = self._room(size, align)
        while start is None and self._freed:
            self._forget()
            start = self._room(size, align)
        if start is None:
            raise MemoryError(f"{size} bytes")
        bisect.insort(self._starts, start)
        self._sizes[start] = size
        self.states[start : start + size] = _LIVE
        self.initialised[start : start + size] = 0
        return self.base + start

    def _room(self, size: int, align: int) -> int | None:
        start = -(-_GUARD // align) * align
        for other in self._starts:
            if start + size + _GUARD <= other:
                break
            start = -(-(other + self._sizes[other] + _GUARD) // align) * align
        return start if start + size + _GUARD <= self.bytes.size else None

    def free(self, address: int) -> None:
        start = address - self.base
        if start not in self._sizes or start in self._freed:
            raise Trap("free", f"{address:#x} is not allocated")
        size = self._sizes[start]
        self.states[start : start + size] = _FREED
        self._freed[start] = size
        while sum(self._freed.values()) > self._most_freed:
            self._forget()

    def _forget(self) -> None:
        """What was freed first may be handed out again."""
        start = next(iter(self._freed))
        size = self._freed.pop(start)
        self.states[start : start + size] = 0
        del self._sizes[start]
        self._starts.remove(start)

    def protect(self, address: int) -> None:
        """Kernels may only read this allocation from now on."""
        start = address - self.base
        self.states[start : start + self._sizes[start]] |= _CONSTANT

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
        live = [start for start in self._starts if start not in self._freed]
        return [(self.base + start, self._sizes[start]) for start in live]

    @property
    def end(self) -> int:
        """The first byte behind all allocations, from the base."""
        return self._starts[-1] + self._sizes[self._starts[-1]] if self._starts else 0

    def _host(self, address: int, size: int) -> int:
        start = address - self.base
        if start < 0 or start + size > self.bytes.size:
            raise Trap("out of bounds", f"the host at {address:#x}, {size} bytes")
        states = self.states[start : start + size]
        if not (states & _LIVE).all():
            kind = "use after free" if (states & _FREED).any() else "out of bounds"
            raise Trap(kind, f"the host at {address:#x}, {size} bytes")
        return start

    # For kernels: places of many threads at once.

    def places(self, addresses: np.ndarray, size: int, writes: bool) -> np.ndarray:
        """Offsets in the arena; all `size` bytes of each are allocated and aligned."""
        offsets = (addresses - np.uint64(self.base)).view(np.int64)

        def refuse(kind: str, bad: np.ndarray) -> None:
            at = int(np.flatnonzero(bad)[0])
            raise Trap(kind, f"global memory at {int(addresses[at]):#x}, {size} bytes", at)

        if size > 1 and (offsets & (size - 1)).any():
            refuse("misaligned", (offsets & (size - 1)) != 0)
        outside = (offsets < 0) | (offsets > self.bytes.size - size)
        if outside.any():
            refuse("out of bounds", outside)
        # An access is smaller than the guards: its first and its last byte tell.
        first, last = self.states[offsets], self.states[offsets + (size - 1)]
        dead = (first & last & _LIVE) == 0
        if dead.any():
            freed = bool(((first | last)[dead] & _FREED).any())
            refuse("use after free" if freed else "out of bounds", dead)
        if writes and ((first | last) & _CONSTANT).any():
            refuse("read only", ((first | last) & _CONSTANT) != 0)
        return offsets


def load(memory: np.ndarray, initialised: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Elements of `size` bytes; all of them were written before."""
    kind = np.dtype(f"uint{8 * size}")
    index = places >> (size.bit_length() - 1)
    known = initialised.view(kind)[index]
    ones = kind.type(int.from_bytes(b"\1" * size, "little"))
    if (known != ones).any():
        at = int(np.flatnonzero(known != ones)[0])
        raise Trap("uninitialised", f"a read of {size} bytes at offset {int(places[at])}", at)
    return memory.view(kind)[index]


def store(
    memory: np.ndarray, initialised: np.ndarray, places: np.ndarray, value: np.ndarray, size: int
) -> None:
    kind = np.dtype(f"uint{8 * size}")
    index = places >> (size.bit_length() - 1)
    memory.view(kind)[index] = value
    initialised.view(kind)[index] = kind.type(int.from_bytes(b"\1" * size, "little"))
