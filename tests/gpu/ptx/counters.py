"""What a launch did: instructions, bytes, sectors and bank conflicts, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SECTOR, BANKS = 32, 32


class Counters:
    """Of one launch. A request is one memory instruction of one warp."""

    def __init__(self, grid: Sequence[int], block: Sequence[int]) -> None:
        self.grid, self.block = tuple(grid), tuple(block)
        self.instructions = 0
        self.flops = 0
        self.requests = self.sectors = self.ideal_sectors = 0
        self.read_bytes = self.written_bytes = 0
        self.shared_requests = self.shared_cycles = 0
        #: Instructions of the busiest thread, and of all, by batch.
        self.most, self.total, self.threads = 0, 0, 0
        self._read: list[np.ndarray] = []
        self._written: list[np.ndarray] = []

    def memory(self, places: np.ndarray, warp: np.ndarray, size: int, writes: bool) -> None:
        if not places.size:
            return
        sectors = [np.unique(warp * (1 << 40) + (places + k) // SECTOR) for k in _ends(size)]
        found = np.unique(np.concatenate(sectors)).size
        warps, lanes = np.unique(warp, return_counts=True)
        self.requests += warps.size
        self.sectors += found
        self.ideal_sectors += int(np.sum(-(-lanes * size // SECTOR)))
        if writes:
            self.written_bytes += places.size * size
        else:
            self.read_bytes += places.size * size
        touched = np.unique((places[:, None] + np.arange(0, size, 4)).reshape(-1) // 4)
        (self._written if writes else self._read).append(touched)

    def shared(self, places: np.ndarray, warp: np.ndarray, size: int) -> None:
        """Threads of a request that need different words of one bank take turns."""
        if not places.size:
            return
        words = max(1, size // 4)
        cycles = 0
        # 8 and 16 bytes a lane are done by half and quarter warps.
        phase = warp * 4 + (np.arange(places.size) % 32) * words // 32
        for k in range(words):
            word = places // 4 + k
            pairs = np.unique(np.stack([phase, word % BANKS, word]), axis=1)
            keys, counts = np.unique(pairs[0] * BANKS + pairs[1], return_counts=True)
            worst = np.zeros(int(phase.max()) + 1, np.int64)
            np.maximum.at(worst, keys // BANKS, counts)
            cycles = max(cycles, 0) + int(worst.sum()) if k == 0 else cycles
        self.shared_requests += np.unique(phase).size
        self.shared_cycles += cycles

    def unique_bytes(self) -> tuple[int, int]:
        """Bytes read and written, each counted once (in words of 4)."""
        return tuple(
            4 * np.unique(np.concatenate(found)).size if found else 0
            for found in (self._read, self._written)
        )  # type: ignore[return-value]


def _ends(size: int) -> list[int]:
    return [0] if size <= 1 else [0, size - 1]
