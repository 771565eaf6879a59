"""Instructions of a warp on matrices, mma.sync and ldmatrix: a part of `Decoder`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import fragments
from .state import WARP, Active, Threads
from .syntax import Instruction
from .trap import Trap
from .values import UnknownInstruction

Operation = Callable[[Threads, Active], None]


class MatrixInstructions:
    operand: Callable[..., Any]
    target: Callable[..., Any]
    address: Callable[..., Any]

    def _mma(self, i: Instruction) -> Operation:
        size = 64 if i.opcode[-1] == "f64" else 32
        to, *given = (_registers(text) for text in i.operands)
        targets = [self.target(name) for name in to]
        sources = [[self.operand(name, size) for name in names] for names in given]
        try:
            counts = fragments.registers(i.opcode)
        except UnknownInstruction as error:
            raise Trap("unknown instruction", str(i)) from error
        if tuple(map(len, (to, *given))) != counts:
            raise Trap("syntax", f"registers of {i}")
        m, n, k = fragments.sizes(i.opcode[3])

        def operate(s: Threads, active: Active) -> None:
            mine = _warps(s, active)
            a, b, c = (_stacked(s, active, names, mine.size) for names in sources)
            found = fragments.mma(i.opcode, a, b, c)
            s.launch.counters.flops += 2 * m * n * k * (mine.size // WARP)
            for number, target in enumerate(targets):
                target(s, active, found[:, :, number].reshape(-1).copy())

        return operate

    def _ldmatrix(self, i: Instruction) -> Operation:
        modes = set(i.opcode[1:])
        count = next((int(m[1:]) for m in modes if m in ("x1", "x2", "x4")), 0)
        shared = modes & {"shared", "shared::cta"}
        left = modes - {"sync", "aligned", "m8n8", "trans", "b16", f"x{count}"} - shared
        names = _registers(i.operands[0])
        if left or not shared or not {"m8n8", "b16"} <= modes or len(names) != count:
            raise Trap("unknown instruction", str(i))
        targets, address = [self.target(name) for name in names], self.address(i.operands[1])
        lanes, offsets = fragments.ldmatrix(count, "trans" in modes)

        def operate(s: Threads, active: Active) -> None:
            mine = _warps(s, active).reshape(-1, WARP)
            rows = np.broadcast_to(address(s, active), (mine.size,)).reshape(-1, WARP)
            used = slice(0, 8 * count)
            sources = np.arange(len(mine))[:, None, None, None] * 8 * count + lanes
            found = s.load_rows(rows[:, used].ravel(), mine[:, used].ravel(), sources, offsets)
            whole = found[..., 0].astype(np.uint32) | found[..., 1].astype(np.uint32) << 16
            for number, target in enumerate(targets):
                target(s, active, whole[:, :, number].reshape(-1).copy())

        return operate


def _registers(text: str) -> list[str]:
    return [name.strip() for name in text.strip("{}").split(",")]


def _stacked(s: Threads, active: Active, sources: list[Any], count: int) -> np.ndarray:
    """(warps, 32, registers)."""
    values = [np.broadcast_to(source(s, active), (count,)) for source in sources]
    return np.stack(values, 1).reshape(-1, WARP, len(values))


def _warps(s: Threads, active: Active) -> np.ndarray:
    """These threads, which must be whole warps."""
    mine = np.arange(s.count) if active is None else active
    whole = mine.size % WARP == 0
    if whole:
        lanes, warps = s.lane[mine].reshape(-1, WARP), s.warp[mine].reshape(-1, WARP)
        whole = bool((lanes == np.arange(WARP)).all() and (warps == warps[:, :1]).all())
    if not whole:
        raise Trap("inactive lane", "a matrix instruction without its whole warp")
    return mine
