"""The CPU pipeline: a pb module to machine code in this process, and to an artifact on disk."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata

from mlir import ir

from ..dialects.errors import ToolchainError
from ..dialects.pb.transforms import expand, simplify, storage
from . import (
    artifact,
    bufferize,
    elf_object,
    header,
    link,
    llvm,
    llvm_dialect,
    pb_to_linalg,
    schedule,
    stages,
)
from .artifact import Interface, Params, TensorSpec
from .entry import PARAMS_SYMBOL, Argument, text
from .pb_to_linalg import Lowered
from .stages import Stage

__all__ = ["STAGES", "Compilation", "Interface", "Options", "Params", "TensorSpec", "build", "show"]


@dataclass(frozen=True)
class Options:
    """How to compile; part of the key of the compile cache."""

    target: llvm.Target = field(default_factory=llvm.host)

    def key(self) -> list[str]:
        return [self.target.triple, self.target.cpu, self.target.features]


@dataclass
class Compilation:
    """The state that the stages change."""

    module: ir.Module
    interface: Interface
    options: Options
    lowered: Lowered | None = None
    workspace: int = 0
    code: llvm.Code | None = None

    def text(self) -> str:
        if self.code is not None:
            return self.code.text()
        return str(self.module)

    def close(self) -> None:
        if self.code is not None:
            self.code.__exit__()

    @property
    def target(self) -> llvm.Target:
        return self.options.target


def _expand(c: Compilation) -> None:
    expand.run(c.module)


def _simplify(c: Compilation) -> None:
    simplify.run(c.module)


def _linalg(c: Compilation) -> None:
    if not c.target.has_fma:
        # Argument reduction of sin and cos, for one, is exact by it; without it LLVM calls libm.
        raise ToolchainError(f"the CPU {c.target.cpu} has no fused multiply-add")
    storage.run(c.module)
    c.lowered = pb_to_linalg.run(c.module, c.target.vector_bytes)


def _bufferize(c: Compilation) -> None:
    c.workspace = bufferize.run(c.module)


def _to_llvm_dialect(c: Compilation) -> None:
    assert c.lowered is not None
    params = c.interface.params
    taken = [*c.interface.inputs, *(params.leaves if params.mode == "args" else ())]
    inputs = [Argument("in", i) for i, spec in enumerate(taken) if spec.bytes]
    if params.mode != "args":
        pairs = zip(params.leaves, params.offsets(), strict=True)
        inputs += [Argument("params", offset) for leaf, offset in pairs if leaf.bytes]
    outputs = [Argument("out", i) for i, spec in enumerate(c.interface.outputs) if spec.bytes]
    has_status = bool(c.lowered.errors)
    embedded = params.mode == "embed"
    name, workspace = c.interface.name, c.workspace

    def entry(shares_loops: bool) -> str:
        return text(name, inputs, outputs, workspace, has_status, embedded, shares_loops)

    llvm_dialect.run(c.module, c.lowered.math, entry)


def _to_llvm(c: Compilation) -> None:
    inlinable = llvm_dialect.vector_functions(c.module)
    code = llvm.Code(llvm_dialect.translate(c.module), c.target, inlinable)
    c.code = code.__enter__()
    code.optimize()


STAGES = [
    Stage("expanded", _expand),
    Stage("simplified", _simplify),
    Stage("linalg", _linalg),
    Stage("scheduled", lambda c: schedule.run(c.module)),
    Stage("bufferized", _bufferize),
    Stage("llvm-dialect", _to_llvm_dialect),
    Stage("llvm", _to_llvm),
]


def build(
    module: ir.Module,
    interface: Interface,
    directory: pathlib.Path,
    options: Options | None = None,
    watch: Callable[[str, stages.State], None] | None = None,
) -> pathlib.Path:
    """Compiles @main of `module` (which is consumed) to NAME.so and NAME.h; returns NAME.so."""
    c = Compilation(module, interface, options or Options())
    with contextlib.closing(c):
        stages.run(STAGES, c, watch=watch)
        assert c.code is not None
        machine_code = c.code.object_file()
    return _write(c, machine_code, pathlib.Path(directory))


def show(
    module: ir.Module, interface: Interface, stage: str, options: Options | None = None
) -> str:
    """The program after `stage` ("asm": the machine code as assembly)."""
    c = Compilation(module, interface, options or Options())
    with contextlib.closing(c):
        stages.run(STAGES, c, until="llvm" if stage == "asm" else stage)
        if stage == "asm":
            assert c.code is not None
            return c.code.assembly()
        return c.text()


def _write(c: Compilation, machine_code: bytes, directory: pathlib.Path) -> pathlib.Path:
    assert c.lowered is not None
    interface, name = c.interface, c.interface.name
    errors = artifact.run_time_errors(c.lowered.errors)
    text_ = header.text(interface, c.workspace, errors)
    target = {
        "triple": c.target.triple,
        "cpu": c.target.cpu,
        "features": c.target.required,
    }
    description = artifact.manifest(
        interface, target, c.workspace, c.lowered.cost, errors, text_, metadata.version("pullback")
    )

    def library(path: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            code, data = pathlib.Path(scratch, "code.o"), pathlib.Path(scratch, "data.o")
            code.write_bytes(machine_code)
            parts = artifact.data_sections(interface, description, PARAMS_SYMBOL)
            architecture = c.target.triple.split("-")[0]
            with open(data, "wb") as file:
                elf_object.write(file, architecture, parts)
            link.link([code, data], path, name)
        artifact.seal(path)

    return artifact.write_library(interface, directory, text_, library)
