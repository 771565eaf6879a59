"""pullback beside torch.func, torch.compile and jax.jit on real programs; for a quiet machine.

    python -m tests.bench.suite [--threads 1] [--only NAME ...] [--without compile] [--json FILE]

All contenders of a program run in one process, taking turns; each gets the median of its rounds,
each ratio is the median of the ratios of the rounds. Compile time and peak memory are of a fresh
process for each. Results are checked against torch.func in f64 before anything is timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTENDERS = ("pullback", "torch.func", "torch.compile", "jax.jit")
ROUNDS, ROUND_SECONDS = 15, 0.05
Call = Callable[[], Any]


def use_threads(count: int) -> None:
    """Before anything is imported that counts cores."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-count:])
    os.environ["OMP_NUM_THREADS"] = os.environ["PULLBACK_NUM_THREADS"] = str(count)


def programs() -> dict[str, Any]:
    from . import programs as networks
    from . import science, sequences  # noqa: F401  (they add their programs)

    return networks.PROGRAMS


def call_of(contender: str, bench: Any) -> Call:
    """The program of one contender as a call without arguments."""
    if contender == "jax.jit":
        import jax

        jax.config.update("jax_enable_x64", True)
        function = jax.jit(bench.jax(jax, jax.numpy))
        arrays = [jax.numpy.asarray(x) for x in bench.inputs]
        return lambda: jax.block_until_ready(function(*arrays))
    import torch

    tensors = [torch.from_numpy(x) for x in bench.inputs]
    if contender == "pullback":
        import pullback

        jitted = pullback.jit(bench.torch(pullback))
        return lambda: jitted(*tensors)
    eager = bench.torch(torch.func)
    if contender == "torch.func":
        return lambda: eager(*tensors)
    compiled = torch.compile(eager, fullgraph=True)
    return lambda: compiled(*tensors)


def leaves(result: Any) -> list[Any]:
    import numpy as np

    items = result if isinstance(result, (tuple, list)) else [result]
    return [np.asarray(item) for item in items]


def error_against(truth: list[Any], result: Any) -> float:
    import numpy as np

    worst = 0.0
    for expected, actual in zip(truth, leaves(result), strict=True):
        scale = float(np.abs(expected).max()) or 1.0
        worst = max(worst, float(np.abs(actual.astype(np.float64) - expected).max()) / scale)
    return worst


def truth_of(bench: Any) -> list[Any]:
    import numpy as np
    import torch

    exact = [
        torch.from_numpy(x.astype(np.float64) if x.dtype.kind == "f" else x) for x in bench.inputs
    ]
    return leaves(bench.torch(torch.func)(*exact))


def seconds_of(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


# -- one program, all contenders: in a process of its own ----------------------------------------


def race(name: str, contenders: list[str], rounds: int) -> dict[str, Any]:
    bench = programs()[name]
    truth = truth_of(bench)
    calls: dict[str, Call] = {}
    errors: dict[str, str] = {}
    for contender in contenders:
        try:
            call = call_of(contender, bench)
            found = error_against(truth, call())
            if not found <= bench.tolerance:
                raise ArithmeticError(f"error {found:.1e}, above {bench.tolerance:.0e}")
            call()
            calls[contender] = call
        except Exception as error:  # one contender's failure is a row of the table
            errors[contender] = f"{type(error).__name__}: {error}".splitlines()[0][:120]
    repeats = {c: max(1, math.ceil(ROUND_SECONDS / seconds_of(f, 1))) for c, f in calls.items()}
    times: dict[str, list[float]] = {contender: [] for contender in calls}
    for _ in range(rounds):
        for contender, call in calls.items():
            times[contender].append(seconds_of(call, repeats[contender]))
    return {"times": times, "errors": errors}


def alone(name: str, contender: str) -> dict[str, Any]:
    """Compile time (to the end of the first call) and memory of a contender by itself."""
    bench = programs()[name]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        warm_up(contender)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call = call_of(contender, bench)
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        call()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        libraries = list(Path(cache).rglob("*.so")) if contender == "pullback" else []
        size = sum(path.stat().st_size for path in libraries)
    return {"compile": seconds, "memory": (after - before) * 1024, "library": size}


def warm_up(contender: str) -> None:
    """Imports, which belong to the process and not to the program."""
    import numpy as np

    from .programs import Bench

    tiny = Bench("", lambda _: lambda x: x * 2, lambda *_: lambda x: x * 2, (np.ones(2),))
    call_of(contender, tiny)()


# -- the command --------------------------------------------------------------------------------


def child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.suite", *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    lines = run.stdout.strip().splitlines()
    if run.returncode or not lines:
        text = run.stderr.strip().splitlines()
        return {"failed": text[-1][:120] if text else f"exit {run.returncode}"}
    return json.loads(lines[-1])


def median_ratio(times: dict[str, list[float]], other: str) -> float | None:
    if other not in times or "pullback" not in times:
        return None
    pairs = zip(times[other], times["pullback"], strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def geometric_mean(numbers: list[float]) -> float:
    return math.exp(sum(map(math.log, numbers)) / len(numbers)) if numbers else math.nan


def show_time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 1e-2 else f"{seconds * 1e3:,.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="parts of program names")
    parser.add_argument("--without", nargs="*", default=[], help="contenders to leave out")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="no compile times, no memory")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--race", help=argparse.SUPPRESS)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    use_threads(options.threads)
    chosen = [c for c in CONTENDERS if not any(part in c for part in options.without)]
    if importlib.util.find_spec("jax") is None:
        chosen = [c for c in chosen if c != "jax.jit"]
    if options.race:
        print(json.dumps(race(options.race, chosen, options.rounds)))
    elif options.alone:
        print(json.dumps(alone(options.alone, chosen[0])))
    else:
        report(options, chosen)


def report(options: argparse.Namespace, chosen: list[str]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    threads = f"--threads={options.threads}"
    headers = ["program", "contender", "call", "x pullback", "compile", "memory", "library"]
    table = Table(*[Column(h, justify="left" if h in headers[:2] else "right") for h in headers])
    collected: dict[str, Any] = {}
    ratios: dict[str, list[float]] = {contender: [] for contender in chosen}
    best: list[float] = []
    for name in programs():
        if options.only and not any(part in name for part in options.only):
            continue
        without = [c for c in CONTENDERS if c not in chosen]
        arguments = ["--race", name, threads, f"--rounds={options.rounds}"]
        found = child(*arguments, *(["--without", *without] if without else []))
        collected[name] = found
        times, errors = found.get("times", {}), found.get("errors", {})
        for contender in chosen:
            cost: dict[str, Any] = {}
            if contender in times and not options.quick:
                others = [c for c in CONTENDERS if c != contender]
                cost = child("--alone", name, threads, "--without", *others)
                found.setdefault("alone", {})[contender] = cost
            ratio = median_ratio(times, contender)
            if ratio is not None:
                ratios[contender].append(ratio)
            table.add_row(
                name if contender == chosen[0] else "",
                contender,
                show_time(statistics.median(times[contender]))
                if contender in times
                else errors.get(contender, found.get("failed", "failed")),
                f"{ratio:.2f}" if ratio else "",
                f"{cost['compile']:.2f} s" if "compile" in cost else "",
                f"{cost['memory'] / 1e6:.0f} MB" if "memory" in cost else "",
                f"{cost['library'] / 1e3:.1f} KB" if cost.get("library") else "",
            )
        rivals = [r for c in ("torch.compile", "jax.jit") if (r := median_ratio(times, c))]
        if rivals:
            best.append(min(rivals))
    console = Console(width=150)
    console.print(table)
    for contender in chosen[1:]:
        if ratios[contender]:
            console.print(
                f"{contender}: geometric mean {geometric_mean(ratios[contender]):.2f}, "
                f"least {min(ratios[contender]):.2f} (of {len(ratios[contender])} programs)"
            )
    if best:
        console.print(f"the best of torch.compile and jax.jit: {geometric_mean(best):.2f}")
    if options.json:
        options.json.write_text(json.dumps(collected, indent=1))


if __name__ == "__main__":
    main()
