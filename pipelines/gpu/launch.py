"""Kernels while they are part of @main: a `gpu.launch`, its threads, and what they share.

Stage `kernels` writes these; outline.py makes functions of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlir import ir
from mlir.dialects import arith, gpu, memref, nvvm, scf

from ...dialects.diagnostics import user_location
from ...dialects.errors import ShapeError
from ..builders import block_of, index_constant
from ..scalars import constant
from .shuffles import WARP as WARP
from .shuffles import shuffled

BLOCK = 256
#: On a launch: the name of the kernel.
NAME = "kernel"
#: On a launch, and on its kernel: how many blocks a multiprocessor must have room for.
RESIDENT = "nvvm.minctasm"
#: On a launch: its threads read what others of them wrote.
EXCHANGES = "pb.exchanges"
#: The address space of memory that a block shares.
SHARED = 3


class Threads:
    """The threads of one launch, at the insertion point of its body."""

    def __init__(self, op: Any, grid: int, block: int) -> None:
        self.op, self.grid, self.block = op, grid, block
        self.block_id = _register(nvvm.BlockIdXOp, grid)
        self.thread_id = _register(nvvm.ThreadIdXOp, block)

    def flat(self) -> ir.Value:
        """The number of this thread in the grid."""
        first = arith.muli(self.block_id, index_constant(self.block))
        return arith.addi(first, self.thread_id)

    def barrier(self) -> None:
        nvvm.barrier0()

    def shared(self, shape: Sequence[int], element: ir.Type) -> ir.Value:
        """Memory of the block."""
        space = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), SHARED)
        type_ = ir.MemRefType.get(list(shape), element, memory_space=space)
        return memref.alloca(type_, [], [])

    def across(self, value: ir.Value, distance: int) -> ir.Value:
        """The value of the thread whose lane differs in this bit."""
        return shuffled(value, "bfly", distance)


def _register(op: Any, below: int) -> ir.Value:
    """A thread's place, known to be under `below`."""
    i32 = ir.IntegerType.get_signless(32)
    limits = ir.Attribute.parse(f"#llvm.constant_range<i32, 0, {below}>")
    return arith.index_castui(ir.IndexType.get(), op(i32, range=limits).result)


def refuse_more(what: str, count: int) -> None:
    """ShapeError at what the present location stands for, if 31 bits cannot count so many."""
    if count >= 1 << 31:
        here = ir.Location.current
        message = f"{count} {what} are more than a GPU's kernels count: fewer than 2**31"
        raise ShapeError(
            message,
            user_location(here) if here else None,
            help="compute it in smaller parts, or for the CPU",
        )


@contextmanager
def launch(
    name: str, grid: int, block: int, resident: int = 0, exchanges: bool = False
) -> Iterator[Threads]:
    """Here, a kernel of `grid` blocks of `block` threads.

    A multiprocessor must have room for `resident` blocks; 0: as the assembler thinks best, which
    may be registers on the stack. Threads may read from global memory what others of their block
    wrote, behind a barrier, if it `exchanges`.
    """
    refuse_more("blocks of threads", grid)
    one = index_constant(1)
    op = gpu.LaunchOp((index_constant(grid), one, one), (index_constant(block), one, one))
    op.operation.attributes[NAME] = ir.StringAttr.get(name)
    if resident:
        i32 = ir.IntegerType.get_signless(32)
        op.operation.attributes[RESIDENT] = ir.IntegerAttr.get(i32, resident)
    if exchanges:
        op.operation.attributes[EXCHANGES] = ir.UnitAttr.get()
    body = op.body.blocks[0] if len(op.body.blocks) else op.body.blocks.append()
    with ir.InsertionPoint(body):
        yield Threads(op, grid, block)
        gpu.TerminatorOp()


@contextmanager
def when(condition: ir.Value) -> Iterator[None]:
    choice = scf.IfOp(condition)
    with block_of(choice.then_block):
        yield
        scf.YieldOp([])


def less(x: ir.Value, end: int | ir.Value) -> ir.Value:
    bound = index_constant(end) if isinstance(end, int) else end
    return arith.cmpi(arith.CmpIPredicate.ult, x, bound)


def divided(x: ir.Value, by: int, below: int) -> tuple[ir.Value, ir.Value]:
    """Quotient and remainder of an index under `below`."""
    if by == 1:
        return x, index_constant(0)
    if below <= by:
        return index_constant(0), x
    narrow = ir.IntegerType.get_signless(32)
    # Division of 64 bits is a long piece of code on a GPU.
    if below < 2**31:
        small = arith.index_castui(narrow, x)
        divisor = constant(narrow, by)
        index = ir.IndexType.get()
        quotient = arith.index_castui(index, arith.divui(small, divisor))
        return quotient, arith.index_castui(index, arith.remui(small, divisor))
    divisor = index_constant(by)
    return arith.divui(x, divisor), arith.remui(x, divisor)


def unravelled(x: ir.Value, sizes: Sequence[int]) -> list[ir.Value]:
    """The indices of the element at row-major position x."""
    total = math.prod(sizes)
    indices = []
    for size in reversed(sizes):
        x, index = divided(x, size, total)
        total = -(-total // size)
        indices.append(index)
    return indices[::-1]
