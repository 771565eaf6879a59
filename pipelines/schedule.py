"""Stage `scheduled`: transform-dialect schedules for the contractions that matmul.py has marked.

A marked block is tiled to its register tile and to single steps of the contracted dimension, and
vectorised; its accumulators move out of the innermost loop. After bufferisation `finish` turns the
vector contractions into outer products, that is, fused multiply-adds.
"""

from __future__ import annotations

from mlir import ir
from mlir.dialects.transform import interpreter

from .matmul import MARK

_TILE = """
module attributes {{transform.with_named_sequence}} {{
  transform.named_sequence @__transform_main(%module: !transform.any_op) {{
    %f = transform.structured.match ops{{["func.func"]}} attributes {{pb.scheduled}} in %module
      : (!transform.any_op) -> !transform.any_op
{tiles}
    transform.apply_patterns to %f {{
      transform.apply_patterns.linalg.tiling_canonicalization
      transform.apply_patterns.scf.for_loop_canonicalization
      transform.apply_patterns.canonicalization
    }} : !transform.any_op
    %loops = transform.structured.match ops{{["scf.for"]}} in %f
      : (!transform.any_op) -> !transform.any_op
    transform.loop.hoist_loop_invariant_subsets %loops : !transform.any_op
    transform.yield
  }}
}}
"""
_ONE_TILE = """
    %b{rows} = transform.structured.match ops{{["linalg.contract"]}}
      attributes {{{mark} = {rows} : i64}} in %f : (!transform.any_op) -> !transform.any_op
    %t{rows}, %l{rows} = transform.structured.tile_using_for %b{rows} tile_sizes [{rows}, 0, 0]
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    %s{rows}, %k{rows} = transform.structured.tile_using_for %t{rows} tile_sizes [0, 0, 1]
      : (!transform.any_op) -> (!transform.any_op, !transform.any_op)
    transform.structured.vectorize %s{rows} {{create_named_contraction}} : !transform.any_op
"""
_FINISH = """
module attributes {transform.with_named_sequence} {
  transform.named_sequence @__transform_main(%module: !transform.any_op) {
    %f = transform.structured.match ops{["func.func"]} attributes {pb.scheduled} in %module
      : (!transform.any_op) -> !transform.any_op
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
    transform.yield
  }
}
"""


def _marked(module: ir.Module) -> set[int]:
    rows: set[int] = set()

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "linalg.contract" and MARK in op.attributes:
            rows.add(ir.IntegerAttr(op.attributes[MARK]).value)
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)
    return rows


def _apply(module: ir.Module, sequence: str) -> None:
    schedule = ir.Module.parse(sequence)
    interpreter.apply_named_sequence(module.operation, schedule.body.operations[0], schedule)


def run(module: ir.Module) -> None:
    """Tiles and vectorises what is marked."""
    with module.context:
        rows = sorted(_marked(module))
        if not rows:
            return
        for op in module.body.operations:
            if ir.StringAttr(op.attributes["sym_name"]).value == "main":
                op.attributes["pb.scheduled"] = ir.UnitAttr.get()
        tiles = "".join(_ONE_TILE.format(rows=r, mark=MARK) for r in rows)
        _apply(module, _TILE.format(tiles=tiles))


def finish(module: ir.Module) -> None:
    """Lowers the vector contractions, once they work on memory."""
    with module.context:
        if any("pb.scheduled" in op.attributes for op in module.body.operations):
            _apply(module, _FINISH)
