"""Random compositions of ops: a seed makes a program of f64 tensors with one small result."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from mlir import ir
from pullback.dialects.pb import Builder
from pullback.dialects.pb.types import element_type, rank, shape, size

from ..op_samples import kind

LARGEST = 120  # elements of a tensor
OPS = 14


class Generator:
    """Emits random ops on the values made so far."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.pool: list[ir.Value] = []
        self.smooth = True

    def __call__(self, b: Builder, *arguments: ir.Value) -> list[ir.Value]:
        self.pool = list(arguments)
        self.smooth = True
        while len(self.pool) < OPS + len(arguments):
            value = self.random.choice(MENU)(self, b)
            if value is not None and size(shape(value)) <= LARGEST:
                self.pool.append(value)
        # what was made last, and how much of the rest: nothing is dead
        total = [b.reduce_sum(x, range(rank(x))) for x in self.pool[:-1]]
        out = total[0]
        for x in total[1:]:
            out = b.add(out, b.tanh(x))
        return [self.pool[-1], out]

    def pick(self) -> ir.Value:
        return self.random.choice(self.pool[-6:])

    def pair(self, b: Builder) -> tuple[ir.Value, ir.Value]:
        """Two values of one shape."""
        x = self.pick()
        alike = [y for y in self.pool if shape(y) == shape(x)]
        return x, self.random.choice(alike)

    def dim(self, x: ir.Value) -> int:
        return self.random.randrange(rank(x))


MENU: list[Callable[[Generator, Builder], Any]] = []


def entry(emit: Callable[[Generator, Builder], Any]) -> Callable[[Generator, Builder], Any]:
    MENU.append(emit)
    return emit


@entry
def bounded(g: Generator, b: Builder) -> Any:
    return getattr(b, g.random.choice(["sin", "cos", "tanh", "logistic", "neg"]))(g.pick())


@entry
def function(g: Generator, b: Builder) -> Any:
    x = g.pick()
    square = b.add(b.full_like(x, 1), b.mul(x, x))
    return [b.exp(b.tanh(x)), b.log(square), b.sqrt(square)][g.random.randrange(3)]


@entry
def arithmetic(g: Generator, b: Builder) -> Any:
    x, y = g.pair(b)
    which = g.random.choice(["add", "sub", "mul", "div", "pow"])
    if which == "pow":
        return b.pow(b.exp(b.sin(x)), b.tanh(y))
    if which == "div":
        y = b.add(b.full_like(y, 2), b.sin(y))
    return getattr(b, which)(x, y)


@entry
def chosen(g: Generator, b: Builder) -> Any:
    g.smooth = False
    x, y = g.pair(b)
    if g.random.random() < 0.5:
        return b.maximum(x, y)
    return b.select(b.compare("lt", x, y), b.sin(x), y)


@entry
def with_constant(g: Generator, b: Builder) -> Any:
    x = g.pick()
    number = g.random.choice([0.0, 1.0, -1.0, 0.5, -0.0])
    return getattr(b, g.random.choice(["add", "sub", "mul"]))(x, b.full_like(x, number))


@entry
def reshaped(g: Generator, b: Builder) -> Any:
    x = g.pick()
    dims = list(shape(x))
    if len(dims) > 1 and g.random.random() < 0.6:
        at = g.random.randrange(len(dims) - 1)
        return b.reshape(x, [*dims[:at], dims[at] * dims[at + 1], *dims[at + 2 :]])
    dims.insert(g.random.randrange(len(dims) + 1), 1)
    return b.reshape(x, dims)


@entry
def transposed(g: Generator, b: Builder) -> Any:
    x = g.pick()
    order = list(range(rank(x)))
    g.random.shuffle(order)
    return b.transpose(x, order)


@entry
def repeated(g: Generator, b: Builder) -> Any:
    x = g.pick()
    if rank(x) > 3:
        return None
    dims, at = list(shape(x)), g.random.randrange(rank(x) + 1)
    dims.insert(at, g.random.choice([1, 2, 3]))
    return b.broadcast(x, dims, [d for d in range(len(dims)) if d != at])


@entry
def part(g: Generator, b: Builder) -> Any:
    x = g.pick()
    if not rank(x):
        return None
    offsets, sizes, strides = [0] * rank(x), list(shape(x)), [1] * rank(x)
    d = g.dim(x)
    offsets[d] = g.random.randrange(sizes[d])
    strides[d] = g.random.choice([1, 2])
    sizes[d] = 1 + (sizes[d] - 1 - offsets[d]) // strides[d]
    return b.slice(x, offsets, sizes, strides)


@entry
def padded(g: Generator, b: Builder) -> Any:
    x = g.pick()
    if not rank(x):
        return None
    dims, offsets, strides = list(shape(x)), [0] * rank(x), [1] * rank(x)
    d = g.dim(x)
    offsets[d], strides[d] = g.random.randrange(2), g.random.choice([1, 2])
    dims[d] = offsets[d] + (dims[d] - 1) * strides[d] + 1 + g.random.randrange(2)
    fill = None if g.random.random() < 0.5 else b.reduce_sum(x, range(rank(x)))
    return b.pad(x, fill, dims, offsets, strides)


@entry
def joined(g: Generator, b: Builder) -> Any:
    x, y = g.pair(b)
    return b.concatenate([x, y], g.dim(x)) if rank(x) else None


@entry
def reduced(g: Generator, b: Builder) -> Any:
    x = g.pick()
    if not rank(x):
        return None
    dims = g.random.sample(range(rank(x)), g.random.randrange(1, rank(x) + 1))
    if g.random.random() < 0.3:
        g.smooth = False
        return b.reduce_max(x, dims)
    return b.reduce_sum(x, dims)


@entry
def contracted(g: Generator, b: Builder) -> Any:
    x, y = g.pick(), g.pick()
    pairs = [(i, j) for i in range(rank(x)) for j in range(rank(y)) if shape(x)[i] == shape(y)[j]]
    g.random.shuffle(pairs)
    used: list[tuple[int, int]] = []
    for i, j in pairs:
        if all(i != k and j != m for k, m in used):
            used.append((i, j))
    cut = g.random.randrange(len(used) + 1)
    batch, contract = used[:cut], used[cut:]
    if rank(x) + rank(y) - 2 * len(contract) - len(batch) > 4:
        return None
    sides = [[pair[side] for pair in pairs] for pairs in (batch, contract) for side in (0, 1)]
    if size(shape(x)) * size(shape(y)) > 40 * LARGEST:
        return None
    out = b.dot_general(x, y, *sides)
    return b.tanh(out) if g.random.random() < 0.5 else out


@entry
def indexed(g: Generator, b: Builder) -> Any:
    x = g.pick()
    if not rank(x):
        return None
    d = g.dim(x)
    picks = [g.random.randrange(shape(x)[d]) for _ in range(g.random.choice([1, 2, 4]))]
    index = b.constant(np.array(picks), kind("i64", x))
    return b.gather(x, [index], [d], 0, True)


@entry
def scattered(g: Generator, b: Builder) -> Any:
    x = g.pick()
    if not rank(x):
        return None
    count = shape(x)[0]
    picks = [g.random.randrange(3) for _ in range(count)]
    index = b.constant(np.array(picks), kind("i64", x))
    zeros = b.full((3, *shape(x)[1:]), 0, element_type(x))
    return b.scatter_add(zeros, x, [index], [0], 0, True)
