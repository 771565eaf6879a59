"""Races: two threads at the same byte, one of which writes, with no barrier of theirs in between.

For each granule: who wrote last, and who read since. A thread's time is the number of barriers
that its block has passed; threads of different blocks are never ordered.
"""

from __future__ import annotations

import numpy as np

from .trap import Trap

_MANY = -1


class Races:
    """Over so many granules, in a launch with blocks of so many threads."""

    def __init__(self, granules: int, block: int, what: str) -> None:
        self.block, self.what = block, what
        self.writer = np.zeros(granules, np.int32)  # thread + 1; 0: nobody
        self.written = np.zeros(granules, np.int32)
        self.reader = np.zeros(granules, np.int32)  # thread + 1; -1: several
        self.reading_block = np.zeros(granules, np.int32)  # block + 1; -1: several
        self.read = np.zeros(granules, np.int32)

    def reads(self, at: np.ndarray, thread: np.ndarray, time: np.ndarray) -> None:
        self._check_writer(at, thread, time)
        mine, group = thread + 1, thread // self.block + 1
        earlier = self.reader[at]
        old_time = self.read[at]
        fresh = (earlier == 0) | ((old_time != time) & (self.reading_block[at] == group))
        self.reader[at] = np.where(fresh | (earlier == mine), mine, _MANY)
        blocks = self.reading_block[at]
        self.reading_block[at] = np.where((blocks == 0) | (blocks == group), group, _MANY)
        self.read[at] = time
        # Several of these threads may read the same granule.
        now = self.reader[at]
        shared = now != mine
        if shared.any():
            self.reader[at[shared]] = _MANY
            other = self.reading_block[at] != group
            self.reading_block[at[other]] = _MANY

    def writes(self, at: np.ndarray, thread: np.ndarray, time: np.ndarray) -> None:
        self._check_writer(at, thread, time)
        mine, group = thread + 1, thread // self.block + 1
        reader, blocks = self.reader[at], self.reading_block[at]
        others = (reader != 0) & (reader != mine)
        bad = others & ((blocks != group) | (self.read[at] == time))
        if bad.any():
            self._trap(at, thread, bad, "writes what another thread reads")
        self.writer[at] = mine
        self.written[at] = time
        bad = self.writer[at] != mine
        if bad.any():
            self._trap(at, thread, bad, "writes what another thread writes")

    def _check_writer(self, at: np.ndarray, thread: np.ndarray, time: np.ndarray) -> None:
        writer = self.writer[at]
        others = (writer != 0) & (writer != thread + 1)
        if not others.any():
            return
        same_block = (writer - 1) // self.block == thread // self.block
        bad = others & (~same_block | (self.written[at] == time))
        if bad.any():
            self._trap(at, thread, bad, "touches what another thread writes")

    def _trap(self, at: np.ndarray, thread: np.ndarray, bad: np.ndarray, what: str) -> None:
        first = np.flatnonzero(bad)[0]
        block, within = divmod(int(thread[first]), self.block)
        raise Trap(
            "race", f"thread {within} of block {block} {what} ({self.what} {int(at[first])})"
        )
