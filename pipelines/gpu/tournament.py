"""Jacobi's rotations by one block: those of a round turn different rows, and are made at once.

A sweep over all pairs is a round-robin tournament of the rows, which plays n / 2 pairs a round.
(Golub and Van Loan, 8.5.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlir import ir
from mlir.dialects import arith, math, scf

from ..builders import block_of
from ..memory_loops import Buffer, fold, index, less
from ..scalars import constant
from ..spectral import SWEEPS
from .teams import Team, minus_product, same

Values = list[ir.Value]


@dataclass(frozen=True)
class Tournament:
    """Pairs of n rows in rounds: in a round each row has one partner (that may not be there)."""

    n: int

    @property
    def pairs(self) -> int:
        return -(-self.n // 2)

    @property
    def rounds(self) -> int:
        return 2 * self.pairs - 1

    def pair(self, number: ir.Value, pair: ir.Value) -> tuple[ir.Value, ir.Value]:
        """In this round: all but the last row stand in a circle, which turns."""
        around = index(self.rounds)
        first = _modulo(arith.addi(number, pair), around)
        second = _modulo(arith.subi(arith.addi(number, around), pair), around)
        second = arith.select(same(pair, 0), around, second)
        return arith.minui(first, second), arith.maxui(first, second)


def sweeps(team: Team, tournament: Tournament, turn: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """Sweeps until none has anything to remove; the most that the last one did remove.

    `turn` makes one round, and gives what this thread knows of.
    """
    f64 = ir.F64Type.get()
    zero = constant(f64, 0)

    def larger(x: Sequence[ir.Value], y: Sequence[ir.Value]) -> Values:
        return [arith.maximumf(*x, *y)]

    def sweep(_: ir.Value, left: ir.Value) -> Values:
        choice = scf.IfOp(less(zero, left), [f64], has_else=True)
        with block_of(choice.then_block):
            most = fold(0, tournament.rounds, [zero], lambda n, most: larger([most], [turn(n)]))
            scf.YieldOp(team.over_block(most, larger))
        with block_of(choice.else_block):
            scf.YieldOp([left])
        return list(choice.results)

    return fold(0, SWEEPS, [constant(f64, 1)], sweep)[0]


def turned(by: tuple[ir.Value, ir.Value], x: ir.Value, y: ir.Value) -> tuple[ir.Value, ir.Value]:
    cosine, sine = by
    return (
        minus_product(arith.mulf(cosine, x), sine, y),
        math.fma(sine, x, arith.mulf(cosine, y)),
    )


def turn_rows(
    team: Team, x: Buffer, p: ir.Value, q: ir.Value, by: tuple[ir.Value, ir.Value]
) -> None:
    """By one warp."""
    with team.lanes(0, x.columns) as j:
        x[p, j], x[q, j] = turned(by, x[p, j], x[q, j])


def _modulo(x: ir.Value, by: ir.Value) -> ir.Value:
    """Of a number that is less than twice as large."""
    return arith.select(arith.cmpi(arith.CmpIPredicate.uge, x, by), arith.subi(x, by), x)
