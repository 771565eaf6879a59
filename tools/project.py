"""The project's two commands, for a machine with nothing but Python and g++.

    python3 tools/project.py demo    set up, then compile and check the digits example
    python3 tools/project.py test    set up, then lint, types, lit and pytest

Both build the wheel and install it into build/venv; arguments after `test` go to pytest. Only
the standard library is used here: nothing else is installed yet.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "venv"
PYTHON = VENV / "bin" / "python"
DIST = ROOT / "build" / "dist"


def run(*command: str | Path) -> None:
    print(
        "+", *(str(part).replace(f"{ROOT}/", "") for part in command), file=sys.stderr, flush=True
    )
    code = subprocess.run([str(part) for part in command], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def pip(*arguments: str | Path) -> None:
    run(PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments)


def set_up() -> None:
    """A virtual environment with the wheel of this checkout and what its tests need."""
    if not PYTHON.exists():
        try:
            venv.create(VENV, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("this Python cannot make virtual environments: install python3-venv first")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    # Without build isolation an unchanged C++ part is not built again.
    tools = [*project["build-system"]["requires"], "cmake", "ninja"]
    extras = project["project"]["optional-dependencies"]["test"]
    pip("install", "-q", *tools, *project["project"]["dependencies"], *extras)
    for old in DIST.glob("*.whl"):
        old.unlink()
    pip("wheel", "-q", "--no-build-isolation", "--no-deps", "-w", DIST, ROOT)
    (wheel,) = DIST.glob("*.whl")
    pip("install", "-q", "--no-deps", "--force-reinstall", wheel)


def demo() -> None:
    set_up()
    run(PYTHON, "-m", "pullback.tools.digits")


def test(*arguments: str) -> None:
    set_up()
    run(PYTHON, "-m", "ruff", "check", ".")
    run(PYTHON, "-m", "ruff", "format", "--check", ".")
    run(VENV / "bin" / "basedpyright", "--pythonpath", PYTHON)
    run(PYTHON, "-m", "pytest", "-n", "2", "--dist", "worksteal", *arguments)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["demo"]:
            demo()
        case ["test", *arguments]:
            test(*arguments)
        case _:
            sys.exit(__doc__)
