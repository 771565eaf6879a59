"""What the documents print is what the commands print.

A fenced block after `<!-- output of: COMMAND -->` must be the output of COMMAND (run in the
project's root). `python tests/test_docs.py` writes the present outputs into the documents.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "dialects" / "ADDING_AN_OP.md"]
BLOCK = re.compile(
    r"(?P<head><!-- output of: (?P<command>[^\n]+?) -->\n+```[a-z]*\n)(?P<text>.*?)(?P<tail>```)",
    re.DOTALL,
)
COMMANDS = {"pullback": "pullback.tools.cli", "pullback-opt": "pullback.tools.opt"}
BLOCKS = [
    pytest.param(match, id=f"{document.name}: {match['command']}")
    for document in DOCUMENTS
    for match in BLOCK.finditer(document.read_text())
]


def output(command: str) -> str:
    program, *arguments = shlex.split(command)
    result = subprocess.run(
        [sys.executable, "-m", COMMANDS[program], *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_there_are_outputs_to_check() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("match", BLOCKS)
def test_output(match: re.Match[str]) -> None:
    assert output(match["command"]) == match["text"]


if __name__ == "__main__":
    for document in DOCUMENTS:
        old = document.read_text()
        document.write_text(BLOCK.sub(lambda m: m["head"] + output(m["command"]) + m["tail"], old))
