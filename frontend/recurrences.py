"""Euclid's algorithm and orthogonal polynomials: loops whose length may depend on values.

``decompositions.py`` looks here, by way of compositions.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten
Tensor = torch.Tensor
Number = Tensor | float


def gcd(x: Tensor, y: Tensor) -> Tensor:
    """By remainders; the while loop runs as long as any pair needs it."""
    from .control import while_loop  # control.py needs capture.py, which needs this

    kind = torch.result_type(x, y)
    x, y = (t.to(kind).abs() for t in torch.broadcast_tensors(x, y))

    def step(pair: Any) -> Any:
        a, b = pair
        rest = torch.fmod(a, torch.where(b == 0, 1, b))
        return torch.where(b == 0, a, b), torch.where(b == 0, 0, rest)

    return while_loop(lambda pair: (pair[1] != 0).any(), step, (x, y))[0]


def lcm(x: Tensor, y: Tensor) -> Tensor:
    common = gcd(x, y)
    whole = torch.div(x, torch.where(common == 0, 1, common), rounding_mode="trunc")
    return torch.where(common == 0, 0, (whole * y).abs())


# --- p_0 = 1, p_1 = first(x), p_(k + 1) = (a x + b) p_k - c p_(k - 1) ----------------------------

Coefficients = Callable[[Number], tuple[Number, Number, Number]]


def _chebyshev(k: Number) -> tuple[Number, Number, Number]:
    return 2.0, 0.0, 1.0


#: first(x), and a, b and c as functions of k.
FAMILIES: dict[str, tuple[Callable[[Tensor], Tensor], Coefficients]] = {
    "chebyshev_polynomial_t": (lambda x: x, _chebyshev),
    "chebyshev_polynomial_u": (lambda x: 2 * x, _chebyshev),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, _chebyshev),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, _chebyshev),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda k: (2.0, 0.0, 2.0 * k)),
    "hermite_polynomial_he": (lambda x: x, lambda k: (1.0, 0.0, k)),
    "laguerre_polynomial_l": (
        lambda x: 1 - x,
        lambda k: (-1 / (k + 1), (2 * k + 1) / (k + 1), k / (k + 1)),
    ),
    "legendre_polynomial_p": (
        lambda x: x,
        lambda k: ((2 * k + 1) / (k + 1), 0.0, k / (k + 1)),
    ),
}
#: The same of 2 x - 1.
SHIFTED = "shifted_"


def polynomial(name: str, x: Number, n: Number) -> Tensor:
    """Of degree ``n``; 0 where n < 0. A tensor n makes it a while loop, a number a scan."""
    from .control import scan, while_loop

    first, coefficients = FAMILIES[name.removeprefix(SHIFTED)]
    kind = torch.result_type(x, n)
    kind = kind if kind.is_floating_point else torch.get_default_dtype()
    at = torch.as_tensor(x).to(kind)
    if isinstance(n, Tensor):
        at, n = torch.broadcast_tensors(at, n.to(kind).trunc())
    at = 2 * at - 1 if name.startswith(SHIFTED) else at
    one, start = torch.ones_like(at), first(at)

    def after(k: Number, before: Tensor, now: Tensor) -> Tensor:
        a, b, c = coefficients(k)
        return (a * at + b) * now - c * before

    if not isinstance(n, Tensor):
        if n < 1:
            return one if int(n) == 0 else torch.zeros_like(at)

        def advance(carry: Any, k: Tensor) -> Any:
            return (carry[1], after(k, *carry)), None

        steps = torch.arange(1, int(n), dtype=kind)
        return scan(advance, (one, start), steps)[0][1] if int(n) > 1 else start

    def more(carry: Any) -> Tensor:
        k, _, now = carry
        return ((k < n) & (now == now)).any()

    def step(carry: Any) -> Any:
        k, before, now = carry
        on = k < n
        new = torch.where(on, after(k, before, now), now)
        return k + 1, torch.where(on, now, before), new

    found = while_loop(more, step, (torch.ones((), dtype=kind), one, start))[2]
    return torch.where(n >= 1, found, torch.where(n == 0, one, 0))


def _polynomials() -> dict[Any, Callable[..., Tensor]]:
    names = [*FAMILIES, *(SHIFTED + name for name in FAMILIES if "chebyshev" in name)]
    return {
        getattr(getattr(aten, f"special_{name}"), form): functools.partial(polynomial, name)
        for name in names
        for form in ("default", "n_scalar", "x_scalar")
    }


COMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.gcd.default: gcd,
    aten.lcm.default: lcm,
    **_polynomials(),
}
