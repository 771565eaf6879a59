"""How the threads of a launch share its work, as far as the text of the kernel says.

The numbers of blocks and threads are known, and what follows from them: who takes which branch,
and how often loops go round. All threads of some blocks are followed, in numpy at once. Of a
branch that depends on data the longer side counts; a loop that does goes round once, and is
noted. Of the turns of a loop with loops or branches in it the first, the middle and the last are
followed, of others the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from mlir import ir
from pullback.pipelines.gpu.plan import Launch
from pullback.pipelines.scalars import width

#: Which operand is the memory.
_ACCESSES = {
    "memref.load": 0, "memref.store": 1, "memref.atomic_rmw": 1, "vector.load": 0,
    "vector.store": 1, "vector.transfer_read": 0, "vector.transfer_write": 1,
}  # fmt: skip
_SIGNED = {0: np.equal, 1: np.not_equal, 2: np.less, 3: np.less_equal, 4: np.greater,
           5: np.greater_equal}  # fmt: skip
#: Of numbers that are not negative, as those of places are.
_PREDICATES = _SIGNED | {n + 4: _SIGNED[n] for n in range(2, 6)}
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "addi": np.add, "subi": np.subtract, "muli": np.multiply, "minui": np.minimum,
    "minsi": np.minimum, "maxui": np.maximum, "maxsi": np.maximum, "divui": np.floor_divide,
    "divsi": np.floor_divide, "ceildivui": lambda x, y: -(-x // y), "remui": np.remainder,
    "remsi": np.remainder, "andi": np.bitwise_and, "ori": np.bitwise_or, "xori": np.bitwise_xor,
    "shli": np.left_shift, "shrui": np.right_shift, "shrsi": np.right_shift, "select": np.where,
}  # fmt: skip
_SAME = {"index_cast", "index_castui", "extui", "extsi", "trunci"}

#: How many blocks are followed.
_BLOCKS = 9

Known = np.ndarray | None


@dataclass(frozen=True)
class Share:
    """Of one launch: steps of its threads, and bytes of global memory that all touch."""

    kernel: str
    grid: int
    block: int
    mean: float
    most: float
    touched: float
    loops_on_data: bool

    @property
    def steps(self) -> float:
        return self.mean * self.grid * self.block


def share(kernel: str, function: Any, step: Launch) -> Share:
    grid, block = step.grid[0], step.block[0]
    blocks = np.unique(np.linspace(0, grid - 1, _BLOCKS).round().astype(np.int64))
    followed = _Followed(np.repeat(blocks, block), np.tile(np.arange(block), len(blocks)))
    steps, touched = followed.block(function.regions[0].blocks[0])
    each = np.repeat(_stand_for(blocks), block)
    return Share(
        kernel,
        grid,
        block,
        float((steps * each).sum()) / (grid * block),
        float(steps.max()),
        float((touched * each).sum()),
        followed.loops_on_data,
    )


def _stand_for(blocks: np.ndarray) -> np.ndarray:
    """How many blocks each of these is like: the first and the last only themselves."""
    if len(blocks) < 3:
        return np.ones(len(blocks), np.int64)
    middles = (blocks[1:-2] + blocks[2:-1] + 1) // 2
    return np.diff(np.concatenate(([0, 1], middles, blocks[-1:], blocks[-1:] + 1)))


class _Followed:
    """Values that are known of each thread; `block` counts steps and bytes touched."""

    def __init__(self, blocks: np.ndarray, threads: np.ndarray) -> None:
        self.places = {"ctaid": blocks, "tid": threads}
        self.known: dict[ir.Value, Known] = {}
        self.loops_on_data = False

    def block(self, block: Any) -> np.ndarray:
        count = np.zeros((2, len(self.places["tid"])))
        for op in block.operations:
            count += self.op(op.operation)
        return count

    def op(self, op: Any) -> np.ndarray | float:
        match op.name:
            case "arith.constant":
                value = op.attributes["value"]
                number = value.value if isinstance(value, ir.IntegerAttr) else None
                self.known[op.results[0]] = None if number is None else np.asarray(int(number))
                return 0.0
            case "scf.for":
                return self.loop(op)
            case "scf.if":
                return self.branch(op)
            case "scf.yield":
                return 0.0
            case "scf.while":
                self.loops_on_data = True
        inner = sum(self.block(b) for region in op.regions for b in region.blocks)
        for result in op.results:
            self.known[result] = self.value(op)
        return inner + self.one(op)

    def one(self, op: Any) -> np.ndarray:
        """A step, and the bytes of global memory that it touches."""
        touched: Any = 0
        if op.name in _ACCESSES and _is_global(memory := op.operands[_ACCESSES[op.name]]):
            types = [x.type for x in (*op.results, *op.operands)]
            count = max(math.prod(t.shape) if isinstance(t, ir.VectorType) else 1 for t in types)
            touched = count * -(-width(memory.type.element_type) // 8)
        elif op.name == "nvvm.cp.async.shared.global":
            touched = self.known.get(op.operands[-1])
            touched = op.attributes["size"].value if touched is None else touched
        steps = np.ones(len(self.places["tid"]))
        return np.stack([steps, steps * touched])

    def value(self, op: Any) -> Known:
        dialect, _, name = op.name.partition(".")
        if dialect == "nvvm":
            return next((v for k, v in self.places.items() if f".{k}." in op.name), None)
        operands: list[Any] = [self.known.get(x) for x in op.operands]
        if dialect != "arith" or any(x is None for x in operands):
            return None
        if name in _SAME:
            return operands[0]
        if name == "cmpi":
            return _PREDICATES[op.attributes["predicate"].value](*operands)
        if name not in _ARITHMETIC:
            return None
        if name[:3] in ("div", "rem"):
            operands[1] = np.where(operands[1] == 0, 1, operands[1])
        return _ARITHMETIC[name](*operands)

    def loop(self, op: Any) -> np.ndarray | float:
        body = op.regions[0].blocks[0]
        start, end, by = (self.known.get(x) for x in list(op.operands)[:3])
        if start is None or end is None or by is None:
            self.loops_on_data = True
            return self.block(body)
        turns = np.maximum(-(-(end - start) // by), 0)
        if not turns.any():
            return 0.0
        nested = any(len(inner.operation.regions) for inner in body.operations)
        followed = [turns * 0, turns // 2, turns - 1] if nested else [turns * 0]
        counts: Sequence[Any] = []
        for turn in followed:
            self.known[body.arguments[0]] = start + turn * by
            counts = [*counts, self.block(body)]
        return turns * sum(counts) / len(counts)

    def branch(self, op: Any) -> np.ndarray:
        sides = [self.block(r.blocks[0]) if len(r.blocks) else np.zeros(1) for r in op.regions]
        condition = self.known.get(op.operands[0])
        for n, result in enumerate(op.results):
            ends = [list(r.blocks[0].operations)[-1].operation.operands[n] for r in op.regions]
            values = [self.known.get(x) for x in ends]
            known = condition is not None and all(x is not None for x in values)
            self.known[result] = np.where(*cast(Any, (condition, *values))) if known else None
        then, orelse = sides
        return np.maximum(then, orelse) if condition is None else np.where(condition, then, orelse)


def _is_global(memory: ir.Value) -> bool:
    """Whether it is a view of a parameter, not memory of the block or of the thread."""
    while not isinstance(memory.owner, ir.Block):
        op = memory.owner
        if not len(op.operands) or "alloc" in op.name:
            return False
        memory = op.operands[0]
    return True
