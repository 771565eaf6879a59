"""An index that is out of range is an error whatever is asked of the function, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlir import ir

from ..op_samples import normal
from .compiled import compiled
from .programs import Array, Function, Program, type_of

GOOD, BAD = np.array([0, -4, 3]), np.array([0, 4, 3])
X, CT, V = normal(4), normal(3), normal(4)


def picked(b: Any, x: ir.Value, index: ir.Value) -> ir.Value:
    return b.gather(x, [b.check_index(index, 4, "IndexError: index 4 of 4")], [0], 0, True)


def unused(b: Any, x: ir.Value, index: ir.Value) -> ir.Value:
    b.check_index(index, 4, "IndexError: index 4 of 4")
    return b.gather(x, [b.full_like(index, 0)], [0], 0, True)


def checked(b: Any, x: ir.Value, index: ir.Value) -> ir.Value:
    """The same by a check of any condition."""
    b.check(b.compare("lt", index, b.full_like(index, 4)), "IndexError: index 4 of 4")
    return unused(b, x, b.full_like(index, 0))


def lanes(f: Function, *dims: int) -> Function:
    return f.vmap(dims, [0] * len(f.outputs), 2)


def stacked(index: Array) -> Array:
    return np.stack([GOOD, index])


#: What is asked of the function, and its operands for an index.
QUESTIONS: dict[str, tuple[Callable[[Function], Function], Callable[[Array], list[Array]]]] = {
    "value": (lambda f: f, lambda i: [X, i]),
    "jvp": (lambda f: f.jvp().keep(1), lambda i: [X, i, V]),
    "vjp": (lambda f: f.vjp().keep(1), lambda i: [X, i, CT]),
    "vmap": (lambda f: lanes(f, -1, 0), lambda i: [X, stacked(i)]),
    "vmap of vjp": (
        lambda f: lanes(f.vjp().keep(1), -1, 0, -1),
        lambda i: [X, stacked(i), CT],
    ),
    "vjp of vmap": (
        lambda f: lanes(f, -1, 0).vjp().keep(1),
        lambda i: [X, stacked(i), np.stack([CT, CT])],
    ),
    "nothing": (
        lambda f: f.program.define(f.inputs, lambda b, x, i: [x, *f.call(b, x, i)][:1]),
        lambda i: [X, i],
    ),
}


@pytest.mark.parametrize("emit", [picked, unused, checked])
@pytest.mark.parametrize("question", QUESTIONS)
def test_bad_index_is_reported(question: str, emit: Any, tmp_path: Path) -> None:
    ask, operands = QUESTIONS[question]
    program = Program()
    f = ask(program.define([type_of(X), type_of(GOOD)], emit))
    program.join([f])
    reference = Program()
    reference.module = program.module.operation.clone()
    expected = reference.run("main", *operands(GOOD))
    with pytest.raises(IndexError, match="index 4 of 4"):
        reference.run("main", *operands(BAD))
    call = compiled(program, tmp_path)
    for found, wanted in zip(call(operands(GOOD)), expected, strict=True):
        np.testing.assert_allclose(found, wanted)
    with pytest.raises(IndexError, match="index 4 of 4"):
        call(operands(BAD))
    call(operands(GOOD))  # the error of one call is not that of the next
