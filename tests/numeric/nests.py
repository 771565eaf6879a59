"""Nests of transforms around a function of one vector; each is again a function of one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch

Tensor = torch.Tensor
Function = Callable[[Tensor], Tensor]


def grad(api: ModuleType, f: Function) -> Function:
    return api.grad(lambda x: f(x).sum())


def vmap(api: ModuleType, f: Function) -> Function:
    return lambda x: api.vmap(f)(torch.stack([x, 0.9 * x]))


def jvp(api: ModuleType, f: Function) -> Function:
    return lambda x: api.jvp(f, (x,), (torch.cos(x),))[1]


def vjp(api: ModuleType, f: Function) -> Function:
    def pulled(x: Tensor) -> Tensor:
        out, pull = api.vjp(f, x)
        return pull(0.5 * out + 1)[0]

    return pulled


def jacrev(api: ModuleType, f: Function) -> Function:
    return api.jacrev(f)


def jacfwd(api: ModuleType, f: Function) -> Function:
    return api.jacfwd(f)


def hessian(api: ModuleType, f: Function) -> Function:
    return api.hessian(f)


TRANSFORMS = {t.__name__: t for t in (grad, vmap, jvp, vjp, jacrev, jacfwd, hessian)}
#: How often a transform differentiates.
ORDER = {"vmap": 0, "hessian": 2}


def nest(api: Any, f: Function, names: Sequence[str]) -> Function:
    """The transforms around `f`, the last name innermost."""
    for name in reversed(names):
        f = TRANSFORMS[name](api, f)
    return f


def order(names: Sequence[str]) -> int:
    return sum(ORDER.get(name, 1) for name in names)
