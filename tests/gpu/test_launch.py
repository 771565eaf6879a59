"""Sizes that kernels cannot count are refused at the user's line; none is ever cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pullback
import pytest
import torch

from .device import device

HUGE = 3_000_000_000


def repeated(value: float, count: int = HUGE) -> torch.Tensor:
    return torch.tensor(value).expand(count)


TOO_LARGE: dict[str, tuple[Callable[..., Any], list[torch.Tensor], str]] = {
    "sort": (lambda x: torch.sort(x)[0], [repeated(1.0)], "elements of a row that is sorted"),
    "updates": (
        lambda x, i, u: x.index_put((i,), u),
        [torch.zeros(3), repeated(1), repeated(0.5)],
        "updates",
    ),
    "elementwise": (lambda x: x + 1, [repeated(1.0, HUGE * 1000)], "blocks of threads"),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_too_large_is_refused(name: str) -> None:
    function, arguments, what = TOO_LARGE[name]
    with pytest.raises(pullback.ShapeError, match=rf"\d+ {what} are more than") as caught:
        device(function, *arguments)
    assert caught.value.location and caught.value.location[0].endswith("test_launch.py")
