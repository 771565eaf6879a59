"""A PTX file that kernels can be launched from: parsed once, decoded entry by entry."""

from __future__ import annotations

import functools
import re
import weakref
from dataclasses import dataclass

import numpy as np

from . import defined, syntax
from .decode import Decoder, Operation
from .inline import inlined
from .memory import Memory
from .syntax import Instruction
from .trap import Trap

MOST_STATIC_SHARED = 48 << 10


@dataclass
class Block:
    """Instructions without branches, and what comes at their end."""

    operations: list[Operation]
    instructions: list[Instruction]
    end: Instruction | None
    follows: int

    @functools.cached_property
    def together(self) -> bool:
        """Is there an instruction for which a thread waits for others of its warp?"""
        return any("sync" in i.opcode and i.opcode[0] != "cp" for i in self.instructions)


@dataclass
class Entry:
    """A kernel, decoded."""

    decoder: Decoder
    blocks: list[Block]
    labels: dict[str, int]
    shared_bytes: int
    local_bytes: int
    granule: int


class Program:
    """`entries` by name: (name, bytes) of each parameter."""

    def __init__(self, ptx: str) -> None:
        self.module = syntax.parse(ptx)
        functions = self.module.functions.values()
        self.entries = {f.name: f for f in functions if f.is_entry}
        self._placed: weakref.WeakKeyDictionary[Memory, dict[str, int]]
        self._placed = weakref.WeakKeyDictionary()
        self._entry = functools.cache(self._decoded)

    @property
    def globals(self) -> dict[str, int]:
        """Bytes of the variables in global memory."""
        found = self.module.variables.items()
        return {name: v.size for name, v in found if v.space in ("global", "const")}

    def load(self, memory: Memory) -> dict[str, int]:
        """Puts variables into memory; their addresses."""
        if memory not in self._placed:
            placed = self._placed[memory] = {}
            for name, variable in self.module.variables.items():
                if variable.space in ("global", "const"):
                    placed[name] = memory.allocate(variable.size, max(variable.align, 256))
                    memory.write(placed[name], np.frombuffer(variable.data or b"", np.uint8))
                    if variable.space == "const":
                        memory.protect(placed[name])
        return self._placed[memory]

    def entry(self, name: str) -> Entry:
        if name not in self.entries:
            raise Trap("unknown kernel", name)
        return self._entry(name)

    def _decoded(self, name: str) -> Entry:
        function = inlined(self.module, self.entries[name])
        addresses: dict[str, tuple[str, int]] = {}
        sizes = {"shared": 0, "local": 0}
        used = _words(function.code)
        variables = (self.module.variables | function.variables).items()
        # Shared memory whose size the launch gives, 0 here, lies behind all other.
        for variable_name, variable in sorted(variables, key=lambda item: not item[1].size):
            if variable_name not in used:
                continue
            if variable.space not in sizes:
                addresses[variable_name] = "symbol", 0
                continue
            start = -(-sizes[variable.space] // variable.align) * variable.align
            addresses[variable_name] = variable.space, start
            sizes[variable.space] = start + variable.size
        if sizes["shared"] > MOST_STATIC_SHARED:
            raise Trap("launch", f"{name}: {sizes['shared']} bytes of static shared memory")
        decoder = Decoder(function, addresses)
        blocks, labels = _blocks(function.code, decoder)
        ways = [_ways(block, labels, function.tables) for block in blocks]
        defined.check(blocks, ways, decoder.registers)
        return Entry(
            decoder, blocks, labels, sizes["shared"], sizes["local"], _granule(function.code)
        )


def _words(code) -> set[str]:
    text = " ".join(" ".join(i.operands) for i in code if isinstance(i, Instruction))
    return set(re.findall(r"[\w$]+", text))


def _granule(code) -> int:
    """The smallest access: what races are looked for in."""
    sizes = [8]
    for item in code:
        if isinstance(item, Instruction) and item.opcode[0] in ("ld", "st", "atom", "red"):
            if "param" in item.opcode or "param::func" in item.opcode:
                continue
            sizes.append(int(item.opcode[-1].lstrip("bsuf")) // 8)
        if isinstance(item, Instruction) and item.opcode[:2] == ("cp", "async"):
            sizes.append(4)
    return min(sizes)


_ENDS = {"bra", "ret", "exit", "trap", "brx"}


def _is_barrier(opcode: tuple[str, ...]) -> bool:
    """Of all threads of the block."""
    kinds = {"sync", "cta", "aligned", "all"}
    return opcode[0] in ("bar", "barrier") and "sync" in opcode and set(opcode[1:]) <= kinds


def _blocks(code, decoder: Decoder) -> tuple[list[Block], dict[str, int]]:
    blocks: list[Block] = [Block([], [], None, 1)]
    labels: dict[str, int] = {}
    for item in code:
        if isinstance(item, str):
            if blocks[-1].instructions or blocks[-1].end is not None:
                blocks.append(Block([], [], None, len(blocks) + 1))
            labels[item] = len(blocks) - 1
            continue
        if blocks[-1].end is not None:
            blocks.append(Block([], [], None, len(blocks) + 1))
        if item.opcode[0] in _ENDS or _is_barrier(item.opcode):
            blocks[-1].end = item
        else:
            blocks[-1].instructions.append(item)
            blocks[-1].operations.append(decoder.operation(item))
    if blocks[-1].end is None or blocks[-1].end.guard:
        if blocks[-1].end is not None:
            blocks.append(Block([], [], None, len(blocks) + 1))
        blocks[-1].end = Instruction(("ret",), ())
    return blocks, labels


def _ways(block: Block, labels: dict[str, int], tables: dict[str, list[str]]) -> list[int]:
    """The blocks that may come next."""
    end = block.end
    if end is None or end.opcode[0] in ("bar", "barrier"):
        return [block.follows]
    found = {"bra": end.operands[:1], "brx": tables.get(end.operands[-1] if end.operands else "")}
    ways = [labels[name] for name in found.get(end.opcode[0]) or ()]
    return [*ways, block.follows] if end.guard else ways
