"""torch's random calls, written with random bits and differentiable operations.

``decompositions.py`` looks here. Uniform numbers have as many bits as the significand; normal ones
are made by Box and Muller's method. The numbers are not torch's, their distributions are; what is
differentiable in mean, deviation or range is so here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..dialects.errors import CaptureError
from . import compositions
from .randomness import bits

aten = torch.ops.aten
Tensor = torch.Tensor
_PRECISION = {torch.float16: 11, torch.bfloat16: 8, torch.float32: 24, torch.float64: 53}


def unit(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform in [0, 1)."""
    count = _PRECISION[dtype]
    return bits(shape, count).to(dtype) * 2.0**-count


def inside(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform in (0, 1): the middles of equal intervals."""
    count = _PRECISION[dtype] - 1
    return (bits(shape, count).to(dtype) + 0.5) * 2.0**-count


def standard_normal(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    wide = dtype if dtype is torch.float64 else torch.float32
    pair = bits((2, *shape), _PRECISION[wide]).to(wide) * 2.0 ** -_PRECISION[wide]
    radius = torch.sqrt(-2 * torch.log(1 - pair[0]))
    return (radius * torch.cos(2 * math.pi * pair[1])).to(dtype)


def whole(shape: Sequence[int], low: int, high: int) -> Tensor:
    """Integers in [low, high), int64."""
    if high <= low:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    return bits(shape, 63) % (high - low) + low


# --- the calls ----------------------------------------------------------------------------------


def _no_generator(generator: Any) -> None:
    if generator is not None:
        raise CaptureError(
            "a generator is given to a random call",
            help="leave it out: each compiled call takes its key from torch's default generator, "
            "which torch.manual_seed sets",
        )


def _dtype(dtype: torch.dtype | None) -> torch.dtype:
    return torch.get_default_dtype() if dtype is None else dtype


def _new(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(size: Any, generator: Any = None, dtype: Any = None, **_: Any) -> Tensor:
        _no_generator(generator)
        return make(size, _dtype(dtype))

    return call


def _like(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(x: Tensor, dtype: Any = None, generator: Any = None, **_: Any) -> Tensor:
        _no_generator(generator)
        return make(x.shape, x.dtype if dtype is None else dtype)

    return call


def randint(*args: Any, generator: Any = None, dtype: Any = None, **_: Any) -> Tensor:
    _no_generator(generator)
    *bounds, size = args
    low, high = (0, *bounds) if len(bounds) == 1 else bounds
    return whole(size, low, high).to(torch.int64 if dtype is None else dtype)


def randint_like(
    x: Tensor, *bounds: Any, dtype: Any = None, generator: Any = None, **_: Any
) -> Any:
    _no_generator(generator)
    low, high = (0, *bounds) if len(bounds) == 1 else bounds
    return whole(x.shape, low, high).to(x.dtype if dtype is None else dtype)


def randperm(n: int, generator: Any = None, dtype: Any = None, **_: Any) -> Tensor:
    _no_generator(generator)
    return torch.argsort(bits((n,), 63)).to(torch.int64 if dtype is None else dtype)


def uniform(x: Tensor, low: float = 0.0, high: float = 1.0, generator: Any = None) -> Tensor:
    _no_generator(generator)
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}"
        )
    return unit(x.shape, x.dtype) * (high - low) + low


def _deviation(std: Any) -> None:
    if not isinstance(std, Tensor) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")


def normal_like(x: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    _no_generator(generator)
    _deviation(std)
    return standard_normal(x.shape, x.dtype) * std + mean


def normal(mean: Any, std: Any = 1.0, size: Any = None, generator: Any = None, **kw: Any) -> Tensor:
    _no_generator(generator)
    _deviation(std)
    given = [x for x in (mean, std) if isinstance(x, Tensor)]
    if not given:
        return standard_normal(size, _dtype(kw.get("dtype"))) * std + mean
    shape = torch.broadcast_shapes(*(x.shape for x in given))
    return standard_normal(shape, given[0].dtype) * std + mean


def bernoulli(x: Tensor, p: Any = None, generator: Any = None) -> Tensor:
    _no_generator(generator)
    if p is None:
        p = x
    elif not isinstance(p, Tensor) and not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    exact = p.dtype if isinstance(p, Tensor) and p.is_floating_point() else torch.float64
    return (unit(x.shape, exact) < p).to(x.dtype)


def exponential(x: Tensor, lambd: float = 1.0, generator: Any = None) -> Tensor:
    _no_generator(generator)
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return -torch.log(inside(x.shape, x.dtype)) / lambd


def geometric(x: Tensor, p: float, generator: Any = None) -> Tensor:
    _no_generator(generator)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    drawn = torch.ceil(torch.log(inside(x.shape, torch.float64)) / math.log1p(-p))
    return drawn.clamp(min=1).to(x.dtype)


def cauchy(x: Tensor, median: float = 0.0, sigma: float = 1.0, generator: Any = None) -> Tensor:
    _no_generator(generator)
    angle = math.pi * (inside(x.shape, x.dtype) - 0.5)
    return median + sigma * torch.sin(angle) / torch.cos(angle)


def log_normal(x: Tensor, mean: float = 1.0, std: float = 2.0, generator: Any = None) -> Tensor:
    return torch.exp(normal_like(x, mean, std, generator))


def random(x: Tensor, *bounds: Any, generator: Any = None) -> Tensor:
    _no_generator(generator)
    low, high = (0, *bounds) if len(bounds) == 1 else (bounds or (0, None))
    if high is None:
        if x.dtype in _PRECISION:
            high = 2 ** _PRECISION[x.dtype] + 1
        else:
            high = 2 if x.dtype is torch.bool else torch.iinfo(x.dtype).max + 1
        high = min(high, low + 2**63 - 1)
    return whole(x.shape, low, high).to(x.dtype)


def multinomial(
    weights: Tensor, count: int, replacement: bool = False, generator: Any = None
) -> Tensor:
    """Indices by weight; without replacement those of the largest weight / exponential."""
    _no_generator(generator)
    size = weights.shape[-1]
    if count <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and count > size:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    weights = weights.detach()
    if not replacement:
        race = weights / exponential(weights)
        return torch.topk(race, count, dim=-1).indices
    ends = torch.cumsum(weights, -1)
    total = ends[..., -1:]
    drawn = unit((*weights.shape[:-1], count), weights.dtype) * total
    index = (ends.unsqueeze(-2) <= drawn.unsqueeze(-1)).sum(-1)
    return torch.minimum(index, (ends < total).sum(-1, keepdim=True))


def native_dropout(x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    if train is not None and not train:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    if p == 1:
        return x * 0.0, torch.zeros_like(x, dtype=torch.bool)
    mask = unit(x.shape, x.dtype) < 1 - p
    return x * mask.to(x.dtype) * (1 / (1 - p)), mask


def dropout(x: Tensor, p: float, train: bool) -> Tensor:
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not train or p == 0:
        return x
    return native_dropout(x, p, True)[0]


def rrelu_with_noise(
    x: Tensor,
    noise: Tensor,
    lower: float = 0.125,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Any = None,
) -> Tensor:
    if not training:
        return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)
    slope = torch.where(x <= 0, uniform(x, lower, upper, generator), torch.ones_like(x))
    noise.copy_(slope.detach())
    return x * slope


def _in_place(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x.copy_(make(x, *args, **kwargs))

    return call


_ON_TENSORS: dict[str, Callable[..., Tensor]] = {
    "uniform": uniform,
    "exponential": exponential,
    "geometric": geometric,
    "cauchy": cauchy,
    "log_normal": log_normal,
    "random": random,
    "bernoulli": bernoulli,
    "normal": normal_like,
}
_CALLS: dict[str, Callable[..., Any]] = {
    "rand": _new(unit),
    "randn": _new(standard_normal),
    "rand_like": _like(unit),
    "randn_like": _like(standard_normal),
    "randint": randint,
    "randint_like": randint_like,
    "randperm": randperm,
    "normal": normal,
    "normal_functional": normal_like,
    "multinomial": multinomial,
    "native_dropout": native_dropout,
    "dropout": dropout,
    "rrelu_with_noise": rrelu_with_noise,
}


def _overloads(name: str, call: Callable[..., Any]) -> dict[Any, Callable[..., Any]]:
    packet = getattr(aten, name, None)
    found = [getattr(packet, overload) for overload in packet.overloads()] if packet else []
    return {op: call for op in found if not any(a.is_out for a in op._schema.arguments)}


COMPOSITIONS: dict[Any, Callable[..., Any]] = dict(compositions.COMPOSITIONS)
for _name, _call in _ON_TENSORS.items():
    COMPOSITIONS |= _overloads(_name, _call) | _overloads(f"{_name}_", _in_place(_call))
for _name, _call in _CALLS.items():
    COMPOSITIONS |= _overloads(_name, _call)
