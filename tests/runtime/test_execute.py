"""What `pullback run` does: arrays by name in, arrays by name out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pullback.runtime import ArgumentError
from pullback.runtime.execute import run

from .conftest import Make


def test_run(make: Make, tmp_path: Path) -> None:
    # Names that mean something to numpy.savez, and one that is no identifier.
    names = ["file", "args", "out[0]['w']", "d/e", "e"]
    kinds = ["bool", "i64", "i32", "f64", "f32"]
    outputs = [f"{name}: {kind}[]" for name, kind in zip(names, kinds, strict=True)]
    library = make("scalars", [f"{k}: {k}[]" for k in kinds[::-1]], outputs)
    arrays = {"f32": np.float32(1.5), "f64": 2.5, "i32": np.array(3, ">i4"), "i64": 4, "bool": True}
    np.savez(tmp_path / "in.npz", **arrays)
    code = "import sys; from pathlib import Path; from pullback.runtime.execute import run\n"
    code += "run(*map(Path, sys.argv[1:])); assert not {'torch', 'mlir'} & set(sys.modules)"
    result = tmp_path / "out.npz"
    command = [sys.executable, "-c", code, library, tmp_path / "in.npz", result]
    subprocess.run(command, check=True)
    with np.load(result) as out:
        assert {name: out[name].item() for name in out.files} == dict(
            zip(names, [True, 4, 3, 2.5, 1.5], strict=True)
        )
        assert [out[name].dtype.name for name in names] == [
            "bool",
            "int64",
            "int32",
            "float64",
            "float32",
        ]
    assert result.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_refusals_leave_the_output_alone(add: Path, tmp_path: Path) -> None:
    inputs, result = tmp_path / "in.npz", tmp_path / "out.npz"
    result.write_bytes(b"before")
    x, wide = np.ones(3), np.ones(4)
    for arrays, match in [
        ({"x": x}, "expected x, y, got x(.|\n)*missing: y"),
        ({"x": x, "y": x, "z": x}, "got x, y, z"),
        ({"x": x, "y": wide}, r"'y' has the wrong shape: expected f64\[3\], got f64\[4\]"),
        ({"x": x, "y": np.array([None] * 3)}, "not a readable .npz"),
    ]:
        np.savez(inputs, **arrays)
        with pytest.raises(ArgumentError, match=match):
            run(add, inputs, result)
    for junk in (b"", b"junk" * 100, inputs.read_bytes()[:-30]):
        inputs.write_bytes(junk)
        with pytest.raises(ArgumentError, match=r"in\.npz: not a readable"):
            run(add, inputs, result)
    np.save(tmp_path / "one.npy", x)
    with pytest.raises(ArgumentError, match="not a readable"):
        run(add, tmp_path / "one.npy", result)
    assert result.read_bytes() == b"before"
    np.savez(inputs, x=x, y=x)
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        run(add, inputs, tmp_path / "taken")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(FileNotFoundError):
        run(add, inputs, tmp_path / "missing" / "out.npz")
