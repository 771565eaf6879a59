"""A `linalg.generic` on memory as the kernels see it: its loops, what it reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref

from ...dialects.errors import InternalError
from ..builders import index_constant, walk
from ..half import is_half
from ..scalars import constant

#: On a loop nest: for each result the number that its reduction starts from, or unit.
STARTS = "pb.starts"


@dataclass(frozen=True)
class Access:
    """A buffer, and for each of its dimensions an offset and the coefficients of the loops."""

    buffer: ir.Value
    indices: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]

    def at(self, loops: Sequence[ir.Value]) -> list[ir.Value]:
        return [_index(offset, terms, loops) for offset, terms in self.indices]

    def loops(self) -> set[int]:
        return {d for _, terms in self.indices for d, _ in terms}

    def along(self) -> int | None:
        """The loop that runs along the buffer's rows, element by element."""
        if not self.indices:
            return None
        found = [d for d, step in self.indices[-1][1] if step == 1]
        outer = {d for _, terms in self.indices[:-1] for d, _ in terms}
        alone = [d for d in found if d not in outer]
        return alone[-1] if alone else None


def _index(offset: int, terms: Sequence[tuple[int, int]], loops: Sequence[ir.Value]) -> ir.Value:
    total: ir.Value | None = None
    for d, step in terms:
        term = loops[d] if step == 1 else arith.muli(loops[d], index_constant(step))
        total = term if total is None else arith.addi(total, term)
    if total is None:
        return index_constant(offset)
    return arith.addi(total, index_constant(offset)) if offset else total


def is_dense(buffer: ir.Value) -> bool:
    """Do the elements lie in order, from the start of the buffer on?"""
    type_ = buffer.type
    assert isinstance(type_, ir.MemRefType)
    return type_.layout == ir.AffineMapAttr.get(ir.AffineMap.get_identity(type_.rank))


class Nest:
    """The op, taken apart."""

    def __init__(self, op: ir.Operation) -> None:
        self.op = op
        segments = ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"])
        maps = [ir.AffineMapAttr(a).value for a in ir.ArrayAttr(op.attributes["indexing_maps"])]
        operands = list(op.operands)
        self.accesses = [
            Access(value, tuple(map(_linear, map_.results)))
            for value, map_ in zip(operands, maps, strict=True)
        ]
        self.inputs = self.accesses[: segments[0]]
        self.outputs = self.accesses[segments[0] :]
        kinds = [str(kind) for kind in ir.ArrayAttr(op.attributes["iterator_types"])]
        self.reduced = [d for d, kind in enumerate(kinds) if "reduction" in kind]
        self.parallel = [d for d in range(len(kinds)) if d not in self.reduced]
        self.domain = self._domain(len(kinds))
        self.block = op.regions[0].blocks[0]
        self.body = list(self.block.operations)[:-1]
        last = len(list(self.block.operations)) - 1
        self.yielded = list(self.block.operations[last].operands)
        self.starts = self._starts()

    def _domain(self, rank: int) -> list[int]:
        sizes: list[int | None] = [None] * rank
        for access in self.accesses:
            shape = getattr(access.buffer.type, "shape", ())
            for (offset, terms), size in zip(access.indices, shape, strict=False):
                if offset == 0 and len(terms) == 1 and terms[0][1] == 1:
                    sizes[terms[0][0]] = size
        if None in sizes:
            raise InternalError("a loop has no length")
        return [size for size in sizes if size is not None]

    def _starts(self) -> list[ir.Attribute | None]:
        """The start of each result that is a reduction."""
        if STARTS not in self.op.attributes:
            return [None] * len(self.outputs)
        found = list(ir.ArrayAttr(self.op.attributes[STARTS]))
        return [None if isinstance(a, ir.UnitAttr) else a for a in found]

    @cached_property
    def used(self) -> list[bool]:
        """Which operands the body looks at."""
        return [len(list(argument.uses)) > 0 for argument in self.block.arguments]

    @property
    def copies_itself(self) -> bool:
        """Does nothing, as what is inserted may lie in its place already."""
        arguments = list(self.block.arguments)
        return len(self.inputs) == 1 == len(self.outputs) and (
            self.yielded[0] == arguments[0] and self.inputs[0] == self.outputs[0]
        )

    @property
    def previous(self) -> Sequence[ir.Value]:
        """The arguments of the body that are what the results were."""
        return list(self.block.arguments)[len(self.inputs) :]

    @property
    def name(self) -> str:
        """What the body does, for the name of the kernel."""
        words: dict[str, None] = {}
        for op in self.body:
            word = op.operation.name.split(".")[-1]
            if op.operation.name == "func.call":
                word = str(op.operation.attributes["callee"]).split(".")[1]
            if word not in ("constant", "index", "apply", "index_cast", "extui", "bitcast"):
                words[word.removesuffix("f").removesuffix("i")] = None
        return "_".join(["reduce" if self.reduced else "map", *list(words)[:4]])

    def loads(self, loops: Sequence[ir.Value], skip: Mapping[int, ir.Value]) -> list[ir.Value]:
        """The elements that the body takes; those in `skip` are known."""
        values: list[Any] = []
        for number in range(len(self.accesses)):
            if number in skip:
                values.append(skip[number])
            elif not self.used[number]:
                values.append(None)
            else:
                values.append(self.load(number, loops))
        return values

    def load(self, number: int, loops: Sequence[ir.Value]) -> ir.Value:
        """The element of an operand; operands that are no buffers are elements themselves."""
        access = self.accesses[number]
        if not isinstance(access.buffer.type, ir.MemRefType):
            return access.buffer
        return memref.load(access.buffer, access.at(loops))

    def run(self, loops: Sequence[ir.Value], arguments: Sequence[ir.Value | None]) -> list:
        """The body for these arguments; what it yields."""
        known: dict[ir.Value, Any] = {}
        known.update(zip(self.block.arguments, arguments, strict=True))
        cloned(self.body, known, loops)
        return [known.get(value, value) for value in self.yielded]

    def combine(self, result: int, x: ir.Value, y: ir.Value) -> ir.Value:
        """Two partial results (as in memory) of a reduction as one."""
        old = self.previous[result]
        if self.yielded[result] == old:
            return x
        chain, operand = _chain(self.body, old, self.yielded[result])
        known = {old: x}
        if operand != old:
            known[operand] = _from_memory(y, operand.type)
        constants = [op for op in self.body if op.operation.name == "arith.constant"]
        inner = [op for op in constants if op.operation.results[0] != operand]
        cloned([*inner, *chain], known, [])
        return known[self.yielded[result]]


def cloned(body: Sequence[Any], known: dict[ir.Value, Any], loops: Sequence[ir.Value]) -> None:
    """Copies ops here, with operands by `known`, which learns the results."""
    for op in body:
        if op.operation.name == "linalg.index":
            known[op.operation.results[0]] = loops[ir.IntegerAttr(op.attributes["dim"]).value]
            continue
        copy = op.operation.clone()

        def remap(inner: ir.Operation) -> None:
            if inner.name == "linalg.index":
                raise InternalError("an index inside of a region")
            for position, operand in enumerate(inner.operands):
                if operand in known:
                    inner.operands[position] = known[operand]

        if len(copy.regions):
            walk(copy, remap)
        else:
            remap(copy)
        for old, new in zip(op.operation.results, copy.results, strict=True):
            known[old] = new


def _chain(body: Sequence[Any], old: ir.Value, result: ir.Value) -> tuple[list[Any], ir.Value]:
    """The ops between the old value and the new one, and the operand that is combined with it."""
    reached = {old}
    chain, found = [], []
    for op in body:
        operands = list(op.operation.operands)
        if not any(operand in reached for operand in operands):
            continue
        chain.append(op)
        reached.update(op.operation.results)
        others = [operand for operand in operands if operand not in reached]
        if op.operation.name == "arith.cmpi" and others and others[0].type == old.type:
            continue  # a truth value out of its byte
        found += others
    if result not in reached or len(found) != 1:
        raise InternalError(
            f"a reduction that does not combine two values: {[str(o) for o in chain]}"
        )
    return chain, found[0]


def _from_memory(value: ir.Value, type_: ir.Type) -> ir.Value:
    if value.type == type_:
        return value
    if is_half(type_):
        return arith.bitcast(type_, value)
    return arith.cmpi(arith.CmpIPredicate.ne, value, constant(value.type, 0))


def _linear(expression: ir.AffineExpr) -> tuple[int, tuple[tuple[int, int], ...]]:
    offset, terms = _terms(expression)
    return offset, tuple(sorted((d, c) for d, c in terms.items() if c))


def _terms(e: Any) -> tuple[int, dict[int, int]]:
    if isinstance(e, ir.AffineConstantExpr):
        return e.value, {}
    if isinstance(e, ir.AffineDimExpr):
        return 0, {e.position: 1}
    if isinstance(e, ir.AffineAddExpr):
        (a, left), (b, right) = _terms(e.lhs), _terms(e.rhs)
        return a + b, {d: left.get(d, 0) + right.get(d, 0) for d in left | right}
    if isinstance(e, ir.AffineMulExpr):
        (a, left), (b, right) = _terms(e.lhs), _terms(e.rhs)
        factor, other, terms = (b, a, left) if not right else (a, b, right)
        return other * factor, {d: c * factor for d, c in terms.items()}
    raise InternalError(f"an index that is not linear: {e}")
