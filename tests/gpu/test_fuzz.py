"""A few random programs on the fake GPU; `python -m tests.gpu.fuzz` takes more."""

from __future__ import annotations

from pathlib import Path

import pytest

from .driver import Driver
from .fuzz import judged


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(600_000, 600_008))
def test_random_programs(
    seed: int, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    program, said = judged(seed)
    assert said in ("same", "noise", "cannot"), program.show()
