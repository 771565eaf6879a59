"""The generated reference is that of the present op classes and declarations."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from pullback.dialects.pb import OPS
from pullback.tools import reference

HEADERS = find_spec("mlir")
needs_headers = pytest.mark.skipif(
    HEADERS is None
    or not any(
        Path(p, "include/mlir/IR/OpBase.td").exists()
        for p in HEADERS.submodule_search_locations or []
    ),
    reason="needs the MLIR headers (xtc-mlir-dev)",
)


@needs_headers
def test_no_hole_without_a_reason() -> None:
    marks = reference.matrix(reference.declarations(Path("dialects", "pb", "ir")))
    holes = [(op, rule) for op, row in marks.items() for rule in row if row[rule] == reference.HOLE]
    assert not holes, f"{holes}: write the rule, or `without = {{rule: reason}}` in the class"
    assert marks["pb.sin"]["transpose"] == "n" and marks["pb.iota"]["jvp"] == "0"


def test_a_hole_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    op = OPS["pb.reshape"]
    for rule in ("transpose", "batch", "lower"):
        monkeypatch.setattr(op, rule, getattr(reference.Op, rule))
        assert reference.mark(op, rule, True) == reference.HOLE
    monkeypatch.setattr(op, "without", {"batch": "for a test"}, raising=False)
    assert reference.mark(op, "batch", True) == "w"


@needs_headers
def test_reference_is_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pullback.tools.reference", "--check"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
