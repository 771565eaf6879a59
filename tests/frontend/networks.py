"""What every layer must satisfy: value, vjp, jvp, per-sample gradients and second order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pullback as pb
import torch
import torch.func as tf
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

D = torch.float64
GENERATOR = torch.Generator().manual_seed(11)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=D, generator=GENERATOR)


def same(ours: Any, theirs: Any, tolerance: float = 1e-9) -> None:
    for left, right in zip(tree_leaves(ours), tree_leaves(theirs), strict=True):
        assert_close(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)


def check(f: Callable[..., Any], *args: torch.Tensor, forward: bool = True) -> None:
    """f against torch, whose vmap is a loop here.

    `forward=False`: torch has neither forward nor second derivatives of f, so that these are
    compared with differences of its values and of its gradients.
    """
    argnums = tuple(range(len(args)))
    directions = tuple(normal(*x.shape) for x in args)
    cts = [normal(*leaf.shape) for leaf in tree_leaves(f(*args))]

    def energy(*xs: torch.Tensor) -> torch.Tensor:
        outs = tree_leaves(f(*xs))
        return sum(((out + ct) ** 2).sum() for out, ct in zip(outs, cts, strict=True)) / 2

    def gradient(func: Any) -> Callable[..., Any]:
        return func.grad(energy, argnums)

    def first(func: Any) -> Callable[..., Any]:
        return lambda *xs: (f(*xs), gradient(func)(*xs))

    def pushed(func: Any) -> Callable[..., Any]:
        """The derivatives of f and of its gradient along the directions."""
        return lambda *xs: (
            func.jvp(f, xs, directions)[1],
            func.jvp(gradient(func), xs, directions)[1],
        )

    ours = pb.jit(lambda *xs: (first(pb)(*xs), pushed(pb)(*xs)))(*args)
    same(ours[0], first(tf)(*args))
    if forward:
        same(ours[1], pushed(tf)(*args))
    else:
        step = 1e-6
        ends = [
            tree_leaves(first(tf)(*(x + t * v for x, v in zip(args, directions, strict=True))))
            for t in (step, -step)
        ]
        slopes = [(high - low) / (2 * step) for high, low in zip(*ends, strict=True)]
        same(ours[1], slopes, 1e-6)
    lanes = [torch.stack([x, x * 0.5 + 0.1]) for x in args]
    looped = [gradient(tf)(*(x[i] for x in lanes)) for i in range(2)]
    expected = tuple(torch.stack(grads) for grads in zip(*looped, strict=True))
    same(pb.vmap(gradient(pb))(*lanes), expected)
