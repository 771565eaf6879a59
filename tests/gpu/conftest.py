"""The fake driver as a fixture."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pullback.frontend import compile as frontend
from pullback.pipelines.gpu import pipeline
from pullback.runtime import driver as opened
from pullback.runtime import load

from . import driver as fake


@pytest.fixture
def driver() -> Iterator[fake.Driver]:
    """The driver of this process, fresh; contexts must be balanced in the end."""
    if fake.compiler() is None:
        pytest.skip("no C compiler for the fake driver")
    found = fake.Driver(devices=2).install()
    opened.primary_context.cache_clear()
    yield found
    assert not found.contexts
    found.fail.clear()
    found.capturing.clear()
    gc.collect()  # what functions of the test keep goes back to this driver, not the next


@pytest.fixture
def built(driver: fake.Driver, tmp_path: Path) -> Callable[..., Any]:
    """A torch function compiled for GPUs, and loaded as users load it."""

    def build(function: Callable[..., Any], *examples: Any, params: Any = "embed") -> Any:
        lowered = frontend.lower(function, examples, {}, name="kernels", params=params)
        module = lowered.module()
        options = pipeline.Options(cubins=False)
        with module.context:
            return load(pipeline.build(module, lowered.interface, tmp_path, options))

    return build
