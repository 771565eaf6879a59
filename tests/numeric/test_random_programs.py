"""Random programs: what holds for each op holds for compositions, and simplification is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pullback.dialects.pb.interpret import evaluate

from ..op_samples import normal
from .checks import (
    DIFFERENCES,
    LANES,
    against_loop,
    all_close,
    cotangents,
    differences,
    directions,
    dual,
)
from .compiled import compiled
from .programs import Array, Function, Program, type_of
from .random_programs import Generator

SEEDS = range(60)
OPERANDS = normal(3, 2), normal(2), normal()
SPECIAL = (
    np.array([[np.inf, 1.0], [-0.0, 2.0], [0.0, -1.0]]),
    np.array([-np.inf, 0.0]),
    np.array(np.nan),
)


def function(seed: int) -> tuple[Generator, Function]:
    generator = Generator(seed)
    return generator, Program().define([type_of(x) for x in OPERANDS], generator)


@pytest.mark.parametrize("operands", [OPERANDS, SPECIAL], ids=["normal", "special"])
@pytest.mark.parametrize("seed", SEEDS)
def test_simplified_is_the_same(seed: int, operands: tuple[Array, ...]) -> None:
    _, f = function(seed)
    before = evaluate(f.program.module, f.name, list(map(np.asarray, operands)))
    f.program.export("f", f)
    all_close(f.program.run("f", *operands), before)


@pytest.mark.parametrize("seed", SEEDS)
def test_derivatives(seed: int) -> None:
    generator, f = function(seed)
    f.program.export("f", f)
    f.program.export("jvp", f.jvp())
    f.program.export("vjp", f.vjp())
    run = f.program.run
    v, u = directions(f, OPERANDS, 10), cotangents(f, 20)
    pushed = run("jvp", *OPERANDS, *v)[2:]
    dual(pushed, u, v, run("vjp", *OPERANDS, *u)[2:])
    if generator.smooth:
        expected = differences(lambda *x: run("f", *x), OPERANDS, f.floats(), v)
        all_close(pushed, expected, tolerance=100 * DIFFERENCES)  # of fourteen ops, not of one


@pytest.mark.parametrize("seed", SEEDS)
def test_vmap(seed: int) -> None:
    _, f = function(seed)
    picks = [(0, 0, 0), (2, -1, 0), (-1, 1, -1), (1, 0, -1)]
    against_loop(f, OPERANDS, picks)


def test_compiled(tmp_path: Path) -> None:
    """Programs, their gradients and batched forms in one library."""
    program = Program()
    parts: list[tuple[Function, list[Array]]] = []
    for seed in SEEDS[-20:]:
        f = program.define([type_of(x) for x in OPERANDS], Generator(seed))
        stacked = [np.stack([x, 0.5 * x, -x]) for x in OPERANDS]
        parts.append((f, list(OPERANDS)))
        parts.append((f.vjp(), [*OPERANDS, *cotangents(f, 20)]))
        parts.append((f.vmap([0] * 3, [0] * 2, LANES), stacked))
    program.join([function for function, _ in parts])
    operands = [np.asarray(x) for _, arrays in parts for x in arrays]
    reference = Program()
    reference.module = program.module.operation.clone()
    expected = reference.run("main", *operands)
    all_close(compiled(program, tmp_path)(operands), expected, order=2)
