"""Samples of control flow, against the same loops unrolled in torch."""

from __future__ import annotations

import numpy as np
import torch
from mlir import ir

from .making import Sample, normal

ROW = [0]


def reduced(b, *values):
    """All of several results, as one vector."""
    flat = [b.reshape(v, [int(np.prod(v.type.shape, dtype=int))]) for v in values]
    return b.concatenate(flat, 0)


def joined(*values):
    return torch.cat([value.reshape(-1) for value in values])


# -- scan ------------------------------------------------------------------------------


def recurrence(b, w, h, xs, reverse=False, length=4):
    """An RNN: h = tanh(w h + x), ys = h * x."""

    def body(b, arguments):
        w, h, x = arguments
        product = b.dot_general(w, h, (), (), (1,), (0,))
        new = b.tanh(b.add(product, x))
        return [new, b.mul(new, x)]

    return reduced(b, *b.scan([w], [h], [xs], length, reverse, body))


def recurrence_unrolled(w, h, xs, reverse=False):
    steps = range(len(xs))
    ys = [torch.zeros_like(h)] * len(xs)
    for i in reversed(steps) if reverse else steps:
        h = torch.tanh(w @ h + xs[i])
        ys[i] = h * xs[i]
    return joined(h, *ys) if len(xs) else joined(h)


def swapped(b, x, y):
    """Carried values that change places, and one that never changes."""

    def body(b, arguments):
        x, y, z = arguments
        return [b.mul(y, z), x, z, b.sin(x)]

    return reduced(b, *b.scan([], [x, y, x], [], 3, False, body))


def swapped_unrolled(x, y):
    z, ys = x, []
    for _ in range(3):
        ys.append(torch.sin(x))
        x, y = y * z, x
    return joined(x, y, z, *ys)


def nested(b, c, x):
    def inner(b, arguments):
        c, x = arguments
        return [b.sin(b.mul(c, x)), x]

    def outer(b, arguments):
        c, x = arguments
        x, ys = b.scan([c], [x], [], 3, False, inner)
        return [b.add(x, c), b.reduce_sum(ys, [0])]

    return reduced(b, *b.scan([c], [x], [], 2, False, outer))


def nested_unrolled(c, x):
    outs = []
    for _ in range(2):
        total = torch.zeros_like(x)
        for _ in range(3):
            total = total + x
            x = torch.sin(c * x)
        x = x + c
        outs.append(total)
    return joined(x, *outs)


def counted(b, n, flag, x):
    """Integer and truth-valued carries beside a float, and a check of an index in the body."""

    def body(b, arguments):
        table, n, flag, x = arguments
        i = b.check_index(n, 3, "index: out of range")
        element = b.gather(table, [i], [0], 0, True)
        new = b.select(flag, b.mul(x, element), b.sin(x))
        flag = b.select(flag, b.zeros_like(flag), b.full_like(flag, 1))
        return [b.add(n, b.full_like(n, 1)), flag, new, n]

    table = b.concatenate([b.reshape(x, [1]), b.reshape(b.sin(x), [1]), b.reshape(x, [1])], 0)
    n, flag, x, ns = b.scan([table], [n, flag, x], [], 3, False, body)
    return reduced(b, x, b.mul(x, b.convert(b.reduce_sum(ns, [0]), x.type.element_type)))


def counted_unrolled(n, flag, x):
    table, total = torch.stack([x, torch.sin(x), x]), 0
    for _ in range(3):
        total = total + n
        x = torch.where(flag, x * table[n], torch.sin(x))
        n, flag = n + 1, ~flag
    return joined(x, x * total)


SCANS = [
    Sample(recurrence, recurrence_unrolled, (normal(3, 3), normal(3), normal(4, 3))),
    Sample(
        lambda b, *x: recurrence(b, *x, reverse=True),
        lambda *x: recurrence_unrolled(*x, reverse=True),
        (normal(3, 3), normal(3), normal(4, 3)),
    ),
    Sample(
        lambda b, *x: recurrence(b, *x, length=0),
        recurrence_unrolled,
        (normal(3, 3), normal(3), normal(0, 3)),
    ),
    Sample(swapped, swapped_unrolled, (normal(2), normal(2, seed=1))),
    Sample(nested, nested_unrolled, (normal(2), normal(2, seed=1))),
    Sample(counted, counted_unrolled, (np.array(0), np.array(True), normal())),
]

# -- cond ------------------------------------------------------------------------------


def choice(b, p, x, y):
    def on_true(b, arguments):
        x, y = arguments
        return [b.mul(b.sin(x), y), x]

    def on_false(b, arguments):
        x, y = arguments
        return [b.exp(b.mul(x, x)), b.tanh(y)]

    return reduced(b, *b.cond(p, [x, y], on_true, on_false))


def choice_torch(p, x, y):
    taken = joined(torch.sin(x) * y, x)
    return torch.where(p, taken, joined(torch.exp(x * x), torch.tanh(y)))


def in_scan(b, p, x):
    """Alternating branches in a loop."""

    def body(b, arguments):
        p, x = arguments
        (x,) = b.cond(
            p, [x], lambda b, v: [b.mul(v[0], b.sin(v[0]))], lambda b, v: [b.add(v[0], v[0])]
        )
        return [b.negated(p), x]

    return reduced(b, *b.scan([], [p, x], [], 3, False, body)[1:])


def in_scan_torch(p, x):
    for _ in range(3):
        x = torch.where(p, x * torch.sin(x), x + x)
        p = ~p
    return joined(x)


CONDS = [
    *(
        Sample(choice, choice_torch, (np.array(p), normal(3), normal(3, seed=1)))
        for p in (True, False)
    ),
    Sample(in_scan, in_scan_torch, (np.array(True), normal(2))),
]

CONTROL = {"pb.scan": SCANS, "pb.cond": CONDS}

# -- while -----------------------------------------------------------------------------


def doubling(b, limit, x, max_steps=9):
    """Doubles until a sum is large; the number of steps depends on the data."""

    def condition(b, arguments):
        limit, x, n = arguments  # noqa: RUF059
        return [b.compare("lt", b.reduce_sum(b.mul(x, x), [0]), limit)]

    def body(b, arguments):
        limit, x, n = arguments  # noqa: RUF059
        return [b.add(x, b.mul(x, b.sin(x))), b.add(n, b.full_like(n, 1))]

    i64 = ir.IntegerType.get_signless(64, x.context)
    x, n = b.while_loop([limit], [x, b.full((), 0, i64)], max_steps, condition, body)
    return reduced(b, x, b.convert(n, x.type.element_type))


def doubling_torch(limit, x):
    n = torch.zeros((), dtype=x.dtype)
    while (x * x).sum() < limit:
        x = x + x * torch.sin(x)
        n = n + 1
    return joined(x, n)


def in_a_scan(b, limits, x):
    """A loop in a loop, with a branch in it."""

    def condition(b, arguments):
        limit, x = arguments
        return [b.compare("lt", b.reduce_max(x, [0]), limit)]

    def body(b, arguments):
        limit, x = arguments
        pred = b.compare("lt", b.reduce_sum(x, [0]), limit)
        return b.cond(
            pred, [x], lambda b, v: [b.add(v[0], b.exp(v[0]))], lambda b, v: [b.add(v[0], v[0])]
        )

    def step(b, arguments):
        x, limit = arguments
        (x,) = b.while_loop([limit], [x], 7, condition, body)
        return [x, x]

    return reduced(b, *b.scan([], [x], [limits], 3, False, step))


def in_a_scan_torch(limits, x):
    ys = []
    for limit in limits:
        while x.max() < limit:
            x = x + x.exp() if x.sum() < limit else x + x
        ys.append(x)
    return joined(x, *ys)


WHILES = [
    *(
        Sample(doubling, doubling_torch, (np.array(limit), np.array([0.9, 1.1])))
        for limit in (0.5, 7.1, 20.3)
    ),
    Sample(in_a_scan, in_a_scan_torch, (np.array([0.1, 1.3, 4.7]), np.array([0.2, 0.6]))),
]
CONTROL["pb.while"] = WHILES


# -- checkpoint ------------------------------------------------------------------------


def remade(b, c, x):
    def body(b, arguments):
        c, x = arguments
        y = b.exp(b.sin(b.mul(c, x)))
        return [b.mul(y, b.tanh(y)), c]

    return reduced(b, *b.checkpoint([c, x], False, body))


def remade_torch(c, x):
    y = torch.exp(torch.sin(c * x))
    return joined(y * torch.tanh(y), c)


def remade_in_scan(b, c, x):
    """A checkpoint around a loop, in a loop."""

    def step(b, arguments):
        c, x = arguments
        return [b.sin(b.mul(b.exp(x), c))]

    def body(b, arguments):
        c, x = arguments
        return b.scan([c], [x], [], 2, False, step)

    def outer(b, arguments):
        return [*b.checkpoint(arguments, False, body), arguments[1]]

    return reduced(b, *b.scan([c], [x], [], 3, False, outer))


def remade_in_scan_torch(c, x):
    ys = []
    for _ in range(3):
        ys.append(x)
        for _ in range(2):
            x = torch.sin(x.exp() * c)
    return joined(x, *ys)


CONTROL["pb.checkpoint"] = [
    Sample(remade, remade_torch, (normal(3), normal(3, seed=1))),
    Sample(remade_in_scan, remade_in_scan_torch, (normal(2), normal(2, seed=1))),
]
