"""Which loop nests are products of matrices, however they are written.

A nest is one if it sums a product of two factors, each computed from its own inputs: of the loops
around, those that only the left factor knows give the rows, those of the right one the columns, and
those of both a batch. Convolutions are such products too, with images read at shifted places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlir import ir

from .nests import Nest, cloned

#: From this many products on, and terms a sum, tiles are better than one sum after the other.
LARGE, _TERMS, _SIDE = 1 << 15, 8, 4
#: From this many rows or columns on, tensor cores are better than threads.
_CORES = 32
#: Terms of the longest slices.
_SLICE = 32
#: On a loop nest: its products may be of f32 rounded to tf32.
TF32 = "pb.tf32"


@dataclass
class Factor:
    """One side: what computes it, from which operands of the nest, and along which loops."""

    nest: Nest
    value: ir.Value
    body: list[Any]
    inputs: list[int]
    loops: set[int]

    def at(self, loops: Sequence[ir.Value]) -> ir.Value:
        """The element at these loops (those of others are not looked at)."""
        arguments = list(self.nest.block.arguments)
        known: dict[ir.Value, Any] = {}
        for number in self.inputs:
            known[arguments[number]] = self.nest.load(number, loops)
        cloned(self.body, known, loops)
        return known.get(self.value, self.value)

    @property
    def plain(self) -> int | None:
        """The operand whose elements are the factor, as they lie in memory."""
        arguments = list(self.nest.block.arguments)
        if len(self.inputs) == 1 and self.value == arguments[self.inputs[0]]:
            return self.inputs[0]
        return None

    def dimension(self, loops: Sequence[int]) -> int:
        """Which the last of these loops runs along, from the end: -1 is that of rows."""
        found = [
            n - len(indices)
            for indices in self._indices()
            for n, at in enumerate(indices)
            if loops and loops[-1] in at
        ]
        return max(found, default=-len(self.nest.domain))

    def windows(self) -> set[int]:
        """Loops that move along a dimension together with others."""
        return {d for indices in self._indices() for at in indices if len(at) > 1 for d in at}

    def _indices(self) -> list[list[set[int]]]:
        """Of each buffer that is read: the loops in each index."""
        accesses = [self.nest.accesses[n] for n in self.inputs]
        found = [[{d for d, _ in terms} for _, terms in access.indices] for access in accesses]
        loads = [op.operation for op in self.body if op.operation.name == "memref.load"]
        return found + [[_loops_of(index) for index in list(load.operands)[1:]] for load in loads]


@dataclass
class Cores:
    """The factors as tensor cores take them: `kind` is f16, bf16 or tf32."""

    kind: str
    left: Factor
    right: Factor


@dataclass
class Product:
    """out[batch, rows, columns] = sum over terms of left[batch, rows, terms] * right[...]."""

    nest: Nest
    left: Factor
    right: Factor
    batch: list[int]
    rows: list[int]
    columns: list[int]
    terms: list[int]
    cores: Cores | None = None

    def size(self, loops: Sequence[int]) -> int:
        return math.prod(self.nest.domain[d] for d in loops)


def product_of(nest: Nest) -> Product | None:
    """The nest as a product that is worth tiles, or None."""
    if len(nest.outputs) != 1 or not nest.reduced or nest.starts[0] is None:
        return None
    last = _made_by(nest, nest.yielded[0])
    [old] = nest.previous
    if (
        last is None
        or last.operation.name != "arith.addf"
        or ir.FloatAttr(nest.starts[0]).value != 0
    ):
        return None
    terms = [v for v in last.operation.operands if v != old]
    multiplied = _made_by(nest, terms[0]) if len(terms) == 1 else None
    if multiplied is None or multiplied.operation.name != "arith.mulf":
        return None
    if len(list(old.uses)) != 1:
        return None
    left, right = (_factor(nest, value) for value in multiplied.operation.operands)
    if left is None or right is None or not left.loops or not right.loops:
        return None
    return _arranged(nest, left, right)


def _arranged(nest: Nest, left: Factor, right: Factor) -> Product | None:
    both = left.loops & right.loops
    batch = [d for d in nest.parallel if d in both or d not in left.loops | right.loops]
    rows = [d for d in nest.parallel if d in left.loops - right.loops]
    columns = [d for d in nest.parallel if d in right.loops - left.loops]
    along = nest.outputs[0].along()
    if along in rows:
        left, right, rows, columns = right, left, columns, rows
    found = Product(nest, left, right, batch, rows, columns, _terms(nest, left, right))
    m, n, k = (found.size(loops) for loops in (rows, columns, nest.reduced))
    volume = found.size(batch) * m * n * k
    if volume < LARGE or k < _TERMS or max(m, n) < 2 * _SIDE or min(m, n) < _SIDE:
        return None
    if max(m, n) >= _CORES:
        found.cores = _cores(nest, found.left, found.right)
    return found


def _terms(nest: Nest, left: Factor, right: Factor) -> list[int]:
    """The loops of the sum: windows first, where a slice then is the others' at one place of it."""
    windows = left.windows() | right.windows()
    inner = [d for d in nest.reduced if d not in windows]
    if not inner or math.prod(nest.domain[d] for d in inner) % _SLICE:
        return nest.reduced
    return [*(d for d in nest.reduced if d in windows), *inner]


def _cores(nest: Nest, left: Factor, right: Factor) -> Cores | None:
    narrow = [_narrow(nest, factor) for factor in (left, right)]
    if narrow[0] and narrow[1] and narrow[0][0] == narrow[1][0]:
        return Cores(narrow[0][0], narrow[0][1], narrow[1][1])
    if TF32 in nest.op.attributes and isinstance(left.value.type, ir.F32Type):
        return Cores("tf32", left, right)
    return None


def _narrow(nest: Nest, factor: Factor) -> tuple[str, Factor] | None:
    """A factor that is a half type made wide, before that: its type, and itself."""
    wide = _made_by(nest, factor.value)
    if wide is None or wide.operation.name != "arith.extf":
        return None
    value = wide.operation.operands[0]
    kind = str(value.type)
    bits = _made_by(nest, value)
    if bits is not None and bits.operation.name == "arith.bitcast":
        value = bits.operation.operands[0]
    found = _factor(nest, value)
    return (kind, found) if found and kind in ("f16", "bf16") else None


def _made_by(nest: Nest, value: ir.Value) -> Any:
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    return next((op for op in nest.body if op.operation == owner), None)


def _loops_of(value: ir.Value) -> set[int]:
    """The loops that an index inside of a body is computed from."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return set()
    if owner.name == "linalg.index":
        return {ir.IntegerAttr(owner.attributes["dim"]).value}
    return {d for operand in owner.operands for d in _loops_of(operand)}


def _factor(nest: Nest, value: ir.Value) -> Factor | None:
    """What a value is computed from, inside the body."""
    wanted, body = {value}, []
    loops: set[int] = set()
    for op in reversed(nest.body):
        if not any(result in wanted for result in op.operation.results):
            continue
        if len(op.operation.regions):
            return None
        if op.operation.name == "linalg.index":
            loops.add(ir.IntegerAttr(op.attributes["dim"]).value)
        body.insert(0, op)
        wanted.update(op.operation.operands)
    arguments = list(nest.block.arguments)
    inputs = [n for n, argument in enumerate(arguments) if argument in wanted]
    if any(n >= len(nest.inputs) for n in inputs):
        return None
    for number in inputs:
        loops |= nest.accesses[number].loops()
    return Factor(nest, value, body, inputs, loops)
