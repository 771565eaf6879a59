"""Compiling ahead of time in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pullback

Artifact = Callable[..., Any]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """``artifact(function, *examples, name=..)``: the library, written and loaded again."""

    def artifact(function: Callable[..., Any], *examples: Any, **options: Any) -> Any:
        return pullback.load(pullback.compile(function, *examples, out=tmp_path, **options).path)

    return artifact
