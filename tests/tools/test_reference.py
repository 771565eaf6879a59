"""The generated reference is that of the present op classes and declarations."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


def test_reference_is_up_to_date() -> None:
    headers = find_spec("mlir")
    assert headers is not None
    if not any(
        Path(p, "include/mlir/IR/OpBase.td").exists() for p in headers.submodule_search_locations
    ):
        pytest.skip("needs the MLIR headers (xtc-mlir-dev)")
    run = subprocess.run(
        [sys.executable, "-m", "pullback.tools.reference", "--check"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
