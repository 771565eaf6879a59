"""What a launch did: instructions, bytes, sectors and bank conflicts, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SECTOR, BANKS, WORD = 32, 32, 4


class Counters:
    """Of one launch. A request is one memory instruction of one warp.

    `instructions` are counted for each thread, `warp_instructions` for each warp; an atomic reads
    and writes. `memory` bytes: how many of them the kernel may reach.
    """

    def __init__(self, grid: Sequence[int], block: Sequence[int], memory: int) -> None:
        self.grid, self.block = tuple(grid), tuple(block)
        self.instructions = self.warp_instructions = 0
        self.flops = 0
        self.requests = self.sectors = self.ideal_sectors = 0
        self.read_bytes = self.written_bytes = 0
        self.shared_requests = self.shared_cycles = 0
        #: Instructions of the busiest thread, and of all, by batch.
        self.most, self.total, self.threads = 0, 0, 0
        self._read, self._written = (np.zeros(memory // WORD + 1, bool) for _ in range(2))
        self._unique = 0, 0

    def memory(
        self, places: np.ndarray, warp: np.ndarray, size: int, reads: bool, writes: bool
    ) -> None:
        """`size` bytes of each thread, which do not cross a sector; `warp` ascends."""
        if not places.size:
            return
        starts = np.flatnonzero(np.diff(warp, prepend=-1))
        lanes = np.diff(starts, append=warp.size)
        self.requests += starts.size
        self.sectors += _distinct((warp << 40) + places // SECTOR)
        self.ideal_sectors += int(np.sum(-(-lanes * size // SECTOR)))
        self.read_bytes += places.size * size * reads
        self.written_bytes += places.size * size * writes
        for k in range(0, size, WORD):
            for taken, words in ((reads, self._read), (writes, self._written)):
                if taken:
                    words[(places + k) // WORD] = True

    def shared(self, places: np.ndarray, warp: np.ndarray, lane: np.ndarray, size: int) -> None:
        """Threads of a request that need different words of one bank take turns.

        8 and 16 bytes a lane are requests of half and quarter warps.
        """
        if not places.size:
            return
        phase = warp * 4 + lane.astype(np.int64) * max(1, size // WORD) // 32
        pairs = np.unique((phase << 32) | (places // WORD))
        phases, words = pairs >> 32, pairs & 0xFFFFFFFF
        begins = np.diff(phases, prepend=-1) != 0
        which = np.cumsum(begins) - 1
        count = int(which[-1]) + 1
        turns = np.bincount(which * BANKS + words % BANKS, minlength=count * BANKS)
        self.shared_requests += count
        self.shared_cycles += int(turns.reshape(count, BANKS).max(1).sum())

    def close(self) -> None:
        """The launch is over: what was touched becomes numbers."""
        both = self._read, self._written
        read, written = (WORD * int(np.count_nonzero(words)) for words in both)
        self._unique = read, written
        del self._read, self._written

    def unique_bytes(self) -> tuple[int, int]:
        """Bytes read and written, each counted once (in words of 4)."""
        return self._unique


def _distinct(keys: np.ndarray) -> int:
    steps = np.diff(keys)
    if (steps >= 0).all():
        return 1 + int(np.count_nonzero(steps))
    return np.unique(keys).size
