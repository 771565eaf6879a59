"""Runs a kernel: blocks in batches, all threads of a batch in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .counters import Counters
from .memory import Memory
from .program import Block, Entry, Program
from .state import EXIT, WAIT, Active, Launch, Threads
from .syntax import Instruction
from .trap import Trap

#: Threads that run in step, and steps (basic blocks) after which a kernel is taken to hang.
BATCH, MOST_STEPS = 1 << 17, 5_000_000
MOST_THREADS, MOST_SHARED = 1024, 227 << 10


def launch(
    program: Program,
    name: str,
    grid: Sequence[int],
    block: Sequence[int],
    params: Sequence[bytes],
    shared_bytes: int,
    memory: Memory,
) -> Counters:
    """Runs an entry over the whole grid. Trap: see trap.py; what was written stays written."""
    entry = program.entry(name)
    function = entry.decoder.function
    _check(function, grid, block, params, entry.shared_bytes + shared_bytes)
    names = [name for name, _ in function.parameters]
    symbols = program.load(memory)
    given = dict(zip(names, params, strict=True))
    state = Launch(memory, tuple(grid), tuple(block), given, symbols, entry.granule)
    state.shared_bytes = entry.shared_bytes + shared_bytes
    state.local_bytes = entry.local_bytes
    blocks = int(np.prod(np.asarray(grid, np.int64)))
    per_batch = max(1, BATCH // state.threads)
    with np.errstate(all="ignore"):
        for first in range(0, blocks, per_batch):
            count = min(per_batch, blocks - first)
            _run(entry, Threads(state, first, count, entry.decoder.kinds))
    state.counters.close()
    return state.counters


def _check(function: Any, grid, block, params, shared: int) -> None:
    if len(params) != len(function.parameters):
        raise Trap("parameters", f"{function.name} takes {len(function.parameters)}")
    for value, (name, size) in zip(params, function.parameters, strict=True):
        if len(value) != size:
            raise Trap("parameters", f"{name} has {size} bytes, not {len(value)}")
    if np.prod(block) > MOST_THREADS or min(*grid, *block) < 1 or block[2] > 64:
        raise Trap("launch", f"{function.name}: grid {grid}, block {block}")
    if function.block is not None and tuple(block) != function.block:
        raise Trap("launch", f"{function.name} needs blocks of {function.block}, not {block}")
    if shared > MOST_SHARED:
        raise Trap("launch", f"{function.name}: {shared} bytes of shared memory")


def _run(entry: Entry, s: Threads) -> None:
    counters = s.launch.counters
    executed = np.zeros(s.count, np.int64)
    for _ in range(MOST_STEPS):
        active: Active = None
        if s.uniform is not None:
            pc = s.uniform
            if pc >= EXIT:
                break
        else:
            pc = int(s.pc.min())
            if pc >= EXIT:
                break
            if pc >= WAIT:
                _release(s)
                continue
            pc, active = _next(entry, s, pc)
            if active.size == s.count:
                s.uniform, active = pc, None
        block = entry.blocks[pc]
        length = len(block.operations) + (block.end is not None)
        count, warps = s.count, s.warps
        if active is not None:
            count, warps = active.size, 1 + np.count_nonzero(np.diff(s.warp[active]))
        executed[slice(None) if active is None else active] += length
        counters.instructions += length * count
        counters.warp_instructions += length * int(warps)
        _execute(entry, s, block, active)
    else:
        raise Trap("endless", "too many steps")
    counters.most = max(counters.most, int(executed.max()))
    counters.total += int(executed.sum())
    counters.threads += s.count


def _next(entry: Entry, s: Threads, first: int) -> tuple[int, np.ndarray]:
    """Which threads go on, and where: those that are least far, for branches meet further on.

    A thread waits in front of a `.sync` instruction as long as others of its warp may come.
    """
    if not entry.blocks[first].together:
        return first, np.flatnonzero(s.pc == first)
    for pc in np.unique(s.pc[s.pc < WAIT]):
        here = s.pc == pc
        if entry.blocks[pc].together:
            incomplete = np.zeros(s.warps, bool)
            incomplete[s.warp[~here & (s.pc < EXIT)]] = True
            here &= ~incomplete[s.warp]
        if here.any():
            return int(pc), np.flatnonzero(here)
    return first, np.flatnonzero(s.pc == first)


def _execute(entry: Entry, s: Threads, block: Block, active: Active) -> None:
    at = 0
    try:
        for at, operation in enumerate(block.operations):  # noqa: B007
            operation(s, active)
    except Trap as trap:
        raise Trap(trap.kind, f"{trap.message} in {block.instructions[at]}") from None
    _end(entry, s, block, active)


def _end(entry: Entry, s: Threads, block: Block, active: Active) -> None:
    end = block.end
    if end is None:
        _go(s, active, block.follows)
        return
    target = block.follows
    match end.opcode[0]:
        case "bra":
            target = entry.labels[end.operands[0]]
        case "ret" | "exit" | "trap":
            target = EXIT
        case "brx":
            _table(entry, s, end, active)
            return
        case _:
            _wait(s, block, active)
            return
    truth = entry.decoder.operand(end.guard, 1)(s, active) if end.guard else np.ones(1, bool)
    if end.opcode[0] == "trap" and truth.any():
        raise Trap("trap", str(end))
    if truth.all():
        _go(s, active, target)
    elif not truth.any():
        _go(s, active, block.follows)
    else:
        _scatter(s, active, np.where(truth, target, block.follows))


def _go(s: Threads, active: Active, target: int) -> None:
    if active is None:
        s.uniform = target
    else:
        s.pc[active] = target


def _scatter(s: Threads, active: Active, targets: np.ndarray) -> None:
    if active is None:
        s.uniform = None
        s.pc = np.array(targets, np.int64)
    else:
        s.pc[active] = targets


def _table(entry: Entry, s: Threads, end: Instruction, active: Active) -> None:
    index, name = end.operands
    if end.guard:
        raise Trap("unknown instruction", str(end))
    labels = entry.decoder.function.tables[name]
    places = np.array([entry.labels[label] for label in labels])
    chosen = entry.decoder.operand(index, 32)(s, active)
    if (chosen >= len(labels)).any():
        raise Trap("out of bounds", f"a branch table: {end}")
    targets = np.broadcast_to(places[chosen], (s.count if active is None else active.size,))
    _scatter(s, active, targets)


def _wait(s: Threads, block: Block, active: Active) -> None:
    end = block.end
    assert end is not None
    if len(end.operands) > 1 and end.operands[1] != str(s.launch.threads):
        raise Trap("unknown instruction", str(end))
    if end.guard:
        raise Trap("unknown instruction", str(end))
    if active is None:
        s.time = s.time + 1
        s.uniform = block.follows
    else:
        s.pc[active] = block.follows + WAIT


def _release(s: Threads) -> None:
    """No thread can go on but past a barrier: each must have its whole block there."""
    waiting = (s.pc >= WAIT) & (s.pc < EXIT)
    per = s.launch.threads
    pcs, waits = s.pc.reshape(-1, per), waiting.reshape(-1, per)
    some, every = waits.any(1), waits.all(1)
    same = (pcs == pcs[:, :1]).all(1)
    bad = np.flatnonzero(some & ~(every & same))
    if bad.size:
        raise Trap("divergent barrier", f"block {s.first + int(bad[0])}")
    s.pc[waiting] -= WAIT
    s.time[waiting] += 1
