"""GPU programs run without a GPU: their plan, step by step, and their kernels on the interpreter.

Nothing here is shared with the runtime; test_library.py runs the same through the C entry. What
runs the kernels is a `Machine`: the interpreter here, fibers in fibers/.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pullback.pipelines.gpu import pipeline
from pullback.pipelines.gpu.plan import Argument, For, If, Kind, Launch, Step, While, Zero

from ..numeric.compiled import interface
from ..numeric.programs import Program as Source
from .ptx.counters import Counters
from .ptx.launch import launch
from .ptx.memory import Memory
from .ptx.program import Program

Array = np.ndarray
DTYPES = {
    "f16": np.float16, "f32": np.float32, "f64": np.float64,
    "i32": np.int32, "i64": np.int64, "bool": np.bool_, "bf16": np.uint16,
}  # fmt: skip


class Room(Protocol):
    """Device memory of one call, as the host uses it."""

    def allocate(self, size: int) -> int: ...
    def read(self, address: int, size: int) -> Array: ...
    def write(self, address: int, data: Array) -> None: ...


class Machine(ABC):
    """One compiled function, and what its plan leaves open: memory, and who runs kernels."""

    def __init__(self, compilation: pipeline.Compilation, arena: int) -> None:
        assert compilation.plan is not None
        self.compilation, self.plan = compilation, compilation.plan
        self.arena = arena

    @abstractmethod
    def memory(self) -> Room:
        """Fresh memory for a call."""

    @abstractmethod
    def launch(self, step: Launch, values: Sequence[int], memory: Any) -> None:
        """Runs one kernel; `values` are what its parameters are."""

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        call = _Call(self, arrays)
        call.run(self.plan.steps)
        return call.outputs()


class Device(Machine):
    """The interpreter. `counters` has (kernel, counters) of each launch of the last call."""

    def __init__(self, compilation: pipeline.Compilation, arena: int = 1 << 26) -> None:
        super().__init__(compilation, arena)
        self.program = Program(compilation.ptx)
        self.counters: list[tuple[str, Counters]] = []

    def memory(self) -> Memory:
        return Memory(np.zeros(self.arena, np.uint8))

    def launch(self, step: Launch, values: Sequence[int], memory: Memory) -> None:
        name = self.plan.kernels[step.kernel]
        given = [value.to_bytes(8, "little") for value in values]
        found = launch(self.program, name, step.grid, step.block, given, step.shared_bytes, memory)
        self.counters.append((name, found))

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        self.counters = []
        return super().__call__(arrays)


class _Call:
    def __init__(self, device: Machine, arrays: Sequence[Array]) -> None:
        self.device = device
        self.memory = device.memory()
        self.inputs = [self._upload(np.ascontiguousarray(array)) for array in arrays]
        interface = device.compilation.interface
        self.results = [self.memory.allocate(max(s.bytes, 1)) for s in interface.outputs]
        self.workspace = self.memory.allocate(max(device.plan.workspace, 1))
        if device.plan.has_status:
            self.memory.write(self.workspace, np.zeros(4, np.uint8))
        self.variables: dict[int, int] = {}

    def _upload(self, array: Array) -> int:
        address = self.memory.allocate(max(array.nbytes, 1))
        if array.nbytes:
            self.memory.write(address, array)
        return address

    def outputs(self) -> list[Array]:
        specs = self.device.compilation.interface.outputs
        return [
            self.memory.read(address, s.bytes).view(DTYPES[s.dtype]).reshape(s.shape)
            for address, s in zip(self.results, specs, strict=True)
        ]

    def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case Launch():
                    values = [self._value(a) for a in step.arguments]
                    self.device.launch(step, values, self.memory)
                case For(variable, count, body):
                    for n in range(count):
                        self.variables[variable] = n
                        self.run(body)
                case If(condition, then, orelse):
                    self.run(then if self._truth(condition) else orelse)
                case While(test, condition, body, limit):
                    self.run(test)
                    rounds = 0
                    while self._truth(condition) and rounds != limit:
                        self.run(body)
                        self.run(test)
                        rounds += 1
                case Zero(place, count):
                    self.memory.write(self._value(place), np.zeros(count, np.uint8))

    def _truth(self, place: Argument) -> bool:
        return bool(self.memory.read(self._value(place), 1)[0])

    def _value(self, argument: Argument) -> int:
        match argument.kind:
            case Kind.IN:
                return self.inputs[argument.index] + argument.offset
            case Kind.OUT:
                return self.results[argument.index] + argument.offset
            case Kind.WORKSPACE | Kind.STATUS:
                return self.workspace + argument.offset
            case Kind.VARIABLE:
                return self.variables[argument.index]
        raise AssertionError(argument)


def compiled(program: Source, _: Path | None = None) -> Callable[[Sequence[Array]], list[Array]]:
    """@main of a pb program; the program is used up."""
    described = interface(program)
    with program.module.context:
        return Device(pipeline.compiled(program.module, described))


def device(
    function: Callable[..., Any], *examples: Any, options: pipeline.Options | None = None
) -> Device:
    """A torch function, compiled for these examples."""
    from pullback.frontend import compile as frontend

    lowered = frontend.lower(function, examples, {})
    module = lowered.module()
    with module.context:
        return Device(pipeline.compiled(module, lowered.interface, options))
