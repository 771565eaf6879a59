"""Compiled code against the interpreter: every op, its derivatives and its batched forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..op_samples import SAMPLES
from .compiled import against_interpreter


@pytest.mark.parametrize("op", SAMPLES)
def test_compiled_is_interpreted(op: str, tmp_path: Path) -> None:
    against_interpreter(op, tmp_path)
