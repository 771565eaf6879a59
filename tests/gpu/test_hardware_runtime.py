"""The checks of the runtime for true GPUs, on the fake driver: that they are right themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import hardware_runtime
from .driver import Driver


def test_checks_of_the_runtime(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    streams = iter(range(0x500, 0x600))

    def called(self: Any, name: str, *arguments: Any) -> None:
        """Functions that only the checks use."""
        if name == "cuStreamCreate":
            arguments[0]._obj.value = next(streams)
        elif name == "cuMemGetInfo_v2":
            arguments[0]._obj.value = -sum(size for _, size in driver.memory.leaks())
        else:
            assert getattr(self.cuda, name)(*arguments) == 0, name

    monkeypatch.setattr(hardware_runtime.Device, "__call__", called)
    monkeypatch.setattr(hardware_runtime, "ROWS", hardware_runtime.ROWS[:3, :70].copy())
    hardware_runtime.build(tmp_path)
    assert hardware_runtime.check(tmp_path) == 0, capsys.readouterr().out
    # A check that cannot fail is none.
    np.save(tmp_path / "softmax.npy", np.load(tmp_path / "softmax.npy") + 1e-4)
    driver.fail["cuMemsetD8Async"] = 2
    assert hardware_runtime.check(tmp_path) == 1
    said = capsys.readouterr().out
    for name in ("arrays_of_the_host", "errors_in_the_data"):
        assert f"FAILED check_{name}" in said
