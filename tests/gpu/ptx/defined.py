"""Registers that are read before anything is put into them, on some way through a kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .syntax import Instruction
from .trap import Trap

_NAME = re.compile(r"%?[\w$]+")
#: What has no result; its first operand is read.
_NO_RESULT = {"st", "red", "bra", "brx", "bar", "barrier", "cp", "ret", "exit", "prefetch", "call"}


def check(blocks: Iterable, ways: list[list[int]], registers: dict[str, int]) -> None:
    """`ways`: the blocks that may follow each block. Trap: "uninitialised".

    A set of registers is an integer, with a bit for each.
    """
    every = (1 << len(registers)) - 1
    code = [[*b.instructions, *([b.end] if b.end is not None else [])] for b in blocks]
    results = [t for part in code for i in part for t in _results(i)]
    somewhere = set(_named(results, registers))
    uses = [[_uses(i, registers, somewhere) for i in instructions] for instructions in code]
    gains = []
    for block in uses:
        gained = 0
        for _, written in block:
            gained |= written
        gains.append(gained)
    known = [0, *([every] * (len(code) - 1))]
    waiting = [0]
    reached = set()
    while waiting:
        at = waiting.pop()
        reached.add(at)
        after = known[at] | gains[at]
        for follower in ways[at]:
            less = known[follower] & after
            if less != known[follower] or follower not in reached:
                known[follower] = less
                waiting.append(follower)
    for at in reached:
        have = known[at]
        for instruction, (read, written) in zip(code[at], uses[at], strict=True):
            if read & ~have:
                names = list(registers)
                name = names[(read & ~have).bit_length() - 1]
                raise Trap("uninitialised", f"the register {name} in {instruction}")
            have |= written


def _uses(i: Instruction, registers: dict[str, int], somewhere: set[int]) -> tuple[int, int]:
    """Registers that are read, and those that have a value afterwards."""
    results = _results(i)
    sources = i.operands[len(results) :]
    read = written = 0
    packs = i.opcode[0] == "mov" and sources[:1] and sources[0].startswith("{")
    for register in _named((*sources, i.guard), registers):
        # LLVM fills the half that does not matter with a register that nothing is put into.
        if not packs or register in somewhere:
            read |= 1 << register
    for register in _named(results, registers):
        written |= 1 << register
    # Under a guard, some threads keep what they had.
    return read, 0 if i.guard else written


def _results(i: Instruction) -> tuple[str, ...]:
    return () if i.opcode[0] in _NO_RESULT else i.operands[:1]


def _named(texts: Iterable[str], registers: dict[str, int]) -> Iterator[int]:
    for text in texts:
        for name in _NAME.findall(text):
            if name in registers:
                yield registers[name]
