"""Large matrices in halves, so that most of the work is products, which the whole grid shares.

A block for each matrix is enough where matrices are small, or many. What is left of a large one
when it is halved often enough is small beside the products between the halves.
"""

from __future__ import annotations

import math

from mlir import ir

from ...dialects.pb.builder import Builder
from ...dialects.pb.transforms import functions
from ...dialects.pb.types import shape

#: Rows and columns that a block does alone, and matrices that keep a GPU busy.
_ALONE, _BUSY = 128, 64


def run(module: ir.Module) -> None:
    for function in functions.functions(module):
        for op in list(functions.all_ops(function)):
            if not len(op.operands) or math.prod(shape(op.operands[0])[:-2]) >= _BUSY:
                continue
            made = op.halved(Builder(ir.InsertionPoint(op), op.location), _ALONE)
            if made is not None:
                for old, new in zip(op.results, made, strict=True):
                    old.replace_all_uses_with(new)
                op.operation.erase()
