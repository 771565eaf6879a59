"""What a sample of an op is, and the operands it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from mlir import ir

Array = np.ndarray


@dataclass(frozen=True)
class Sample:
    """One use of an op. `build` gets the builder and a value for each operand."""

    build: Callable[..., ir.Value]
    torch: Callable[..., torch.Tensor]
    operands: tuple[Array, ...]
    smooth: bool = True
    #: The derivative differs between forward and reverse mode, on purpose.
    one_way: bool = False
    #: Of 0.0 and -0.0 either may come out, as in torch.
    either_zero: bool = False


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def positive(*shape: int, seed: int = 0) -> Array:
    return 0.5 + np.random.default_rng([seed, *shape]).random(shape)


def integers(*shape: int, seed: int = 0, low: int = -5, high: int = 6) -> Array:
    return np.random.default_rng([seed, *shape]).integers(low, high, shape)


def bools(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).random(shape) < 0.5


def floats(*values: float) -> Array:
    return np.array(values, np.float64)


INF, NAN = float("inf"), float("nan")
SPECIAL = floats(0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 1e-30, -1e-30, 30.0, -30.0)
FIRST, SECOND = (grid.reshape(-1) for grid in np.meshgrid(SPECIAL[:9], SPECIAL[:9]))
