"""Eigenvalues of symmetric matrices and singular values of one example, by Jacobi's rotations.

Eigenvectors and singular vectors are rows here, where memory is contiguous. Everything is in
double precision. (Golub and Van Loan, 8.5 and 8.6.3.)
"""

from __future__ import annotations

import math as numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlir import ir
from mlir.dialects import arith, math

from .memory_loops import Buffer, Number, equal, fold, index, less, loop, plus, total, when
from .scalars import constant
from .triangular import subtract_row

#: Sweeps over all pairs; convergence is quadratic, and takes 6 to 10 of them.
SWEEPS = 60
#: The part of the largest component that decides a sign; also in dialects/pb/ops/spectral.py.
DECISIVE = 0.6180339887
_EPSILON = 2.0**-52
#: Sizes of matrices whose squares neither overflow nor underflow.
_SMALL, _LARGE = 1e-40, 1e60


def _largest(x: Buffer, lower: bool = False) -> ir.Value:
    """The magnitude of the largest entry (of the lower triangle); NaN if there is one."""

    def larger(i: ir.Value, most: ir.Value) -> list[ir.Value]:
        end = plus(i, 1) if lower else x.columns
        return fold(0, end, [most], lambda j, m: [arith.maximumf(m, math.absf(x[i, j]))])

    return fold(0, x.rows, [x.number(0)], larger)[0]


class Scale:
    """What a matrix with this largest entry is divided by, and its largest entry then.

    `poison` is zero, and NaN for a matrix with entries that are not finite.
    """

    def __init__(self, most: ir.Value) -> None:
        small, large, zero, one = (constant(most.type, number) for number in (_SMALL, _LARGE, 0, 1))
        usual = arith.andi(less(small, most), less(most, large))
        usual = arith.ori(usual, equal(most, zero))
        self.factor = arith.select(usual, one, most)
        self.size = arith.divf(most, self.factor)
        self.poison = arith.subf(most, most)

    def divided(self, value: ir.Value) -> ir.Value:
        return arith.addf(arith.divf(value, self.factor), self.poison)

    def restored(self, value: ir.Value) -> ir.Value:
        return arith.addf(arith.mulf(value, self.factor), self.poison)

    def identity(self, to: Buffer) -> None:
        with loop(0, to.rows) as i:
            with loop(0, to.columns) as j:
                to[i, j] = self.poison
            to[i, i] = arith.addf(to.number(1), self.poison)


class Sweeps:
    """Sweeps over the pairs of rows until none is rotated; the measure of what is left."""

    def __init__(self, left: Buffer) -> None:
        self.left = left

    @contextmanager
    def pairs(self, n: int) -> Iterator[tuple[ir.Value, ir.Value]]:
        left, zero = self.left, self.left.number(0)
        left[0, 0] = left.number(1)
        with loop(0, SWEEPS), when(less(zero, left[0, 0])):
            left[0, 0] = zero
            with loop(0, n) as p, loop(plus(p, 1), n) as q:
                yield p, q

    @contextmanager
    def rotation(self, measure: ir.Value, limit: ir.Value) -> Iterator[None]:
        """For a pair that is further from done than `limit`."""
        with when(less(limit, measure)):
            self.left[0, 0] = arith.maximumf(self.left[0, 0], measure)
            yield

    def failed(self, size: ir.Value) -> ir.Value:
        """NaN if the last sweep still had far to go, else zero."""
        return failed(self.left[0, 0], size)


def failed(left: ir.Value, size: ir.Value) -> ir.Value:
    """NaN if this is too much to be left of a matrix of this size, else zero."""
    far = less(arith.mulf(size, constant(size.type, 1e-8)), left)
    return arith.select(far, constant(size.type, float("nan")), constant(size.type, 0))


def eigh_limit(scale: Scale) -> ir.Value:
    """An entry beside the diagonal that is not larger is left there."""
    return arith.mulf(scale.size, constant(scale.size.type, 2.0**-60))


def svd_limits(scale: Scale, columns: int) -> tuple[ir.Value, ir.Value]:
    """Rows with a smaller cosine are orthogonal, and shorter ones nothing.

    These are rounding errors of a matrix of lower rank, which need not become orthogonal.
    """
    element = scale.size.type
    least = arith.mulf(scale.size, constant(element, 1e-30))
    return constant(element, 2 * _EPSILON * numbers.sqrt(columns)), least


def angle(pp: ir.Value, qq: ir.Value, pq: ir.Value, one: ir.Value) -> Sequence[ir.Value]:
    """Tangent, cosine and sine of the rotation that makes pq zero, the smaller one."""
    zeta = arith.divf(arith.subf(qq, pp), arith.addf(pq, pq))
    root = math.sqrt(arith.addf(one, arith.mulf(zeta, zeta)))
    tangent = arith.divf(math.copysign(one, zeta), arith.addf(math.absf(zeta), root))
    cosine = arith.divf(one, math.sqrt(arith.addf(one, arith.mulf(tangent, tangent))))
    return tangent, cosine, arith.mulf(tangent, cosine)


def rotate(
    x: Buffer, p: ir.Value, q: ir.Value, cosine: ir.Value, sine: ir.Value, columns: bool = False
) -> None:
    """Rows (or columns) p and q turn."""
    with loop(0, x.rows if columns else x.columns) as j:
        one, other = ((j, p), (j, q)) if columns else ((p, j), (q, j))
        first, second = x[one], x[other]
        x[one] = arith.subf(arith.mulf(cosine, first), arith.mulf(sine, second))
        x[other] = arith.addf(arith.mulf(sine, first), arith.mulf(cosine, second))


def sort(values: Buffer, rows: Sequence[Buffer], descending: bool) -> None:
    """By selection; rows move with their values."""
    with loop(0, values.columns) as i:

        def better(j: ir.Value, best: ir.Value, place: ir.Value) -> list[ir.Value]:
            value = values[0, j]
            found = less(best, value) if descending else less(value, best)
            return [arith.select(found, value, best), arith.select(found, j, place)]

        best, place = fold(plus(i, 1), values.columns, [values[0, i], i], better)
        with when(arith.cmpi(arith.CmpIPredicate.ne, place, i)):
            values[0, place] = values[0, i]
            values[0, i] = best
            for buffer in rows:
                buffer.swap_rows(i, place)


def fix_signs(lead: Buffer, others: Sequence[Buffer] = ()) -> None:
    """Of each row of `lead` the first component that is not much smaller than the largest
    becomes positive; the same row of the others follows."""
    zero, one = lead.number(0), lead.number(1)
    with loop(0, lead.rows) as i:

        def larger(j: ir.Value, most: ir.Value) -> list[ir.Value]:
            return [arith.maximumf(most, math.absf(lead[i, j]))]

        [most] = fold(0, lead.columns, [zero], larger)
        limit = arith.mulf(most, lead.number(DECISIVE))

        def first(j: ir.Value, found: ir.Value) -> list[ir.Value]:
            value = lead[i, j]
            new = arith.andi(equal(found, zero), less(limit, math.absf(value)))
            return [arith.select(new, value, found)]

        [decisive] = fold(0, lead.columns, [zero], first)
        sign = arith.select(less(decisive, zero), lead.number(-1), one)
        for buffer in (lead, *others):
            with loop(0, buffer.columns) as j:
                buffer[i, j] = arith.mulf(buffer[i, j], sign)


def eigh(values: Buffer, v: Buffer, x: Buffer, a: Buffer, left: Buffer) -> None:
    """Rows of v become the eigenvectors of the lower triangle of x."""
    n = x.rows
    scale, one, zero = Scale(_largest(x, lower=True)), x.number(1), x.number(0)
    with loop(0, n) as i, loop(0, plus(i, 1)) as j:
        a[i, j] = a[j, i] = scale.divided(x[i, j])
    scale.identity(v)
    limit = eigh_limit(scale)
    sweeps = Sweeps(left)
    with sweeps.pairs(n) as (p, q):
        pq = a[p, q]
        with sweeps.rotation(math.absf(pq), limit):
            tangent, cosine, sine = angle(a[p, p], a[q, q], pq, one)
            change = arith.mulf(tangent, pq)
            first, second = arith.subf(a[p, p], change), arith.addf(a[q, q], change)
            rotate(a, p, q, cosine, sine)
            rotate(a, p, q, cosine, sine, columns=True)
            a[p, p], a[q, q], a[p, q], a[q, p] = first, second, zero, zero
            rotate(v, p, q, cosine, sine)
    problem = sweeps.failed(scale.size)
    with loop(0, n) as i:
        values[0, i] = arith.addf(scale.restored(a[i, i]), problem)
    sort(values, [v], descending=False)
    fix_signs(v)


def svd(
    turns: Buffer, s: Buffer, w: Buffer, x: Buffer, left: Buffer, sums: Buffer, lead_is_w: bool
) -> None:
    """x = turns^T diag(s) w, for x with no more rows than columns: its rows are made orthogonal."""
    k, columns = x.rows, x.columns
    scale, one = Scale(_largest(x)), x.number(1)
    with loop(0, k) as i, loop(0, columns) as j:
        w[i, j] = scale.divided(x[i, j])
    scale.identity(turns)
    limit, least = svd_limits(scale, columns)
    some = arith.mulf(least, least)
    sweeps = Sweeps(left)
    with sweeps.pairs(k) as (p, q):
        pp, qq, pq = (_dot(w, i, j) for i, j in ((p, p), (q, q), (p, q)))
        cosine = arith.divf(math.absf(pq), arith.mulf(math.sqrt(pp), math.sqrt(qq)))
        both = arith.andi(less(some, pp), less(some, qq))
        with sweeps.rotation(arith.select(both, cosine, x.number(0)), limit):
            _, cosine, sine = angle(pp, qq, pq, one)
            rotate(w, p, q, cosine, sine)
            rotate(turns, p, q, cosine, sine)
    with loop(0, k) as i:
        s[0, i] = math.sqrt(_dot(w, i, i))
    sort(s, [turns, w], descending=True)
    problem = sweeps.failed(one)
    with loop(0, k) as i:
        norm = s[0, i]
        nothing = arith.cmpf(arith.CmpFPredicate.OLE, norm, least)
        with when(nothing):
            _complete(w, i, sums)
        divisor = arith.select(nothing, one, norm)
        with loop(0, columns) as j:
            w[i, j] = arith.divf(w[i, j], divisor)
        s[0, i] = arith.addf(scale.restored(norm), problem)
    fix_signs(*((w, [turns]) if lead_is_w else (turns, [w])))


def _dot(x: Buffer, i: Number, j: Number) -> ir.Value:
    return total(0, x.columns, x.element, lambda c: arith.mulf(x[i, c], x[j, c]))


def _complete(w: Buffer, row: ir.Value, sums: Buffer) -> None:
    """A unit vector orthogonal to the rows above, from the axis that is furthest from them."""
    zero, one = w.number(0), w.number(1)
    with loop(0, w.columns) as j:
        sums[0, j] = w[row, j] = zero
    with loop(0, row) as i, loop(0, w.columns) as j:
        sums[0, j] = arith.addf(sums[0, j], arith.mulf(w[i, j], w[i, j]))

    def nearer(j: ir.Value, least: ir.Value, place: ir.Value) -> list[ir.Value]:
        found = less(sums[0, j], least)
        return [arith.select(found, sums[0, j], least), arith.select(found, j, place)]

    _, axis = fold(1, w.columns, [sums[0, 0], index(0)], nearer)
    w[row, axis] = one
    for _ in range(2):  # once more, for what rounding left
        with loop(0, row) as i:
            subtract_row(w, row, _dot(w, i, row), w, i)
        norm = math.sqrt(_dot(w, row, row))
        with loop(0, w.columns) as j:
            w[row, j] = arith.divf(w[row, j], norm)
