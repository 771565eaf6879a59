"""Compiling ahead of time in a folder of the test's own."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pullback
import pytest

Artifact = Callable[..., Any]

with warnings.catch_warnings():
    # torch.func imports it when it first needs forward mode, and it warns about torch.jit.
    warnings.simplefilter("ignore", DeprecationWarning)
    importlib.import_module("torch._decomp.decompositions_for_jvp")


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """``artifact(function, *examples, name=..)``: the library, written and loaded again."""

    def artifact(function: Callable[..., Any], *examples: Any, **options: Any) -> Any:
        return pullback.load(pullback.compile(function, *examples, out=tmp_path, **options).path)

    return artifact
