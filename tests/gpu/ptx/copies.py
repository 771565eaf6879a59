"""Copies to shared memory that go on while the thread does (cp.async): a part of `Threads`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .trap import Trap

if TYPE_CHECKING:
    from .state import Active, Threads


@dataclass
class _Copy:
    """Under way: who copies, the places in shared memory, the bytes, each thread's group."""

    threads: np.ndarray
    places: np.ndarray
    data: np.ndarray
    groups: np.ndarray

    def part(self, which: np.ndarray) -> _Copy:
        return _Copy(self.threads[which], self.places[which], self.data[which], self.groups[which])


class Copies:
    """Bytes leave at once, and land when their thread waits; in between they are unknown."""

    def __init__(self, threads: int) -> None:
        self._open: list[_Copy] = []
        self._groups = np.zeros(threads, np.int64)

    def start(
        self,
        s: Threads,
        to: np.ndarray,
        address: np.ndarray,
        size: int,
        taken: np.ndarray | None,
        active: Active,
    ) -> None:
        """`taken` of `size` bytes are copied, the others become 0."""
        mine = np.arange(s.count) if active is None else active
        data = np.zeros((mine.size, size), np.uint8)
        taken = np.full(1, size) if taken is None else taken
        if (taken > size).any():
            raise Trap("out of bounds", f"a copy of {int(taken.max())} of {size} bytes")
        taken = np.broadcast_to(taken, (mine.size,))
        address = np.broadcast_to(address, (mine.size,))
        if (address % np.uint64(size)).any():
            raise Trap("misaligned", f"a copy of {size} bytes")
        for amount in np.unique(taken):
            if amount:
                some = np.flatnonzero(taken == amount)
                data[some, : int(amount)] = _bytes(s, address[some], int(amount), mine[some])
        # It may be written from now on, until it is waited for.
        places = s.begin_copy(to, size, active)
        self._open.append(_Copy(mine, places, data, self._groups[mine]))

    def commit(self, active: Active) -> None:
        self._groups[slice(None) if active is None else active] += 1

    def wait(self, s: Threads, left: int, active: Active) -> None:
        """All but the last `left` groups of these threads are done."""
        waits = np.zeros(s.count, bool)
        waits[slice(None) if active is None else active] = True
        kept = []
        for copy in self._open:
            done = waits[copy.threads] & (copy.groups < self._groups[copy.threads] - left)
            if done.any():
                over = copy.part(done)
                s.end_copy(over.places, over.data, over.threads)
            if not done.all():
                kept.append(copy.part(~done))
        self._open = kept


def _bytes(s: Threads, address: np.ndarray, amount: int, threads: np.ndarray) -> np.ndarray:
    """(threads, amount), read in one request where the hardware does."""
    size = min(amount & -amount, 8)
    many = amount // size if amount & (amount - 1) == 0 else 1
    parts = [
        part
        for k in range(0, amount, size * many)
        for part in s.load("global", address + np.uint64(k), size, many, threads)
    ]
    return np.ascontiguousarray(np.stack(parts, 1)).view(np.uint8)
