"""Runs a command again in a child process, so that no abort of LLVM is the user's abort.

The child writes the IR after each stage to a file. If a signal ends it, the parent says in which
stage that was and keeps the file as a reproducer.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..dialects.errors import InternalError

_VARIABLE = "PULLBACK_REPRODUCER"


def in_child() -> bool:
    return _VARIABLE in os.environ


def record(stage: str, state: Any) -> None:
    """In the child: the IR after `stage`, for a parent that may have to show it."""
    directory = Path(os.environ[_VARIABLE])
    (directory / "stage").write_text(stage)
    (directory / "reproducer.mlir").write_text(state.text())


def run_again(module: str) -> int:
    """The exit code of this very command in a child; InternalError if a signal ended it."""
    directory = Path(tempfile.mkdtemp(prefix="pullback-"))
    keep = False
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *sys.argv[1:]],
            env={**os.environ, _VARIABLE: str(directory)},
        )
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()
            return 130
        if code >= 0:
            return code
        stage = directory / "stage"
        keep = stage.exists()
        raise InternalError(
            f"the compiler was ended by {signal.Signals(-code).name}",
            notes=[
                f"after the stage '{stage.read_text()}'; its IR is in "
                f"{directory / 'reproducer.mlir'}"
            ]
            if keep
            else ["before the first stage"],
            help="this is a defect of pullback; please report it with that file",
        )
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
