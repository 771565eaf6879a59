"""Stage `scheduled`: transform-dialect schedules for what matmul.py and loop_emission.py marked.

Loops across rows are tiled. A marked block of a contraction is tiled to its register tile and to
single steps of the contracted dimension, and vectorised; its accumulators move out of the innermost
loop. After bufferisation `finish` turns the vector contractions into outer products, that is, fused
multiply-adds.
"""

from __future__ import annotations

from typing import NamedTuple

from mlir import ir
from mlir.dialects import vector
from mlir.dialects.transform import interpreter

from ..dialects.errors import InternalError
from .builders import symbol, walk
from .loop_emission import TILES
from .matmul import FRESH, MARK
from .outline import PARALLEL

_MODULE = """
module attributes {{transform.with_named_sequence}} {{
  transform.named_sequence @__transform_main(%module: !transform.any_op) {{
    %f = transform.structured.match ops{{["func.func"]}} attributes {{pb.scheduled}} in %module
      : (!transform.any_op) -> !transform.any_op
{steps}
    transform.yield
  }}
}}
"""
_LOOPS = """
    %g{number} = transform.structured.match ops{{["linalg.generic"]}}
      attributes {{{mark} = array<i64: {sizes}>}} in %f : (!transform.any_op) -> !transform.any_op
    %u{number}, %v{number}:{count} = transform.structured.tile_using_for %g{number}
      tile_sizes [{sizes}] : (!transform.any_op) -> (!transform.any_op, {types})
"""
_BLOCK = """
    %b{rows} = transform.structured.match ops{{["linalg.contract"]}}
      attributes {{{mark} = {rows} : i64}} in %f : (!transform.any_op) -> !transform.any_op
    %t{rows}, %l{rows} = transform.structured.tile_using_for %b{rows} tile_sizes [{rows}, 0, 0]
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    %s{rows}, %k{rows} = transform.structured.tile_using_for %t{rows} tile_sizes [0, 0, 1]
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    transform.annotate %l{rows} "{parallel}" : !transform.any_op
    transform.structured.vectorize %s{rows} {{create_named_contraction}} : !transform.any_op
"""
_HOIST = """
    transform.apply_patterns to %f {
      transform.apply_patterns.linalg.tiling_canonicalization
      transform.apply_patterns.scf.for_loop_canonicalization
      transform.apply_patterns.canonicalization
    } : !transform.any_op
    %loops = transform.structured.match ops{["scf.for"]} in %f
      : (!transform.any_op) -> !transform.any_op
    transform.loop.hoist_loop_invariant_subsets %loops : !transform.any_op
"""
_FINISH = """
    transform.apply_patterns to %f {
      transform.apply_patterns.vector.lower_contraction lowering_strategy = "outerproduct"
    } : !transform.any_op
    transform.apply_patterns to %f {
      transform.apply_patterns.vector.lower_outerproduct
    } : !transform.any_op
    transform.apply_patterns to %f {
      transform.apply_patterns.vector.lower_transfer max_transfer_rank = 1
    } : !transform.any_op
    transform.apply_patterns to %f {
      transform.apply_patterns.vector.transfer_to_scf max_transfer_rank = 1 full_unroll = true
    } : !transform.any_op
"""


#: On the functions that a schedule is for.
_SCHEDULED = "pb.scheduled"


class _Marks(NamedTuple):
    #: Rows of the register tiles of contractions.
    rows: list[int]
    #: Tile sizes of loops.
    tiles: list[tuple[int, ...]]


def _marks(module: ir.Module) -> _Marks:
    rows: set[int] = set()
    tiles: set[tuple[int, ...]] = set()

    def visit(op: ir.Operation) -> None:
        if op.name == "linalg.contract" and MARK in op.attributes:
            rows.add(ir.IntegerAttr(op.attributes[MARK]).value)
        if op.name == "linalg.generic" and TILES in op.attributes:
            tiles.add(tuple(ir.DenseI64ArrayAttr(op.attributes[TILES])))

    walk(module, visit)
    return _Marks(sorted(rows), sorted(tiles))


def _apply(module: ir.Module, steps: str) -> None:
    schedule = ir.Module.parse(_MODULE.format(steps=steps))
    try:
        interpreter.apply_named_sequence(module.operation, schedule.body.operations[0], schedule)
    except ValueError as error:
        raise InternalError(f"a schedule does not apply: {error}") from None


def _tiling(number: int, sizes: tuple[int, ...]) -> str:
    count = sum(map(bool, sizes))
    return _LOOPS.format(
        number=number,
        sizes=", ".join(map(str, sizes)),
        count=count,
        types=", ".join(["!transform.any_op"] * count),
        mark=TILES,
    )


def run(module: ir.Module) -> None:
    """Tiles what is marked, and vectorises the contractions among it."""
    with module.context:
        marks = _marks(module)
        if not (marks.rows or marks.tiles):
            return
        for op in module.body.operations:
            if symbol(op) == "main":
                op.attributes[_SCHEDULED] = ir.UnitAttr.get()
        steps = "".join(_tiling(number, sizes) for number, sizes in enumerate(marks.tiles))
        steps += "".join(
            _BLOCK.format(rows=rows, mark=MARK, parallel=PARALLEL) for rows in marks.rows
        )
        _apply(module, steps + (_HOIST if marks.rows else ""))
        if marks.rows:
            _start_in_registers(module)


def _start_in_registers(module: ir.Module) -> None:
    """Accumulators that would be read from a fresh fill start as its number: no fill, no read."""
    fills: list[ir.Operation] = []
    walk(module, lambda op: fills.append(op) if FRESH in op.attributes else None)
    for fill in fills:
        reads: dict[ir.Operation, None] = {}
        _reads_of(fill.results[0], reads, set())
        if not all(_starts_loop(read) for read in reads):
            continue
        number = fill.operands[0]
        for read in reads:
            with ir.InsertionPoint(read), read.location:
                start = vector.broadcast(read.results[0].type, number)
            read.results[0].replace_all_uses_with(start)
            read.erase()
        fill.results[0].replace_all_uses_with(fill.operands[1])
        fill.erase()


def _reads_of(value: ir.Value, reads: dict[ir.Operation, None], seen: set[ir.Value]) -> None:
    """The vector reads of a tensor, through its slices, loops that carry it and insertions."""
    if value in seen:
        return
    seen.add(value)
    for use in value.uses:
        owner = use.owner.operation
        if owner.name == "vector.transfer_read":
            reads[owner] = None
        elif owner.name == "tensor.extract_slice" or (
            owner.name == "tensor.insert_slice" and use.operand_number == 1
        ):
            _reads_of(owner.results[0], reads, seen)
        elif owner.name == "scf.for":
            carried = use.operand_number - 3
            _reads_of(owner.regions[0].blocks[0].arguments[carried + 1], reads, seen)
            _reads_of(owner.results[carried], reads, seen)


def _starts_loop(read: ir.Operation) -> bool:
    return all(use.owner.operation.name == "scf.for" for use in read.results[0].uses)


def finish(module: ir.Module) -> None:
    """Lowers the vector contractions, once they work on memory."""
    with module.context:
        found = [op for op in module.body.operations if _has_contraction(op)]
        for op in module.body.operations:
            if op in found:
                op.attributes[_SCHEDULED] = ir.UnitAttr.get()
            elif _SCHEDULED in op.attributes:
                del op.attributes[_SCHEDULED]
        if found:
            _apply(module, _FINISH)


def _has_contraction(function: ir.OpView) -> bool:
    found = False

    def visit(op: ir.Operation) -> None:
        nonlocal found
        found = found or op.name == "vector.contract"

    walk(function, visit)
    return found
