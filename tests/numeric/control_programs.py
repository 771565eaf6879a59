"""Programs with loops and branches, each beside the same thing unrolled in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pullback
import torch

Tensor = torch.Tensor
Function = Callable[[Tensor], Tensor]

SIZE = 3
XS = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).reshape(4, SIZE)
POINT = torch.tensor([0.7, -1.3, 0.4], dtype=torch.float64)


def unrolled_scan(f, init, xs=None, length=None, reverse=False):
    steps = range(length if xs is None else len(xs))
    carry, ys = init, {}
    for i in reversed(steps) if reverse else steps:
        carry, ys[i] = f(carry, None if xs is None else xs[i])
    kept = [ys[i] for i in steps]
    return carry, None if not kept or kept[0] is None else torch.stack(kept)


def either(pred, true_fn, false_fn, *operands):
    """Both branches, as vmap of torch can have it."""
    return torch.where(pred, true_fn(*operands), false_fn(*operands))


def recurrence(scan, cond, x: Tensor) -> Tensor:
    def step(h, row):
        h = torch.tanh(h * x + row)
        return h, h * row

    h, ys = scan(step, x, XS)
    return torch.cat([h, ys.reshape(-1)])


def backward(scan, cond, x: Tensor) -> Tensor:
    h, ys = scan(lambda h, row: (h * row + x.sin(), h.sum()), x, XS, reverse=True)
    return torch.cat([h, ys])


def nested(scan, cond, x: Tensor) -> Tensor:
    def outer(h, row):
        inner, _ = scan(lambda c, _: ((c * row).sin() + x, None), h, length=2)
        return inner, None

    return scan(outer, x, XS[:2])[0]


def branch(scan, cond, x: Tensor) -> Tensor:
    return cond(x.sum() > 0, lambda x: x.sin() * x, lambda x: x.exp(), x)


def branch_in_loop(scan, cond, x: Tensor) -> Tensor:
    def step(h, row):
        h = cond(h[0] > row[0], lambda h: h * x, lambda h: h.cos() - x, h)
        return h, None

    return scan(step, x, XS)[0]


def loop_in_branch(scan, cond, x: Tensor) -> Tensor:
    def on_true(x):
        return scan(lambda h, row: (h * row.cos() + x, None), x, XS)[0]

    return cond(x[1] < 0, on_true, torch.sin, x)


def data_dependent(scan, cond, x: Tensor) -> Tensor:
    """A while loop whose steps differ among examples; unrolled with a mask."""

    def more(h):
        return h.square().sum() < 9.0

    def step(h):
        return h + h.sin() * x.cos()

    if scan is pullback.scan:
        return pullback.while_loop(more, step, x, max_steps=6)
    h = x
    for _ in range(6):
        h = torch.where(more(h), step(h), h)
    return h


PROGRAMS = [recurrence, backward, nested, branch, branch_in_loop, loop_in_branch, data_dependent]


def ours(program) -> Function:
    return lambda x: program(pullback.scan, pullback.cond, x)


def unrolled(program) -> Function:
    return lambda x: program(unrolled_scan, either, x)
