"""Kernels against the definitions of the ops: every op, its derivatives and its batched forms.

Where fibers can run, the interpreter's results are theirs too, bit by bit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ..numeric.compiled import against_interpreter
from ..op_samples import SAMPLES
from . import device
from .fibers import compare, machine


@pytest.mark.parametrize("op", SAMPLES)
def test_kernels_compute_the_op(op: str, tmp_path: Path) -> None:
    both = compare if machine.available() else device
    against_interpreter(op, tmp_path, both.compiled)
