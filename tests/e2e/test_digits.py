"""The README's main job: compiles, checks itself against torch.func, and says when it is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pullback.tools import digits


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["digits", str(tmp_path / "made")])
    monkeypatch.setattr(digits, "seconds", lambda call: 1e-5)
    return tmp_path / "made"


def test_it_writes_both_libraries_and_a_table(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits.main()
    assert {path.name for path in folder.iterdir()} == {
        "digits_gradients.so",
        "digits_gradients.h",
        "digits_hessian.so",
        "digits_hessian.h",
    }
    printed = capsys.readouterr().out
    assert "per-sample gradients" in printed
    assert "Hessian" in printed


def test_it_fails_when_an_error_is_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "TOLERANCE", 0.0)
    with pytest.raises(SystemExit, match="above"):
        digits.main()
