"""Functions of every shape under the transforms: arguments passed through, unused, repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ..op_samples import normal
from .checks import all_close, cotangents, differences, directions, dual
from .compiled import compiled
from .programs import Function, Program, type_of

X, Y, N = normal(3), normal(3, seed=1), np.array([2, 0, 1])


def nothing_returned(b: Any, x, y, n):
    b.sin(x)
    return []


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "identity": lambda b, x, y, n: [x],
    "swapped": lambda b, x, y, n: [y, x],
    "returned twice": lambda b, x, y, n: [x, x],
    "used twice": lambda b, x, y, n: [b.mul(x, x), b.add(b.sin(x), x)],
    "one unused": lambda b, x, y, n: [b.exp(y)],
    "fixed": lambda b, x, y, n: [b.full_like(x, 2)],
    "integers too": lambda b, x, y, n: [b.add(n, n), b.mul(x, y), n],
    "only integers": lambda b, x, y, n: [b.add(n, n)],
    "truth values": lambda b, x, y, n: [b.compare("lt", x, y), b.maximum(x, y)],
    "nothing": nothing_returned,
    "through integers": lambda b, x, y, n: [
        b.mul(b.convert(b.convert(x, n.type.element_type), x.type.element_type), y)
    ],
}


def define(name: str) -> Function:
    return Program().define([type_of(x) for x in (X, Y, N)], FUNCTIONS[name])


@pytest.mark.parametrize("wrt", [(), (0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name: str, wrt: tuple[int, ...]) -> None:
    f = define(name)
    f.program.export("f", f)
    f.program.export("jvp", f.jvp(wrt))
    f.program.export("vjp", f.vjp(wrt))
    run, operands = f.program.run, [X, Y, N]
    v = [directions(f, operands, 10)[i] for i in wrt]
    u = cotangents(f, 20)
    value = run("f", *operands)
    pushed, pulled = run("jvp", *operands, *v), run("vjp", *operands, *u)
    count = len(f.outputs)
    all_close(pushed[:count], value)
    all_close(pulled[:count], value)
    assert len(pushed) == count + len(u)
    assert len(pulled) == count + len(wrt)
    moving = [i for i, x in enumerate(value) if x.dtype.kind == "f"]
    expected = differences(lambda *x: run("f", *x), operands, wrt, v)
    all_close(pushed[count:], [expected[i] for i in moving], tolerance=1e-8)
    dual(pushed[count:], u, v, pulled[count:])


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (-1, 1, -1), (-1, -1, 0), (-1, -1, -1)], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_vmap(name: str, in_dims: tuple[int, ...]) -> None:
    f = define(name)
    count = len(f.outputs)
    f.program.export("f", f)
    f.program.export("all", f.vmap(in_dims, [1] * count, 2))
    lanes = [(X, Y, N), (2 * X, -Y, N[::-1])]
    stacked = [
        np.stack([lane[i] for lane in lanes], dim) if dim >= 0 else lanes[0][i]
        for i, dim in enumerate(in_dims)
    ]
    found = f.program.run("all", *stacked)
    looped = [
        f.program.run("f", *(lanes[k if d >= 0 else 0][i] for i, d in enumerate(in_dims)))
        for k in range(2)
    ]
    all_close(found, [np.stack(pair, 1) for pair in zip(*looped, strict=True)])


def test_compiled(tmp_path: Path) -> None:
    program, functions, operands = Program(), [], []
    for emit in FUNCTIONS.values():
        f = program.define([type_of(x) for x in (X, Y, N)], emit)
        functions += [f, f.vjp(), f.jvp([1])]
        operands += [X, Y, N, X, Y, N, *cotangents(f, 20), X, Y, N, Y]
    program.join(functions)
    reference = Program()
    reference.module = program.module.operation.clone()
    expected = reference.run("main", *operands)
    all_close(compiled(program, tmp_path)(operands), expected)
