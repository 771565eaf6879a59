"""Instructions of a whole warp: shuffles, votes and reductions; a part of `Decoder`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .state import Active, Threads
from .syntax import Instruction
from .trap import Trap

Operation = Callable[[Threads, Active], None]


class WarpInstructions:
    operand: Callable[..., Any]
    target: Callable[..., Any]

    def _shfl(self, i: Instruction) -> Operation:
        _, sync, mode, *_ = i.opcode
        if sync != "sync" or mode not in ("bfly", "down", "up", "idx"):
            raise Trap("unknown instruction", str(i))
        to, value, by, clamp, mask = i.operands
        names = to.split("|")
        target = self.target(names[0])
        valid = self.target(names[1]) if len(names) > 1 else None
        sources = [self.operand(text, 32) for text in (value, by, clamp, mask)]

        def operate(s: Threads, active: Active) -> None:
            mine = _all(s, active)
            x, b, c, m = (np.broadcast_to(f(s, active), (mine.size,)) for f in sources)
            lane = s.lane[mine].astype(np.int64)
            limit, segment = (c & 31).astype(np.int64), ((c >> 8) & 31).astype(np.int64)
            top = (lane & segment) | (limit & ~segment)
            b = b.astype(np.int64) & 31
            if mode == "up":
                other = lane - b
                good = other >= top
            else:
                other = {
                    "bfly": lane ^ b,
                    "down": lane + b,
                    "idx": (lane & segment) | (b & ~segment),
                }[mode]
                good = other <= top
            other = np.where(good, other, lane)
            _whole_mask(s, mine, m)
            if not ((m >> other.astype(np.uint32)) & 1).all():
                raise Trap("inactive lane", "a lane is read that is not in the mask")
            everyone = np.zeros(s.count, np.uint32)
            everyone[mine] = x
            target(s, active, everyone[mine - lane + other])
            if valid is not None:
                valid(s, active, good)

        return operate

    def _vote(self, i: Instruction) -> Operation:
        _, sync, kind, *_ = i.opcode
        if sync != "sync" or kind not in ("ballot", "any", "all", "uni"):
            raise Trap("unknown instruction", str(i))
        target, truth = self.target(i.operands[0]), self.operand(i.operands[1], 1)
        mask = self.operand(i.operands[2], 32)

        def operate(s: Threads, active: Active) -> None:
            mine = _all(s, active)
            _whole_mask(s, mine, np.broadcast_to(mask(s, active), (mine.size,)))
            value = np.broadcast_to(truth(s, active), (mine.size,))
            yes, no = _ballot(s, mine, value), _ballot(s, mine, ~value)
            found = {
                "ballot": yes,
                "any": yes != 0,
                "all": no == 0,
                "uni": (yes == 0) | (no == 0),
            }[kind]
            target(s, active, found)

        return operate

    def _activemask(self, i: Instruction) -> Operation:
        target = self.target(i.operands[0])

        def operate(s: Threads, active: Active) -> None:
            mine = _all(s, active)
            target(s, active, _ballot(s, mine, np.ones(mine.size, bool)))

        return operate

    def _redux(self, i: Instruction) -> Operation:
        _, sync, kind, type_ = i.opcode
        if sync != "sync" or kind not in _REDUCTIONS or type_ not in ("s32", "u32", "b32"):
            raise Trap("unknown instruction", str(i))
        target = self.target(i.operands[0])
        value, mask = (self.operand(text, 32) for text in i.operands[1:])
        number, combine = np.dtype("i4" if type_ == "s32" else "u4"), _REDUCTIONS[kind]

        def operate(s: Threads, active: Active) -> None:
            mine = _all(s, active)
            _whole_mask(s, mine, np.broadcast_to(mask(s, active), (mine.size,)))
            given = np.broadcast_to(value(s, active), (mine.size,)).copy().view(number)
            starts = np.flatnonzero(np.diff(s.warp[mine], prepend=-1))
            lanes = np.diff(starts, append=mine.size)
            total = combine.reduceat(given, starts).astype(number)
            target(s, active, np.repeat(total, lanes).view(np.uint32))

        return operate

    def _bar(self, i: Instruction) -> Operation:
        """Of a warp; those of blocks end basic blocks. It orders nothing: races stay races."""
        if i.opcode != ("bar", "warp", "sync"):
            raise Trap("unknown instruction", str(i))
        mask = self.operand(i.operands[0], 32)

        def operate(s: Threads, active: Active) -> None:
            mine = _all(s, active)
            _whole_mask(s, mine, np.broadcast_to(mask(s, active), (mine.size,)))

        return operate

    _barrier = _bar


_REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


def _all(s: Threads, active: Active) -> np.ndarray:
    return np.arange(s.count) if active is None else active


def _ballot(s: Threads, mine: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """For each of these threads, the lanes of its warp where it is true."""
    found = np.zeros(s.warps, np.uint32)
    np.bitwise_or.at(found, s.warp[mine], truth.astype(np.uint32) << s.lane[mine])
    return found[s.warp[mine]]


def _whole_mask(s: Threads, mine: np.ndarray, mask: np.ndarray) -> None:
    """The mask names lanes that are here, each of which says so.

    Hardware takes different masks for different parts of a warp: nothing here needs that.
    """
    if mine.size == s.count and s.count % 32 == 0 and (mask == 0xFFFFFFFF).all():
        return
    here = _ballot(s, mine, np.ones(mine.size, bool))
    if (mask & ~here).any():
        raise Trap("inactive lane", "the mask names lanes that are not here")
    if not ((mask >> s.lane[mine]) & 1).all():
        raise Trap("inactive lane", "a lane is not in its own mask")
    for combine in (np.bitwise_and, np.bitwise_or):
        each = np.full(s.warps, 0xFFFFFFFF if combine is np.bitwise_and else 0, np.uint32)
        combine.at(each, s.warp[mine], mask)
        if (each[s.warp[mine]] != mask).any():
            raise Trap("inactive lane", "lanes of one warp name different lanes")
