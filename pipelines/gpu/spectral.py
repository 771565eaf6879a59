"""Eigenvalues of symmetric matrices and singular values of one matrix by one block.

As in ../spectral.py: vectors are rows, and everything is in f64. (Golub and Van Loan, 8.5, 8.6.3.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlir import ir
from mlir.dialects import arith, math

from ..memory_loops import Buffer, Number, fold, index, less, loop, plus, total, when
from ..scalars import constant
from ..spectral import DECISIVE, Scale, angle, eigh_limit, failed, svd_limits
from .launch import WARP
from .launch import less as under
from .sorting import ordered_bits
from .teams import FEW, Room, Team, minus_product, same, teams, threads_for
from .tournament import Tournament, sweeps, turn_rows, turned

Values = list[ir.Value]


def eigh(values: Buffer, vectors: Buffer, x: Buffer) -> None:
    """Rows of `vectors` become the eigenvectors of the lower triangle of x."""
    count, n, _ = x.type.shape
    tournament = Tournament(n)
    even, room = 2 * tournament.pairs, Room()
    of_order = Order.room(room, count, n, x.element)
    of_turns = room.matrix(count, 2, tournament.pairs, x.element)
    of_a = room.matrix(count, even, even, x.element)
    of_v = room.matrix(count, n, n, x.element)
    with teams("eigh", [count], threads_for(even * even // 2, 512)) as team:
        [example] = team.places
        source, result = x.of(example), vectors.of(example)
        turns, a, v = of_turns(team), of_a(team), of_v(team)
        scale = Scale(_largest(team, source, lower=True))
        with team.elements(a) as (i, j):
            # What makes the size even is never turned.
            row, column = (arith.minui(f(i, j), index(n - 1)) for f in (arith.maxui, arith.minui))
            inside = under(arith.maxui(i, j), n)
            value = scale.divided(source[row, column])
            a[i, j] = arith.select(inside, value, a.number(0))
        _identity(team, v, scale)
        team.barrier()
        left = sweeps(
            team,
            tournament,
            lambda number: _turn_both_sides(team, tournament, number, a, v, turns, scale),
        )
        problem = failed(left, scale.size)
        order = of_order(team)
        with team.each(0, n) as i:
            order.values[0, i] = arith.addf(scale.restored(a[i, i]), problem)
        order.find(team, descending=False)
        with team.warps(0, n) as i:
            old = order.at(i)
            with team.lanes(0, n) as j:
                result[i, j] = v[old, j]
            with team.first_lane():
                values.of(example)[0, i] = order.values[0, old]
        team.barrier()
        _fix_signs(team, order.values, result)


def _turn_both_sides(
    team: Team,
    tournament: Tournament,
    number: ir.Value,
    a: Buffer,
    v: Buffer,
    turns: Buffer,
    scale: Scale,
) -> ir.Value:
    """One round: a becomes J^T a J, and v J^T v. The largest entry this thread has removed."""
    one, zero, limit = a.number(1), a.number(0), eigh_limit(scale)

    def decide(pair: ir.Value, most: ir.Value) -> Values:
        """A pair's own four entries become what they must be; all others follow the angle."""
        p, q = tournament.pair(number, pair)
        pp, qq, pq = a[p, p], a[q, q], a[p, q]
        measure = math.absf(pq)
        far = less(limit, measure)
        tangent, cosine, sine = angle(pp, qq, pq, one)
        turns[0, pair] = arith.select(far, cosine, one)
        turns[1, pair] = arith.select(far, sine, zero)
        with when(far):
            change = arith.mulf(tangent, pq)
            a[p, p], a[q, q] = arith.subf(pp, change), arith.addf(qq, change)
            a[p, q], a[q, p] = zero, zero
        return [arith.maximumf(most, arith.select(far, measure, zero))]

    pairs = tournament.pairs
    [most] = fold(team.t.thread_id, pairs, [zero], decide, team.t.block)
    team.barrier()
    with team.warps(0, pairs) as i:
        p, q = tournament.pair(number, i)
        by = turns[0, i], turns[1, i]
        with team.lanes(plus(i, 1), pairs) as j:
            r, s = tournament.pair(number, j)
            across = turns[0, j], turns[1, j]
            pr, qr = turned(by, a[p, r], a[q, r])
            ps, qs = turned(by, a[p, s], a[q, s])
            pr, ps = turned(across, pr, ps)
            qr, qs = turned(across, qr, qs)
            for row, column, value in ((p, r, pr), (p, s, ps), (q, r, qr), (q, s, qs)):
                a[row, column] = a[column, row] = value
        with when(under(q, v.rows)):
            turn_rows(team, v, p, q, by)
    team.barrier()
    return most


def svd(turns: Buffer, s: Buffer, w: Buffer, x: Buffer, lead_is_w: bool) -> None:
    """x = turns^T diag(s) w, for x with no more rows than columns: its rows are made orthogonal."""
    count, k, columns = x.type.shape
    tournament, room = Tournament(k), Room()
    of_order = Order.room(room, count, k, x.element)
    of_rows = room.matrix(count, k, columns, x.element)
    of_turns = room.matrix(count, k, k, x.element)
    most = 1024 if count < FEW else 512
    with teams("svd", [count], threads_for(tournament.pairs * WARP, most)) as team:
        [example] = team.places
        source, rows, all_turns = x.of(example), of_rows(team), of_turns(team)
        ours = w.of(example), turns.of(example)
        scale = Scale(_largest(team, source))
        limit, least = svd_limits(scale, columns)
        with team.elements(rows) as (i, j):
            rows[i, j] = scale.divided(source[i, j])
        _identity(team, all_turns, scale)
        team.barrier()
        left = sweeps(
            team,
            tournament,
            lambda number: _make_orthogonal(
                team, tournament, number, rows, all_turns, limit, least
            ),
        )
        problem = failed(left, x.number(1))
        order = of_order(team)
        with team.warps(0, k) as i:
            norm = math.sqrt(_dot(team, rows, i, i))
            with team.first_lane():
                order.values[0, i] = norm
        order.find(team, descending=True)

        def vanishes(i: ir.Value) -> ir.Value:
            return arith.cmpf(arith.CmpFPredicate.OLE, order.values[0, order.at(i)], least)

        with team.warps(0, k) as i:
            old = order.at(i)
            norm = order.values[0, old]
            divisor = arith.select(vanishes(i), x.number(1), norm)
            with team.lanes(0, columns) as j:
                ours[0][i, j] = arith.divf(rows[old, j], divisor)
            with team.lanes(0, k) as j:
                ours[1][i, j] = all_turns[old, j]
            with team.first_lane():
                s.of(example)[0, i] = arith.addf(scale.restored(norm), problem)
        team.barrier()
        with loop(0, k) as i, when(vanishes(i)):
            _complete(team, ours[0], i, all_turns)
        team.barrier()
        _fix_signs(team, order.values, *(ours if lead_is_w else reversed(ours)))


def _make_orthogonal(
    team: Team,
    tournament: Tournament,
    number: ir.Value,
    w: Buffer,
    turns: Buffer,
    limit: ir.Value,
    least: ir.Value,
) -> ir.Value:
    """One round, a warp for each pair of rows of w. The largest cosine this warp has removed."""
    zero, some = w.number(0), arith.mulf(least, least)

    def turn(pair: ir.Value, most: ir.Value) -> Values:
        p, q = tournament.pair(number, pair)
        there = under(q, w.rows)
        q = arith.select(there, q, p)  # another warp turns any other row

        def terms(j: ir.Value) -> Values:
            x, y = w[p, j], w[q, j]
            return [arith.mulf(x, x), arith.mulf(y, y), arith.mulf(x, y)]

        pp, qq, pq = team.sums_of_lanes(0, w.columns, w.element, terms, 3)
        measure = arith.divf(math.absf(pq), arith.mulf(math.sqrt(pp), math.sqrt(qq)))
        both = arith.andi(there, arith.andi(less(some, pp), less(some, qq)))
        measure = arith.select(both, measure, zero)
        far = less(limit, measure)
        _, cosine, sine = angle(pp, qq, pq, w.number(1))
        with when(far):
            turn_rows(team, w, p, q, (cosine, sine))
            turn_rows(team, turns, p, q, (cosine, sine))
        return [arith.maximumf(most, arith.select(far, measure, zero))]

    warps = team.t.block // WARP
    [most] = fold(team.warp, tournament.pairs, [zero], turn, warps)
    team.barrier()
    return most


def _complete(team: Team, w: Buffer, row: ir.Value, dots: Buffer) -> None:
    """A unit vector orthogonal to the rows above, from the axis that is furthest from them.

    `dots` has room for a number of each row in its first.
    """

    def far(j: ir.Value) -> ir.Value:
        return arith.negf(total(0, row, w.element, lambda i: arith.mulf(w[i, j], w[i, j])))

    axis = team.first_largest(0, w.columns, far)
    with team.each(0, w.columns) as j:
        w[row, j] = arith.select(same(j, axis), w.number(1), w.number(0))
    team.barrier()
    for _ in range(2):  # once more, for what rounding left
        with team.warps(0, row) as i:
            dot = _dot(team, w, i, row)
            with team.first_lane():
                dots[0, i] = dot
        team.barrier()
        with team.each(0, w.columns) as j:
            [value] = fold(
                0, row, [w[row, j]], lambda i, v, j=j: [minus_product(v, dots[0, i], w[i, j])]
            )
            w[row, j] = value
        team.barrier()
        norm = math.sqrt(_dot(team, w, row, row))
        team.barrier()
        with team.each(0, w.columns) as j:
            w[row, j] = arith.divf(w[row, j], norm)
        team.barrier()


@dataclass
class Order:
    """Values, and which of them comes where."""

    values: Buffer
    places: Buffer

    @staticmethod
    def room(room: Room, count: int, n: int, element: ir.Type) -> Callable[[Team], Order]:
        i32 = ir.IntegerType.get_signless(32)
        of_values, of_places = (room.matrix(count, 1, n, type_) for type_ in (element, i32))
        return lambda team: Order(of_values(team), of_places(team))

    def find(self, team: Team, descending: bool) -> None:
        """Equal ones stay in order, and NaN is the largest."""
        values, n = self.values, self.values.columns

        def key(i: ir.Value) -> ir.Value:
            return ordered_bits(values[0, i], values.element, descending)

        team.barrier()
        with team.each(0, n) as i:
            own = key(i)

            def count(
                j: ir.Value, before: ir.Value, i: ir.Value = i, own: ir.Value = own
            ) -> Values:
                other = key(j)
                tie = arith.andi(arith.cmpi(arith.CmpIPredicate.eq, other, own), under(j, i))
                first = arith.cmpi(arith.CmpIPredicate.ult, other, own)
                return [arith.addi(before, arith.extui(before.type, arith.ori(first, tie)))]

            i32 = ir.IntegerType.get_signless(32)
            [place] = fold(0, n, [constant(i32, 0)], count)
            at = arith.index_castui(ir.IndexType.get(), place)
            self.places[0, at] = arith.index_cast(i32, i)
        team.barrier()

    def at(self, place: ir.Value) -> ir.Value:
        return arith.index_castui(ir.IndexType.get(), self.places[0, place])


def _largest(team: Team, x: Buffer, lower: bool = False) -> ir.Value:
    """The magnitude of the largest entry (of the lower triangle); NaN if there is one."""
    step = team.t.block // WARP

    def row(i: ir.Value, most: ir.Value) -> Values:
        end = plus(i, 1) if lower else x.columns

        def larger(j: ir.Value, most: ir.Value) -> Values:
            return [arith.maximumf(most, math.absf(x[i, j]))]

        return fold(team.lane, end, [most], larger, WARP)

    most = fold(team.warp, x.rows, [x.number(0)], row, step)
    return team.over_block(most, lambda x, y: [arith.maximumf(*x, *y)])[0]


def _identity(team: Team, to: Buffer, scale: Scale) -> None:
    with team.elements(to) as (i, j):
        number = arith.select(same(i, j), to.number(1), to.number(0))
        to[i, j] = arith.addf(number, scale.poison)


def _dot(team: Team, x: Buffer, i: Number, j: Number) -> ir.Value:
    """By one warp."""
    return team.sum_of_lanes(0, x.columns, x.element, lambda c: arith.mulf(x[i, c], x[j, c]))


def _fix_signs(team: Team, signs: Buffer, lead: Buffer, *others: Buffer) -> None:
    """Of each row of `lead` the first component that is not much smaller than the largest
    becomes positive; the same row of the others follows. `signs` has room for them."""
    zero, i32 = lead.number(0), ir.IntegerType.get_signless(32)
    with team.warps(0, lead.rows) as i:

        def larger(j: ir.Value, most: ir.Value, i: ir.Value = i) -> Values:
            return [arith.maximumf(most, math.absf(lead[i, j]))]

        most = fold(team.lane, lead.columns, [zero], larger, WARP)
        [most] = team.over_lanes(most, lambda x, y: [arith.maximumf(*x, *y)])
        limit = arith.mulf(most, lead.number(DECISIVE))

        def earlier(
            j: ir.Value, first: ir.Value, i: ir.Value = i, limit: ir.Value = limit
        ) -> Values:
            decisive = less(limit, math.absf(lead[i, j]))
            found = arith.select(decisive, arith.index_cast(i32, j), first)
            return [arith.minui(first, found)]

        # NaN has no first: that of the last one is as good.
        first = fold(team.lane, lead.columns, [constant(i32, lead.columns - 1)], earlier, WARP)
        [first] = team.over_lanes(first, lambda x, y: [arith.minui(*x, *y)])
        decisive = lead[i, arith.index_castui(ir.IndexType.get(), first)]
        with team.first_lane():
            signs[0, i] = arith.select(less(decisive, zero), lead.number(-1), lead.number(1))
    team.barrier()
    for buffer in (lead, *others):
        with team.elements(buffer) as (i, j):
            buffer[i, j] = arith.mulf(buffer[i, j], signs[0, i])
