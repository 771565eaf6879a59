"""The compile cache: hits, what makes another entry, processes in each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from mlir import ir
from pullback.pipelines import cache, cpu

from .conftest import interface

TEXT = """
func.func @main(%x: tensor<3xi64>) -> tensor<3xi64> {
  %r = pb.check_index %x size = 5 message = "IndexError: bad" : tensor<3xi64> loc("a.py":1:1)
  return %r : tensor<3xi64>
}"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def entries() -> list[Path]:
    root = Path(os.environ["XDG_CACHE_HOME"], "pullback", "libraries")
    return [path for path in root.iterdir() if path.is_dir()]


def cached(text: str, options: cpu.Options | None = None) -> Path:
    with ir.Context():
        module = ir.Module.parse(text)
        with cache.library(module, interface(module), options) as path:
            assert path.exists()
            return path


def test_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached(TEXT)

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(cpu, "build", refuse)
    assert cached(TEXT) == first
    # Locations do not matter, except where an error names one.
    moved = TEXT.replace("tensor<3xi64>\n}", 'tensor<3xi64> loc("b.py":2:2)\n}')
    assert cached(moved) == first
    with pytest.raises(AssertionError, match="compiled again"):
        cached(TEXT.replace("a.py", "b.py"))


def test_the_target_is_part_of_the_key() -> None:
    target = cpu.Options().target
    older = cpu.llvm.Target(target.triple, "x86-64-v3", "+avx,+avx2,+fma")
    assert cached(TEXT) != cached(TEXT, cpu.Options(older))


def test_libraries_for_gpus_have_entries_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from pullback.pipelines.gpu import library
    from pullback.pipelines.gpu.pipeline import Options

    def gpu() -> Path:
        with ir.Context():
            module = ir.Module.parse(TEXT)
            options = Options(cubins=False)
            with cache.library(module, interface(module), options, target="cuda") as path:
                return path

    first = gpu()
    assert first != cached(TEXT)
    assert gpu() == first
    monkeypatch.setattr(library, "_RUNTIME", Path(__file__))
    monkeypatch.setattr(library, "write", lambda c, folder: pytest.fail("made again"))
    with pytest.raises(pytest.fail.Exception, match="made again"):
        gpu()


def test_a_failed_compile_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cpu, "build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cached(TEXT)
    assert entries() == []
    assert cached(TEXT).parent in entries()


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 1)
    for line in range(3):
        newest = cached(TEXT.replace("a.py", f"a{line}.py"))
    assert entries() == [newest.parent]


def test_no_place_for_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with ir.Context():
        module = ir.Module.parse(TEXT)
        with cache.library(module, interface(module)) as path:
            assert path.exists()
    assert not path.exists()


SCRIPT = """
    import sys
    from mlir import ir
    from pullback.pipelines import cache, cpu

    with ir.Context():
        module = ir.Module.parse(sys.argv[1])
        spec = cpu.TensorSpec("x", "i64", (3,))
        with cache.library(module, cpu.Interface("f", [spec], [spec])) as path:
            print(path)
"""


def test_two_processes() -> None:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), TEXT]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(outputs) == 1
    assert len(entries()) == 1


def test_a_full_disk_costs_only_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.shutil, "copytree", full)
    with ir.Context():
        module = ir.Module.parse(TEXT)
        with cache.library(module, interface(module)) as path:
            assert path.exists()
    assert entries() == []


def test_a_damaged_entry_is_made_again() -> None:
    path = cached(TEXT)
    path.write_bytes(path.read_bytes()[:1000])
    with ir.Context():
        module = ir.Module.parse(TEXT)
        whole = interface(module)
        with cache.library(module, whole, usable=lambda _: False) as again:
            assert again == path
            assert again.stat().st_size > 1000


def test_what_a_killed_process_left_goes() -> None:
    root = cached(TEXT).parent.parent
    old, new = root / ".new-old", root / ".new-young"
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    cached(TEXT.replace("a.py", "b.py"))
    assert not old.exists()
    assert new.exists()
