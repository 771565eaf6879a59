"""The size of derivatives: in ops of pb after simplification, and in bytes of the library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pullback
import pytest
import torch
from pullback.dialects.pb.transforms import expand, functions
from pullback.frontend.importer import import_graph
from pullback.frontend.trace import trace
from torch.nn import functional

F64 = torch.float64
PAGE = 4096
Case = tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]


def ops(function: Callable[..., Any], *args: Any) -> Counter[str]:
    """How often each op of pb occurs in the expanded, simplified program."""
    module = import_graph(trace(function, args, {}).graph)
    with module.context:
        expand.run(module)
        return Counter(
            op.operation.name.removeprefix("pb.")
            for function in functions.functions(module)
            for op in functions.ops(function)
            if op.operation.name.startswith("pb.")
        )


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=F64)


def test_the_gradient_of_sin_is_one_cos_and_one_mul() -> None:
    found = ops(pullback.grad(torch.sin), ones())
    assert found["cos"] == 1
    assert found["mul"] <= 1
    assert found.total() - found["constant"] <= 2


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def network(x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor) -> torch.Tensor:
    return (torch.tanh(x @ w1) @ w2).pow(2).mean()


def softmax_regression(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(x @ w, torch.arange(len(x)) % 3)


def lennard_jones(x: torch.Tensor) -> torch.Tensor:
    apart = x[:, None] - x[None, :]
    r2 = (apart * apart).sum(-1) + torch.eye(len(x), dtype=F64)
    s6 = 1 / r2**3
    return (s6 * s6 - s6).sum()


def normalised(x: torch.Tensor) -> torch.Tensor:
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt()
    return functional.gelu(x, approximate="tanh").sum()


def pieces(x: torch.Tensor) -> torch.Tensor:
    y = torch.cat([x.relu(), x.flip(0).abs()])
    return torch.where(y > 0.5, y.exp(), torch.log(1 + y)).sum()


def iterated(x: torch.Tensor) -> torch.Tensor:
    for _ in range(20):
        x = torch.sin(x) * x + torch.exp(-x)
    return x.sum()


def cases(n: int) -> dict[str, Case]:
    """Functions of vectors and matrices of some size ``n``."""
    return {
        "rosenbrock": (rosenbrock, (ones(n),)),
        "network": (network, (ones(n, 4), ones(4, 5), ones(5, 2))),
        "softmax_regression": (softmax_regression, (ones(4, 3), ones(n, 4))),
        "lennard_jones": (lennard_jones, (ones(n, 3),)),
        "normalised": (normalised, (ones(2, n),)),
        "pieces": (pieces, (ones(n),)),
        "iterated": (iterated, (ones(n),)),
        "sines": (lambda x: x.sin().sum(), (ones(n),)),
    }


@pytest.mark.parametrize("name", cases(3))
def test_derivatives_are_not_much_larger_than_the_function(name: str) -> None:
    function, args = cases(6)[name]
    base = ops(function, *args).total()
    gradient = ops(pullback.grad(function), *args).total()
    second = ops(pullback.hessian(function), *args).total()
    assert gradient <= 4 * base + 10, (base, gradient)
    assert second <= 12 * base + 20, (base, second)


TRANSFORMS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "vmap": lambda f: pullback.vmap(lambda x: f(x[None])),
    "jacrev": lambda f: pullback.jacrev(pullback.grad(f)),
    "jacfwd": lambda f: pullback.jacfwd(pullback.grad(f)),
    "hessian": pullback.hessian,
    "vmap of hessian": lambda f: pullback.vmap(pullback.hessian(lambda x: f(x[None]))),
}


def one_layer(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x @ ones(2, 3)).sum()


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_ops_do_not_depend_on_the_dimension(transform: str) -> None:
    transformed = TRANSFORMS[transform](one_layer)
    assert ops(transformed, ones(3, 2)) == ops(transformed, ones(300, 2))


@pytest.mark.parametrize("name", ["rosenbrock", "lennard_jones", "pieces", "softmax_regression"])
def test_ops_of_a_hessian_do_not_depend_on_the_dimension(name: str) -> None:
    counted = [ops(pullback.hessian(f), *args) for f, args in (cases(n)[name] for n in (3, 300))]
    assert counted[0] == counted[1]


@pytest.mark.parametrize("name", [*cases(3), *TRANSFORMS])
def test_the_library_does_not_grow_with_the_dimension(name: str, tmp_path: Path) -> None:
    """300 has vector code, its remainders and blocks for caches, 3 does not; then it ends."""

    def size(n: int) -> int:
        if name in TRANSFORMS:
            function, args = TRANSFORMS[name](one_layer), (ones(n, 2),)
        else:
            function, args = cases(n)[name]
            function = pullback.hessian(function)
        return pullback.compile(function, *args, name="f", out=tmp_path).path.stat().st_size

    assert size(300) <= 2 * size(3) + 2 * PAGE
