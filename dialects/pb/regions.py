"""What ops with regions have in common: effects, masks, and arguments that nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mlir import ir

from . import _pb_ops_gen as gen
from .opdef import ZERO, Batched, Op, Tangent
from .transforms import functions
from .transforms.vmap import batch_body
from .types import is_float

if TYPE_CHECKING:
    from .builder import Builder

T = TypeVar("T")


class Region(Op):
    """An op whose bodies see their arguments only."""

    @property
    def pure(self) -> bool:  # type: ignore[override]
        """Whether everything in the bodies is."""
        return all(op.pure for block in self.blocks() for op in functions.ops(block))

    def flops(self) -> int:
        return sum(op.flops() for block in self.blocks() for op in functions.ops(block))


def chosen(items: Sequence[T], marks: Sequence[bool]) -> list[T]:
    """The items that are marked."""
    return [item for item, mark in zip(items, marks, strict=True) if mark]


def inverted(marks: Sequence[bool]) -> list[bool]:
    return [not mark for mark in marks]


def split(items: Sequence[T], *sizes: int) -> list[list[T]]:
    """Consecutive parts of the given sizes, and what is left."""
    parts, start = [], 0
    for size in sizes:
        parts.append(list(items[start : start + size]))
        start += size
    return [*parts, list(items[start:])]


def merged(first: Sequence[T], second: Sequence[T], marks: Sequence[bool]) -> list[T]:
    """Items of `second` where marked, of `first` elsewhere, each in order."""
    a, b = iter(first), iter(second)
    return [next(b) if mark else next(a) for mark in marks]


def nonzero(tangents: Sequence[Tangent]) -> list[bool]:
    return [tangent is not ZERO for tangent in tangents]


def real(b: Builder, tangent: Tangent, like: ir.Value | ir.Type) -> ir.Value:
    """A tangent as a value of the type of `like`."""
    if isinstance(tangent, ir.Value):
        return tangent
    return b.zeros(like.type if isinstance(like, ir.Value) else like)


def spread(values: Sequence[ir.Value], marks: Sequence[bool]) -> list[Tangent]:
    """The values where marked, ZERO elsewhere."""
    given = iter(values)
    return [next(given) if mark else ZERO for mark in marks]


def needed_arguments(block: ir.Block, results: Sequence[bool]) -> list[bool]:
    """The arguments that the marked results, and what has effects, are computed from."""
    needed = set(chosen(functions.returned(block), results))
    for op in reversed(functions.ops(block)):
        if not op.pure or any(result in needed for result in op.results):
            needed.update(op.operands)
    return [argument in needed for argument in block.arguments]


def literal(value: ir.Value) -> Any:
    """The op that makes a value from nothing (a constant, an iota), or None."""
    if not isinstance(value, ir.OpResult):
        return None
    op: Any = value.owner.opview
    return op if op.free and not len(op.operands) else None


def masked_body(
    b: Builder, block: ir.Block, mask: ir.Value, arguments: Sequence[ir.Value]
) -> list[ir.Value]:
    """A body whose results matter, and whose errors count, only where the scalar `mask` holds."""
    environment = dict(zip(block.arguments, arguments, strict=True))
    for op in functions.ops(block):
        b.location = op.location
        made = op.masked(b, mask, [environment[operand] for operand in op.operands])
        environment.update(zip(op.results, made, strict=True))
    return [environment[value] for value in functions.returned(block)]


def stopped(b: Builder, mask: ir.Value, values: Sequence[ir.Value]) -> list[ir.Value]:
    """Values for a body that only counts where `mask` holds: elsewhere without a derivative.

    What such a body makes of them there, a NaN perhaps, then never meets a cotangent.
    """
    return [b.chosen(mask, x, b.stop_gradient(x)) if is_float(x) else x for x in values]


def batched_body(
    b: Builder,
    op: Op,
    emit: Callable[[Builder, list[ir.Value]], Sequence[ir.Value]],
    types: Sequence[ir.Type],
    size: int,
    operands: Sequence[Batched],
) -> list[Batched]:
    """What `emit` writes for one example, for all of them; written beside `op` and erased."""
    at = ir.InsertionPoint(op.operation)
    scratch = ir.Operation.create("pb.checkpoint", regions=1, loc=b.location, ip=at)
    block = scratch.regions[0].blocks.append(*types, arg_locs=[b.location] * len(types))
    inner = type(b)(ir.InsertionPoint(block), b.location)
    gen.YieldOp(list(emit(inner, list(block.arguments))), loc=b.location, ip=inner.ip)
    outs = batch_body(b, block, size, list(operands))
    scratch.erase()
    return outs
