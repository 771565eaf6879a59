"""The command `pullback`, as a shell would use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pullback.dialects.errors import InternalError
from pullback.tools import isolation

EXAMPLE = Path(__file__).parent.parent / "examples" / "rosenbrock.py"


def cli(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pullback.tools.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
        check=False,
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("artifact")
    result = cli(
        "compile", f"{EXAMPLE}:rosenbrock", "--transform", "vmap(hessian(f), in_dims=(0,))",
        "--arg", "x=f64[5,4]", "-o", out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    return out / "rosenbrock.so"


def first(folder: Path) -> str:
    """Where Python looks for modules, `folder` first."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_compile_writes_library_and_header(library: Path) -> None:
    assert library.exists()
    assert "int rosenbrock(" in library.with_suffix(".h").read_text()
    assert {path.suffix for path in library.parent.iterdir()} == {".so", ".h"}


def test_inspect_prints_the_manifest(library: Path) -> None:
    manifest = json.loads(cli("inspect", library).stdout)
    assert manifest["inputs"] == [{"name": "x", "dtype": "f64", "shape": [5, 4]}]
    assert manifest["transform"] == "vmap(hessian(f), in_dims=(0,))"
    assert manifest["source"] == "rosenbrock.py:rosenbrock"


def test_run_needs_neither_torch_nor_mlir(library: Path, tmp_path: Path) -> None:
    for name in ("torch", "mlir"):  # importing either is an error there
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')")
    x = np.random.default_rng(0).normal(size=(5, 4))
    np.savez(tmp_path / "in.npz", x=x)
    result = cli(
        "run",
        library,
        tmp_path / "in.npz",
        tmp_path / "out.npz",
        env={"PYTHONPATH": first(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "out.npz") as archive:
        (name,) = archive.files
        found = archive[name]

    def rosenbrock(x: torch.Tensor) -> torch.Tensor:
        a, b = x[1:] - x[:-1] ** 2, 1 - x[:-1]
        return torch.sum(100 * a * a + b * b)

    expected = torch.func.vmap(torch.func.hessian(rosenbrock))(torch.from_numpy(x))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stage", ["captured", "pb", "simplified", "linalg", "llvm", "asm"])
def test_show_prints_a_stage(stage: str) -> None:
    result = cli("show", f"{EXAMPLE}:wave", "--arg", "x=f32[8]", "--stage", stage)
    assert result.returncode == 0, result.stderr
    texts = {
        "captured": "aten.sin", "pb": "pb.sin", "simplified": "pb.reduce_sum",
        "linalg": "linalg.generic", "llvm": "define", "asm": "wave:",
    }  # fmt: skip
    assert texts[stage] in result.stdout
    assert result.stderr == ""


def test_a_library_for_gpus(tmp_path: Path) -> None:
    options = ("--arg", "x=f32[8]", "--target", "cuda")
    shown = cli("show", f"{EXAMPLE}:wave", *options, "--stage", "ptx")
    assert ".visible .entry" in shown.stdout, shown.stderr
    made = cli("compile", f"{EXAMPLE}:wave", *options, "-o", tmp_path)
    assert made.returncode == 0, made.stderr
    target = json.loads(cli("inspect", tmp_path / "wave.so").stdout)["target"]
    assert (target["kind"], target["ptx"]) == ("cuda", "sm_80")
    (kernel,) = target["kernels"]
    assert f".entry {kernel['name']}(" in shown.stdout
    assert kernel["block"] and kernel["grid"]
    for figures in kernel["machine_code"].values():
        assert figures["spilled_bytes"] == 0 < figures["occupancy"]
    assert "device memory" in (tmp_path / "wave.h").read_text()
    rounded = cli("compile", f"{EXAMPLE}:wave", "--arg", "x=f32[8]", "--tf32", "-o", tmp_path)
    assert rounded.returncode and "tf32 is for the target cuda" in rounded.stderr
    refused = cli("show", f"{EXAMPLE}:wave", *options, "--stage", "asm")
    assert refused.returncode == 2 and "is not one of" in refused.stderr


def test_show_prints_a_difference() -> None:
    result = cli(
        "show", f"{EXAMPLE}:wave", "--transform", "grad(f)", "--arg", "x=f32[8]",
        "--stage", "pb..simplified",
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[:2] == ["--- pb", "+++ simplified"]
    assert any(line.startswith("-") and "pb.vjp" in line for line in lines)
    assert any(line.startswith("+") and "pb.cos" in line for line in lines)


def test_pytree_leaves_static_values_and_example_inputs(tmp_path: Path) -> None:
    source = tmp_path / "model.py"
    source.write_text(
        "import torch\n"
        "def f(params, x, n):\n"
        "    return (params['w'] @ x + params['b']).sum() * n\n"
        "def inputs():\n"
        "    return {'w': torch.ones(2, 3), 'b': torch.ones(2)}, torch.ones(3), 3\n"
    )
    given = ["--arg", "params.w=f32[2,3]", "--arg", "params.b=f32[2]", "--arg", "x=f32[3]",
             "--arg", "n=3"]  # fmt: skip
    by_args = cli("show", f"{source}:f", *given, "--stage", "pb")
    by_example = cli("show", f"{source}:f", "--example", "inputs", "--stage", "pb")
    assert by_args.returncode == by_example.returncode == 0, by_args.stderr + by_example.stderr
    assert by_args.stdout == by_example.stdout.replace("inputs", "args")
    assert "dense<3.0" in by_args.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["compile", "missing.py:f"], 1, "there is no file missing.py"),
        (["compile", f"{EXAMPLE}:nothing"], 1, "functions in the file: rosenbrock, wave"),
        (["show", f"{EXAMPLE}:wave", "--arg", "x=f8[3]"], 1, "dtypes are"),
        (["show", f"{EXAMPLE}:wave", "--transform", "exec(f)"], 1, "does not understand"),
        (["show", f"{EXAMPLE}:wave", "--stage", "nowhere"], 2, "is not one of"),
        (["inspect", EXAMPLE], 1, "not"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_wrong_use_is_a_message(arguments: list[str], code: int, message: str) -> None:
    result = cli(*arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_exception_of_the_users_code_is_a_message(tmp_path: Path) -> None:
    source = tmp_path / "wrong.py"
    source.write_text("import torch\ndef f(x):\n    return x + torch.ones(7)\n")
    result = cli("show", f"{source}:f", "--arg", "x=f32[5]")
    assert result.returncode == 1
    assert result.stderr.startswith(f"pullback: error: {source}:3: RuntimeError: ")
    assert "Traceback" not in result.stderr


def test_a_crash_of_the_compiler_becomes_an_internal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crash.py").write_text(
        "import os, signal, types\n"
        "from pullback.tools import isolation\n"
        "isolation.record('linalg', types.SimpleNamespace(text=lambda: 'module {}'))\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    monkeypatch.setenv("PYTHONPATH", first(tmp_path))
    monkeypatch.setattr(sys, "argv", ["crash"])
    with pytest.raises(InternalError, match="SIGSEGV") as caught:
        isolation.run_again("crash")
    (note,) = caught.value.notes
    assert "after the stage 'linalg'" in note
    assert Path(note.split()[-1]).read_text() == "module {}"
