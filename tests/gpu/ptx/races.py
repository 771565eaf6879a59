"""Races: two threads at the same byte, one of which writes, with no barrier of theirs in between.

A thread's time is the number of barriers that its block has passed; threads of different blocks
are never ordered. Atomics do not race with each other, but with everything else.
"""

from __future__ import annotations

import numpy as np

from .trap import Trap

_MANY = -1
_READS, _WRITES, _ATOMICS = "reads", "writes", "updates"
#: What an access must not meet.
_AGAINST = {
    _READS: (_WRITES, _ATOMICS),
    _WRITES: (_WRITES, _READS, _ATOMICS),
    _ATOMICS: (_WRITES, _READS),
}


class _Last:
    """The last accesses of one kind: of each granule a thread + 1, its block + 1, and the time.

    0: nobody; -1: several.
    """

    def __init__(self, granules: int) -> None:
        self.thread = np.zeros(granules, np.int32)
        self.block = np.zeros(granules, np.int32)
        self.time = np.zeros(granules, np.int32)

    def of_others(self, at, thread, block, time) -> np.ndarray:
        """Where the last access is another thread's, and no barrier was in between."""
        others = self.thread[at]
        others = (others != 0) & (others != thread)
        if not others.any():
            return others
        return others & ((self.block[at] != block) | (self.time[at] == time))

    def note(self, at, thread, block, time) -> None:
        earlier, blocks = self.thread[at], self.block[at]
        fresh = (earlier == 0) | ((self.time[at] != time) & (blocks == block))
        self.thread[at] = np.where(fresh | (earlier == thread), thread, _MANY)
        self.block[at] = np.where((blocks == 0) | (blocks == block), block, _MANY)
        self.time[at] = time
        # Several of these threads may be at the same granule.
        several = self.thread[at] != thread
        if several.any():
            self.thread[at[several]] = _MANY
            self.block[at[self.block[at] != block]] = _MANY

    def replace(self, at, thread, block, time) -> np.ndarray:
        """As `note` where nobody else may have been; where several of these threads are."""
        self.thread[at], self.block[at], self.time[at] = thread, block, time
        return self.thread[at] != thread


class Races:
    """Over so many granules; `thread` and `block` of an access are counted from 1."""

    def __init__(self, granules: int, what: str) -> None:
        self.what, self._granules = what, granules
        self._last: dict[str, _Last] = {}
        self._constant: np.ndarray | None = None

    def reads(self, at, thread, block, time, constant: bool = False) -> None:
        """`constant`: the launch must never write there, before or after, in order or not."""
        self._check(_READS, at, thread, block, time)
        self._lasting(_READS).note(at, thread, block, time)
        if constant:
            if self._constant is None:
                self._constant = np.zeros(self._granules, bool)
            self._constant[at] = True
            for kind in (_WRITES, _ATOMICS):
                if kind in self._last:
                    self._trap("read only", self._last[kind].thread[at] != 0, at, _READS, kind)

    def writes(self, at, thread, block, time) -> None:
        self._check(_WRITES, at, thread, block, time)
        several = self._lasting(_WRITES).replace(at, thread, block, time)
        self._trap("race", several, at, _WRITES, _WRITES)

    def updates(self, at, thread, block, time) -> None:
        """Atomics."""
        self._check(_ATOMICS, at, thread, block, time)
        self._lasting(_ATOMICS).note(at, thread, block, time)

    def _lasting(self, kind: str) -> _Last:
        if kind not in self._last:
            self._last[kind] = _Last(self._granules)
        return self._last[kind]

    def _check(self, kind: str, at, thread, block, time) -> None:
        for other in _AGAINST[kind]:
            if other in self._last:
                bad = self._last[other].of_others(at, thread, block, time)
                self._trap("race", bad, at, kind, other)
        if kind != _READS and self._constant is not None:
            self._trap("read only", self._constant[at], at, kind, "reads as constant")

    def _trap(self, trap: str, bad: np.ndarray, at: np.ndarray, what: str, other: str) -> None:
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            place = f"{self.what} {int(at[first])}"
            raise Trap(trap, f"one thread {what} what another {other} ({place})", first)
