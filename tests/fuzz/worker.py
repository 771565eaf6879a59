"""A process that judges one program at a time; see ``tests/processes.py``."""

from __future__ import annotations

from typing import Any

from ..processes import answer
from .judge import judge, shrink
from .programs import Maker


def examine(request: dict[str, Any], at: Any) -> dict[str, Any]:
    program = Maker(request["seed"]).program()
    at(f"{len(program.lines)} lines, {len(program.levels)} transforms")
    program, outcome, unsupported = judge(program)
    if outcome.bad and request["shrink"]:
        at(program.show())
        program, outcome = shrink(program, outcome)
    return {
        "verdict": outcome.verdict,
        "text": outcome.text[:2000],
        "unsupported": unsupported,
        "show": program.show(),
    }


if __name__ == "__main__":
    answer(examine)
