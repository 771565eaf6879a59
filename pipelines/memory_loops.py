"""Loops on memory, for what is no loop over elements: factorisations and triangular solves.

An emitter of a Whole node works here on buffers of rank 3, one example after another: it reads
and writes elements, and runs along rows, where memory is contiguous and LLVM vectorises. The O(n^3)
part of an algorithm is `subtract_product`, in register tiles. Nothing is unrolled over sizes:
the time to compile does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlir import ir
from mlir.dialects import arith, bufferization, math, memref, scf, vector

from .buffers import in_memory
from .builders import block_of, index_constant
from .loop_emission import Emission
from .scalars import constant

Number = ir.Value | int
_REASSOCIATE = "#arith.fastmath<reassoc>"
#: Rows of a register tile; it is two vectors wide.
_ROWS = 4


def index(number: Number) -> ir.Value:
    return index_constant(number) if isinstance(number, int) else number


def plus(x: Number, y: Number) -> Number:
    if isinstance(x, int) and isinstance(y, int):
        return x + y
    if y == 0 and isinstance(y, int):
        return x
    return arith.addi(index(x), index(y))


def minus(x: Number, y: Number) -> Number:
    if isinstance(x, int) and isinstance(y, int):
        return x - y
    return arith.subi(index(x), index(y))


def smaller(x: Number, y: Number) -> Number:
    if isinstance(x, int) and isinstance(y, int):
        return min(x, y)
    return arith.minsi(index(x), index(y))


@contextmanager
def loop(start: Number, end: Number, step: int = 1) -> Iterator[ir.Value]:
    """for i = start to end by step."""
    op = scf.ForOp(index(start), index(end), index(step))
    with block_of(op.body):
        yield op.induction_variable
        scf.YieldOp([])


@contextmanager
def downwards(start: Number, end: Number, step: int = 1) -> Iterator[ir.Value]:
    """The same numbers as `loop`, the last first."""
    count = arith.ceildivsi(index(minus(end, start)), index(step))
    with loop(0, count) as i:
        left = arith.subi(arith.subi(count, i), index(1))
        yield arith.addi(index(start), arith.muli(left, index(step)))


def fold(
    start: Number,
    end: Number,
    values: Sequence[ir.Value],
    body: Callable[..., Sequence[ir.Value]],
    step: int = 1,
) -> list[ir.Value]:
    """Carries values through a loop: body(i, *values) gives the next ones."""
    op = scf.ForOp(index(start), index(end), index(step), list(values))
    with block_of(op.body):
        scf.YieldOp(list(body(op.induction_variable, *op.inner_iter_args)))
    return list(op.results)


@contextmanager
def when(condition: ir.Value) -> Iterator[None]:
    op = scf.IfOp(condition)
    with block_of(op.then_block):
        yield
        scf.YieldOp([])


class Buffer:
    """A buffer of rank 3; of one example, elements are found by row and column."""

    def __init__(self, memory: ir.Value, example: Number = 0) -> None:
        self.memory = memory
        self.type: Any = memory.type
        self.element: ir.Type = self.type.element_type
        self.example = example

    @property
    def rows(self) -> int:
        return self.type.shape[1]

    @property
    def columns(self) -> int:
        return self.type.shape[2]

    def of(self, example: Number) -> Buffer:
        return Buffer(self.memory, example)

    def at(self, row: Number, column: Number) -> list[ir.Value]:
        return [index(self.example), index(row), index(column)]

    def __getitem__(self, place: tuple[Number, Number]) -> ir.Value:
        return memref.load(self.memory, self.at(*place))

    def __setitem__(self, place: tuple[Number, Number], value: ir.Value) -> None:
        memref.store(value, self.memory, self.at(*place))

    def number(self, number: float) -> ir.Value:
        return constant(self.element, number)

    def vector(self, place: tuple[Number, Number], type_: ir.VectorType) -> ir.Value:
        return vector.load(type_, self.memory, self.at(*place))

    def set_vector(self, place: tuple[Number, Number], value: ir.Value) -> None:
        vector.store(value, self.memory, self.at(*place))

    def swap_rows(self, one: Number, other: Number) -> None:
        with loop(0, self.columns) as j:
            first, second = self[one, j], self[other, j]
            self[one, j], self[other, j] = second, first

    def copy_from(self, source: Buffer) -> None:
        with loop(0, self.rows) as i, loop(0, self.columns) as j:
            self[i, j] = source[i, j]


def add(x: ir.Value, y: ir.Value) -> ir.Value:
    return arith.addf(x, y)


def add_in_any_order(x: ir.Value, y: ir.Value) -> ir.Value:
    """One term of a sum whose order is LLVM's to choose, so that it can be vectorised."""
    return arith.addf(x, y, fastmath=ir.Attribute.parse(_REASSOCIATE))


def less(x: ir.Value, y: ir.Value) -> ir.Value:
    return arith.cmpf(arith.CmpFPredicate.OLT, x, y)


def equal(x: ir.Value, y: ir.Value) -> ir.Value:
    return arith.cmpf(arith.CmpFPredicate.OEQ, x, y)


def total(
    start: Number, end: Number, element: ir.Type, term: Callable[[ir.Value], ir.Value]
) -> ir.Value:
    """The sum of term(j), start <= j < end."""

    def step(j: ir.Value, sum_: ir.Value) -> list[ir.Value]:
        return [add_in_any_order(sum_, term(j))]

    return fold(start, end, [constant(element, 0)], step)[0]


def in_memory_of(emission: Emission, tensor: ir.Value) -> Buffer:
    """An operand, to be read only."""
    type_: Any = tensor.type
    memory = ir.MemRefType.get(type_.shape, type_.element_type)
    return Buffer(bufferization.to_buffer(memory, tensor, read_only=True))


def scratch(shape: Sequence[int], element: ir.Type) -> Buffer:
    return Buffer(memref.alloc(ir.MemRefType.get(list(shape), in_memory(element)), [], []))


def destination_buffer(destination: ir.Value) -> Buffer:
    """Where a result goes: the caller's output, or memory of its own."""
    owner: Any = destination.owner
    type_: Any = destination.type
    if owner.name == "bufferization.to_tensor":
        return Buffer(owner.operands[0])
    return scratch(type_.shape, type_.element_type)


def result_of(buffer: Buffer) -> ir.Value:
    type_ = ir.RankedTensorType.get(buffer.type.shape, buffer.element)
    return bufferization.to_tensor(type_, buffer.memory, restrict=True, writable=True)


def on_examples(
    body: Callable[..., None], copied: Sequence[int | None], scratches: Sequence[Sequence[int]] = ()
) -> Callable[..., Any]:
    """An emitter for `Lowering.wholes`: body(*results, *sources, *scratch) on each example.

    `copied`: for each result the source that it starts as, or None. A scratch buffer is shared by
    the examples.
    """

    def emit(
        emission: Emission, destinations: Sequence[ir.Value], *tensors: ir.Value
    ) -> list[ir.Value]:
        sources = [in_memory_of(emission, tensor) for tensor in tensors]
        results = [destination_buffer(destination) for destination in destinations]
        element = sources[0].element
        temporary = [scratch((1, *shape), element) for shape in scratches]
        with loop(0, results[0].type.shape[0]) as example:
            ours = [buffer.of(example) for buffer in results]
            theirs = [buffer.of(example) for buffer in sources]
            for result, source in zip(ours, copied, strict=True):
                if source is not None:
                    result.copy_from(theirs[source])
            body(*ours, *theirs, *temporary)
        return [result_of(buffer) for buffer in results]

    return emit


class Product:
    """c -= a b over ranges of rows, columns and depth, in register tiles of vectors.

    `a(i, k)` loads an element of the left factor; b and c have contiguous rows.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes

    def subtract(
        self,
        c: Buffer,
        a: Callable[[Number, Number], ir.Value],
        b: Buffer,
        rows: tuple[Number, Number],
        columns: tuple[Number, Number] | None,
        depth: tuple[Number, Number],
    ) -> None:
        """`columns` None: of a symmetric c, from the diagonal on (at least)."""
        whole = _rounded(rows, _ROWS)
        with loop(rows[0], whole, _ROWS) as i:
            self._strip(c, a, b, i, _ROWS, columns or (i, c.columns), depth)
        with loop(whole, rows[1]) as i:
            self._strip(c, a, b, i, 1, columns or (i, c.columns), depth)

    def _strip(
        self,
        c: Buffer,
        a: Callable[[Number, Number], ir.Value],
        b: Buffer,
        row: ir.Value,
        height: int,
        columns: tuple[Number, Number],
        depth: tuple[Number, Number],
    ) -> None:
        start, end = columns
        for width in (2 * self.lanes, self.lanes, 1):
            stop = _rounded((start, end), width)
            with loop(start, stop, width) as j:
                self._tile(c, a, b, row, height, j, width, depth)
            start = stop

    def _tile(
        self,
        c: Buffer,
        a: Callable[[Number, Number], ir.Value],
        b: Buffer,
        row: ir.Value,
        height: int,
        column: ir.Value,
        width: int,
        depth: tuple[Number, Number],
    ) -> None:
        lanes = min(width, self.lanes)
        type_ = ir.VectorType.get([lanes], c.element) if width > 1 else c.element
        parts = [(r, j) for r in range(height) for j in range(0, width, lanes)]

        def step(k: ir.Value, *sums: ir.Value) -> list[ir.Value]:
            right = {j: _load(b, (k, plus(column, j)), type_) for j in range(0, width, lanes)}
            left = [a(plus(row, r), k) for r in range(height)]
            if width == 1:
                return [
                    add_in_any_order(s, arith.mulf(left[r], right[j]))
                    for s, (r, j) in zip(sums, parts, strict=True)
                ]
            spread = [vector.broadcast(type_, value) for value in left]
            return [math.fma(spread[r], right[j], s) for s, (r, j) in zip(sums, parts, strict=True)]

        sums = fold(*depth, [constant(type_, 0)] * len(parts), step)
        for total, (r, j) in zip(sums, parts, strict=True):
            place = plus(row, r), plus(column, j)
            value = arith.subf(_load(c, place, type_), total)
            if width == 1:
                c[place] = value
            else:
                c.set_vector(place, value)


def _load(buffer: Buffer, place: tuple[Number, Number], type_: Any) -> ir.Value:
    return buffer.vector(place, type_) if isinstance(type_, ir.VectorType) else buffer[place]


def _rounded(bounds: tuple[Number, Number], step: int) -> Number:
    """The end of the whole steps between two bounds."""
    start, end = bounds
    if step == 1:
        return end
    if isinstance(start, int) and isinstance(end, int):
        return start + (end - start) // step * step if end > start else start
    # a range that is empty backwards stays empty
    length = arith.maxsi(index(minus(end, start)), index(0))
    return arith.addi(index(start), arith.muli(arith.divui(length, index(step)), index(step)))
