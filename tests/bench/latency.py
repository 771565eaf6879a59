"""What a call costs, and what a compile costs: a table. Run it by hand on a quiet machine.

python tests/bench/latency.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pullback
import torch
from rich.console import Console
from rich.table import Column, Table

F64 = torch.float64
# Prints the seconds of torch's own lazy imports, of the compile, and of the same compile again.
COMPILES = """
import time
import torch, pullback
import pullback.frontend.compile
def f(x):
    for _ in range(25):
        x = torch.sin(x) * x + torch.exp(-x)  # four ops
    return x.sum()
def timed(call):
    start = time.perf_counter()
    call()
    print(time.perf_counter() - start)
x = torch.ones(100, dtype=torch.float64)
timed(torch._subclasses.FakeTensorMode)
for name in ("first", "second"):
    timed(lambda: pullback.compile({transform}(f), x, name=name, out={folder!r}))
"""


def per_call(call: Callable[[], Any], count: int = 20_000) -> float:
    """The mean time of a call in the best of several rounds."""
    rounds = []
    for _ in range(9):
        start = time.perf_counter()
        for _ in range(count // 9):
            call()
        rounds.append((time.perf_counter() - start) / (count // 9))
    return min(rounds)


def latencies(folder: Path) -> list[tuple[str, float, float | None]]:
    """Rows of (what, seconds, limit)."""

    def add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    x = torch.ones(3, dtype=F64)
    loaded = pullback.compile(add, x, x, name="add", out=folder)
    jitted, array = pullback.jit(add), np.ones(3)
    needs_grad = x.clone().requires_grad_()
    return [
        ("artifact, numpy", per_call(lambda: loaded(array, array)), 1e-6),
        ("artifact, torch", per_call(lambda: loaded(x, x)), 1.5e-6),
        ("jit, torch", per_call(lambda: jitted(x, x)), None),
        ("jit, numpy", per_call(lambda: jitted(array, array)), None),
        ("jit, torch, requires grad", per_call(lambda: jitted(needs_grad, x)), None),
        ("jit and backward", per_call(lambda: jitted(needs_grad, x).sum().backward(), 2000), None),
        ("torch's x + y", per_call(lambda: x + x), None),
        ("an empty lambda", per_call(lambda: None), None),
    ]


def compile_times(folder: Path) -> list[tuple[str, float, float | None]]:
    rows = []
    for title, transform, limit in (
        ("100 ops", "", 1.0),
        ("their gradient", "pullback.grad", None),
    ):
        script = COMPILES.format(transform=transform, folder=str(folder))
        command = [sys.executable, "-c", script]
        printed = [
            map(
                float,
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.split(),
            )
            for _ in range(3)
        ]
        imports, first, second = (min(times) for times in zip(*printed, strict=True))
        if not rows:
            rows.append(("torch's imports at the first capture", imports, None))
        rows.append((f"compile {title}, first of a process", first, limit))
        rows.append((f"compile {title}, again", second, None))
    return rows


def main() -> None:
    table = Table("what", Column("time", justify="right"), Column("limit", justify="right"))
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        for what, seconds, limit in (*latencies(Path(folder)), *compile_times(Path(folder))):
            late = limit is not None and seconds > limit
            missed |= late
            shown = f"[red]{show(seconds)}[/red]" if late else show(seconds)
            table.add_row(what, shown, "" if limit is None else show(limit))
    Console().print(table)
    sys.exit(missed)


def show(seconds: float) -> str:
    return f"{seconds * 1e9:,.0f} ns" if seconds < 1e-3 else f"{seconds * 1e3:,.0f} ms"


if __name__ == "__main__":
    main()
