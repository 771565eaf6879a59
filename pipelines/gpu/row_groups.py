"""Which loop nests run over the same rows, so that one kernel can do them: see rows.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlir import ir
from mlir.dialects import arith

from ..builders import index_constant, walk
from ..plan_memory import VIEWS
from .launch import WARP, unravelled
from .nests import Access, Nest
from .reductions import runs_along

#: Elements of a row that a thread keeps in registers, and ops that it makes of them.
_SLOTS, _LARGEST = 16, 3000
_ALONE = 8
_MOST_LANES = 1024
#: Fewer rows than these, when they are long, leave most of the machine idle.
_FEWEST_ROWS, _SMALL = 64, 1 << 16
#: How many nests are looked at together: the time to compile stays linear in their number.
WINDOW = 48

ROW, ELEMENT, COLUMN = "row", "element", "column"


def root(buffer: ir.Value) -> ir.Value:
    """The buffer behind views that keep the order of elements."""
    while not isinstance(buffer.owner, ir.Block) and buffer.owner.name in VIEWS:
        if not _dense(buffer.owner.operands[0]) or not _dense(buffer):
            break
        buffer = buffer.owner.operands[0]
    return buffer


def origin(buffer: ir.Value) -> ir.Value:
    while not isinstance(buffer.owner, ir.Block) and buffer.owner.name in VIEWS:
        buffer = buffer.owner.operands[0]
    return buffer


def _dense(buffer: ir.Value) -> bool:
    type_ = buffer.type
    assert isinstance(type_, ir.MemRefType)
    return type_.layout == ir.AffineMapAttr.get(ir.AffineMap.get_identity(type_.rank))


@dataclass
class RowNest:
    """A nest as `rows` times `length` elements: its first loops give the row."""

    nest: Nest
    rows: int
    #: How many loops give the row; 0: the only loop runs over rows and elements.
    outer: int

    @property
    def length(self) -> int:
        return math.prod(self.nest.domain) // self.rows

    @staticmethod
    def of(nest: Nest, rows: int) -> RowNest | None:
        if nest.reduced:
            first = len(nest.parallel)
            good = nest.parallel == list(range(first))
            good = good and math.prod(nest.domain[:first]) == rows
            return RowNest(nest, rows, first) if good else None
        for outer in range(1, len(nest.domain) + 1):
            if math.prod(nest.domain[:outer]) == rows:
                return RowNest(nest, rows, outer)
        if len(nest.domain) == 1 and nest.domain[0] % rows == 0:
            return RowNest(nest, rows, 0)
        return None

    def loops(self, row: ir.Value, at: ir.Value) -> list[ir.Value]:
        domain = self.nest.domain
        if self.outer == 0:
            return [arith.addi(arith.muli(row, index_constant(self.length)), at)]
        return [
            *unravelled(row, domain[: self.outer]),
            *unravelled(at, domain[self.outer :]),
        ]

    def form(self, access: Access) -> str | None:
        """ROW: an element for each row; ELEMENT: for each element of a row, COLUMN: the same ones
        for all rows; None: anything else."""
        type_ = access.buffer.type
        if not isinstance(type_, ir.MemRefType) or not _dense(access.buffer):
            return None
        domain, size = self.nest.domain, math.prod(type_.shape)
        strides = [math.prod(type_.shape[d + 1 :]) for d in range(type_.rank)]
        steps = [0] * len(domain)
        for (offset, terms), stride in zip(access.indices, strides, strict=True):
            if offset:
                return None
            for d, step in terms:
                steps[d] += step * stride
        if self.outer == 0:
            whole = steps == [1] and size == domain[0] and self.length > 1
            return ELEMENT if whole else None
        outer, inner = domain[: self.outer], domain[self.outer :]
        nothing = [0] * len(inner)
        forms = {
            ROW: (self.rows, _row_major(outer) + nothing),
            ELEMENT: (self.rows * self.length, _row_major(domain)),
            COLUMN: (self.length, [0] * len(outer) + _row_major(inner)),
        }
        for form, (elements, wanted) in forms.items():
            pairs = zip(domain, steps, wanted, strict=True)
            if size == elements and all(n == 1 or step == want for n, step, want in pairs):
                return form
        return None


def _row_major(sizes: Sequence[int]) -> list[int]:
    return [math.prod(sizes[d + 1 :]) for d in range(len(sizes))]


@dataclass
class Group:
    """Nests in order, all over the same rows."""

    nests: list[RowNest] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.nests[0].rows

    @property
    def length(self) -> int:
        return max(nest.length for nest in self.nests)

    @property
    def lanes(self) -> int:
        lanes = WARP
        while lanes < _MOST_LANES and lanes * _ALONE < self.length:
            lanes *= 2
        return lanes

    @property
    def slots(self) -> int:
        return -(-self.length // self.lanes)

    def worthwhile(self) -> bool:
        if len(self.nests) < 2 or not any(each.nest.reduced for each in self.nests):
            return False
        return self.rows >= _FEWEST_ROWS or self.rows * self.length <= _SMALL

    def small(self) -> bool:
        operations = sum(len(each.nest.body) for each in self.nests)
        return self.slots <= _SLOTS and operations * self.slots <= _LARGEST

    def overwritten(self) -> set[ir.Value]:
        """Buffers that are read before the kernel writes them."""
        written: set[ir.Value] = set()
        read: set[ir.Value] = set()
        for each in self.nests:
            buffers = [
                a.buffer for a in each.nest.inputs if isinstance(a.buffer.type, ir.MemRefType)
            ]
            read |= {origin(buffer) for buffer in buffers} - written
            written |= {origin(access.buffer) for access in each.nest.outputs}
        return read & written

    def consistent(self) -> bool:
        """Is all that one nest makes and another reads found in registers?"""
        written = {origin(a.buffer) for each in self.nests for a in each.nest.outputs}
        forms: dict[ir.Value, set[Any]] = {}
        known: set[ir.Value] = set()
        for each in self.nests:
            if each.length not in (1, self.length):
                return False
            if any(origin(v) in written for v in _elsewhere(each.nest)):
                return False
            for number, access in enumerate(each.nest.inputs):
                if not each.nest.used[number] or not isinstance(access.buffer.type, ir.MemRefType):
                    continue
                base = origin(access.buffer)
                if base in written:
                    form = each.form(access)
                    if form not in (ROW, ELEMENT) or root(access.buffer) != base:
                        return False
                    if form == ROW and base not in known:
                        return False
                    forms.setdefault(base, set()).add((form, str(access.buffer.type.element_type)))
            for access in each.nest.outputs:
                base, form = origin(access.buffer), each.form(access)
                type_ = access.buffer.type
                assert isinstance(type_, ir.MemRefType)
                if form not in (ROW, ELEMENT) or root(access.buffer) != base:
                    return False
                forms.setdefault(base, set()).add((form, str(type_.element_type)))
                known.add(base)
        return all(len(found) == 1 for found in forms.values())


def _elsewhere(nest: Nest) -> list[ir.Value]:
    """Buffers that the body reads at places of its own."""
    found: list[ir.Value] = []

    def visit(op: ir.Operation) -> None:
        found.extend(v for v in op.operands if isinstance(v.type, ir.MemRefType))

    for op in nest.body:
        walk(op, visit)
    return found


def grouped(nests: Sequence[Nest]) -> list[Nest | Group]:
    """Nests as groups and single ones, in an order that gives the same results."""
    result: list[Nest | Group] = []
    left = list(nests)
    while left:
        group = _largest(left[:WINDOW])
        taken = [left[0]] if group is None else [each.nest for each in group.nests]
        result.append(left[0] if group is None else group)
        left = [nest for nest in left if nest not in taken]
    return result


def _largest(nests: Sequence[Nest]) -> Group | None:
    """The first nest, and later ones that may run with it and before those in between."""
    first = next((nest for nest in nests if nest.reduced and _is_row(nest)), None)
    if first is None:
        return None
    rows = math.prod(first.domain[d] for d in first.parallel)
    best: Group | None = None
    members: list[RowNest] = []
    passed: list[Nest] = []
    for nest in nests:
        each = RowNest.of(nest, rows)
        fits = each is not None and 0 not in nest.domain and (not nest.reduced or _is_row(nest))
        if fits and each is not None and not any(depend(nest, other) for other in passed):
            group = Group([*members, each])
            if group.consistent() and group.small():
                members.append(each)
                best = group if group.worthwhile() else best
                continue
        if not members:
            return None
        passed.append(nest)
    return best


def depend(later: Nest, earlier: Nest) -> bool:
    """Must `later` come after `earlier`?"""
    reads, writes = touched(later)
    old_reads, old_writes = touched(earlier)
    return bool(writes & (old_reads | old_writes) or reads & old_writes)


def touched(nest: Nest) -> tuple[set[ir.Value], set[ir.Value]]:
    """The buffers that a nest reads and writes."""
    buffers = [a.buffer for a in nest.inputs if isinstance(a.buffer.type, ir.MemRefType)]
    reads = {origin(buffer) for buffer in (*buffers, *_elsewhere(nest))}
    return reads, {origin(access.buffer) for access in nest.outputs}


def _is_row(nest: Nest) -> bool:
    return runs_along(nest) and all(
        start is not None or len(access.loops()) == len(nest.domain)
        for start, access in zip(nest.starts, nest.outputs, strict=True)
    )
