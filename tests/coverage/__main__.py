"""Checks torch's operators under seven functions and writes what it found.

    python -m tests.coverage                          all of op_db, f32 and f64
    python -m tests.coverage --only 'sin,nn.functional.*'   some operators, with the reasons
    python -m tests.coverage --dtype f64 --samples 2 --json out.json --table out.md

A run that was stopped goes on with the same --json; --fresh starts again.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ..processes import Lost, Worker
from .cases import DTYPES, operators
from .forms import FORMS
from .table import LETTERS, complete, page


def main() -> None:
    parser = argparse.ArgumentParser("tests.coverage", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="names or patterns, separated by commas")
    parser.add_argument("--dtype", default="f32,f64")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=120, help="seconds for a sample")
    parser.add_argument("--json", type=Path, help="results; read first, to go on with a run")
    parser.add_argument("--fresh", action="store_true", help="do not read --json first")
    parser.add_argument("--table", type=Path, help="write the page of the documentation")
    parser.add_argument("--verdict", default="", help="print reasons of these verdicts only")
    options = parser.parse_args()

    table = operators()
    patterns = [p for p in options.only.split(",") if p]
    chosen = [
        name
        for name in table
        if not patterns
        or any(fnmatch.fnmatchcase(n, p) for p in patterns for n in (name, table[name].name))
    ]
    results: dict[str, Any] = {}
    if options.json and options.json.exists() and not options.fresh:
        results = json.loads(options.json.read_text())
    work = [
        (name, dtype)
        for name in chosen
        for dtype in options.dtype.split(",")
        if DTYPES[dtype] in table[name].supported_dtypes("cpu") and f"{name} {dtype}" not in results
    ]
    jobs = iter(work)
    lock = threading.Lock()
    done = 0

    def serve(cache: str) -> None:
        nonlocal done
        worker = Worker("tests.coverage.worker", options.limit, cache)
        while True:
            with lock:
                job = next(jobs, None)
            if job is None:
                break
            start = time.perf_counter()
            request = {"name": job[0], "dtype": job[1], "samples": options.samples}
            try:
                result = worker.ask(request)
            except Lost as lost:
                result = {"forms": dict.fromkeys(FORMS, lost.verdict), "samples": 0}
                result["why"] = {"forward": lost.text}
            result["seconds"] = round(time.perf_counter() - start, 1)
            result["differentiable"] = table[job[0]].supports_autograd
            with lock:
                done += 1
                results[" ".join(job)] = result
                show(job, result, done, len(work), bool(patterns), options.verdict)
                if options.json:
                    options.json.write_text(json.dumps(results, indent=0))
        worker.stop()

    with tempfile.TemporaryDirectory(prefix="pullback-coverage-") as cache:
        threads = [threading.Thread(target=serve, args=(cache,)) for _ in range(options.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    shown = {key: value for key, value in results.items() if key.rsplit(" ", 1)[0] in chosen}
    print(summary(shown))
    if options.table:
        options.table.write_text(page(results))
    bad = {"wrong", "crash"} & {v for r in shown.values() for v in r["forms"].values()}
    sys.exit(bool(bad))


def show(
    job: tuple[str, str], result: dict[str, Any], done: int, total: int, long: bool, only: str
) -> None:
    letters = "".join(LETTERS[result["forms"].get(form)] for form in FORMS)
    print(f"{done:4}/{total} {letters} {' '.join(job):48} {result['seconds']:6.1f} s", flush=True)
    reasons: dict[tuple[str, str], list[str]] = {}
    for form, why in result["why"].items():
        verdict = result["forms"].get(form, "")
        wanted = only.split(",") if only else ("wrong", "crash", "timeout")
        if verdict in wanted or (long and not only):
            reasons.setdefault((verdict, why), []).append(form)
    for (verdict, why), forms in reasons.items():
        print(f"       {verdict} {', '.join(forms)}: {why}", flush=True)


def summary(results: dict[str, Any]) -> str:
    lines = [f"{'':14}" + "".join(f"{v:>13}" for v in LETTERS if v)]
    for form in FORMS:
        counts = Counter(r["forms"].get(form) for r in results.values())
        lines.append(f"{form:14}" + "".join(f"{counts[v]:13}" for v in LETTERS if v))
    some = [r for r in results.values() if r["differentiable"]]
    whole = sum(map(complete, some))
    lines.append(f"all of them, of the differentiable: {whole} of {len(some)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
