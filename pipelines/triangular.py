"""Cholesky factorisation and triangular solves of one example, in panels of rows.

All inner loops run along rows. (Golub and Van Loan, Matrix Computations, 3.1 and 4.2.)
"""

from __future__ import annotations

from mlir import ir
from mlir.dialects import arith, math

from .memory_loops import (
    Buffer,
    Number,
    Product,
    downwards,
    less,
    loop,
    minus,
    plus,
    smaller,
)
from .scalars import constant

#: Rows of a panel: what is done row by row before the register tiles take over.
PANEL = 32


def subtract_row(
    to: Buffer, row: Number, factor: ir.Value, source: Buffer, other: Number, start: Number = 0
) -> None:
    """to[row, start:] -= factor * source[other, start:]."""
    with loop(start, to.columns) as j:
        to[row, j] = arith.subf(to[row, j], arith.mulf(factor, source[other, j]))


def root_of(pivot: ir.Value) -> ir.Value:
    """NaN where the matrix is not positive definite."""
    good = less(constant(pivot.type, 0), pivot)
    return math.sqrt(arith.select(good, pivot, constant(pivot.type, float("nan"))))


def cholesky(u: Buffer, product: Product) -> None:
    """In place: the upper triangle of u becomes the U with U^T U = u; below is left garbage."""
    n = u.rows
    with loop(0, n, PANEL) as start:
        end = smaller(plus(start, PANEL), n)
        with loop(start, end) as k:
            root = u[k, k] = root_of(u[k, k])
            with loop(plus(k, 1), n) as j:
                u[k, j] = arith.divf(u[k, j], root)
            with loop(plus(k, 1), end) as i:
                subtract_row(u, i, u[k, i], u, k, i)
        product.subtract(u, lambda i, k: u[k, i], u, (end, n), None, (start, end))


def triangular_solve(
    y: Buffer, a: Buffer, product: Product, upper: bool, unit: bool, transposed: bool
) -> None:
    """In place: y becomes the solution of a y = (old y), or of a^T y = (old y)."""
    n = a.rows
    forward = upper == transposed

    def left(i: Number, k: Number) -> ir.Value:
        return a[k, i] if transposed else a[i, k]

    def finish(i: Number) -> None:
        if not unit:
            pivot = a[i, i]
            with loop(0, y.columns) as j:
                y[i, j] = arith.divf(y[i, j], pivot)

    every = (0, y.columns)
    if forward:
        with loop(0, n, PANEL) as start:
            end = smaller(plus(start, PANEL), n)
            product.subtract(y, left, y, (start, end), every, (0, start))
            with loop(start, end) as i:
                with loop(start, i) as k:
                    subtract_row(y, i, left(i, k), y, k)
                finish(i)
        return
    with downwards(0, n, PANEL) as start:
        end = smaller(plus(start, PANEL), n)
        product.subtract(y, left, y, (start, end), every, (end, n))
        with loop(0, minus(end, start)) as back:
            i = minus(minus(end, 1), back)
            with loop(plus(i, 1), end) as k:
                subtract_row(y, i, left(i, k), y, k)
            finish(i)
