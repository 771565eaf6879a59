"""PTX text as instructions: what LLVM prints, without a look at what it means.

Calls are put in place of the functions they call, so that a kernel is one list of instructions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .trap import Trap

_TOKEN = re.compile(r"[{\[][^{}\[\]]*[}\]]|[^,\s][^,]*")
_VARIABLE = re.compile(
    r"^(?:\.visible |\.extern |\.weak |\.common )*\.(global|const|shared|local)"
    r"(?: \.align (\d+))?(?: \.attribute\([^)]*\))? \.([bsuf]\d+) ([\w$.]+)"
    r"(?:\[(\d*)\])?(?:\s*=\s*(.*))?$",
    re.DOTALL,
)
_PARAMETER = re.compile(
    r"\.param \.(?:align (\d+) \.)?([bsuf]\d+)(?: \.ptr(?: \.(?!align)\w+)*(?: \.align (\d+))?)? "
    r"([\w$]+)(?:\[(\d+)\])?"
)
_HEADER = re.compile(
    r"(\.visible |\.weak |\.extern )*\.(entry|func)\s*(\([^)]*\))?\s*([\w$]+)\s*(?:\(([^)]*)\))?"
)


@dataclass(frozen=True)
class Instruction:
    """`@guard opcode operands`; guard: a predicate register, "!" in front of it if negated."""

    opcode: tuple[str, ...]
    operands: tuple[str, ...]
    guard: str = ""
    line: int = 0

    def __str__(self) -> str:
        guard = f"@{self.guard} " if self.guard else ""
        return f"line {self.line}: {guard}{'.'.join(self.opcode)} {', '.join(self.operands)}"


@dataclass
class Variable:
    """Memory with a name; `data` is None where nothing is said of its bytes."""

    space: str
    size: int
    align: int
    data: bytes | None = None


@dataclass
class Function:
    """An entry, or what entries call; `code` has instructions, and labels as strings."""

    name: str
    is_entry: bool
    parameters: list[tuple[str, int]]
    returned: list[str]
    registers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    code: list[Instruction | str] = field(default_factory=list)
    tables: dict[str, list[str]] = field(default_factory=dict)
    block: tuple[int, int, int] | None = None


@dataclass
class Module:
    functions: dict[str, Function]
    variables: dict[str, Variable]


def parse(text: str) -> Module:
    """The whole file."""
    return _Parser(text).module()


def bits_of(type_: str) -> int:
    return 1 if type_ == "pred" else int(re.sub(r"\D", "", type_.removesuffix("x2")) or 0)


class _Parser:
    def __init__(self, text: str) -> None:
        self.statements = list(_statements(text))
        self.place = 0

    def module(self) -> Module:
        functions: dict[str, Function] = {}
        variables: dict[str, Variable] = {}
        while self.place < len(self.statements):
            line, statement = self.statements[self.place]
            self.place += 1
            if re.match(r"\.(version|target|address_size|file|section)", statement):
                continue
            if found := _VARIABLE.match(statement):
                variables[found[4]] = _variable(found)
            elif header := _HEADER.match(statement):
                function = self._function(header, statement)
                if function is not None:
                    functions[function.name] = function
            elif statement not in ("{", "}"):
                raise Trap("syntax", f"line {line}: {statement}")
        return Module(functions, variables)

    def _function(self, header: re.Match[str], statement: str) -> Function | None:
        parameters = [(p[4], _parameter_size(p)) for p in _PARAMETER.finditer(header[5] or "")]
        returned = [p[4] for p in _PARAMETER.finditer(header[3] or "")]
        function = Function(header[4], header[2] == "entry", parameters, returned)
        if found := re.search(r"\.(?:reqntid|maxntid) (\d+)(?:, (\d+))?(?:, (\d+))?", statement):
            x, y, z = (int(number or 1) for number in found.groups())
            function.block = x, y, z
        if self.place >= len(self.statements) or self.statements[self.place][1] != "{":
            return None  # a declaration
        depth = 0
        while True:
            line, statement = self.statements[self.place]
            self.place += 1
            if statement in ("{", "}"):
                depth += 1 if statement == "{" else -1
                if depth == 0:
                    return function
            else:
                self._statement(function, line, statement)

    def _statement(self, function: Function, line: int, statement: str) -> None:
        if statement.endswith(":"):
            function.code.append(statement[:-1])
        elif found := re.match(r"\.reg \.(\w+)\s+(.*)", statement):
            for name in found[2].split(","):
                name = name.strip()
                if many := re.match(r"(%?[\w$]+)<(\d+)>", name):
                    for n in range(int(many[2])):
                        function.registers[f"{many[1]}{n}"] = found[1]
                else:
                    function.registers[name] = found[1]
        elif found := _VARIABLE.match(statement):
            function.variables[found[4]] = _variable(found)
        elif found := re.match(r"([\w$]+):\s*\.branchtargets\s+(.*)", statement):
            function.tables[found[1]] = [name.strip() for name in found[2].split(",")]
        elif not re.match(r"\.(param|pragma|loc|file|noreturn)", statement):
            function.code.append(_instruction(line, statement))


def _statements(text: str):
    """Statements with the lines that they start on; braces and labels are their own."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        if found := re.search(r"// implicit-def: (%[\w$]+)", raw):
            yield number, f"undefined {found[1]}"
        line = raw.split("//")[0].strip()
        while line:
            if not pending:
                start = number
                if line[0] in "{}":
                    yield number, line[0]
                    line = line[1:].strip()
                    continue
                if found := re.match(r"([\w$]+):(?!:)\s*(?!\s*\.branchtargets)", line):
                    yield number, f"{found[1]}:"
                    line = line[found.end() :]
                    continue
                if re.match(r"\.(version|target|address_size)\b", line):
                    yield number, line
                    break
            is_header = bool(
                re.match(r"(\.visible |\.weak |\.extern )*\.(entry|func)\b", pending or line)
            )
            if is_header and line.startswith("{"):
                yield start, pending.strip()
                pending = ""
                continue
            end = line.find(";")
            if end < 0:
                pending += line + " "
                break
            yield start, (pending + line[:end]).strip()
            pending, line = "", line[end + 1 :].strip()
    if pending.strip():
        yield start, pending.strip()


def _instruction(line: int, statement: str) -> Instruction:
    guard = ""
    if statement.startswith("@"):
        guard, statement = statement[1:].split(None, 1)
    opcode, _, rest = statement.partition(" " if " " in statement else "\t")
    rest = rest.strip()
    if opcode.startswith("call"):
        operands: tuple[str, ...] = (rest,)
    else:
        operands = tuple(part.strip() for part in _TOKEN.findall(rest))
    return Instruction(tuple(opcode.strip().split(".")), operands, guard, line)


def _parameter_size(found: re.Match[str]) -> int:
    return bits_of(found[2]) // 8 * int(found[5] or 1)


def _variable(found: re.Match[str]) -> Variable:
    space, align, type_, _, count, initial = found.groups()
    size = bits_of(type_) // 8
    total = size * int(count or 1) if count != "" else 0
    data = None
    if space in ("global", "const"):
        data = bytes(total) if initial is None else _initial(initial, size, total)
    return Variable(space, total, int(align or size), data)


def _initial(text: str, size: int, total: int) -> bytes:
    numbers = []
    for word in text.strip().strip("{}").split(","):
        word = word.strip()
        if re.match(r"0[fFdD][0-9a-fA-F]+$", word):
            numbers.append(int(word[2:], 16))
        elif re.match(r"-?(0x[0-9a-fA-F]+|\d+)U?$", word):
            numbers.append(int(word.removesuffix("U"), 0) % (1 << 8 * size))
        else:
            raise Trap("syntax", f"an initial value {word}")
    data = b"".join(number.to_bytes(size, "little") for number in numbers)
    return data.ljust(total, b"\0")
