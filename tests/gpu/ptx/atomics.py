"""Atomic instructions: a part of `Decoder`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .state import Active, Threads
from .syntax import Instruction
from .trap import Trap

Operation = Callable[[Threads, Active], None]

#: The new value, of the old one and the operands.
_ATOMS: dict[str, Callable[..., Any]] = {
    "add": lambda old, x: old + x,
    "min": min,
    "max": max,
    "and": lambda old, x: old & x,
    "or": lambda old, x: old | x,
    "xor": lambda old, x: old ^ x,
    "exch": lambda old, x: x,
    "cas": lambda old, x, y: y if old == x else old,
    "inc": lambda old, x: old + 1 if old < x else 0,
    "dec": lambda old, x: old - 1 if 0 < old <= x else x,
}
_INTEGERS = {"b32", "b64", "s32", "s64", "u32", "u64"}
_TYPES = {
    **dict.fromkeys(_ATOMS, _INTEGERS),
    "add": _INTEGERS | {"f16", "f32", "f64"},
    "cas": _INTEGERS | {"b16"},
}
#: How they are ordered and who sees them: nothing here is weaker than what they ask for.
_MODES = {"relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys", "noftz"}
_SPACES = {"global": "global", "shared": "shared", "shared::cta": "shared"}


class AtomicInstructions:
    operand: Callable[..., Any]
    target: Callable[..., Any]
    address: Callable[..., Any]

    def _red(self, i: Instruction) -> Operation:
        return self._atomic(i, None, i.operands[0], i.operands[1:])

    def _atom(self, i: Instruction) -> Operation:
        return self._atomic(i, self.target(i.operands[0]), i.operands[1], i.operands[2:])

    def _atomic(self, i: Instruction, target: Any, place: str, operands: Sequence[str]):
        *modes, type_ = i.opcode[1:]
        names = [m for m in modes if m in _ATOMS]
        space = next((_SPACES[m] for m in modes if m in _SPACES), "generic")
        rest = set(modes) - _MODES - set(_SPACES) - set(names)
        if rest or len(names) != 1 or type_ not in _TYPES[names[0]]:
            raise Trap("unknown instruction", str(i))
        letter = {"f": "f", "s": "i"}.get(type_[0], "u")
        kind = np.dtype(f"{letter}{int(type_[1:]) // 8}")
        address, combine = self.address(place), _ATOMS[names[0]]
        values = [self.operand(text, 8 * kind.itemsize) for text in operands]

        def operate(s: Threads, active: Active) -> None:
            count = s.count if active is None else active.size
            given = [np.broadcast_to(value(s, active), (count,)) for value in values]
            found = s.atomic(space, address(s, active), given, kind, combine, active)
            s.launch.counters.flops += count * (letter == "f")
            if target is not None:
                target(s, active, found)

        return operate
