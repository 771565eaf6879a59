"""Mistakes put into the PTX that is shipped: each must trap, or give another result.

What survives here would survive in a release: barriers, bounds, masks, lanes and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from .device import Device, device
from .ptx.program import Program
from .ptx.trap import Trap


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


#: A function, its arguments, and how many mistakes there must be places for.
CASES: dict[str, tuple[Callable[..., Any], list[torch.Tensor], int]] = {
    "elementwise": (lambda x, y: torch.tanh(x) + y, [normal(561), normal(561, seed=1)], 1),
    "rows": (lambda x: torch.softmax(x, 1), [normal(24, 200)], 20),
    "columns": (lambda x: x.sum(0), [normal(300, 37)], 6),
    "everything": (lambda x: x.sum(), [normal(20, 3000)], 9),
    "transpose": (lambda x: x.T.exp(), [normal(70, 65)], 4),
    "product": (lambda x, y: x @ y, [normal(40, 50), normal(50, 36, seed=1)], 3),
    "halves": (lambda x, y: x @ y, [normal(40, 640).half(), normal(640, 48, seed=1).half()], 15),
    "sort": (lambda x: torch.sort(x)[0], [normal(100)], 4),
}

_BARRIER = re.compile(r"^\s*(?:bar\.sync|barrier\.sync)[^;]*;\n", re.MULTILINE)
_SHUFFLE = re.compile(r"(shfl\.sync\.bfly\.b32 [^;]*?, )(\d+)(, 31, -1;)")
_BOUND = re.compile(r"(setp\.(?:gt|ge|lt|le)\.[us]\d+ \s*%p\d+, %\w+, )(\d+)(;)")
_WAIT = re.compile(r"^\s*cp\.async\.wait_group\s+(\d+);\n", re.MULTILINE)
_COPY = re.compile(r"(cp\.async\.c[ag]\.shared\.global[^;]*?, )(\d+)(, %r\d+;)")
_FRAGMENT = re.compile(r"ldmatrix\.sync\.aligned\.m8n8\.x\d(\.trans)?")
_STORE = re.compile(r"(st\.global\.\w+(?:\.\w+)? \s*\[%rd\d+)(\])")


def mutants(ptx: str) -> Iterator[tuple[str, str]]:
    """What was done, and the PTX."""
    for number, found in enumerate(_BARRIER.finditer(ptx)):
        yield f"barrier {number} dropped", ptx[: found.start()] + ptx[found.end() :]
    for number, found in enumerate(_SHUFFLE.finditer(ptx)):
        for what, new in (
            ("lanes", f"{found[1]}{int(found[2]) // 2 or 2}{found[3]}"),
            ("mask", f"{found[1]}{found[2]}, 31, 65534;"),
        ):
            yield f"{what} of shuffle {number}", ptx[: found.start()] + new + ptx[found.end() :]
    for number, found in enumerate(_WAIT.finditer(ptx)):
        new = found[0].replace(found[1], str(int(found[1]) + 1))
        yield f"wait {number} for less", ptx[: found.start()] + new + ptx[found.end() :]
    for number, found in enumerate(_FRAGMENT.finditer(ptx)):
        new = found[0].removesuffix(".trans") if found[1] else found[0] + ".trans"
        yield f"fragment {number} turned", ptx[: found.start()] + new + ptx[found.end() :]
    for number, found in enumerate(_COPY.finditer(ptx)):
        new = f"{found[1]}{found[2]}, 8;"  # the rest is filled with zeros
        yield f"copy {number} cut", ptx[: found.start()] + new + ptx[found.end() :]
    for number, found in enumerate(_STORE.finditer(ptx)):
        new = f"{found[1]}+4{found[2]}"
        yield f"store {number} moved", ptx[: found.start()] + new + ptx[found.end() :]


def survives(found: Device, arguments: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    try:
        results = found(arguments)
    except Trap:
        return False
    pairs = zip(results, expected, strict=True)
    return all(np.array_equal(got, want, equal_nan=True) for got, want in pairs)


@pytest.mark.parametrize("name", CASES)
def test_mistakes_are_caught(name: str) -> None:
    function, tensors, least = CASES[name]
    found = device(function, *tensors)
    arguments = [x.numpy() for x in tensors]
    expected = found(arguments)
    seen, missed = 0, []
    for what, ptx in mutants(found.compilation.ptx):
        found.program = Program(ptx)
        seen += 1
        if survives(found, arguments, expected):
            missed.append(what)
    assert not missed
    assert seen >= least


BOUNDS = ["elementwise", "columns", "transpose", "product"]


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_that_are_not_looked_at(name: str) -> None:
    """Each comparison with a bound, made to let everything pass."""
    function, tensors, _ = CASES[name]
    found = device(function, *tensors)
    arguments = [x.numpy() for x in tensors]
    expected, ptx = found(arguments), found.compilation.ptx
    caught = 0
    for bound in _BOUND.finditer(ptx):
        new = f"{bound[1]}{int(bound[2]) + 40}{bound[3]}"
        found.program = Program(ptx[: bound.start()] + new + ptx[bound.end() :])
        caught += not survives(found, arguments, expected)
    assert caught
