"""Stages `nvvm` and `ptx`: kernels on memory become the LLVM dialect, then PTX.

The passes are the CPU's, and so are the math functions: every operation is rounded as IEEE says.
LLVM's PTX backend works in this process, and needs no CUDA.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlir import ir
from mlir.dialects import func

from ...dialects.errors import InternalError
from ..builders import symbol
from ..llvm_dialect import TO_LLVM, TO_LOOPS
from ..math_library import MathLibrary
from ..outline import INTERNAL
from ..stages import run_passes
from .outline import BLOCK

#: What every GPU from Ampere on runs.
CHIP, FEATURES = "sm_80", "+ptx80"


def run(module: ir.Module, math: MathLibrary, kernels: Sequence[str]) -> None:
    """Kernels become functions of the LLVM dialect, in a module for the GPU."""
    with module.context:
        math.define(module)
        internal = ir.Attribute.parse(INTERNAL)
        blocks: dict[str, int] = {}
        for op in module.body.operations:
            if symbol(op) in kernels:
                blocks[symbol(op)] = ir.IntegerAttr(op.attributes[BLOCK]).value
                del op.attributes[BLOCK]
            elif isinstance(op, func.FuncOp):
                op.attributes["llvm.linkage"] = internal
                # Inlined or not is LLVM's choice here: no vectoriser looks for them.
                if "passthrough" in op.attributes:
                    del op.attributes["passthrough"]
    run_passes(module, TO_LOOPS)
    run_passes(module, TO_LLVM)
    with module.context, ir.Location.unknown():
        _wrap(module, blocks)


def _wrap(module: ir.Module, blocks: dict[str, int]) -> None:
    parsed = ir.Module.parse(
        "module attributes {gpu.container_module} { gpu.module @kernels "
        f'[#nvvm.target<O = 3, chip = "{CHIP}", features = "{FEATURES}">] {{ }} }}'
    )
    [wrapper] = parsed.body.operations
    inner = wrapper.regions[0].blocks[0]
    for op in list(module.body.operations):
        name = symbol(op)
        if name in blocks:
            op.attributes["nvvm.kernel"] = ir.UnitAttr.get()
            threads = ir.DenseI32ArrayAttr.get([blocks[name], 1, 1])
            op.attributes["nvvm.reqntid"] = threads
        op.operation.detach_from_parent()
        inner.append(op)
    wrapper.operation.detach_from_parent()
    module.body.append(wrapper)
    module.operation.attributes["gpu.container_module"] = ir.UnitAttr.get()


def ptx(module: ir.Module) -> str:
    """The kernels as PTX."""
    run_passes(module, "gpu-module-to-binary{format=isa}")
    with module.context:
        for op in module.body.operations:
            if op.operation.name == "gpu.binary":
                return _text(str(ir.ArrayAttr(op.attributes["objects"])[0]))
    raise InternalError("no PTX was made")


def _text(attribute: str) -> str:
    found = re.search(r'assembly = "(.*)">$', attribute, re.DOTALL)
    if found is None:
        raise InternalError("the PTX is not where it was")
    raw = re.sub(r"\\([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), found[1])
    return raw.replace('\\"', '"').replace("\\\\", "\\").rstrip("\0")
