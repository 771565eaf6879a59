"""What the threads of some blocks of a launch have: registers, memory, places in the code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .copies import Copies
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


@dataclass(frozen=True)
class Access:
    """What an instruction does with so many bytes; atomics read and write."""

    size: int
    reads: bool = False
    writes: bool = False
    constant: bool = False
    counted: bool = True


def unlikely(kind: Any) -> Any:
    """What a register holds that nothing has been put into."""
    size = np.dtype(kind).itemsize
    return np.frombuffer(b"\xa5" * size, f"u{size}").astype(kind)[0]


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
        self.races = Races(memory.end // granule + 1, "global granule")
        self.counters = Counters(grid, block, memory.end)
        self.shared_bytes = self.local_bytes = 0


class Threads:
    """The threads of consecutive blocks, in step."""

    def __init__(self, launch: Launch, first: int, blocks: int, registers: Sequence[Any]) -> None:
        self.launch, self.first, self.blocks = launch, first, blocks
        per = launch.threads
        self.count = count = blocks * per
        self.registers = [np.full(count, unlikely(kind), kind) for kind in registers]
        self.slots: dict[str, np.ndarray] = {}
        self.uniform: int | None = 0
        self.pc = np.zeros(count, np.int64)
        self.time = np.zeros(count, np.int32)
        self.number = np.arange(first * per, first * per + count, dtype=np.int64)
        self.within = self.number % per
        self.block_of = np.arange(count, dtype=np.int64) // per
        self.group = self.block_of + first + 1
        self.warp = self.block_of * -(-per // WARP) + self.within // WARP
        self.warps = blocks * -(-per // WARP)
        self.lane = (self.within % WARP).astype(np.uint32)
        size = -(-launch.shared_bytes // 16) * 16
        self.shared_size = size
        self.shared = np.zeros(size * blocks, np.uint8)
        self.shared_known = np.zeros(size * blocks, np.uint8)
        self.shared_races = Races(size * blocks // launch.granule + 1, "shared granule")
        self.local_size = -(-launch.local_bytes // 16) * 16
        self.local = np.zeros(self.local_size * count, np.uint8)
        self.local_known = np.zeros(self.local_size * count, np.uint8)
        self.special = self._special()
        self.copies = Copies(count)

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
        lanes = self.lane.astype(np.int64)
        found |= {
            "%lanemask_eq": 1 << lanes,
            "%lanemask_lt": (1 << lanes) - 1,
            "%lanemask_le": (2 << lanes) - 1,
            "%lanemask_gt": (1 << WARP) - (2 << lanes),
            "%lanemask_ge": (1 << WARP) - (1 << lanes),
        }
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

    def load(
        self,
        space: str,
        address: np.ndarray,
        size: int,
        many: int,
        active: Active,
        constant: bool = False,
    ) -> list[np.ndarray]:
        """`constant`: memory that the launch does not write."""
        access = Access(size * many, reads=True, constant=constant)
        places, memory, known = self._reach(space, address, access, active)
        return [self._read(memory, known, places + k * size, size, active) for k in range(many)]

    def store(
        self,
        space: str,
        address: np.ndarray,
        values: Sequence[np.ndarray],
        size: int,
        active: Active,
    ) -> None:
        access = Access(size * len(values), writes=True)
        places, memory, known = self._reach(space, address, access, active)
        for k, value in enumerate(values):
            store(memory, known, places + k * size, value, size)

    def atomic(
        self,
        space: str,
        address: np.ndarray,
        given: Sequence[np.ndarray],
        kind: np.dtype,
        combine: Callable[..., Any],
        active: Active,
    ) -> np.ndarray:
        """One thread after the other; what each of them found."""
        size = kind.itemsize
        access = Access(size, reads=True, writes=True)
        places, memory, known = self._reach(space, address, access, active)
        found = self._read(memory, known, places, size, active)
        values = [np.ascontiguousarray(value).view(kind) for value in given]
        cells = memory.view(f"uint{8 * size}")
        for n, place in enumerate(places >> (size.bit_length() - 1)):
            found[n] = cells[place]
            cell = cells[place : place + 1].view(kind)
            cell[0] = combine(cell[0], *(value[n] for value in values))
        return found

    def load_rows(
        self, rows: np.ndarray, lanes: np.ndarray, sources: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """Two bytes each of rows of 16 bytes in shared memory, as ldmatrix distributes them.

        `rows`: addresses, given by `lanes`; `sources`: which of them, with `offsets` into it.
        """
        places, memory, known = self._reach("shared", rows, Access(16, reads=True), lanes)
        wanted = places[sources] + offsets
        return load(memory, known, wanted.ravel(), 2).reshape(wanted.shape)

    def begin_copy(self, address: np.ndarray, size: int, active: Active) -> np.ndarray:
        """Places in shared memory that nothing is known of until `end_copy`."""
        access = Access(size, writes=True, counted=False)
        places, _, known = self._reach("shared", address, access, active)
        for k in range(size):
            known[places + k] = 0
        return places

    def end_copy(self, places: np.ndarray, data: np.ndarray, threads: np.ndarray) -> None:
        self._touch("shared", places, Access(data.shape[1], writes=True), threads)
        for k in range(data.shape[1]):
            if self.shared_known[places + k].any():
                raise Trap("race", "what a copy writes was written before it was waited for")
            self.shared[places + k] = data[:, k]
            self.shared_known[places + k] = 1

    def _read(self, memory, known, places, size: int, active: Active) -> np.ndarray:
        try:
            return load(memory, known, places, size)
        except Trap as trap:
            raise self._blamed(trap, active) from None

    def _reach(
        self, space: str, address: np.ndarray, access: Access, active: Active
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places in memory, the memory, and what is known of it."""
        try:
            space, places, memory, known = self._resolve(space, address, access, active)
            self._touch(space, places, access, active)
        except Trap as trap:
            raise self._blamed(trap, active) from None
        return places, memory, known

    def _blamed(self, trap: Trap, active: Active) -> Trap:
        if trap.at is None:
            return trap
        thread = trap.at if active is None else int(active[trap.at])
        block, within = divmod(int(self.number[thread]), self.launch.threads)
        return Trap(trap.kind, f"{trap.message}, thread {within} of block {block}")

    def _resolve(self, space: str, address: np.ndarray, access: Access, active: Active):
        size = access.size
        address = address.astype(np.uint64)
        count = self.count if active is None else active.size
        if address.shape[0] != count:
            address = np.broadcast_to(address, (count,))
        if space == "generic":
            space, address = _generic(address)
        if space in ("global", "const"):
            memory = self.launch.memory
            places = memory.places(address, size, access.writes)
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
        for kind, bad in (
            ("misaligned", (offsets & (size - 1)) != 0),
            ("out of bounds", (offsets < 0) | (offsets > limit - size)),
        ):
            if bad.any():
                at = int(np.flatnonzero(bad)[0])
                message = f"{size} bytes of {space} memory at {int(offsets[at])} of {limit}"
                raise Trap(kind, message, at)
        return space, offsets + each * limit, *data

    def _touch(self, space: str, places: np.ndarray, access: Access, active: Active) -> None:
        if space == "local":
            return
        launch, size = self.launch, access.size
        block, time = self.pick(self.group, active), self.pick(self.time, active)
        thread = self.pick(self.number, active) + 1
        races = self.shared_races if space == "shared" else launch.races
        for k in range(0, size, launch.granule):
            at = (places + k) // launch.granule
            if access.reads and access.writes:
                races.updates(at, thread, block, time)
            elif access.writes:
                races.writes(at, thread, block, time)
            elif space != "const":
                races.reads(at, thread, block, time, access.constant)
        if not access.counted:
            return
        warp = self.pick(self.warp, active)
        if space == "shared":
            lane = self.pick(self.lane, active)
            launch.counters.shared(places % max(self.shared_size, 1), warp, lane, size)
        else:
            launch.counters.memory(places, warp, size, access.reads, access.writes)


def _generic(address: np.ndarray) -> tuple[str, np.ndarray]:
    for space, window in (("shared", SHARED_WINDOW), ("local", LOCAL_WINDOW)):
        inside = (address >= window) & (address < window + WINDOW)
        if inside.all() and inside.size:
            return space, address - np.uint64(window)
        if inside.any():
            raise Trap("unknown instruction", "one access to several kinds of memory")
    return "global", address
