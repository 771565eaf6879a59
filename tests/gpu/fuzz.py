"""Compares random programs on the fake GPU with the CPU.

python -m tests.gpu.fuzz --count 500 --start 1000
python -m tests.gpu.fuzz --seed 17        one program, shown
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from typing import Any
from unittest import mock

import pullback
from pullback.pipelines.gpu import ptxas
from pullback.runtime import driver as opened

from ..fuzz.judge import compare, noise, tolerance
from ..fuzz.programs import Maker, Program
from . import driver as fake


def verdict(program: Program) -> str:
    """ "same", "noise" (rounding decides), "cannot" (the CPU cannot either), or what is wrong."""

    def on_cpu(values: Any) -> Any:
        return program.run(pullback, pullback.jit, values)

    values = program.values()
    try:
        expected = on_cpu(values)
    except Exception:
        return "cannot"
    try:
        found = program.run(pullback, pullback.jit(target="cuda"), values)
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    moved = lambda: noise(program, expected, on_cpu)  # noqa: E731
    return compare(found, expected, moved, tolerance(program)) or "same"


def judged(seed: int) -> tuple[Program, str]:
    with warnings.catch_warnings(), mock.patch.object(ptxas, "find", lambda *_: None):
        warnings.simplefilter("ignore")
        program = Maker(seed).program()
        return program, verdict(program)


def main() -> None:
    parser = argparse.ArgumentParser("tests.gpu.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, help="only this program")
    options = parser.parse_args()
    start, count = (options.start, options.count) if options.seed is None else (options.seed, 1)
    gpu = fake.Driver(devices=1).install()
    opened.primary_context.cache_clear()
    verdicts: Counter[str] = Counter()
    for seed in range(start, start + count):
        program, said = judged(seed)
        verdicts[said if said in ("same", "noise", "cannot") else "wrong"] += 1
        if said not in ("same", "noise", "cannot") or options.seed is not None:
            print(f"seed {seed}: {said}\n{program.show()}", flush=True)
        if gpu.trap:  # nothing runs any more in a context with an error
            print(f"{gpu.trap}", flush=True)
            gpu = fake.Driver(devices=1).install()
            opened.primary_context.cache_clear()
        if sum(verdicts.values()) % 20 == 0:
            print(dict(verdicts), flush=True)
    print(dict(verdicts), f"{len(gpu.launches)} launches")


if __name__ == "__main__":
    main()
