"""Seeded mistakes in rules and lowerings: each must be caught by the checks of its op.

A mistake replaces one method of one op class, as a slip of the pen would have it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlir import ir
from pullback import PullbackError
from pullback.dialects.pb import OPS, ZERO, Batched
from pullback.dialects.pb.families import at_dim
from pullback.dialects.pb.ops.structure import inserted
from pullback.dialects.pb.types import element_type, rank, shape

from ..op_samples import SAMPLES
from .checks import checks_of
from .compiled import against_interpreter

Method = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """`rule` of `op` is replaced by `wrong(self, original, ...)`."""

    op: str
    rule: str
    what: str
    wrong: Method

    def __str__(self) -> str:
        return f"{self.op}-{self.rule}-{self.what}"


MISTAKES: list[Mistake] = []


def mistake(op: str, rule: str) -> Callable[[Method], Method]:
    def record(wrong: Method) -> Method:
        MISTAKES.append(Mistake(f"pb.{op}", rule, wrong.__name__, wrong))
        return wrong

    return record


# -- derivatives -------------------------------------------------------------------------


@mistake("sub", "jvp")
def plus(op, right, b, x_dot, y_dot):
    return b.add(x_dot, y_dot)


@mistake("sub", "transpose")
def sign_lost(op, right, b, ct, x, y):
    return ct if x is None else None, ct if y is None else None


@mistake("mul", "transpose")
def own_operand(op, right, b, ct, x, y):
    return (b.mul(ct, b.mul(ct, y)), None) if x is None else (None, b.mul(ct, x))


@mistake("mul", "jvp")
def half_of_the_product_rule(op, right, b, x_dot, y_dot):
    return b.add(b.mul(x_dot, op.y), b.mul(y_dot, op.y))


@mistake("div", "jvp")
def sign_of_denominator(op, right, b, x_dot, y_dot):
    quotient = ZERO if y_dot is ZERO else b.mul(y_dot, b.div(op.result, op.y))
    return b.add(b.div(x_dot, op.y), quotient)


@mistake("div", "transpose")
def multiplied(op, right, b, ct, x, y):
    return b.mul(ct, y), None


@mistake("pow", "jvp")
def exponent_not_lowered(op, right, b, x_dot, y_dot):
    x_part = ZERO if x_dot is ZERO else b.mul(x_dot, b.mul(op.y, op.result))
    y_part = ZERO if y_dot is ZERO else b.mul(y_dot, b.mul(op.result, b.log(op.x)))
    return b.add(x_part, y_part)


@mistake("pow", "jvp")
def no_care_at_zero(op, right, b, x_dot, y_dot):
    x, y = op.x, op.y
    slope = b.mul(y, b.pow(x, b.sub(y, b.full_like(y, 1))))
    x_part = b.mul(x_dot, slope)
    return b.add(x_part, ZERO if y_dot is ZERO else b.mul(y_dot, b.mul(op.result, b.log(x))))


@mistake("maximum", "jvp")
def tie_to_both(op, right, b, x_dot, y_dot):
    x, y = op.x, op.y
    return b.add(
        b.select(b.compare("lt", x, y), ZERO, x_dot), b.select(b.compare("lt", y, x), ZERO, y_dot)
    )


@mistake("maximum", "jvp")
def tie_to_first(op, right, b, x_dot, y_dot):
    return b.select(b.compare("ge", op.x, op.y), x_dot, y_dot)


@mistake("exp", "jvp")
def operand_instead_of_result(op, right, b, x_dot):
    return b.mul(x_dot, op.x)


@mistake("cos", "jvp")
def minus_forgotten(op, right, b, x_dot):
    return b.mul(x_dot, b.sin(op.x))


@mistake("tanh", "jvp")
def square_forgotten(op, right, b, x_dot):
    return b.mul(x_dot, b.sub(b.full_like(op.x, 1), op.result))


@mistake("sqrt", "jvp")
def factor_forgotten(op, right, b, x_dot):
    return b.div(x_dot, op.result)


@mistake("logistic", "jvp")
def of_the_operand(op, right, b, x_dot):
    return b.mul(x_dot, b.mul(op.x, b.sub(b.full_like(op.x, 1), op.x)))


@mistake("select", "jvp")
def branches_swapped(op, right, b, pred_dot, t_dot, f_dot):
    return b.select(op.pred, f_dot, t_dot)


@mistake("select", "transpose")
def both_branches(op, right, b, ct, pred, t, f):
    return None, ct if t is None else None, ct if f is None else None


@mistake("stop_gradient", "jvp")
def not_stopped(op, right, b, x_dot):
    return x_dot


@mistake("reduce_max", "jvp")
def ties_not_shared(op, right, b, x_dot):
    kept = [d for d in range(rank(op.x)) if d not in list(op.dims)]
    at_max = b.compare("eq", op.x, b.broadcast(op.result, shape(op.x), kept))
    return b.reduce_sum(b.select(at_max, x_dot, b.zeros_like(op.x)), list(op.dims))


@mistake("broadcast", "transpose")
def one_reduction_missing(op, right, b, ct, x):
    new = [d for d in range(rank(ct)) if d not in list(op.dims)]
    reduced = b.reduce_sum(ct, new[:-1])
    return (b.reduce_max(reduced, [d - len(new[:-1]) for d in new[-1:]]),)


@mistake("transpose", "transpose")
def permutation_not_inverted(op, right, b, ct, x):
    bar = b.transpose(ct, list(op.permutation))
    return (bar if shape(bar) == shape(op.x) else b.reshape(bar, shape(op.x)),)


@mistake("slice", "transpose")
def offset_forgotten(op, right, b, ct, x):
    return (b.pad(ct, None, shape(op.x), [0] * rank(op.x), list(op.strides)),)


@mistake("pad", "transpose")
def padding_takes_all(op, right, b, ct, x, value):
    x_bar, value_bar = right(op, b, ct, x, value)
    return x_bar, None if value_bar is None else b.reduce_sum(ct, range(rank(ct)))


@mistake("concatenate", "transpose")
def starts_not_advanced(op, right, b, ct, *xs):
    sizes = [shape(operand) for operand in op.operands]
    return [b.slice(ct, [0] * len(s), s, [1] * len(s)) for s in sizes]


@mistake("gather", "transpose")
def not_accumulated(op, right, b, ct, x, *indices):
    bar, *rest = right(op, b, ct, x, *indices)
    return b.select(b.compare("ne", bar, b.zeros_like(bar)), b.full_like(bar, 1), ZERO), *rest


@mistake("scatter_add", "transpose")
def updates_twice(op, right, b, ct, x, updates, *indices):
    x_bar, updates_bar, *rest = right(op, b, ct, x, updates, *indices)
    return x_bar, None if updates_bar is None else b.add(updates_bar, updates_bar), *rest


@mistake("dot_general", "transpose")
def back_in_wrong_order(op, right, b, ct, x, y):
    bars = right(op, b, ct, x, y)
    flipped = [
        bar if bar is None else b.reshape(b.transpose(bar, range(rank(bar))[::-1]), shape(bar))
        for bar in bars
    ]
    return tuple(flipped)


# -- batching ----------------------------------------------------------------------------


@mistake("reduce_sum", "batch")
def dims_not_moved(op, right, b, size, x):
    value = at_dim(b, x, rank(x.value) - 1, size)
    return Batched(b.reduce_sum(value, list(op.dims)), 0)


@mistake("transpose", "batch")
def wrong_axis(op, right, b, size, x):
    value = at_dim(b, x, 0, size)
    order = list(op.permutation)
    return Batched(b.transpose(value, [0, *(d + 1 for d in reversed(order))]), 0)


@mistake("slice", "batch")
def offsets_not_moved(op, right, b, size, x):
    offsets, strides = [*op.offsets, 0], inserted(op.strides, x.dim, 1)
    return Batched(
        b.slice(x.value, offsets, inserted(shape(op.result), x.dim, size), strides), x.dim
    )


@mistake("gather", "batch")
def examples_not_paired(op, right, b, size, x, *indices):
    out = right(op, b, size, x, *indices)
    return Batched(out.value, rank(out.value) - 1) if indices[0].dim is not None else out


@mistake("dot_general", "batch")
def dimension_of_other_operand(op, right, b, size, x, y):
    out = right(op, b, size, x, y)
    return Batched(out.value, 0) if y.dim is None or x.dim is None else out


@mistake("pad", "batch")
def first_padding_for_all(op, right, b, size, x, value):
    if value.dim is not None:
        first = b.reshape(b.slice(value.value, [0], [1], [1]), ())
        value = Batched(first, None)
    return right(op, b, size, x, value)


@mistake("add", "batch")
def not_moved(op, right, b, size, x, y):
    dim = next(o.dim for o in (x, y) if o.dim is not None)
    values = [o.value if o.dim is not None else at_dim(b, o, dim, size) for o in (x, y)]
    return Batched(b.add(*values), dim)


# -- simplification, definitions -----------------------------------------------------------


@mistake("transpose", "simplify")
def composed_the_other_way(op, right, b):
    inner = getattr(op.x.owner, "opview", None)
    if getattr(inner, "OPERATION_NAME", "") == "pb.transpose":
        first, order = list(inner.permutation), list(op.permutation)
        return b.transpose(inner.x, [order[d] for d in first])
    return None


@mistake("add", "simplify")
def negation_lost(op, right, b):
    inner = getattr(op.y.owner, "opview", None)
    return b.add(op.x, inner.x) if getattr(inner, "OPERATION_NAME", "") == "pb.neg" else None


@mistake("slice", "simplify")
def any_padding(op, right, b):
    inner = getattr(op.x.owner, "opview", None)
    padded = getattr(inner, "OPERATION_NAME", "") == "pb.pad"
    return inner.x if padded and inner.x.type == op.result.type else None


@mistake("broadcast", "simplify")
def outer_dims_only(op, right, b):
    inner = getattr(op.x.owner, "opview", None)
    if getattr(inner, "OPERATION_NAME", "") != "pb.broadcast":
        return None
    return b.broadcast(inner.x, shape(op.result), list(inner.dims))


@mistake("reduce_max", "reference")
def nan_ignored(op, right, x):
    return np.fmax.reduce(x, axis=tuple(op.dims), initial=-np.inf if x.dtype.kind == "f" else -99)


@mistake("gather", "reference")
def clamped_low(op, right, x, *indices):
    return right(op, x, *(np.clip(i, 0, 1) for i in indices))


# -- lowering ------------------------------------------------------------------------------


@mistake("sub", "scalar")
def wrong_way_round(op, right, m, x, y):
    return m.sub(y, x)


@mistake("maximum", "scalar")
def nan_lost(op, right, m, x, y):
    return m.select(m.compare("lt", x, y), y, x)


@mistake("compare", "scalar")
def nan_is_equal(op, right, m, x, y):
    if op.predicate.value != "ge":
        return right(op, m, x, y)
    return m.select(m.compare("lt", x, y), m.compare("ne", x, x), m.compare("eq", x, x))


@mistake("select", "scalar")
def wrong_branch(op, right, m, pred, on_true, on_false):
    return m.select(pred, on_false, on_true)


@mistake("logistic", "scalar")
def tanh_instead(op, right, m, x):
    return m.tanh(x)


@mistake("slice", "lower")
def from_the_start(op, right, loops, x):
    return loops.slice(x, shape(op.result), [0] * rank(op.x), op.strides)


@mistake("concatenate", "lower")
def in_reverse(op, right, loops, *xs):
    return right(op, loops, *xs[::-1])


@mistake("check_index", "lower")
def negative_not_wrapped(op, right, loops, x):
    return x


@mistake("reduce_max", "lower")
def summed(op, right, loops, x):
    return loops.reduce_sum(x, op.dims)


@mistake("iota", "lower")
def along_the_first(op, right, loops):
    element = element_type(op.result)
    return loops.generated(shape(op.result), element, lambda m, at: m.from_index(at[0], element))


@mistake("scatter_add", "lower")
def updates_lost(op, right, loops, x, updates, *indices):
    return x


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_mistake_is_caught(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cls: Any = OPS[mistake.op]
    right = getattr(cls, mistake.rule)
    # A mistake may also show as a refusal of the builder or the verifier.
    caught: Exception | None = None
    monkeypatch.setattr(cls, mistake.rule, lambda op, *args: mistake.wrong(op, right, *args))
    try:
        if mistake.rule in ("scalar", "lower"):
            against_interpreter(mistake.op, tmp_path)
        for sample in SAMPLES[mistake.op]:
            for check in checks_of(sample).values():
                check(sample)
    except (AssertionError, ir.MLIRError, PullbackError, ValueError, IndexError) as error:
        caught = error
    assert caught is not None, "not caught"


def test_enough_mistakes() -> None:
    assert len(MISTAKES) >= 30
    assert len({str(mistake) for mistake in MISTAKES}) == len(MISTAKES)
