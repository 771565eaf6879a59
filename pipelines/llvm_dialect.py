"""Stage `llvm-dialect`: loops on memory become the LLVM dialect, and the C entry joins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlir import ir
from mlir.dialects import func, llvm

from ..dialects.errors import InternalError
from . import entry, parallel
from .builders import symbol, walk
from .math_library import VECTOR_FUNCTIONS, MathLibrary
from .outline import INTERNAL
from .stages import run_passes

TO_LOOPS = "func.func(convert-linalg-to-loops),canonicalize"
TO_LLVM = (
    "canonicalize,expand-strided-metadata,lower-affine,"
    "convert-scf-to-cf,convert-vector-to-llvm,convert-math-to-llvm,finalize-memref-to-llvm,"
    "convert-func-to-llvm{use-bare-ptr-memref-call-conv=true},convert-arith-to-llvm,"
    "convert-index-to-llvm,convert-ub-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts"
)


def run(module: ir.Module, math: MathLibrary, entry_text: Callable[[bool], str]) -> None:
    """`entry_text` makes the entry; its argument: does @main take the pullback_call?"""
    run_passes(module, TO_LOOPS)
    shared = parallel.run(module)
    math.define(module)
    with module.context:
        internal = ir.Attribute.parse(INTERNAL)
        for op in module.body.operations:
            if isinstance(op, func.FuncOp) and not op.is_external:
                op.attributes["llvm.linkage"] = internal
    run_passes(module, TO_LLVM)
    for loop in shared:
        entry.add(module, parallel.text(loop))
    entry.add(module, entry_text(bool(shared)))
    _check(module)


def _check(module: ir.Module) -> None:
    """The translation ends the process on any op that is not of the LLVM dialect."""
    strange: dict[str, None] = {}

    def visit(op: ir.Operation) -> None:
        if not op.name.startswith("llvm."):
            strange[op.name] = None

    for op in module.body.operations:
        walk(op, visit)
    if strange:
        raise InternalError(f"ops left over after lowering to LLVM: {', '.join(strange)}")
    called = {"malloc", "free", "memrefCopy", "aligned_alloc"}
    if allocating := called & {symbol(op) for op in module.body.operations}:
        raise InternalError(f"the code would call {', '.join(allocating)}")


def translate(module: ir.Module) -> str:
    """The module as LLVM IR text."""
    bindings: Any = llvm
    text: str = bindings.translate_module_to_llvmir(module.operation)
    names = vector_functions(module)
    if not names:
        return text
    # Nothing refers to these until loops are vectorised: keep them that long.
    listed = ", ".join(f'ptr @"{name}"' for name in names)
    return (
        f"{text}\n@llvm.compiler.used = appending global [{len(names)} x ptr] [{listed}], "
        'section "llvm.metadata"\n'
    )


def vector_functions(module: ir.Module) -> list[str]:
    """Math functions on vectors, which LLVM's vectoriser calls in place of the scalar ones."""
    attributes = module.operation.attributes
    if VECTOR_FUNCTIONS not in attributes:
        return []
    return [ir.StringAttr(name).value for name in ir.ArrayAttr(attributes[VECTOR_FUNCTIONS])]
