"""The files: library, header, parameters; what they promise, and how they are written."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlir import ir
from pullback.dialects.errors import CompileError, ToolchainError
from pullback.pipelines import artifact, cpu, elf_object, link
from pullback.runtime import load, manifest

from .conftest import function, interface, tensor

X = tensor((4, 3), "f64")
W = tensor((3,), "f64")
TEXT = function(
    f"  %b = pb.broadcast %w dims = [1] : {W} -> {X}\n"
    f"  %e = pb.exp %x : {X}\n  %s = pb.sin %e : {X}\n  %p = pb.mul %s, %b : {X}\n"
    f"  %t = pb.transpose %p permutation = [1, 0] : {X}\n"
    f"  %c = pb.concatenate %t, %t dim = 1 : {tensor((3, 4), 'f64')}, {tensor((3, 4), 'f64')}",
    {"%x": X, "%w": W},
    {"%c": tensor((3, 8), "f64")},
)


def expected(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    once = (np.sin(np.exp(x)) * w).T
    return np.concatenate([once, once], 1)


@pytest.mark.parametrize("standard", [["gcc", "-std=c89"], ["g++", "-std=c++17", "-xc++"]])
def test_c_program(build: Callable[..., Path], tmp_path: Path, standard: list[str]) -> None:
    library = build(TEXT)
    program = tmp_path / "program.c"
    program.write_text(
        """
#include "f.h"
#include <stdio.h>
static double memory[F_WORKSPACE_BYTES / 8 + 8];
int main(void) {
  double x[12], w[3], y[24];
  const void *in[F_INPUTS];
  void *out[F_OUTPUTS];
  char *workspace = (char *)memory;
  int i;
  while ((size_t)workspace % 64) ++workspace;
  for (i = 0; i < 12; ++i) x[i] = i * 0.25;
  for (i = 0; i < 3; ++i) w[i] = i + 1;
  in[0] = x;
  in[1] = w;
  out[0] = y;
  if (f(in, out, workspace, NULL)) return 1;
  if (f(NULL, out, workspace, NULL) != -1) return 2;
  out[0] = NULL;
  if (f(in, out, workspace, NULL) != -1) return 3;
  for (i = 0; i < 24; ++i) printf("%.17g\\n", y[i]);
  return 0;
}
"""
    )
    command = [*standard, "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{library.parent}"]
    binary = tmp_path / "program"
    subprocess.run([*command, str(program), "-xnone", str(library), "-o", str(binary)], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    done = subprocess.run(
        [str(binary)], env=environment, capture_output=True, text=True, check=True
    )
    got = np.array(done.stdout.split(), float).reshape(3, 8)
    want = expected(np.arange(12).reshape(4, 3) * 0.25, np.arange(1.0, 4))
    np.testing.assert_allclose(got, want, rtol=1e-14)


def test_library(build: Callable[..., Path]) -> None:
    path = build(TEXT)
    defined, undefined = elf_object.dynamic_symbols(path.read_bytes())
    assert defined == {"f"}
    assert undefined <= {"memcpy", "memmove", "memset"}
    found = elf_object.sections(path.read_bytes())
    writable = {name for name, section in found.items() if section.flags & 1}
    assert writable <= {".dynamic", ".got", ".got.plt", ".relro_padding"}
    assert path.stat().st_size < 32768


def test_statuses(build: Callable[..., Path]) -> None:
    """Misuse is reported, whatever is passed."""
    import ctypes

    path = build(TEXT)
    entry = ctypes.CDLL(str(path)).f
    buffers = [np.zeros(24) for _ in range(3)]
    pointers = [ctypes.c_void_p(b.ctypes.data) for b in buffers]
    given = (ctypes.c_void_p * 2)(*pointers[:2])
    results = (ctypes.c_void_p * 1)(pointers[2])
    [size] = re.findall(r"WORKSPACE_BYTES (\d+)", path.with_suffix(".h").read_text())
    memory = np.zeros(int(size) + 64, np.uint8)
    aligned = memory.ctypes.data + -memory.ctypes.data % 64
    assert entry(given, results, ctypes.c_void_p(aligned), None) == 0
    assert entry(given, results, None, None) == -2
    assert entry(given, results, ctypes.c_void_p(aligned + 8), None) == -2
    small = (ctypes.c_size_t * 6)(8)
    assert entry(given, results, ctypes.c_void_p(aligned), small) == -4


@pytest.mark.parametrize("mode", ["args", "embed", "file"])
def test_params(build: Callable[..., Path], mode: str) -> None:
    w = np.array([1.0, 2.0, 3.0])
    params = cpu.Params(mode, [cpu.TensorSpec("w", "f64", (3,))], [w])
    path = build(TEXT, params=params)
    x = np.arange(12).reshape(4, 3) * 0.25
    given = [x, w] if mode == "args" else [x]
    [got] = load(path).call_leaves(given)
    np.testing.assert_allclose(np.asarray(got), expected(x, w), rtol=1e-14)
    assert path.with_suffix(".params").exists() == (mode == "file")


def test_embedded_params_cost_their_copy_only(build: Callable[..., Path]) -> None:
    """Several leaves, one empty; the bytes are in the library once, at multiples of 64."""
    big, empty = np.arange(1 << 20, dtype=np.float32), np.zeros((0,), np.float64)
    leaves = [
        cpu.TensorSpec("a", "f64", (3,)),
        cpu.TensorSpec("none", "f64", (0,)),
        cpu.TensorSpec("big", "f32", big.shape),
    ]
    params = cpu.Params("embed", leaves, [np.ones(3), empty, big])
    assert params.offsets() == [0, 64, 64]
    types = [tensor((2,), "f32"), *(tensor(leaf.shape, leaf.dtype) for leaf in leaves)]
    names = ["%x", "%a", "%n", "%b"]
    body = (
        f"  %s = pb.slice %b offsets = [1048574] strides = [1] : {types[3]} -> {types[0]}\n"
        f"  %r = pb.add %s, %x : {types[0]}"
    )
    text = function(body, dict(zip(names, types, strict=True)), {"%r": types[0], "%a": types[1]})
    path = build(text, params=params)
    assert big.nbytes < path.stat().st_size < big.nbytes + 16384
    got, ones = load(path).call_leaves([np.zeros(2, np.float32)])
    np.testing.assert_array_equal(got, big[-2:])
    np.testing.assert_array_equal(ones, np.ones(3))


def test_content_hash(build: Callable[..., Path]) -> None:
    path = build(TEXT)
    description = manifest.read(path)
    data = path.read_bytes()
    assert data.count(description["content_sha256"].encode()) == 1
    zeroed = data.replace(description["content_sha256"].encode(), b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == description["content_sha256"]
    header = path.with_suffix(".h").read_bytes()
    assert hashlib.sha256(header).hexdigest() == description["header_sha256"]
    assert description["cost"] == {
        "flops": description["cost"]["flops"],
        "bytes": 8 * (12 + 3 + 24),
    }
    assert description["cost"]["flops"] > 0


def test_same_input_same_bytes(build: Callable[..., Path]) -> None:
    assert build(TEXT).read_bytes() == build(TEXT).read_bytes()


def test_header_comments_cannot_be_closed(build: Callable[..., Path]) -> None:
    spec = cpu.TensorSpec("a */ int evil; /* \u00e9", "f32", (2,))
    described = cpu.Interface("g", [spec], [spec], source="x */ y")
    from pullback.pipelines import header

    text = header.text(described, 0, [])
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert "evil" not in code and " y" not in code.split("typedef")[0]
    assert text.isascii()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(params: artifact.Params, path: Path) -> None:
        path.write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "write_params", full)
    params = cpu.Params("file", [cpu.TensorSpec("w", "f64", (3,))], [np.ones(3)])
    with ir.Context():
        module = ir.Module.parse(TEXT)
        with pytest.raises(CompileError, match="No space left"):
            cpu.build(module, interface(module, params=params), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with ir.Context():
        module = ir.Module.parse(TEXT)
        with pytest.raises(CompileError, match="cannot write"):
            cpu.build(module, interface(module), tmp_path / "file" / "below")


def test_linker_errors_show_the_command(tmp_path: Path) -> None:
    bad = tmp_path / "bad.o"
    bad.write_bytes(b"not an object")
    with pytest.raises(ToolchainError) as caught:
        link.link([bad], tmp_path / "f.so", "f")
    assert "-shared" in caught.value.command and "bad.o" in str(caught.value)


def test_lld_links_too(build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.setattr(link.shutil, "which", lambda _: None)
    path = build(TEXT)
    x = np.ones((4, 3))
    [got] = load(path).call_leaves([x, np.ones(3)])
    np.testing.assert_allclose(np.asarray(got), expected(x, np.ones(3)), rtol=1e-14)
