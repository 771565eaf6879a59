"""Factorisations of one matrix by one block, step by step, all threads in each step.

Columns are spread over lanes, where memory is contiguous, and rows over warps. Matrices are in
shared memory if there is room. (Golub and Van Loan, Matrix Computations, 3.1, 3.4, 4.2 and 5.2.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlir import ir
from mlir.dialects import arith, math

from ..factorisations import reflector, square
from ..memory_loops import Buffer, Number, downwards, equal, index, loop, minus, plus, smaller
from ..scalars import width
from ..triangular import root_of
from .launch import WARP, divided, less, when
from .teams import FEW, Room, Team, minus_product, same, teams, threads_for


def cholesky(result: Buffer, x: Buffer) -> None:
    """The upper triangle of the result becomes the U with U^T U = x; below is left garbage."""
    count, n, _ = x.type.shape
    place = Room().matrix(count, n, n, x.element)
    with teams("cholesky", [count], threads_for(n * n // 4, 512 if count < FEW else 256)) as team:
        [example] = team.places
        u = place(team)
        team.copy(x.of(example), u)
        team.barrier()
        cholesky_in_place(team, u)
        team.copy(u, result.of(example))


def cholesky_in_place(team: Team, u: Buffer) -> None:
    n = u.rows
    with loop(0, n) as k:
        root = root_of(u[k, k])
        with team.each(plus(k, 1), n) as j:
            u[k, j] = arith.divf(u[k, j], root)
        team.barrier()
        with team.one():
            u[k, k] = root
        _subtract(team, u, k, n, lambda i: i, lambda i, k=k: u[k, i])
        team.barrier()


def triangular_solve(
    result: Buffer, a: Buffer, b: Buffer, upper: bool, unit: bool, transposed: bool
) -> None:
    """The result becomes the y with a y = b, or a^T y = b; some columns in each block."""
    count, n, columns = b.type.shape
    wide = min(1 << (columns - 1).bit_length(), 128 // (width(b.element) // 8))
    groups = -(-columns // wide)
    room = Room()
    of_y = room.matrix(count * groups, n, wide, b.element)
    of_a = room.shared(n, n, a.element)
    with teams("solve", [count, groups], threads_for(n * wide // 4)) as team:
        example, group = team.places
        matrix, theirs, ours = (buffer.of(example) for buffer in (a, b, result))
        y = of_y(team)
        if of_a:
            matrix = of_a(team)
            team.copy(a.of(example), matrix)
        side = RightSides(team, wide, arith.muli(group, index(wide)), columns)
        side.fetch(theirs, y, 0, n)
        team.barrier()
        side.substitute(
            y,
            n,
            (lambda i, k: matrix[k, i]) if transposed else (lambda i, k: matrix[i, k]),
            lambda i, value: side.store(ours, i, value),
            forward=upper == transposed,
            unit=unit,
        )


class RightSides:
    """Some right-hand sides of a block: `wide` columns from `first` on, each with many threads."""

    def __init__(self, team: Team, wide: int, first: ir.Value, columns: int) -> None:
        self.team, self.wide = team, wide
        #: This thread's row (the others are so many further on), and its column.
        self.row, self.at = divided(team.t.thread_id, wide, team.t.block)
        self.step = team.t.block // wide
        self.column = plus(first, self.at)
        self.inside = less(self.column, columns)
        #: A column that is there, for those without one.
        self.safe = arith.minui(self.column, index(columns - 1))

    def fetch(self, source: Buffer, y: Buffer, start: Number, count: Number) -> None:
        """Rows of y become those of the source from `start` on; zeros beside it."""
        with loop(self.row, count, self.step) as i:
            value = source[plus(start, i), self.safe]
            y[i, self.at] = arith.select(self.inside, value, y.number(0))

    def store(self, to: Buffer, row: Number, value: ir.Value) -> None:
        with when(self.inside):
            to[row, self.column] = value

    def substitute(
        self,
        y: Buffer,
        count: Number,
        left: Callable[[Number, Number], ir.Value],
        keep: Callable[[Number, ir.Value], None],
        forward: bool,
        unit: bool,
    ) -> None:
        """Keeps each row of the solution; y is used up.

        Every thread finds the row's number in its column by itself, and nobody writes to that row:
        one barrier a row.
        """
        with loop(0, count) as step:
            i = step if forward else minus(minus(count, 1), step)
            value = y[i, self.at]
            if not unit:
                value = arith.divf(value, left(i, i))
            with when(same(self.row, 0)):
                keep(i, value)
            start, end = (plus(i, 1), count) if forward else (0, i)
            with loop(plus(self.row, start), end, self.step) as r:
                y[r, self.at] = minus_product(y[r, self.at], left(r, i), value)
            self.team.barrier()


def lu(result: Buffer, pivots: Buffer, permutation: Buffer, x: Buffer) -> None:
    """L below the diagonal of the result and U from it on, of x with its rows in another order."""
    count, rows, columns = x.type.shape
    place = Room().matrix(count, rows, columns, x.element)
    with teams(
        "lu", [count], threads_for(rows * columns // 4, 512 if count < FEW else 256)
    ) as team:
        [example] = team.places
        a, numbers = place(team), permutation.of(example)
        team.copy(x.of(example), a)
        with team.each(0, rows) as i:
            numbers[0, i] = arith.index_cast(numbers.element, i)
        team.barrier()
        steps = 0, min(rows, columns)
        lu_in_place(team, a, pivots.of(example), numbers, steps, (0, columns))
        team.copy(a, result.of(example))


def lu_in_place(
    team: Team,
    a: Buffer,
    pivots: Buffer,
    permutation: Buffer,
    steps: tuple[Number, Number],
    columns: tuple[Number, Number],
) -> None:
    """These steps of the elimination, of these columns."""
    with loop(*steps) as j:
        place = team.first_largest(j, a.rows, lambda i: math.absf(a[i, j]))
        with team.one():
            pivots[0, j] = arith.index_cast(pivots.element, plus(place, 1))
            first, second = permutation[0, j], permutation[0, place]
            permutation[0, j], permutation[0, place] = second, first
        with team.each(*columns) as c:
            first, second = a[j, c], a[place, c]
            a[j, c], a[place, c] = second, first
        team.barrier()
        pivot = a[j, j]
        none = equal(pivot, a.number(0))
        with team.each(plus(j, 1), a.rows) as i:
            a[i, j] = arith.select(none, a[i, j], arith.divf(a[i, j], pivot))
        team.barrier()
        _subtract(team, a, j, columns[1], lambda _, j=j: plus(j, 1), lambda i, j=j: a[i, j])
        team.barrier()


def _subtract(
    team: Team,
    a: Buffer,
    pivot: ir.Value,
    end: Number,
    start: Callable[[ir.Value], Number],
    factor: Callable[[ir.Value], ir.Value],
) -> None:
    """a[i, c] -= factor(i) a[pivot, c] of all rows below, start(i) <= c < end.

    Rows further down begin where a higher one does: left of start(i) may be garbage.
    """

    def turn(rows: Sequence[ir.Value]) -> None:
        factors = [factor(i) for i in rows]
        with team.lanes(start(rows[0]), end) as c:
            along, old = a[pivot, c], [a[i, c] for i in rows]
            for i, x, by in zip(rows, old, factors, strict=True):
                a[i, c] = minus_product(x, by, along)

    team.rows(plus(pivot, 1), a.rows, turn)


def qr(q: Buffer, r: Buffer, x: Buffer) -> None:
    """The columns asked for of Q, and R over what is left of the reflectors (all rows of x).

    Columns lie along memory while a warp works on each.
    """
    count, rows, columns = x.type.shape
    wide, steps = q.columns, min(rows, columns)
    room = Room()
    of_taus, of_columns, of_q = (
        room.matrix(count, *shape, x.element)
        for shape in ((1, steps), (columns, rows), (wide, rows))
    )
    with teams("qr", [count], threads_for(columns * WARP, 512)) as team:
        [example] = team.places
        taus, a, y = of_taus(team), of_columns(team), of_q(team)
        team.copy(x.of(example), a, transposed=True)
        with team.elements(y) as (i, j):
            y[i, j] = arith.select(same(i, j), y.number(1), y.number(0))
        team.barrier()
        qr_in_place(team, a, taus)
        team.copy(a, r.of(example), transposed=True)
        # A reflector that is zero where the column is not does nothing to it.
        with team.warps(0, wide) as c, downwards(0, smaller(plus(c, 1), steps)) as j:
            _reflect(team, y, c, a, j, taus[0, j])
        team.barrier()
        team.copy(y, q.of(example), transposed=True)


def qr_in_place(team: Team, a: Buffer, taus: Buffer) -> None:
    """Of the matrix whose columns are the rows of a."""
    wide = ir.F64Type.get()
    with loop(0, min(a.rows, a.columns)) as j:
        below = team.sum_of_lanes(plus(j, 1), a.columns, wide, lambda i: square(a[j, i]))
        beta, scale, tau = reflector(a[j, j], below)
        team.barrier()  # every warp has added up the column
        with team.each(plus(j, 1), a.columns) as i:
            a[j, i] = arith.divf(a[j, i], scale)
        with team.one():
            a[j, j], taus[0, j] = beta, tau
        team.barrier()
        with team.warps(plus(j, 1), a.rows) as c:
            _reflect(team, a, c, a, j, tau)
        team.barrier()


def _reflect(
    team: Team, x: Buffer, row: ir.Value, reflectors: Buffer, j: ir.Value, tau: ir.Value
) -> None:
    """x[row, j:] -= tau (x[row, j:] . v) v; v is 1, then row j of `reflectors`: by one warp.

    Each element is one lane's alone, from the first reflector to the last: see `Team.lanes`.
    """

    def v(i: ir.Value) -> ir.Value:
        return arith.select(same(i, j), x.number(1), reflectors[j, i])

    dot = team.sum_of_lanes(j, x.columns, x.element, lambda i: arith.mulf(v(i), x[row, i]))
    by = arith.mulf(tau, dot)
    with team.lanes(j, x.columns) as i:
        x[row, i] = minus_product(x[row, i], by, v(i))
