"""Kernels against the definitions of the ops: every op, its derivatives and its batched forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..numeric.compiled import against_interpreter
from ..op_samples import SAMPLES
from .device import compiled


@pytest.mark.parametrize("op", SAMPLES)
def test_kernels_compute_the_op(op: str, tmp_path: Path) -> None:
    against_interpreter(op, tmp_path, compiled)
