"""LU and QR factorisation of one example, along rows.

LU in panels of columns; the rest is register tiles. (Golub and Van Loan, 3.4 and 5.2; signs and
pivots are LAPACK's.)
"""

from __future__ import annotations

from mlir import ir
from mlir.dialects import arith, math

from .memory_loops import (
    Buffer,
    Number,
    Product,
    constant,
    downwards,
    equal,
    fold,
    index,
    less,
    loop,
    plus,
    smaller,
    total,
    when,
)
from .triangular import PANEL, subtract_row


def lu(a: Buffer, pivots: Buffer, permutation: Buffer, product: Product) -> None:
    """In place. Pivots and permutation are rows of numbers."""
    rows, columns = a.rows, a.columns
    k = min(rows, columns)
    with loop(0, rows) as i:
        permutation[0, i] = arith.index_cast(permutation.element, i)
    with loop(0, k, PANEL) as start:
        end = smaller(plus(start, PANEL), k)
        with loop(start, end) as j:
            _swap_pivot(a, pivots, permutation, j)
            pivot = a[j, j]
            none = equal(pivot, a.number(0))
            with loop(plus(j, 1), rows) as i:
                factor = arith.select(none, a[i, j], arith.divf(a[i, j], pivot))
                a[i, j] = factor
                with loop(plus(j, 1), end) as c:
                    a[i, c] = arith.subf(a[i, c], arith.mulf(factor, a[j, c]))
        with loop(plus(start, 1), end) as i, loop(start, i) as j:
            subtract_row(a, i, a[i, j], a, j, end)
        product.subtract(a, lambda i, j: a[i, j], a, (end, rows), (end, columns), (start, end))


def _swap_pivot(a: Buffer, pivots: Buffer, permutation: Buffer, j: ir.Value) -> None:
    """The first of the largest elements from row j on of column j comes to row j."""

    def better(i: ir.Value, largest: ir.Value, place: ir.Value) -> list[ir.Value]:
        magnitude = math.absf(a[i, j])
        larger = less(largest, magnitude)
        return [arith.select(larger, magnitude, largest), arith.select(larger, i, place)]

    _, place = fold(plus(j, 1), a.rows, [math.absf(a[j, j]), j], better)
    pivots[0, j] = arith.index_cast(pivots.element, arith.addi(place, index(1)))
    with when(arith.cmpi(arith.CmpIPredicate.ne, place, j)):
        a.swap_rows(j, place)
        first, second = permutation[0, j], permutation[0, place]
        permutation[0, j], permutation[0, place] = second, first


def square(x: ir.Value) -> ir.Value:
    """In f64: no norm of f32 numbers overflows or vanishes."""
    wide = ir.F64Type.get()
    x = x if x.type == wide else arith.extf(wide, x)
    return arith.mulf(x, x)


def reflector(head: ir.Value, below: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """What the head of a column becomes, what those below it (whose squares have this sum) are
    divided by, and tau."""
    zero, one = constant(head.type, 0), constant(head.type, 1)
    norm = math.sqrt(arith.addf(square(head), below))
    norm = norm if norm.type == head.type else arith.truncf(head.type, norm)
    none = equal(below, constant(below.type, 0))
    beta = arith.select(none, head, arith.negf(math.copysign(norm, head)))
    scale = arith.select(none, one, arith.subf(head, beta))
    divisor = arith.select(none, one, beta)
    tau = arith.select(none, zero, arith.divf(arith.subf(beta, head), divisor))
    return beta, scale, tau


def qr(q: Buffer, r: Buffer, taus: Buffer, sums: Buffer) -> None:
    """r (all rows of x) becomes R over the reflectors, and q the columns asked for of Q."""
    k = min(r.rows, r.columns)
    with loop(0, k) as j:
        below = total(plus(j, 1), r.rows, ir.F64Type.get(), lambda i: square(r[i, j]))
        beta, scale, tau = reflector(r[j, j], below)
        taus[0, j] = tau
        r[j, j] = beta
        with loop(plus(j, 1), r.rows) as i:
            r[i, j] = arith.divf(r[i, j], scale)
        _reflect(r, r, j, tau, plus(j, 1), sums)
    one, zero = q.number(1), q.number(0)
    with loop(0, q.rows) as i, loop(0, q.columns) as j:
        q[i, j] = arith.select(arith.cmpi(arith.CmpIPredicate.eq, i, j), one, zero)
    with downwards(0, k) as j:
        _reflect(q, r, j, taus[0, j], j, sums)


def _reflect(
    x: Buffer, reflectors: Buffer, j: ir.Value, tau: ir.Value, start: Number, sums: Buffer
) -> None:
    """x[j:, start:] -= tau v (v^T x[j:, start:]); v is 1, then column j of `reflectors`."""
    with loop(start, x.columns) as c:
        sums[0, c] = x[j, c]
    with loop(plus(j, 1), x.rows) as i:
        factor = reflectors[i, j]
        with loop(start, x.columns) as c:
            sums[0, c] = arith.addf(sums[0, c], arith.mulf(factor, x[i, c]))
    subtract_row(x, j, tau, sums, 0, start)
    with loop(plus(j, 1), x.rows) as i:
        subtract_row(x, i, arith.mulf(tau, reflectors[i, j]), sums, 0, start)
