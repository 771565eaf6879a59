"""Checks that may fail at run time; part of `Lowering`.

Each check has a number. What fails first gives the status of the call, also out of loops.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlir import ir
from mlir.dialects import arith

from .affine import identity
from .loop_graph import Monoid, Node
from .scalars import Scalars

if TYPE_CHECKING:
    from .loop_emission import Emission

_NO_ERROR = 2**31 - 1


@dataclass(frozen=True)
class ErrorSite:
    """A check that may fail at run time; its number plus one is the status."""

    kind: str
    message: str
    location: ir.Location


_FIRST_ERROR = Monoid("first_error", lambda _: _NO_ERROR, lambda _, x, y: arith.minsi(x, y))


def _opposite(emission: Emission, truth: ir.Value) -> ir.Value:
    return emission.scalars.sub(emission.scalars.constant(truth.type, 1), truth)


class Errors:
    """The part of `Lowering` that records errors."""

    i32: ir.Type
    location: ir.Location
    errors: list[ErrorSite]
    error_flags: list[Node]
    pointwise: Callable[..., Node]
    reduce: Callable[..., Node]
    full: Callable[..., Node]

    def check(self, good: Node, message: str) -> None:
        """Records the error `message` ("Kind: text") unless all of `good` is true."""
        kind, _, text = message.partition(": ")
        self.errors.append(ErrorSite(kind, text, self.location))
        status = len(self.errors)

        def flag(emission: Emission, value: ir.Value) -> ir.Value:
            m = emission.scalars
            return m.select(value, m.constant(self.i32, _NO_ERROR), m.constant(self.i32, status))

        flags = self.pointwise(good.shape, self.i32, [(good, identity(len(good.shape)))], flag)
        self.error_flags.append(self.reduce(flags, range(len(good.shape)), _FIRST_ERROR))

    def check_index(self, x: Node, size: int, message: str, wrap: bool) -> Node:
        """x made safe for a dimension of `size`; records an error where it was not."""
        at = identity(len(x.shape))

        def wrapped(m: Scalars, index: ir.Value) -> ir.Value:
            if not wrap:
                return index
            negative = m.compare("lt", index, m.constant(index.type, 0))
            return m.select(negative, m.add(index, m.constant(index.type, size)), index)

        def clamped(emission: Emission, index: ir.Value) -> ir.Value:
            m = emission.scalars
            low, high = (m.constant(index.type, n) for n in (0, max(size - 1, 0)))
            return arith.minsi(arith.maxsi(wrapped(m, index), low), high)

        def inside(emission: Emission, index: ir.Value) -> ir.Value:
            m, index = emission.scalars, wrapped(emission.scalars, index)
            return m.all(
                m.compare("ge", index, m.constant(index.type, 0)),
                m.compare("lt", index, m.constant(index.type, size)),
            )

        truth = ir.IntegerType.get_signless(1)
        self.check(self.pointwise(x.shape, truth, [(x, at)], inside, 4), message)
        return self.pointwise(x.shape, x.element, [(x, at)], clamped, 4)

    def record(self, flag: Node) -> None:
        """A status of its own, that of a loop or branch, counts like a check."""
        self.error_flags.append(flag)

    def fail_if(self, failed: Node, message: str) -> None:
        """Records an error if a scalar truth value holds at run time."""
        self.check(self.pointwise((), failed.element, [(failed, ())], _opposite), message)

    def no_error(self) -> Node:
        return self.full((), self.i32, _NO_ERROR)

    def earlier(self, *flags: Node) -> Node:
        """The first of several errors."""

        def first(_: Emission, *values: ir.Value) -> ir.Value:
            return functools.reduce(arith.minsi, values)

        return self.pointwise((), self.i32, [(flag, ()) for flag in flags], first)

    def first_error(self) -> Node | None:
        """The first error so far, or None if nothing can go wrong."""
        return self.earlier(*self.error_flags) if self.error_flags else None

    def status(self) -> Node | None:
        """The status of the call, or None if nothing can go wrong."""
        found = self.first_error()
        if found is None:
            return None

        def or_zero(emission: Emission, value: ir.Value) -> ir.Value:
            m = emission.scalars
            none = m.compare("eq", value, m.constant(self.i32, _NO_ERROR))
            return m.select(none, m.constant(self.i32, 0), value)

        return self.pointwise((), self.i32, [(found, ())], or_zero)
