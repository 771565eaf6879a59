"""Instructions of a whole warp: shuffles and votes; a part of `Decoder`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .state import WARP, Active, Threads
from .syntax import Instruction
from .trap import Trap

Operation = Callable[[Threads, Active], None]


class WarpInstructions:
    operand: Callable[..., Any]
    target: Callable[..., Any]

    def _shfl(self, i: Instruction) -> Operation:
        mode = i.opcode[2]
        to, value, by, clamp, mask = i.operands
        names = to.split("|")
        target = self.target(names[0])
        valid = self.target(names[1]) if len(names) > 1 else None
        sources = [self.operand(text, 32) for text in (value, by, clamp, mask)]

        def operate(s: Threads, active: Active) -> None:
            count = s.count if active is None else active.size
            x, b, c, m = (np.broadcast_to(f(s, active), (count,)) for f in sources)
            lane = s.pick(s.lane, active).astype(np.int64)
            limit, segment = (c & 31).astype(np.int64), ((c >> 8) & 31).astype(np.int64)
            top = (lane & segment) | (limit & ~segment)
            low = lane & segment
            b = b.astype(np.int64) & 31
            if mode == "bfly":
                other = lane ^ b
                good = other <= top
            elif mode == "down":
                other = lane + b
                good = other <= top
            elif mode == "up":
                other = lane - b
                good = other >= top if True else low
            else:
                other = low | (b & ~segment)
                good = other <= top
            other = np.where(good, other, lane)
            mine = np.arange(s.count) if active is None else active
            present = np.zeros(s.count + WARP, bool)
            present[mine] = True
            origin = mine - lane + other
            if not (
                present[origin] & (s.warp[np.minimum(origin, s.count - 1)] == s.warp[mine])
            ).all():
                raise Trap("inactive lane", str(i))
            if not (((m >> other.astype(np.uint32)) & 1) == 1).all():
                raise Trap("inactive lane", f"not in the mask: {i}")
            _whole_mask(s, mine, m, i)
            everyone = np.zeros(s.count, np.uint32)
            everyone[mine] = x
            target(s, active, everyone[origin])
            if valid is not None:
                valid(s, active, good)

        return operate

    def _vote(self, i: Instruction) -> Operation:
        kind = i.opcode[2]
        target, truth = self.target(i.operands[0]), self.operand(i.operands[1], 1)

        def operate(s: Threads, active: Active) -> None:
            mine = np.arange(s.count) if active is None else active
            value = np.broadcast_to(truth(s, active), (mine.size,))
            warp, lane = s.warp[mine], s.lane[mine]
            ballot = np.zeros(int(s.warp.max()) + 1, np.uint32)
            np.bitwise_or.at(ballot, warp, np.where(value, np.uint32(1) << lane, np.uint32(0)))
            missing = np.zeros(ballot.size, bool)
            np.logical_or.at(missing, warp, ~value)
            if kind == "ballot":
                target(s, active, ballot[warp])
            else:
                target(s, active, ballot[warp] != 0 if kind == "any" else ~missing[warp])

        return operate


def _whole_mask(s: Threads, mine: np.ndarray, mask: np.ndarray, i: Instruction) -> None:
    """All lanes that the mask names must be here."""
    here = np.zeros(int(s.warp.max()) + 1, np.uint32)
    np.bitwise_or.at(here, s.warp[mine], np.uint32(1) << s.lane[mine])
    if (mask & ~here[s.warp[mine]]).any():
        raise Trap("inactive lane", f"the mask names lanes that are not here: {i}")
