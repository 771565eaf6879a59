"""Loops and branches that one block of threads runs by itself: one kernel, whatever they do.

A step of a loop whose nests are small takes less time than to launch them, and a host that must
read a predicate back waits for the device each time. So where no thread has much to do for a nest,
the loop goes into the kernel as it stands: the threads share each nest, meet at a barrier, and go
on to the next one; all of them read the same predicates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from mlir import ir
from mlir.dialects import arith, scf

from ..builders import block_of, index_constant
from ..control import CONTROL
from ..plan_memory import VIEWS
from .launch import BLOCK, WARP, Threads, divided, launch, less, unravelled, when
from .maps import scalar
from .nests import Nest
from .reductions import Reducing, each_term, shuffled_together, started

#: Operations of a thread for each nest of a step, on average, that are worth a launch.
_PATIENCE = 500
#: Terms of a sum that a thread adds up by itself; a call of a math function, in operations.
_ALONE, _CALL = 8, 40
_INSIDE = {"scf.yield", "scf.condition", "memref.alloc", "memref.load", *VIEWS}


def fits(op: ir.Operation) -> bool:
    """Whether a loop or branch is made of nests that a block does in little time."""
    nests = [Nest(inner) for inner in _inside(op) if inner.name == "linalg.generic"]
    others = (inner for inner in _inside(op) if inner.name != "linalg.generic")
    if not all(_goes_inside(inner) for inner in others):
        return False
    return bool(nests) and sum(map(_operations, nests)) <= _PATIENCE * len(nests)


def _inside(op: ir.Operation) -> Iterator[ir.Operation]:
    """The ops of a loop or branch, and of those inside, but not what is in the nests."""
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                if CONTROL in inner.operation.attributes:
                    yield from _inside(inner.operation)


def _goes_inside(op: ir.Operation) -> bool:
    return CONTROL in op.attributes or op.name in _INSIDE or op.name.startswith("arith.")


def _operations(nest: Nest) -> int:
    """Of each thread."""
    body = sum(_CALL if op.operation.name == "func.call" else 1 for op in nest.body) + 2
    count = math.prod(nest.domain[d] for d in nest.parallel)
    length = math.prod(nest.domain[d] for d in nest.reduced)
    lanes = _lanes(count, length)
    return -(-count * lanes // BLOCK) * -(-length // lanes) * body


def _threads(nests: Sequence[Nest]) -> int:
    """As many as have something to do."""
    most = 1
    for nest in nests:
        count = math.prod(nest.domain[d] for d in nest.parallel)
        most = max(most, count * _lanes(count, math.prod(nest.domain[d] for d in nest.reduced)))
    return min(BLOCK, -(-most // WARP) * WARP)


def _lanes(count: int, length: int) -> int:
    """Threads for each result of a reduction."""
    return 1 if length <= _ALONE or count * _ALONE >= BLOCK else WARP


def emit(op: ir.Operation) -> None:
    """The kernel, in place of the loop or branch."""
    name = {"scf.for": "loop", "scf.while": "while", "scf.if": "branch"}[op.name]
    threads = _threads([Nest(inner) for inner in _inside(op) if inner.name == "linalg.generic"])
    with ir.InsertionPoint(op), op.location, launch(name, 1, threads, exchanges=True) as t:
        t.barrier()  # nobody writes before all have read what is computed ahead of the loop
    op.move_before(t.op.body.blocks[0].operations[-1].operation)
    for inner in [op, *list(_inside(op))]:
        if CONTROL in inner.attributes:
            del inner.attributes[CONTROL]
        if inner.name == "memref.load":
            with ir.InsertionPoint.after(inner), inner.location:
                t.barrier()  # nor here, before all have read
        if inner.name == "linalg.generic":
            with ir.InsertionPoint(inner), inner.location:
                _share(Nest(inner), t)
            inner.erase()


def _share(nest: Nest, t: Threads) -> None:
    """All threads do their part of a nest, and wait for the others."""
    if 0 in nest.domain or nest.copies_itself:
        return
    if nest.reduced:
        _reduce(nest, t)
    else:
        with _each(t.thread_id, math.prod(nest.domain), t.block) as at:
            scalar(nest, unravelled(at, nest.domain))
    t.barrier()


@contextmanager
def _each(first: ir.Value, count: int, step: int) -> Iterator[ir.Value]:
    """for at = first to count by step; first < step."""
    if count <= step:
        with when(less(first, count)):
            yield first
        return
    loop = scf.ForOp(first, index_constant(count), index_constant(step))
    with block_of(loop.body):
        yield loop.induction_variable
        scf.YieldOp([])


def _reduce(nest: Nest, t: Threads) -> None:
    work = Reducing(nest)
    lanes = _lanes(work.count, work.length)
    group, lane = divided(t.thread_id, lanes, t.block)
    with _each(group, work.count, t.block // lanes) as at:
        starts = [started(a) for a in work.starts if a is not None]
        end = index_constant(work.length)
        values = each_term(lane, end, lanes, 1, starts, partial(work.element, at))
        values = shuffled_together(t, values, lanes, work.combine)
        with when(arith.cmpi(arith.CmpIPredicate.eq, lane, index_constant(0))):
            work.store(at, values)
