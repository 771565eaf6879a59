"""The launch plan: what a GPU library does in a call, as a table of words in the library.

`runtime/src/cuda_plan.c` walks the table. Every word is a little-endian i64. The header is magic,
words in all, kernels, bytes of workspace, loop variables, has_status, 0, 0; each instruction is
its opcode, its length in words and its operands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ...dialects.errors import InternalError

MAGIC = 0x50424C414E313031
#: What the plan interpreter has room for, and what a launch may be on any device.
MAX_VARIABLES, MAX_ARGUMENTS, MAX_DEPTH = 64, 500, 64
MAX_GRID, MAX_BLOCK, MAX_THREADS = (2**31 - 1, 65535, 65535), (1024, 1024, 64), 1024


class Kind(IntEnum):
    """What a kernel's parameter is; every one is 8 bytes."""

    IN = 0
    OUT = 1
    WORKSPACE = 2
    PARAMS = 3
    VARIABLE = 4
    STATUS = 5
    CONSTANT = 6


@dataclass(frozen=True)
class Argument:
    """in[index] + offset, workspace + offset, loop variable `index`, ...: see `Kind`.

    A CONSTANT is the address of `Plan.globals[index]` plus the offset; a STATUS is that of the
    status word, an i32 at the start of the workspace.
    """

    kind: Kind
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Launch:
    """One kernel, by its number in `Plan.kernels`."""

    kernel: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: Sequence[Argument]
    shared_bytes: int = 0


@dataclass(frozen=True)
class For:
    """The body for each value 0, ..., count - 1 of a loop variable."""

    variable: int
    count: int
    body: Sequence[Step]


@dataclass(frozen=True)
class If:
    """Reads a byte back from the device, which synchronises the stream: `then` if it is not 0."""

    condition: Argument
    then: Sequence[Step]
    orelse: Sequence[Step] = ()


@dataclass(frozen=True)
class While:
    """`test`, then reads a byte back; if it is not 0, and `body` has run less than `limit` times
    (-1: without a limit), `body`, and again."""

    test: Sequence[Step]
    condition: Argument
    body: Sequence[Step]
    limit: int = -1


@dataclass(frozen=True)
class Zero:
    """Sets bytes to 0."""

    place: Argument
    bytes: int


Step = Launch | For | If | While | Zero
_OPCODES: dict[type[Step], int] = {Launch: 1, For: 2, If: 3, While: 4, Zero: 5}


@dataclass(frozen=True)
class Plan:
    """`kernels` and `globals` are names in the PTX: entries, and .visible .global variables."""

    kernels: Sequence[str]
    steps: Sequence[Step]
    workspace: int = 0
    variables: int = 0
    has_status: bool = False
    globals: Sequence[str] = ()

    @property
    def capturable(self) -> bool:
        """Whether a call only enqueues, so that a stream can be captured into a graph."""
        return not any(isinstance(step, If | While) for step in walk(self.steps))


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps, those inside others too."""
    for step in steps:
        yield step
        for part in _parts(step):
            yield from walk(part)


def _parts(step: Step) -> tuple[Sequence[Step], ...]:
    match step:
        case For(body=body):
            return (body,)
        case If(then=then, orelse=orelse):
            return then, orelse
        case While(test=test, body=body):
            return test, body
    return ()


def encode(plan: Plan) -> bytes:
    """The table."""
    _check(plan)
    body = _encode_all(plan, plan.steps, 0)
    header = [MAGIC, 8 + len(body), len(plan.kernels), plan.workspace, plan.variables]
    words = [*header, int(plan.has_status), 0, 0, *body]
    return struct.pack(f"<{len(words)}q", *words)


def names(plan: Plan) -> bytes:
    """The table of names: kernels, then globals, each with a NUL behind it."""
    return b"".join(name.encode() + b"\0" for name in (*plan.kernels, *plan.globals))


def _encode_all(plan: Plan, steps: Sequence[Step], depth: int) -> list[int]:
    return [word for step in steps for word in _encode(plan, step, depth)]


def _encode(plan: Plan, step: Step, depth: int) -> list[int]:
    _require(depth < MAX_DEPTH, f"loops and branches are nested more than {MAX_DEPTH} deep")
    parts = [_encode_all(plan, part, depth + 1) for part in _parts(step)]
    match step:
        case Launch():
            operands = _launch(plan, step)
        case For(variable, count):
            _require(0 <= variable < plan.variables, f"no loop variable {variable}")
            operands = [variable, count, len(parts[0])]
        case If(condition):
            operands = [*_address(plan, condition), len(parts[0]), len(parts[1])]
        case While(condition=condition, limit=limit):
            operands = [len(parts[0]), *_address(plan, condition), len(parts[1]), limit]
        case Zero(place, count):
            operands = [*_address(plan, place), count]
    length = 2 + len(operands) + sum(map(len, parts))
    return [_OPCODES[type(step)], length, *operands, *(word for part in parts for word in part)]


def _launch(plan: Plan, step: Launch) -> list[int]:
    _require(0 <= step.kernel < len(plan.kernels), f"no kernel {step.kernel}")
    name = plan.kernels[step.kernel]
    for size, limit in zip((*step.grid, *step.block), (*MAX_GRID, *MAX_BLOCK), strict=True):
        _require(1 <= size <= limit, f"{name}: grid {step.grid}, block {step.block}")
    x, y, z = step.block
    _require(x * y * z <= MAX_THREADS, f"{name}: {x * y * z} threads in a block")
    _require(len(step.arguments) <= MAX_ARGUMENTS, f"{name}: {len(step.arguments)} arguments")
    words = [step.kernel, *step.grid, *step.block, step.shared_bytes, len(step.arguments)]
    for argument in step.arguments:
        words += _argument(plan, argument)
    return words


def _argument(plan: Plan, argument: Argument) -> list[int]:
    match argument.kind:
        case Kind.VARIABLE:
            _require(0 <= argument.index < plan.variables, f"no loop variable {argument.index}")
        case Kind.CONSTANT:
            _require(0 <= argument.index < len(plan.globals), f"no global {argument.index}")
        case Kind.STATUS:
            _require(plan.has_status, "a plan without a status")
        case Kind.WORKSPACE:
            _require(0 <= argument.offset < plan.workspace, f"byte {argument.offset} of workspace")
    return [int(argument.kind), argument.index, argument.offset]


def _address(plan: Plan, argument: Argument) -> list[int]:
    _require(argument.kind is not Kind.VARIABLE, "a loop variable is no address")
    return _argument(plan, argument)


def _check(plan: Plan) -> None:
    _require(plan.variables <= MAX_VARIABLES, f"{plan.variables} loop variables")
    _require(not plan.has_status or plan.workspace >= 4, "no room for the status")


def _require(truth: bool, problem: str) -> None:
    if not truth:
        raise InternalError(f"the launch plan cannot be: {problem}")
