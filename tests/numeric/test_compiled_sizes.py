"""Compiled loops at sizes where tiles and vectors do not fit: against the interpreter."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlir import ir
from pullback.dialects.pb.builders.convolution import Relation

from ..op_samples import normal
from .checks import TOLERANCE
from .compiled import compiled
from .programs import Array, Program, type_of

SIZES = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65, 130)
Case = tuple[Any, list[Array]]


def contraction(choose: random.Random, number: int) -> Case:
    """A dot_general with dimensions of both operands in any order."""
    b, m, k, n = (choose.choice(SIZES) for _ in range(4))
    batches = choose.choice([0, 0, 1])
    x_dims = [("b", min(b, 3))] * batches + [("m", m), ("k", k)]
    y_dims = [("b", min(b, 3))] * batches + [("k", k), ("n", n)]
    choose.shuffle(x_dims)
    choose.shuffle(y_dims)

    def at(dims: list[tuple[str, int]], letter: str) -> list[int]:
        return [i for i, (name, _) in enumerate(dims) if name == letter]

    sides = [at(dims, letter) for letter in "bk" for dims in (x_dims, y_dims)]
    x = normal(*(size for _, size in x_dims), seed=number)
    y = normal(*(size for _, size in y_dims), seed=number + 1)
    return lambda b, x, y: b.dot_general(x, y, *sides), [x, y]


def reduction(choose: random.Random, number: int) -> Case:
    """A chain of elementwise ops and a reduction over some of its dimensions."""
    sizes = [choose.choice(SIZES[:10]) for _ in range(choose.randrange(1, 4))]
    dims = choose.sample(range(len(sizes)), choose.randrange(1, len(sizes) + 1))
    which = choose.choice(["reduce_sum", "reduce_max"])
    order = choose.sample(range(len(sizes)), len(sizes))

    def emit(b: Any, x: ir.Value) -> ir.Value:
        y = b.transpose(b.tanh(x), order)
        return getattr(b, which)(b.mul(y, b.exp(b.neg(b.mul(y, y)))), dims)

    return emit, [normal(*sizes, seed=number)]


def layer(choose: random.Random, number: int) -> Case:
    """A contraction with something before and something after it, as networks have."""
    m, k, n = (choose.choice(SIZES) for _ in range(3))

    def emit(b: Any, x: ir.Value, w: ir.Value, bias: ir.Value) -> ir.Value:
        y = b.dot_general(b.sin(x), w, x_contract=[1], y_contract=[1])
        return b.tanh(b.add(y, b.broadcast(bias, [m, n], [1])))

    return emit, [normal(m, k, seed=number), normal(n, k, seed=number), normal(n, seed=number)]


def convolution(choose: random.Random, number: int) -> Case:
    """A convolution, or one of its two transposes, in one or two spatial dimensions."""
    count = choose.choice([1, 2])
    n, g, c, f = (choose.choice(sizes) for sizes in ((1, 2, 3), (1, 1, 2), (1, 3, 17), (1, 6, 33)))
    sizes = [choose.choice((5, 16, 33)) for _ in range(count)]
    strides, paddings, dilations, taps = (
        [choose.choice(numbers) for _ in range(count)]
        for numbers in ((1, 1, 2, 3), (-1, 0, 1, 2), (1, 1, 2), (1, 2, 3))
    )
    relation = Relation(
        (1,) * count, *(tuple(-n for n in steps) for steps in (dilations, strides, paddings))
    )
    results = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, s, p, d, k in zip(sizes, strides, paddings, dilations, taps, strict=True)
    ]
    x, w = normal(n, g, c, *sizes, seed=number), normal(g, f, c, *taps, seed=number)
    ct = normal(n, g, f, *(max(size, 0) for size in results), seed=number)
    which = number % 3
    if which == 0:
        return lambda b, x, w: b.conv(x, w, relation, ct.shape[3:]), [x, w]
    if which == 1:
        w = np.moveaxis(w, 1, 2).copy()
        return lambda b, ct, w: b.conv(ct, w, relation.permuted(2, 1, 0), sizes), [ct, w]
    back = relation.permuted(0, 2, 1)
    if number % 2:  # as the transpose rule makes it

        def emit(b: Any, x: ir.Value, ct: ir.Value) -> ir.Value:
            rest = list(range(3, 3 + count))
            x, ct = b.transpose(x, [2, 1, 0, *rest]), b.transpose(ct, [1, 2, 0, *rest])
            return b.conv(x, ct, back, taps)

        return emit, [x, ct]
    x, ct = np.swapaxes(x, 0, 2).copy(), np.moveaxis(ct, 0, 2).copy()
    return lambda b, x, ct: b.conv(x, ct, back, taps), [x, ct]


@pytest.mark.parametrize("make", [contraction, reduction, layer, convolution])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes(make: Any, dtype: type, tmp_path: Path) -> None:
    choose = random.Random(make.__name__)
    cases = [make(choose, number) for number in range(24)]
    program, functions, operands = Program(), [], []
    for emit, arrays in cases:
        arrays = [x.astype(dtype) for x in arrays]
        functions.append(program.define([type_of(x) for x in arrays], emit))
        operands += arrays
    program.join(functions)
    reference = Program()
    reference.module = program.module.operation.clone()
    expected = reference.run("main", *operands)
    limit = TOLERANCE[np.dtype(dtype)]
    found = compiled(program, tmp_path)(operands)
    for number, (a, e) in enumerate(zip(found, expected, strict=True)):
        shapes = [x.shape for x in cases[number][1]]
        assert np.abs(a - e).max() <= limit * np.abs(e).max(), f"case {number}: {shapes}"
