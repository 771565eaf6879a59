"""What a GPU function keeps between calls: device memory, and statuses still to be looked at."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterator

from . import driver

_PENDING = -1
_WORDS, _BYTES = 256, ctypes.sizeof(ctypes.c_int)


class Arena:
    """Device memory for one call after another, on whatever streams they are."""

    def __init__(self, context: int, size: int) -> None:
        self.context = context
        self.address = driver.allocate(size)
        try:
            self._event = driver.new_event()
        except driver.CudaError:
            driver.library().cuMemFree_v2(self.address)
            raise

    @contextlib.contextmanager
    def used_on(self, stream: int) -> Iterator[int]:
        """Inside, work may be put into the stream; it begins when that of earlier calls is done."""
        driver.call("cuStreamWaitEvent", stream, self._event, 0)
        try:
            yield self.address
        finally:
            driver.call("cuEventRecord", self._event, stream)

    def free(self) -> None:
        """Waits for the device. A context that is gone has taken the memory with it."""
        with contextlib.suppress(driver.CudaError), driver.using(self.context):
            driver.library().cuMemFree_v2(self.address)
            driver.library().cuEventDestroy_v2(self._event)


class Statuses:
    """A word of host memory for each call, which the device writes when it comes that far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: list[tuple[int, int]] = []  # context and address
        self._free: list[ctypes.c_int] = []
        self._waiting: list[ctypes.c_int] = []
        self._recorded: list[ctypes.c_int] = []

    def take(self, context: int, recorded: bool) -> ctypes.c_int:
        """A fresh word, in the current context. `recorded`: into a graph, which may run often."""
        with self._lock:
            if not self._free:
                block = driver.allocate_host(_WORDS * _BYTES)
                self._blocks.append((context, block))
                places = range(block, block + _WORDS * _BYTES, _BYTES)
                self._free = [ctypes.c_int.from_address(place) for place in places]
            word = self._free.pop()
            word.value = 0 if recorded else _PENDING
            (self._recorded if recorded else self._waiting).append(word)
            return word

    def withdraw(self, word: ctypes.c_int) -> None:
        """Nothing will write the word: its call failed."""
        word.value = 0

    def found(self) -> int:
        """The first status other than 0 among the calls that are done, which are forgotten."""
        with self._lock:
            done, waiting = [], []  # a word may be written while we look
            for word in self._waiting:
                (waiting if word.value == _PENDING else done).append(word)
            bad = [word.value for word in (*done, *self._recorded) if word.value]
            self._waiting = waiting
            self._free += done
            for word in self._recorded:
                word.value = 0
            return bad[0] if bad else 0

    def free(self) -> None:
        """Waits for the device."""
        with self._lock:
            for context, block in self._blocks:
                with contextlib.suppress(driver.CudaError), driver.using(context):
                    driver.library().cuMemFreeHost(block)
            self._blocks, self._free, self._waiting, self._recorded = [], [], [], []
