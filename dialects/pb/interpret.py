"""The reference interpreter: pb modules evaluated in numpy, from the definitions of the ops.

It shares nothing with the lowering, so each stage of a compile can be checked against it.
Transform ops must have been expanded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mlir import ir

from . import _pb_ops_gen as gen
from .opdef import Op
from .transforms import functions
from .types import dtype, element_type, rounded, shape

Arrays = Sequence[np.ndarray]


def evaluate(module: ir.Module, name: str, arguments: Arrays) -> list[np.ndarray]:
    """The results of function `name`; raises IndexError where a check of the function fails."""
    function = functions.lookup(module, name)
    for parameter, argument in zip(functions.body(function).arguments, arguments, strict=True):
        expected = (dtype(parameter), shape(parameter))
        if (argument.dtype, argument.shape) != expected:
            raise TypeError(f"expected {expected}, got {(argument.dtype, argument.shape)}")
    return evaluate_block(functions.body(function), arguments)


def evaluate_block(block: ir.Block, arguments: Arrays) -> list[np.ndarray]:
    """What the body of a function or of a region returns."""
    environment = dict(zip(block.arguments, arguments, strict=True))
    for op in functions.ops(block):
        arrays = [environment[operand] for operand in op.operands]
        if isinstance(op, gen.CallOp):
            module = functions.module_around(op)
            results = evaluate(module, op.callee.value, arrays)
        else:
            results = evaluate_op(op, arrays)
        environment.update(zip(op.results, results, strict=True))
    return [environment[value] for value in functions.returned(block)]


def evaluate_op(op: Op, arrays: Arrays) -> list[np.ndarray]:
    """One op by its definition; results have the dtypes and shapes of the op's types."""
    with np.errstate(all="ignore"):
        made: Any = op.reference(*arrays)
    results = made if isinstance(made, (tuple, list)) else [made]
    return [
        rounded(result, element_type(value)).reshape(shape(value))
        for result, value in zip(results, op.results, strict=True)
    ]
