"""Libraries as C and C++ programs use them, without Python; see program.c."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pullback
import pytest
import torch

from .compare import assert_same

PROGRAM = Path(__file__).with_name("program.c")
C89 = ["gcc", "-std=c89"]
CPP17 = ["g++", "-x", "c++", "-std=c++17"]
NAMES = ["curvature", "pick", "layers"]
F64 = torch.float64


def energy(x: torch.Tensor) -> torch.Tensor:
    weights = torch.linspace(-1, 1, 36, dtype=F64).reshape(6, 6)
    return torch.exp(torch.tanh(weights @ x)).sum() + (x[1:] * x[:-1]).sum() ** 2


def layers(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    weights = torch.linspace(-1, 1, 200 * 200, dtype=F64).reshape(200, 200)
    hidden = torch.tanh(x @ weights)
    return hidden.softmax(1) * hidden, hidden.exp().sum(0)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with curvature.so, pick.so, layers.so and their headers."""
    folder = tmp_path_factory.mktemp("libraries")
    curvature = pullback.vmap(pullback.hessian(energy))
    pullback.compile(curvature, torch.ones(8, 6, dtype=F64), name="curvature", out=folder)
    pullback.compile(layers, torch.ones(400, 200, dtype=F64), name="layers", out=folder)
    table = torch.ones(4, 2, dtype=F64)
    index = torch.tensor([0, 1, 2])
    pullback.compile(lambda i: table[i], index, name="pick", out=folder, params="file")
    return folder


@pytest.fixture(scope="module", params=[C89, CPP17], ids=["C89", "C++17"])
def printed(request: pytest.FixtureRequest, libraries: Path) -> dict[str, str]:
    """What the program prints, by the first word of each line."""
    binary = libraries / "program"
    strict = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"]
    command = [*request.param, *strict, f"-I{libraries}", PROGRAM, "-x", "none", "-o", binary]
    command += [libraries / f"{name}.so" for name in NAMES] + [f"-Wl,-rpath,{libraries}"]
    subprocess.run(command, check=True)
    done = subprocess.run([binary], check=True, capture_output=True, text=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_the_hessian(printed: dict[str, str]) -> None:
    assert printed["status"] == "0"
    numbers = [float(number) for number in printed["hessians"].split()]
    x = (torch.arange(48, dtype=F64) % 13 / 13 - 0.5).reshape(8, 6)
    expected = torch.func.vmap(torch.func.hessian(energy))(x)
    assert_same(torch.tensor(numbers, dtype=F64).reshape(8, 6, 6), expected, order=2)


def test_threads_with_small_stacks_give_equal_bits(printed: dict[str, str]) -> None:
    assert printed["different"] == "0"


def test_who_shares_the_work_does_not_change_a_bit(printed: dict[str, str]) -> None:
    assert printed["serial"] == "0"
    assert printed["backwards"] == "0 equal"
    assert printed["on-threads"] == "0 equal"
    assert int(printed["parts"]) > 2


@pytest.mark.parametrize(
    ("misuse", "status"),
    [
        ("null-in", -1),
        ("null-out", -1),
        ("null-buffer", -1),
        ("null-workspace", -2),
        ("odd-workspace", -2),
        ("no-parameters", -3),
        ("small-call", -4),
        ("zero-call", 0),
    ],
)
def test_misuse_returns_its_status(printed: dict[str, str], misuse: str, status: int) -> None:
    assert int(printed[misuse]) == status


def test_a_bad_index_returns_the_status_that_the_header_names(
    printed: dict[str, str], libraries: Path
) -> None:
    assert printed["pick"] == "0"
    assert printed["rows"] == "30 1 10"
    status = int(printed["bad-index"])
    assert status > 0
    header = (libraries / "pick.h").read_text()
    line = re.search(rf"^ \* +{status}: .*$", header, re.MULTILINE)
    assert line is not None
    assert "index" in line[0] and Path(__file__).name in line[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_library_stands_alone(libraries: Path, name: str) -> None:
    library = libraries / f"{name}.so"

    def output(*command: str | Path) -> list[str]:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    undefined = {line.split()[-1] for line in output("nm", "-D", "--undefined-only", library)}
    assert undefined <= {"memcpy", "memmove", "memset"}
    defined = {line.split()[-1] for line in output("nm", "-D", "--defined-only", library)}
    assert defined == {name}
    assert not [line for line in output("readelf", "-dW", library) if "(NEEDED)" in line]


@pytest.mark.parametrize("name", NAMES)
def test_a_library_has_no_writable_data(libraries: Path, name: str) -> None:
    command = ["readelf", "-SW", libraries / f"{name}.so"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    sections = re.findall(r"\] (\S+) +\S+ +\S+ +\S+ +\S+ +\S+ +([A-Z]+) ", done.stdout)
    assert ("A" in flags for _, flags in sections)
    # The dynamic linker's own tables, read-only once it is done with them.
    relocated = {".dynamic", ".got", ".data.rel.ro"}
    assert {section for section, flags in sections if "W" in flags} <= relocated
