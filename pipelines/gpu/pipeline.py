"""The GPU pipeline: a pb module to PTX and a launch plan, and to a library on disk."""

from __future__ import annotations

import pathlib
import platform
from collections.abc import Callable
from dataclasses import dataclass

from mlir import ir

from ...dialects.pb.transforms import expand, simplify, storage
from .. import bufferize, pb_to_linalg, plan_memory, stages
from ..artifact import Interface
from ..pb_to_linalg import Lowered
from ..stages import Stage, run_passes
from . import kernels, library, nvvm, outline, panels, ptxas
from .lowering import GpuLowering
from .plan import Argument, Kind, Plan

__all__ = ["STAGES", "Compilation", "Options", "build", "compiled", "show"]


@dataclass(frozen=True)
class Options:
    """How to compile; part of the key of the compile cache."""

    #: Machine code beside the PTX, where an assembler is found.
    cubins: bool = True
    #: Whether tensor cores may round the factors of products of f32 to tf32.
    tf32: bool = False

    def key(self) -> list[str]:
        products = "tf32" if self.tf32 else "f32"
        return ["cuda", platform.machine(), products, *library.ingredients(self.cubins)]


@dataclass
class Compilation:
    """The state that the stages change."""

    module: ir.Module
    interface: Interface
    options: Options
    lowered: Lowered | None = None
    workspace: int = 0
    plan: Plan | None = None
    ptx: str = ""

    def text(self) -> str:
        return self.ptx or str(self.module)


def _linalg(c: Compilation) -> None:
    storage.run(c.module)
    panels.run(c.module)
    c.lowered = pb_to_linalg.run(c.module, GpuLowering.WIDTH, GpuLowering)


def _plan_memory(c: Compilation) -> None:
    c.workspace = plan_memory.run(c.module)


def _outline(c: Compilation) -> None:
    assert c.lowered is not None
    leading = _arguments(c.interface)
    c.plan = outline.run(c.module, leading, bool(c.lowered.errors), c.workspace)


def _arguments(interface: Interface) -> list[Argument]:
    """The arguments of @main: inputs and outputs that have elements, parameters in between."""
    params = interface.params
    taken = [*interface.inputs, *(params.leaves if params.mode == "args" else ())]
    found = [Argument(Kind.IN, i) for i, spec in enumerate(taken) if spec.bytes]
    if params.mode != "args":
        pairs = zip(params.leaves, params.offsets(), strict=True)
        found += [Argument(Kind.PARAMS, 0, offset) for leaf, offset in pairs if leaf.bytes]
    outputs = enumerate(interface.outputs)
    return found + [Argument(Kind.OUT, i) for i, spec in outputs if spec.bytes]


def _nvvm(c: Compilation) -> None:
    assert c.lowered is not None and c.plan is not None
    nvvm.run(c.module, c.lowered.math, c.plan.kernels)


def _ptx(c: Compilation) -> None:
    c.ptx = nvvm.ptx(c.module)


STAGES = [
    Stage("expanded", lambda c: expand.run(c.module)),
    Stage("simplified", lambda c: simplify.run(c.module)),
    Stage("linalg", _linalg),
    Stage("bufferized", lambda c: run_passes(c.module, bufferize.PASSES)),
    Stage("kernels", lambda c: kernels.run(c.module, c.options.tf32)),
    Stage("planned", _plan_memory),
    Stage("outlined", _outline),
    Stage("nvvm", _nvvm),
    Stage("ptx", _ptx),
]


def compiled(
    module: ir.Module,
    interface: Interface,
    options: Options | None = None,
    until: str | None = None,
    watch: Callable[[str, stages.State], None] | None = None,
) -> Compilation:
    """Compiles @main of `module`, which is consumed."""
    c = Compilation(module, interface, options or Options())
    stages.run(STAGES, c, until=until, watch=watch)
    return c


def build(
    module: ir.Module,
    interface: Interface,
    directory: pathlib.Path,
    options: Options | None = None,
    watch: Callable[[str, stages.State], None] | None = None,
) -> pathlib.Path:
    """Compiles @main of `module` (which is consumed) to NAME.so and NAME.h; returns NAME.so."""
    c = compiled(module, interface, options, watch=watch)
    return library.write(c, pathlib.Path(directory))


def show(
    module: ir.Module, interface: Interface, stage: str, options: Options | None = None
) -> str:
    """The program after `stage` ("sass": the machine code as assembly).

    ToolchainError: "sass" without NVIDIA's assembler and disassembler.
    """
    if stage == "sass":
        return ptxas.disassembly(compiled(module, interface, options).ptx, ptxas.ARCHITECTURES[-1])
    return compiled(module, interface, options, until=stage).text()
