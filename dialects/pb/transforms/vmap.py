"""Pass pb-vmap: a function on a batch of examples.

    (f.vmap)(xs)[i] = f(xs[i])

The environment gives each value of f its batched value and the dimension the examples lie
along, or no dimension if all examples share it. What depends on no batched operand is copied
as it is; every other op is asked for its batched form. No loop is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlir import ir
from mlir.dialects import func

from .. import _pb_ops_gen as gen
from ..builder import Builder
from ..families import at_dim
from ..opdef import Batched
from . import functions
from .expansion import expand_ops


def run(module: ir.Module) -> bool:
    return expand_ops(module, gen.VmapOp, vmap)


def vmap(op: gen.VmapOp, function: func.FuncOp) -> func.FuncOp:
    """The function to call instead of a pb.vmap op."""
    size = op.axis_size.value
    in_dims = [None if dim < 0 else dim for dim in op.in_dims]

    def emit(b: Builder, arguments: functions.Values) -> functions.Values:
        operands = [Batched(v, dim) for v, dim in zip(arguments, in_dims, strict=True)]
        outs = batch_body(b, function, size, operands)
        return [at_dim(b, out, dim, size) for out, dim in zip(outs, op.out_dims, strict=True)]

    name = functions.fresh_name(function, "vmap")
    return functions.build(function, name, [value.type for value in op.args], emit)


def batch_body(
    b: Builder, of: func.FuncOp | ir.Block, size: int, operands: Sequence[Batched]
) -> list[Batched]:
    environment: dict[ir.Value, Batched] = dict(
        zip(functions.block_of(of).arguments, operands, strict=True)
    )
    for op in functions.ops(of):
        b.location = functions.within("vmap", op.location)
        batched = [environment[operand] for operand in op.operands]
        if all(operand.dim is None for operand in batched):
            shared = {o: e.value for o, e in zip(op.operands, batched, strict=True)}
            copy = functions.copy_op(b, op, shared)
            results = [Batched(result, None) for result in copy.results]
        else:
            made = op.batch(b, size, *batched)
            results = [made] if isinstance(made, Batched) else list(made)
        environment.update(zip(op.results, results, strict=True))
    return [environment[value] for value in functions.returned(of)]
