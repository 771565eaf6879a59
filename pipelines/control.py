"""Lowering of loops and branches: their bodies are graphs of their own, fused like a function's.

A loop keeps what it carries in memory. Its body reads the carried values from there, and writes
the next ones where it can prove that nobody reads the old ones any more; other values are copied
at the end of the step. Stacked results are written in place. Errors are carried like values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlir import ir
from mlir.dialects import arith, bufferization, linalg, memref, scf, tensor

from ..dialects.diagnostics import user_location
from ..dialects.errors import ShapeError
from ..dialects.pb.types import element_type, shape
from .buffers import in_memory, strided, tensor_of
from .builders import block_of, index_constant
from .fusion import Fusion
from .loop_emission import Emission
from .loop_graph import Node, Pointwise, Reshaped, Stored, Whole
from .plan_memory import size_of

if TYPE_CHECKING:
    from .lowering import Lowering

MAX_BYTES = 1 << 56  # more than any machine has; sizes and offsets are far from overflow
#: On a loop or branch that holds loop nests, and is none.
CONTROL = "pb.control"
_DYNAMIC = ir.ShapedType.get_dynamic_size()


def lower_block(lowering: Lowering, block: ir.Block, arguments: Sequence[Node]) -> list[Node]:
    """The ops of a block, by their `lower` rules; the nodes of what it returns or yields."""
    nodes = dict(zip(block.arguments, arguments, strict=True))
    operations: list[Any] = list(block.operations)
    for op in operations[:-1]:
        lowering.location = op.location
        with op.location:
            lowered = op.lower(lowering, *(nodes[operand] for operand in op.operands))
        results = lowered if isinstance(lowered, (list, tuple)) else [lowered]
        if any(bytes_of(shape(v), element_type(v)) > MAX_BYTES for v in op.results):
            raise ShapeError(
                f"a value of type {op.results[0].type} has more elements than memory has addresses",
                user_location(op.location),
            )
        nodes.update(zip(op.results, results, strict=True))
    return [nodes[value] for value in operations[-1].operands]


def bytes_of(dims: Sequence[int], element: ir.Type) -> int:
    return size_of(ir.MemRefType.get(list(dims), in_memory(element)))


class Body:
    """The graph of a region; `carried` are its arguments that live in memory and are written."""

    def __init__(self, lowering: Lowering, block: ir.Block) -> None:
        self.lowering = lowering.nested()
        self.arguments = [self.stored(shape(v), element_type(v)) for v in block.arguments]
        self.results = lower_block(self.lowering, block, self.arguments)

    def stored(self, dims: Sequence[int], element: ir.Type) -> Node:
        """A tensor that is known once the loop is emitted."""
        if not math.prod(dims):
            return self.lowering.full(dims, element, 0)
        return self.lowering.stored(None, tuple(dims), element)  # type: ignore[arg-type]

    def failed(self) -> Node | None:
        """The first error of one run of the body."""
        return self.lowering.first_error()

    def emit(
        self, emission: Emission, places: Sequence[tuple[Node, ir.Value, Node | None]]
    ) -> None:
        """Emits here; `places`: a result, where it goes, and the argument read from there."""
        places = [(node, place, old) for node, place, old in places if place is not None]
        fusion = Fusion(self.lowering.graph, [node for node, _, _ in places])
        results = [_origin(node) for node, _, _ in places]
        direct: dict[Node, ir.Value] = {}
        for node, place, carried in places:
            origin = _origin(node)
            if origin not in fusion.step_of or origin in direct:
                continue
            if carried is None or _may_overwrite(fusion, origin, carried, results):
                direct[origin] = place
        inner = type(emission)(fusion, emission.scalars, direct)
        inner.run()
        copies = []
        arguments = set(self.arguments)
        for node, place, carried in places:
            origin = _origin(node)
            if direct.get(origin) is place or (origin is carried and node is carried):
                continue
            value = inner.tensor(node)
            if origin in arguments and carried is not None:
                # Old carried values may change places: all are read before any is written.
                value = inner.copied(value, inner.empty(node.shape, node.element))
            copies.append((value, place, carried is not None, origin in arguments))
        # The old carried values are read before they are written.
        for value, place, is_carried, is_given in sorted(copies, key=lambda copy: copy[2]):
            # A value from outside is copied: stored, it would be made in this place right away
            # (eliminate-empty-tensors), where another branch may write before it is read.
            if is_carried or is_given:
                copy_into(value, place)
            else:
                _store(value, place)


def _origin(node: Node) -> Node:
    while isinstance(node, Reshaped):
        node = node.source
    return node


def _may_overwrite(fusion: Fusion, node: Node, carried: Node, results: Sequence[Node]) -> bool:
    """May the step that makes `node` write it over `carried`? Nobody may read that afterwards."""
    if carried in results:
        return False
    order = {step: number for number, step in enumerate(fusion.steps)}
    step = fusion.step_of[node]
    whole = step.members[0] if step.whole else None
    if isinstance(whole, Whole) and not whole.in_memory and node not in whole.shares:
        # Its parts may be computed in place, long before it.
        return not fusion.uses(carried) and not fusion.tensor_users(carried)
    for use in fusion.uses(carried):
        if order[use.step] < order[step]:
            continue
        same = use.step is step and use.identical(carried.shape)
        if not same or not isinstance(node, Pointwise):
            return False
    for user in fusion.tensor_users(carried):
        if order[user] < order[step]:
            continue
        shared = isinstance(whole, Whole) and whole.shares.get(node) is carried
        if user is not step or not shared or list(whole.sources).count(carried) != 1:  # type: ignore[union-attr]
            return False
    return True


def copy_into(value: ir.Value, place: ir.Value | None) -> None:
    """Copies a tensor to memory, here and not before."""
    if place is None:
        return
    type_ = value.type
    destination = bufferization.to_tensor(type_, place, restrict=True, writable=True)
    _store(linalg.copy(value, outs=[destination]), place)


def _store(value: ir.Value, place: ir.Value) -> None:
    bufferization.materialize_in_destination(None, value, place, restrict=True, writable=True)


def _read(place: ir.Value | None, node: Node) -> ir.Value | None:
    if place is None:
        return None
    return bufferization.to_tensor(tensor_of(node.shape, node.element), place, restrict=True)


def _bind(nodes: Sequence[Node], tensors: Sequence[ir.Value | None]) -> None:
    for node, value in zip(nodes, tensors, strict=True):
        if isinstance(node, Stored) and value is not None:
            node.tensor = value


def _types(nodes: Sequence[Node]) -> list[tuple[Any, ir.Type]]:
    return [(node.shape, node.element) for node in nodes]


# -- scan ------------------------------------------------------------------------------


def scan(
    lowering: Lowering,
    block: ir.Block,
    consts: Sequence[Node],
    inits: Sequence[Node],
    xs: Sequence[Node],
    length: int,
    reverse: bool,
) -> list[Node]:
    body = Body(lowering, block)
    count = len(inits)
    c, k, x = (
        body.arguments[: len(consts)],
        body.arguments[len(consts) : len(consts) + count],
        body.arguments[len(consts) + count :],
    )
    carries, ys = body.results[:count], body.results[count:]
    inits = [*inits]
    failed = body.failed()
    if failed is not None:
        k = [*k, body.stored((), lowering.i32)]
        carries = [*carries, body.lowering.earlier(k[-1], failed)]
        inits.append(lowering.no_error())

    def emit(emission: Emission, places: Sequence[ir.Value], *tensors: ir.Value) -> None:
        given, starts = tensors[: len(c)], tensors[len(c) : len(c) + len(k)]
        for value, place in zip(starts, places, strict=False):
            copy_into(value, place)
        low, high, one = (index_constant(n) for n in (0, length, 1))
        loop = scf.ForOp(low, high, one)
        loop.operation.attributes[CONTROL] = ir.UnitAttr.get()
        with ir.InsertionPoint(loop.body):
            step = loop.induction_variable
            if reverse:
                step = arith.subi(index_constant(length - 1), step)
            _bind(c, given)
            _bind(k, [_read(place, node) for place, node in zip(places, k, strict=False)])
            sources = tensors[len(c) + len(k) :]
            _bind(x, [_row(v, step, node) for v, node in zip(sources, x, strict=True)])
            rows = [
                _row_of_memory(place, step, node)
                for place, node in zip(places[len(k) :], ys, strict=True)
            ]
            carried = zip(carries, places, k, strict=False)
            stacked = zip(ys, rows, [None] * len(ys), strict=True)
            body.emit(emission, [*carried, *stacked])
            scf.YieldOp([])

    types = [*_types(k), *(((length, *y.shape), y.element) for y in ys)]
    made = lowering.in_memory(types, [*consts, *inits, *xs], emit, share=(len(consts), len(k)))
    if failed is not None:
        lowering.record(made.pop(count))
    return made


def _row(value: ir.Value, step: ir.Value, node: Node) -> ir.Value | None:
    if not node.size:
        return None
    rank = len(node.shape)
    return tensor.extract_slice(
        tensor_of(node.shape, node.element),
        value,
        [step],
        [],
        [],
        [_DYNAMIC, *[0] * rank],
        [1, *node.shape],
        [1] * (rank + 1),
    )


def _row_of_memory(place: ir.Value | None, step: ir.Value, node: Node) -> ir.Value | None:
    """Where row `step` of a stacked result lies."""
    if place is None:
        return None
    rank = len(node.shape)
    op = memref.SubViewOp(
        strided(node.shape, in_memory(node.element)),
        place,
        [step],
        [],
        [],
        [_DYNAMIC, *[0] * rank],
        [1, *node.shape],
        [1] * (rank + 1),
    )
    return op.result


# -- cond ------------------------------------------------------------------------------


def cond(
    lowering: Lowering, blocks: Sequence[ir.Block], pred: Node, args: Sequence[Node]
) -> list[Node]:
    bodies = [Body(lowering, block) for block in blocks]
    failures = [body.failed() for body in bodies]
    count = len(bodies[0].results)
    fails = any(failed is not None for failed in failures)
    if fails:
        for body, failed in zip(bodies, failures, strict=True):
            body.results.append(body.lowering.no_error() if failed is None else failed)

    def emit(emission: Emission, places: Sequence[ir.Value], *tensors: ir.Value) -> None:
        taken = emission.from_memory(tensor.extract(tensors[0], []), pred.element)
        choice = scf.IfOp(taken, has_else=True)
        choice.operation.attributes[CONTROL] = ir.UnitAttr.get()
        for body, block in zip(bodies, (choice.then_block, choice.else_block), strict=True):
            with block_of(block):
                _bind(body.arguments, tensors[1:])
                unread = [None] * len(places)
                body.emit(emission, list(zip(body.results, places, unread, strict=True)))
                scf.YieldOp([])

    made = lowering.in_memory(_types(bodies[0].results), [pred, *args], emit)
    if fails:
        lowering.record(made.pop(count))
    return made


# -- while -----------------------------------------------------------------------------


def while_loop(
    lowering: Lowering,
    condition: ir.Block,
    block: ir.Block,
    consts: Sequence[Node],
    inits: Sequence[Node],
    max_steps: int | None,
    message: str,
) -> list[Node]:
    """Carried beside the values: the number of steps if it has a bound, and the first error.

    The test leaves in memory whether the loop wants another step.
    """
    test, body = Body(lowering, condition), Body(lowering, block)
    count, carries = len(consts), len(inits)
    (goes_on,) = test.results
    starts = list(inits)
    read = test.arguments[count:]
    stepped = list(zip(body.results, body.arguments[count:], strict=True))
    if max_steps is not None:
        i64 = ir.IntegerType.get_signless(64)
        number = body.stored((), i64)
        stepped.append((body.lowering.one_more(number), number))
        read = [*read, test.stored((), i64)]
        starts.append(lowering.full((), i64, 0))
    failures: list[tuple[Node, Node] | None] = [None, None]
    fails = test.failed() is not None or body.failed() is not None
    if fails:
        starts.append(lowering.no_error())
        for i, each in enumerate((test, body)):
            before = each.stored((), lowering.i32)
            found = each.failed()
            failures[i] = (each.lowering.earlier(*([before, found] if found else [before])), before)

    def emit(emission: Emission, places: Sequence[ir.Value], *tensors: ir.Value) -> None:
        for value, place in zip(tensors[count:], places, strict=False):
            copy_into(value, place)
        running, status = places[-1], places[-2]
        loop = scf.WhileOp([], [])
        loop.operation.attributes[CONTROL] = ir.UnitAttr.get()
        with ir.InsertionPoint(loop.before.blocks.append()):
            _bind(test.arguments[:count], tensors[:count])
            _bind(read, [_read(place, node) for place, node in zip(places, read, strict=False)])
            written: list[Any] = [(goes_on, running, None)]
            if failures[0] is not None:
                written.append(_bound_status(failures[0], status))
            test.emit(emission, written)
            wanted = emission.from_memory(memref.load(running, []), goes_on.element)
            if max_steps is not None:
                steps = memref.load(places[carries], [])
                limit = arith.ConstantOp(steps.type, max_steps).result
                within = arith.cmpi(arith.CmpIPredicate.slt, steps, limit)
                wanted = arith.andi(wanted, within)
            scf.ConditionOp(wanted, [])
        with ir.InsertionPoint(loop.after.blocks.append()):
            _bind(body.arguments[:count], tensors[:count])
            written = []
            for (new, old), place in zip(stepped, places, strict=False):
                _bind([old], [_read(place, old)])
                written.append((new, place, old))
            if failures[1] is not None:
                written.append(_bound_status(failures[1], status))
            body.emit(emission, written)
            scf.YieldOp([])

    types = [*_types(starts), ((), goes_on.element)]
    sources = [*consts, *starts]
    made = lowering.in_memory(types, sources, emit, share=(count, len(starts)))
    running = made.pop()
    if fails:
        lowering.record(made.pop())
    if max_steps is not None:
        lowering.fail_if(running, message)
    return made[:carries]


def _bound_status(nodes: tuple[Node, Node], place: ir.Value) -> tuple[Node, ir.Value, Node]:
    new, old = nodes
    _bind([old], [_read(place, old)])
    return new, place, old
