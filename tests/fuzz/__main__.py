"""Compares random programs with torch.func, and shows what differs, shrunk.

python -m tests.fuzz --count 5000            seeds 0 to 4999
python -m tests.fuzz --seed 17               one program, shown whatever comes out
python -m tests.fuzz --count 500 --start 5000 --workers 1 --log failures.txt
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from ..processes import Lost, Worker
from .judge import BAD


def main() -> None:
    parser = argparse.ArgumentParser("tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, help="only this program")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds for a program")
    parser.add_argument("--log", type=Path, help="append failures to a file")
    parser.add_argument("--no-shrink", dest="shrink", action="store_false")
    options = parser.parse_args()

    start, count = options.start, options.count
    if options.seed is not None:
        start, count, options.workers = options.seed, 1, 1
    seeds = iter(range(start, start + count))
    lock = threading.Lock()
    verdicts: Counter[str] = Counter()
    unsupported: Counter[str] = Counter()
    refused: Counter[str] = Counter()

    def serve(cache: str) -> None:
        worker = Worker("tests.fuzz.worker", options.limit, cache)
        while True:
            with lock:
                seed = next(seeds, None)
            if seed is None:
                break
            result: dict[str, Any]
            try:
                result = worker.ask({"seed": seed, "shrink": options.shrink})
            except Lost as lost:
                result = {"verdict": lost.verdict, "text": lost.text, "unsupported": [], "show": ""}
            with lock:
                verdict = result["verdict"]
                verdicts[verdict] += 1
                unsupported.update(result["unsupported"])
                if verdict == "unsupported":
                    refused[result["text"][:90]] += 1
                if verdict in (*BAD, "torch wrong") or options.seed is not None:
                    text = f"seed {seed}: {verdict}: {result['text']}\n{result['show']}"
                    print(text, flush=True)
                    if options.log and options.seed is None:
                        with options.log.open("a") as file:
                            file.write(text + "\n")
                done = sum(verdicts.values())
                if done % 50 == 0:
                    print(f"{done}/{count}: {dict(verdicts)}", flush=True)
        worker.stop()

    with tempfile.TemporaryDirectory(prefix="pullback-fuzz-") as cache:
        threads = [threading.Thread(target=serve, args=(cache,)) for _ in range(options.workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(dict(verdicts))
    print("left out as unsupported:", dict(unsupported.most_common(40)))
    print("refused whole:", dict(refused.most_common(20)))
    sys.exit(any(verdicts[verdict] for verdict in BAD))


if __name__ == "__main__":
    main()
