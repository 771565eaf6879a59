"""The assembler of NVIDIA, where it is installed; what it says, where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pullback.dialects.errors import ToolchainError
from pullback.pipelines.gpu import ptxas
from pullback.pipelines.gpu.ptxas import Figures

PTX = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry twice(.param .u64 place)
.maxntid 64, 1, 1
{
  .reg .b64 %rd<4>;
  .reg .b32 %r<2>;
  .reg .f64 %fd<3>;
  .shared .align 8 .b8 buffer[1024];
  ld.param.u64 %rd1, [place];
  cvta.to.global.u64 %rd1, %rd1;
  mov.u32 %r1, %tid.x;
  mul.wide.u32 %rd2, %r1, 8;
  add.s64 %rd1, %rd1, %rd2;
  mov.u64 %rd3, buffer;
  add.s64 %rd3, %rd3, %rd2;
  ld.global.f64 %fd1, [%rd1];
  st.shared.f64 [%rd3], %fd1;
  ld.shared.f64 %fd1, [%rd3];
  add.rn.f64 %fd2, %fd1, %fd1;
  st.global.f64 [%rd1], %fd2;
  ret;
}
"""
needs_ptxas = pytest.mark.skipif(ptxas.find() is None, reason="ptxas is not installed")


@needs_ptxas
@pytest.mark.parametrize("architecture", ptxas.ARCHITECTURES)
def test_machine_code_and_its_figures(architecture: int) -> None:
    cubin = ptxas.assemble(PTX, architecture)
    assert cubin.code[:4] == b"\x7fELF"
    figures = cubin.figures["twice"]
    assert 0 < figures.registers < 40
    assert (figures.shared, figures.spilled) == (1024, 0)


@needs_ptxas
def test_ptx_that_is_refused() -> None:
    with pytest.raises(ToolchainError, match="refused") as caught:
        ptxas.assemble(PTX.replace("add.rn.f64", "add.rn.f65"), 80)
    assert "f65" in str(caught.value)


def fake_tools(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Nothing on the PATH but these."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    for variable in ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    ptxas.find.cache_clear()
    monkeypatch.setattr(ptxas, "find", ptxas.find.__wrapped__)


ASSEMBLER = 'for last; do :; done; echo "$1 $2" > "$last"'


def test_no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools(tmp_path / "none", monkeypatch)
    with pytest.raises(ToolchainError, match="no ptxas found"):
        ptxas.assemble(PTX, 80)
    with pytest.raises(ToolchainError, match="no disassembler found"):
        ptxas.disassembly(PTX, 80)


def test_tools_that_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools(tmp_path / "home", monkeypatch, ptxas=ASSEMBLER, nvdisasm='while read x; do echo "$1 of $x"; done < "$2"')  # fmt: skip  # noqa: E501
    assert ptxas.assemble(PTX, 90).code == b"-v -arch=sm_90\n"
    assert ptxas.disassembly(PTX, 80) == "--print-code of -v -arch=sm_80\n"


def test_a_tool_that_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tools(tmp_path / "bad", monkeypatch)
    (tmp_path / "bad" / "ptxas").write_bytes(b"\x7fELF, but not really")
    (tmp_path / "bad" / "ptxas").chmod(0o755)
    with pytest.raises(ToolchainError, match="could not be started"):
        ptxas.assemble(PTX, 80)


def test_occupancy_is_that_of_the_calculator() -> None:
    """Limits by threads, registers (in whole units for four schedulers), shared memory, blocks."""
    light = Figures(registers=16, shared=0, stack=0, spilled=0)
    assert light.occupancy(80, 256) == 1
    assert light.occupancy(80, 32) == 32 / 64
    assert light.occupancy(80, 1024) == 1
    assert Figures(72, 0, 0, 0).occupancy(80, 128) == 28 / 64
    assert Figures(80, 0, 0, 0).occupancy(80, 32) == 24 / 64
    assert Figures(255, 0, 0, 0).occupancy(90, 256) == 8 / 64
    shared = Figures(32, 40 << 10, 0, 0)
    assert shared.occupancy(80, 128) == 4 * 4 / 64  # 41 KB each of 164
    assert shared.occupancy(90, 128) == 5 * 4 / 64
    assert Figures(32, 0, 0, 0).occupancy(90, 128, dynamic=40 << 10) == 5 * 4 / 64
