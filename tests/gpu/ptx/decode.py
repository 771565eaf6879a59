"""Instructions as functions of the threads' state."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .meaning import meaning_of
from .state import LOCAL_WINDOW, SHARED_WINDOW, Active, Threads
from .syntax import Function, Instruction, bits_of
from .trap import Trap
from .values import UnknownInstruction, width
from .warps import WarpInstructions

Operation = Callable[[Threads, Active], None]
Operand = Callable[[Threads, Active], np.ndarray]
KINDS = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_ADDRESS = re.compile(r"\[\s*(%?[\w$]+(?:\.[xyzw])?)\s*(?:\+\s*(-?\d+))?\s*\]")


@dataclass
class Decoder(WarpInstructions):
    """For one entry; `addresses` of variables, in the space they lie in."""

    function: Function
    addresses: dict[str, tuple[str, int]]
    registers: dict[str, int] = field(default_factory=dict)
    kinds: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name, type_ in self.function.registers.items():
            self.registers[name] = len(self.kinds)
            self.kinds.append(KINDS[bits_of(type_)])

    def operation(self, i: Instruction) -> Operation:
        """What the instruction does; branches and barriers are the machine's."""
        make = getattr(self, f"_{i.opcode[0]}", None)
        run = make(i) if make is not None else self._pure(i)
        if not i.guard:
            return run
        predicate = self.operand(i.guard, 1)

        def guarded(s: Threads, active: Active) -> None:
            truth = predicate(s, active)
            if truth.all():
                run(s, active)
            elif truth.any():
                truth = np.broadcast_to(truth, (s.count if active is None else active.size,))
                run(s, np.flatnonzero(truth) if active is None else active[truth])

        return guarded

    # Operands.

    def operand(self, text: str, bits: int) -> Operand:
        if text.startswith("!"):
            inner = self.operand(text[1:], 1)
            return lambda s, active: ~inner(s, active)
        if text in self.registers:
            return self._register(self.registers[text], bits)
        if text.startswith("%"):
            return lambda s, active: _special(s, text, active)
        if text in self.addresses:
            value: Any = KINDS[bits](self.addresses[text][1])
        elif text in self.function_labels():
            raise Trap("unknown instruction", f"a label as a value: {text}")
        else:
            value = _immediate(text, bits)
        constant = np.full(1, value, KINDS[bits])
        if text in self.addresses and self.addresses[text][0] == "symbol":
            return lambda s, _: np.full(1, s.launch.symbols[text], np.uint64).astype(KINDS[bits])
        return lambda s, active: constant

    def function_labels(self) -> set[str]:
        return {item for item in self.function.code if isinstance(item, str)}

    def _register(self, index: int, bits: int) -> Operand:
        kind = KINDS[bits]
        if self.kinds[index] == kind:
            return lambda s, active: s.get(index, active)
        return lambda s, active: s.get(index, active).astype(kind)

    def target(self, text: str) -> Callable[[Threads, Active, np.ndarray], None]:
        """Stores fresh arrays into a register, extended with zeros if it is wider."""
        if text == "_":
            return lambda s, active, value: None
        index = self.registers[text]
        kind = self.kinds[index]
        return lambda s, active, value: s.put(index, active, value.astype(kind, copy=False))

    # Pure instructions.

    def _pure(self, i: Instruction) -> Operation:
        try:
            meaning = meaning_of(i.opcode)
        except UnknownInstruction as error:
            raise Trap("unknown instruction", str(i)) from error
        name, *more = i.operands
        if "|" in name:
            raise Trap("unknown instruction", str(i))
        sources = [self.operand(t, b) for t, b in zip(more, meaning.sources, strict=True)]
        target, run, flops = self.target(name), meaning.run, meaning.flops
        extend = None
        if i.opcode[0] == "cvt" and name in self.registers:
            extend = _extension(i.opcode[-2], self.kinds[self.registers[name]])

        def operate(s: Threads, active: Active) -> None:
            value = run(*(source(s, active) for source in sources))
            if flops:
                s.launch.counters.flops += flops * (s.count if active is None else active.size)
            target(s, active, value if extend is None else extend(value))

        return operate

    def _mov(self, i: Instruction) -> Operation:
        to, source = i.operands
        bits = width(i.opcode[-1])
        if to.startswith("{"):
            parts = [part.strip() for part in to.strip("{}").split(",")]
            small = bits // len(parts)
            value, targets = self.operand(source, bits), [self.target(part) for part in parts]

            def unpack(s: Threads, active: Active) -> None:
                whole = value(s, active)
                for n, target in enumerate(targets):
                    target(s, active, (whole >> KINDS[bits](n * small)).astype(KINDS[small]))

            return unpack
        target = self.target(to)
        if source.startswith("{"):
            words = [part.strip() for part in source.strip("{}").split(",")]
            small = bits // len(words)
            parts_of = [self.operand(word, small) for word in words]

            def pack(s: Threads, active: Active) -> None:
                total = np.zeros(1, KINDS[bits])
                for n, part in enumerate(parts_of):
                    total = total | (part(s, active).astype(KINDS[bits]) << KINDS[bits](n * small))
                target(s, active, total)

            return pack
        taken = self.operand(source, bits)
        return lambda s, active: target(s, active, taken(s, active).copy())

    def _cvta(self, i: Instruction) -> Operation:
        to, source = i.operands
        space = next(m for m in i.opcode if m in ("global", "shared", "local", "const", "param"))
        window = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW}.get(space, 0)
        value, target = self.operand(source, 64), self.target(to)
        move = np.uint64(window)
        if "to" in i.opcode:
            return lambda s, active: target(s, active, value(s, active) - move)
        return lambda s, active: target(s, active, value(s, active) + move)

    # Memory.

    def address(self, text: str) -> Operand:
        found = _ADDRESS.fullmatch(text.strip())
        if found is None:
            raise Trap("syntax", f"an address {text}")
        offset = np.uint64(int(found[2] or 0) % (1 << 64))
        base = self.operand(found[1], 64)
        return lambda s, active: base(s, active) + offset

    def _ld(self, i: Instruction) -> Operation:
        size, many, space = _shape(i.opcode)
        places = i.operands[0].strip("{}").split(",")
        targets = [self.target(name.strip()) for name in places]
        if space == "param":
            return self._ld_param(i, targets, size)
        address, signed = self.address(i.operands[1]), i.opcode[-1][0] == "s"
        kinds = [
            self.kinds[self.registers[n.strip()]] if n.strip() != "_" else None for n in places
        ]

        def operate(s: Threads, active: Active) -> None:
            loaded = s.load(space, address(s, active), size, many, active)
            for target, kind, value in zip(targets, kinds, loaded, strict=True):
                if signed and kind is not None:
                    value = value.view(f"int{8 * size}").astype(
                        np.dtype(kind).str.replace("u", "i")
                    )
                    value = value.view(kind)
                target(s, active, value)

        return operate

    def _ld_param(self, i: Instruction, targets: list, size: int) -> Operation:
        found = _ADDRESS.fullmatch(i.operands[1].strip())
        assert found is not None
        name, first = found[1], int(found[2] or 0)
        entry = {n for n, _ in self.function.parameters}

        def operate(s: Threads, active: Active) -> None:
            for k, target in enumerate(targets):
                at = first + k * size
                if name in entry:
                    raw = s.launch.parameters[name][at : at + size]
                    value = np.frombuffer(raw, f"uint{8 * size}")
                else:
                    value = s.pick(s.slots[f"{name}+{at}"], active)
                target(s, active, value.copy())

        return operate

    def _st(self, i: Instruction) -> Operation:
        size, _, space = _shape(i.opcode)
        words = [word.strip() for word in i.operands[1].strip("{}").split(",")]
        values = [self.operand(word, 8 * size) for word in words]
        if space == "param":
            found = _ADDRESS.fullmatch(i.operands[0].strip())
            assert found is not None
            names = [f"{found[1]}+{int(found[2] or 0) + k * size}" for k in range(len(words))]

            def keep(s: Threads, active: Active) -> None:
                for name, value in zip(names, values, strict=True):
                    given = value(s, active)
                    place = s.slots.get(name)
                    if place is None or place.dtype != given.dtype:
                        place = s.slots[name] = np.zeros(s.count, given.dtype)
                    place[slice(None) if active is None else active] = given

            return keep
        address = self.address(i.operands[0])

        def operate(s: Threads, active: Active) -> None:
            given = [value(s, active) for value in values]
            s.store(space, address(s, active), given, size, active)

        return operate

    def _cp(self, i: Instruction) -> Operation:
        if i.opcode[:2] != ("cp", "async"):
            raise Trap("unknown instruction", str(i))
        if "commit_group" in i.opcode:
            return lambda s, active: s.commit(active)
        if "wait_all" in i.opcode:
            return lambda s, active: (s.commit(active), s.wait(0, active))[0]
        if "wait_group" in i.opcode:
            left = int(i.operands[0])
            return lambda s, active: s.wait(left, active)
        to, source = self.address(i.operands[0]), self.address(i.operands[1])
        size = int(i.operands[2])
        taken = self.operand(i.operands[3], 32) if len(i.operands) > 3 else None

        def operate(s: Threads, active: Active) -> None:
            amount = None if taken is None else taken(s, active)
            s.copy_later(to(s, active), source(s, active), size, amount, active)

        return operate

    def _fence(self, i: Instruction) -> Operation:
        return lambda s, active: None

    _membar = _fence

    # Atomics.

    def _red(self, i: Instruction) -> Operation:
        return self._atomic(i, None, i.operands[0], i.operands[1:])

    def _atom(self, i: Instruction) -> Operation:
        return self._atomic(i, self.target(i.operands[0]), i.operands[1], i.operands[2:])

    def _atomic(self, i: Instruction, target, place: str, operands) -> Operation:
        modes, type_ = i.opcode[1:-1], i.opcode[-1]
        space = next((m for m in modes if m in ("global", "shared")), "generic")
        name = next(m for m in modes if m in _ATOMS)
        size = width(type_) // 8
        address = self.address(place)
        values = [self.operand(text, 8 * size) for text in operands]
        combine = _ATOMS[name]

        def operate(s: Threads, active: Active) -> None:
            count = s.count if active is None else active.size
            given = [np.broadcast_to(value(s, active), (count,)) for value in values]
            s.atomic(space, address(s, active), given, size, type_, combine, active, target)

        return operate


def _special(s: Threads, name: str, active: Active) -> np.ndarray:
    if name not in s.special:
        raise Trap("unknown instruction", f"the register {name}")
    value = s.special[name]
    return value if value.shape[0] == 1 else s.pick(value, active)


def _immediate(text: str, bits: int) -> Any:
    if re.match(r"0[fF][0-9a-fA-F]{8}$", text):
        raw = int(text[2:], 16)
        if bits == 64:
            return struct.unpack(
                "<Q", struct.pack("<d", struct.unpack("<f", raw.to_bytes(4, "little"))[0])
            )[0]
        return raw
    if re.match(r"0[dD][0-9a-fA-F]{16}$", text):
        return int(text[2:], 16)
    if re.match(r"-?(0x[0-9a-fA-F]+|\d+)U?$", text):
        number = int(text.removesuffix("U"), 0)
        return bool(number) if bits == 1 else number % (1 << bits)
    raise Trap("syntax", f"an operand {text}")


def _extension(to: str, kind: Any):
    bits = np.dtype(kind).itemsize * 8
    size = max(16, width(to))
    if to[0] != "s" or size >= bits:
        return None
    return lambda value: value.view(f"int{size}").astype(f"int{bits}").view(kind)


def _shape(opcode: tuple[str, ...]) -> tuple[int, int, str]:
    """Bytes of an element, elements, space."""
    many = next((int(m[1:]) for m in opcode if m in ("v2", "v4", "v8")), 1)
    spaces = ("param", "global", "shared", "local", "const")
    space = next((m.split("::")[0] for m in opcode if m.split("::")[0] in spaces), "generic")
    return width(opcode[-1]) // 8, many, space


_ATOMS = {
    "add": lambda type_, old, x: old + x,
    "min": lambda type_, old, x: min(old, x),
    "max": lambda type_, old, x: max(old, x),
    "and": lambda type_, old, x: old & x,
    "or": lambda type_, old, x: old | x,
    "xor": lambda type_, old, x: old ^ x,
    "exch": lambda type_, old, x: x,
    "cas": lambda type_, old, x, y: y if old == x else old,
}
