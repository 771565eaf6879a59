"""What the threads of some blocks of a launch have: registers, memory, places in the code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .counters import Counters
from .memory import Memory, load, store
from .races import Races
from .trap import Trap

#: Where generic addresses lead.
SHARED_WINDOW, LOCAL_WINDOW = 0x10000000000, 0x20000000000
WINDOW = 1 << 36
#: A program counter of a thread that waits at a barrier, or is done.
WAIT, EXIT = 1 << 24, 1 << 28
WARP = 32

Active = np.ndarray | None


class Launch:
    """One launch: what all its blocks have in common."""

    def __init__(
        self,
        memory: Memory,
        grid: Sequence[int],
        block: Sequence[int],
        parameters: dict[str, bytes],
        symbols: dict[str, int],
        granule: int,
    ) -> None:
        self.memory, self.grid, self.block = memory, grid, block
        self.parameters, self.symbols, self.granule = parameters, symbols, granule
        self.threads = int(np.prod(block))
        self.races = Races(memory.end // granule + 1, self.threads, "global granule")
        self.counters = Counters(grid, block)
        self.shared_bytes = self.local_bytes = 0


class Threads:
    """The threads of consecutive blocks, in step."""

    def __init__(self, launch: Launch, first: int, blocks: int, registers: Sequence[Any]) -> None:
        self.launch, self.first, self.blocks = launch, first, blocks
        per = launch.threads
        self.count = count = blocks * per
        self.registers = [np.zeros(count, kind) for kind in registers]
        self.slots: dict[str, np.ndarray] = {}
        self.uniform: int | None = 0
        self.pc = np.zeros(count, np.int64)
        self.time = np.zeros(count, np.int32)
        self.number = np.arange(first * per, first * per + count, dtype=np.int64)
        self.within = self.number % per
        self.block_of = np.arange(count, dtype=np.int64) // per
        self.warp = self.block_of * -(-per // WARP) + self.within // WARP
        self.lane = (self.within % WARP).astype(np.uint32)
        size = -(-launch.shared_bytes // 16) * 16
        self.shared_size = size
        self.shared = np.zeros(size * blocks, np.uint8)
        self.shared_known = np.zeros(size * blocks, np.uint8)
        granules = size * blocks // launch.granule + 1
        self.shared_races = Races(granules, per, "shared granule")
        self.local_size = -(-launch.local_bytes // 16) * 16
        self.local = np.zeros(self.local_size * count, np.uint8)
        self.local_known = np.zeros(self.local_size * count, np.uint8)
        self.special = self._special()
        #: Copies to shared memory under way: threads, places, bytes, and each thread's group.
        self.copies: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self.groups = np.zeros(count, np.int64)

    def _special(self) -> dict[str, np.ndarray]:
        grid, block = self.launch.grid, self.launch.block
        number = self.number // self.launch.threads
        found: dict[str, Any] = {"%laneid": self.lane, "%warpid": self.within // WARP}
        for axis, name in enumerate("xyz"):
            before = int(np.prod(block[:axis]))
            found[f"%tid.{name}"] = self.within // before % block[axis]
            before = int(np.prod(grid[:axis]))
            found[f"%ctaid.{name}"] = number // before % grid[axis]
            found[f"%ntid.{name}"] = np.full(1, block[axis])
            found[f"%nctaid.{name}"] = np.full(1, grid[axis])
        return {name: np.asarray(value).astype(np.uint32) for name, value in found.items()}

    # Registers.

    def get(self, register: int, active: Active) -> np.ndarray:
        value = self.registers[register]
        return value if active is None else value[active]

    def put(self, register: int, active: Active, value: np.ndarray) -> None:
        """`value` is new, or is copied by the caller."""
        if active is None:
            if value.shape[0] != self.count:
                value = np.broadcast_to(value, (self.count,)).copy()
            self.registers[register] = value
        else:
            self.registers[register][active] = value

    def pick(self, values: np.ndarray, active: Active) -> np.ndarray:
        """Of values of all threads, those of the active ones."""
        return values if active is None else values[active]

    # Memory.

    def load(self, space: str, address: np.ndarray, size: int, many: int, active: Active):
        space, places, memory, known = self._resolve(space, address, size * many, active)
        self._touch(space, places, size * many, active, False)
        return [load(memory, known, places + k * size, size) for k in range(many)]

    def store(
        self,
        space: str,
        address: np.ndarray,
        values: Sequence[np.ndarray],
        size: int,
        active: Active,
    ) -> None:
        total = size * len(values)
        space, places, memory, known = self._resolve(space, address, total, active)
        if space == "const":
            raise Trap("read only", "a store to constants")
        self._touch(space, places, total, active, True)
        for k, value in enumerate(values):
            store(memory, known, places + k * size, value, size)

    def _resolve(self, space: str, address: np.ndarray, size: int, active: Active):
        address = address.astype(np.uint64)
        count = self.count if active is None else active.size
        if address.shape[0] != count:
            address = np.broadcast_to(address, (count,))
        if space == "generic":
            space, address = _generic(address)
        if space in ("global", "const"):
            memory = self.launch.memory
            places = memory.places(address, size)
            return space, places, memory.bytes, memory.initialised
        if space == "shared":
            limit, each = self.shared_size, self.pick(self.block_of, active)
            data = self.shared, self.shared_known
        elif space == "local":
            limit, each = self.local_size, active if active is not None else np.arange(self.count)
            data = self.local, self.local_known
        else:
            raise Trap("unknown instruction", f"memory of {space}")
        offsets = address.view(np.int64)
        if (offsets & (size - 1)).any():
            raise Trap("misaligned", f"{space} memory, {size} bytes")
        if ((offsets < 0) | (offsets > limit - size)).any():
            raise Trap("out of bounds", f"{space} memory at {int(offsets.max())} of {limit}")
        return space, offsets + each * limit, *data

    def _touch(
        self, space: str, places: np.ndarray, size: int, active: Active, writes: bool
    ) -> None:
        launch = self.launch
        if space == "local":
            return
        thread, time = self.pick(self.number, active), self.pick(self.time, active)
        if space == "shared":
            thread = thread - self.first * launch.threads
        races = self.shared_races if space == "shared" else launch.races
        for k in range(0, size, launch.granule):
            at = (places + k) // launch.granule
            if writes:
                races.writes(at, thread, time)
            elif space != "const":
                races.reads(at, thread, time)
        warp = self.pick(self.warp, active)
        if space == "shared":
            launch.counters.shared(places % max(self.shared_size, 1), warp, size)
        else:
            launch.counters.memory(places, warp, size, writes)

    def atomic(
        self,
        space: str,
        address: np.ndarray,
        given: Sequence[np.ndarray],
        size: int,
        type_: str,
        combine: Any,
        active: Active,
        target: Any,
    ) -> None:
        """One thread after the other; atomics are no races among themselves."""
        space, places, memory, known = self._resolve(space, address, size, active)
        old = load(memory, known, places, size)
        kind = _number_type(type_, size)
        found = np.zeros(places.size, old.dtype)
        values = [np.ascontiguousarray(value).view(kind) for value in given]
        cells = memory.view(f"uint{8 * size}")
        for n, place in enumerate(places >> (size.bit_length() - 1)):
            before = cells[place : place + 1].view(kind)[0]
            found[n] = cells[place]
            after = combine(type_, before, *(value[n] for value in values))
            cells[place : place + 1].view(kind)[0] = after
        if target is not None:
            target(self, active, found)

    # Copies to shared memory that go on while the thread does.

    def copy_later(
        self,
        to: np.ndarray,
        address: np.ndarray,
        size: int,
        taken: np.ndarray | None,
        active: Active,
    ) -> None:
        mine = np.arange(self.count) if active is None else active
        data = np.zeros((mine.size, size), np.uint8)
        taken = np.full(mine.size, size) if taken is None else np.broadcast_to(taken, (mine.size,))
        for amount in np.unique(taken):
            some = np.flatnonzero(taken == amount)
            if amount:
                source = np.broadcast_to(address, (mine.size,))[some]
                if (source % np.uint64(size)).any():
                    raise Trap("misaligned", f"a copy of {size} bytes")
                step = min(int(amount) & -int(amount), 8)
                parts = [
                    self.load("global", source + np.uint64(k), step, 1, mine[some])[0]
                    for k in range(0, int(amount), step)
                ]
                raw = np.ascontiguousarray(np.stack(parts, 1)).view(np.uint8)
                data[some, : int(amount)] = raw
        _, places, _, known = self._resolve("shared", to, size, active)
        # It may be written from now on, until it is waited for.
        self._touch("shared", places, size, active, True)
        for k in range(size):
            known[places + k] = 0  # until it is waited for
        self.copies.append((mine, places, data, self.groups[mine].copy()))

    def commit(self, active: Active) -> None:
        self.groups[active if active is not None else slice(None)] += 1

    def wait(self, left: int, active: Active) -> None:
        """All but the last `left` groups of these threads are done."""
        waits = np.zeros(self.count, bool)
        waits[active if active is not None else slice(None)] = True
        kept = []
        for mine, places, data, group in self.copies:
            done = waits[mine] & (group < self.groups[mine] - left)
            if done.any():
                some = np.flatnonzero(done)
                self._touch("shared", places[some], data.shape[1], mine[some], True)
                for k in range(data.shape[1]):
                    self.shared[places[some] + k] = data[some, k]
                    self.shared_known[places[some] + k] = 1
            rest = np.flatnonzero(~done)
            if rest.size:
                kept.append((mine[rest], places[rest], data[rest], group[rest]))
        self.copies = kept


def _number_type(type_: str, size: int) -> np.dtype:
    letter = {"f": "float", "s": "int"}.get(type_[0], "uint")
    return np.dtype(f"{letter}{8 * size}")


def _generic(address: np.ndarray) -> tuple[str, np.ndarray]:
    for space, window in (("shared", SHARED_WINDOW), ("local", LOCAL_WINDOW)):
        inside = (address >= window) & (address < window + WINDOW)
        if inside.all() and inside.size:
            return space, address - np.uint64(window)
        if inside.any():
            raise Trap("unknown instruction", "one access to several kinds of memory")
    return "global", address
