"""Calls replaced by what they call: an entry becomes one list of instructions."""

from __future__ import annotations

import re
from dataclasses import replace

from .syntax import Function, Instruction, Module
from .trap import Trap

_NAME = re.compile(r"%?[\w$]+(?:\.[xyzw])?")
_CALL = re.compile(r"^(?:\(([^)]*)\)\s*,\s*)?([\w$]+)\s*(?:,\s*\(([^)]*)\))?")


def inlined(module: Module, entry: Function) -> Function:
    """The entry without calls; parameters of calls are registers named after them."""
    result = replace(entry, code=[], registers=dict(entry.registers), tables=dict(entry.tables))
    result.variables = dict(entry.variables)
    count = 0

    def expand(function: Function, prefix: str, bound: dict[str, str], end: str, depth: int):
        nonlocal count
        if depth > 32:
            raise Trap("recursion", function.name)
        labels = {item for item in function.code if isinstance(item, str)}
        own = labels | set(function.registers) | set(function.variables) | set(function.tables)
        for item in function.code:
            if isinstance(item, str):
                yield prefix + item
            elif item.opcode[0] == "call":
                found = _CALL.match(item.operands[0])
                called = module.functions.get(found[2]) if found else None
                if found is None or called is None:
                    raise Trap("unknown function", str(item))
                if item.guard:
                    raise Trap("syntax", f"a call with a guard: {item}")
                count += 1
                inner = f"call{count}_"
                given = [prefix + n.strip() for n in (found[3] or "").split(",") if n.strip()]
                taken = [prefix + n.strip() for n in (found[1] or "").split(",") if n.strip()]
                names = [name for name, _ in called.parameters]
                places = dict(zip([*names, *called.returned], [*given, *taken], strict=True))
                for name, type_ in called.registers.items():
                    result.registers[inner + name] = type_
                for name, variable in called.variables.items():
                    result.variables[inner + name] = variable
                for name, labels in called.tables.items():
                    result.tables[inner + name] = [inner + label for label in labels]
                yield from expand(called, inner, places, f"{inner}end", depth + 1)
                yield f"{inner}end"
            elif item.opcode[0] == "ret" and prefix:
                yield replace(item, opcode=("bra",), operands=(end,))
            else:
                yield _renamed(item, own, prefix, bound)

    result.code = list(expand(entry, "", {}, "", 0))
    return result


def _renamed(item: Instruction, own: set[str], prefix: str, bound: dict[str, str]) -> Instruction:
    if not prefix and not bound:
        return item

    def name(found: re.Match[str]) -> str:
        word = found[0]
        if word in bound:
            return bound[word]
        if word in own or re.fullmatch(r"(param|retval)\d+", word):
            return prefix + word
        return word

    operands = tuple(_NAME.sub(name, operand) for operand in item.operands)
    return replace(item, operands=operands, guard=_NAME.sub(name, item.guard))
