"""Instructions as functions of the threads' state."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .atomics import AtomicInstructions
from .matrices import MatrixInstructions
from .meaning import meaning_of
from .state import LOCAL_WINDOW, SHARED_WINDOW, Active, Threads, unlikely
from .syntax import Function, Instruction, bits_of
from .trap import Trap
from .values import Meaning, UnknownInstruction, width
from .warps import WarpInstructions

Operation = Callable[[Threads, Active], None]
Operand = Callable[[Threads, Active], np.ndarray]
KINDS = {1: np.bool_, 8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_ADDRESS = re.compile(r"\[\s*(%?[\w$]+(?:\.[xyzw])?)\s*(?:\+\s*(-?\d+))?\s*\]")


@dataclass
class Decoder(WarpInstructions, MatrixInstructions, AtomicInstructions):
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
        make = getattr(self, f"_{i.opcode[0]}", self._pure)
        try:
            run = make(i)
        except (KeyError, ValueError, IndexError) as error:
            raise Trap("unknown instruction", f"{error!r} in {i}") from error
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
        sources = [self.operand(t, b) for t, b in zip(more, meaning.sources, strict=True)]
        run, flops = meaning.run, meaning.flops
        if i.opcode[0] == "setp" and (meaning.result == 2 or "|" in name):
            return self._two(name, sources, meaning)
        target = self.target(name)
        extend = None
        if i.opcode[0] == "cvt" and name in self.registers:
            extend = _extension(i.opcode[-2], self.kinds[self.registers[name]])

        def operate(s: Threads, active: Active) -> None:
            value = run(*(source(s, active) for source in sources))
            if flops:
                s.launch.counters.flops += flops * (s.count if active is None else active.size)
            target(s, active, value if extend is None else extend(value))

        return operate

    def _two(self, names: str, sources: list[Operand], meaning: Meaning) -> Operation:
        """setp p|q, of two halves: p is of the lower one."""
        if meaning.result != 2:
            raise KeyError(names)
        targets = [self.target(name.strip()) for name in names.split("|")]

        def operate(s: Threads, active: Active) -> None:
            found = meaning.run(*(source(s, active) for source in sources))
            for bit, target in enumerate(targets):
                target(s, active, (found >> np.uint8(bit)) & np.uint8(1) != 0)

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
        places = [name.strip() for name in i.operands[0].strip("{}").split(",")]
        targets, extend = [self.target(name) for name in places], None
        if i.opcode[-1][0] == "s" and places[0] != "_":
            extend = _extension(i.opcode[-1], self.kinds[self.registers[places[0]]])
        if space == "param":
            if extend is not None:
                raise Trap("unknown instruction", str(i))
            return self._ld_param(i, targets, size)
        address, constant = self.address(i.operands[1]), "nc" in i.opcode

        def operate(s: Threads, active: Active) -> None:
            loaded = s.load(space, address(s, active), size, many, active, constant)
            for target, value in zip(targets, loaded, strict=True):
                target(s, active, value if extend is None else extend(value))

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
                    if len(raw) != size:
                        raise Trap("parameters", f"{name} has no {size} bytes at {at}")
                    value = np.frombuffer(raw, f"uint{8 * size}")
                elif (slot := s.slots.get(f"{name}+{at}")) is not None and slot.itemsize == size:
                    value = s.pick(slot, active)
                else:
                    raise Trap("uninitialised", f"{size} bytes at {at} of {name}")
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
        if i.opcode[2:] == ("commit_group",):
            return lambda s, active: s.copies.commit(active)
        if i.opcode[2:] == ("wait_all",):
            return lambda s, active: (s.copies.commit(active), s.copies.wait(s, 0, active))[0]
        if i.opcode[2:] == ("wait_group",):
            left = int(i.operands[0])
            return lambda s, active: s.copies.wait(s, left, active)
        if set(i.opcode[2:]) - {"ca", "cg", "shared", "shared::cta", "global", "L2::128B"}:
            raise Trap("unknown instruction", str(i))
        to, source = self.address(i.operands[0]), self.address(i.operands[1])
        size = int(i.operands[2])
        taken = self.operand(i.operands[3], 32) if len(i.operands) > 3 else None

        def operate(s: Threads, active: Active) -> None:
            amount = None if taken is None else taken(s, active)
            s.copies.start(s, to(s, active), source(s, active), size, amount, active)

        return operate

    def _fence(self, i: Instruction) -> Operation:
        return lambda s, active: None

    _membar = _fence

    def _undefined(self, i: Instruction) -> Operation:
        """LLVM says that a register's value does not matter: it is something unlikely."""
        target, kind = self.target(i.operands[0]), self.kinds[self.registers[i.operands[0]]]
        return lambda s, active: target(s, active, np.full(1, unlikely(kind), kind))


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


def _extension(to: str, kind: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """To a register that is wider than a signed type."""
    bits = np.dtype(kind).itemsize * 8
    if to[0] != "s" or width(to) >= bits:
        return None

    def extend(value: np.ndarray) -> np.ndarray:
        return value.view(f"int{8 * value.itemsize}").astype(f"int{bits}").view(kind)

    return extend


def _shape(opcode: tuple[str, ...]) -> tuple[int, int, str]:
    """Bytes of an element, elements, space."""
    many = next((int(m[1:]) for m in opcode if m in ("v2", "v4", "v8")), 1)
    spaces = ("param", "global", "shared", "local", "const")
    space = next((m.split("::")[0] for m in opcode if m.split("::")[0] in spaces), "generic")
    size = width(opcode[-1]) // 8
    if 8 * size not in KINDS:
        raise KeyError(opcode[-1])
    return size, many, space
