"""All nests of transforms to depth 2, compiled, and a sample of those of depth 3, interpreted.

`pytest tests/numeric/test_nests.py --nests all` checks every nest of depth 3.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pullback
import pytest
import torch
from pullback.dialects.pb.interpret import evaluate
from pullback.dialects.pb.transforms import expand
from pullback.frontend.importer import import_graph
from pullback.frontend.trace import trace

from .checks import close
from .functions import FUNCTIONS, POINT
from .nests import TRANSFORMS, Function, nest, order

SAMPLED = 40
DEPTH_2 = [*itertools.product(TRANSFORMS, repeat=1), *itertools.product(TRANSFORMS, repeat=2)]
DEPTH_3 = [*itertools.product(FUNCTIONS, itertools.product(TRANSFORMS, repeat=3))]


def point(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(POINT, dtype=dtype)


def expected(name: str, names: tuple[str, ...], x: torch.Tensor) -> np.ndarray:
    return nest(torch.func, FUNCTIONS[name], names)(x).numpy(force=True)


def interpreted(function: Function, x: torch.Tensor) -> np.ndarray:
    module = import_graph(trace(function, (x,), {}).graph)
    expand.run(module)
    (result,) = evaluate(module, "main", [x.numpy()])
    return result


@pytest.mark.parametrize("name", FUNCTIONS)
def test_depth_2_compiled(name: str, tmp_path: Path) -> None:
    """All nests of a function in one library, in f64 and against torch.func."""
    x = point(torch.float64)

    def everything(x: torch.Tensor) -> list[torch.Tensor]:
        return [nest(pullback, FUNCTIONS[name], names)(x) for names in DEPTH_2]

    compiled = pullback.compile(everything, x, out=tmp_path)
    for names, found in zip(DEPTH_2, compiled(x), strict=True):
        try:
            close(found.numpy(), expected(name, names, x), order=max(1, order(names)), scale=1)
        except AssertionError as error:
            raise AssertionError(f"{' of '.join(names)} of {name}: {error}") from None


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_depth_1_in_f32(name: str, transform: str) -> None:
    x = point(torch.float32)
    found = interpreted(nest(pullback, FUNCTIONS[name], [transform]), x)
    close(found, expected(name, (transform,), x), order=max(1, order([transform])), scale=1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.function is test_depth_3_interpreted:
        chosen = metafunc.config.getoption("--nests")
        cases = DEPTH_3 if chosen == "all" else random.Random(chosen).sample(DEPTH_3, SAMPLED)
        ids = [f"{'-'.join(names)}-{name}" for name, names in cases]
        metafunc.parametrize("name,names", cases, ids=ids)


def test_depth_3_interpreted(name: str, names: tuple[str, ...]) -> None:
    x = point(torch.float64)
    found = interpreted(nest(pullback, FUNCTIONS[name], names), x)
    close(found, expected(name, names, x), order=max(1, order(names)), scale=1)
