"""Compiles a model and prints what that took; a process of its own, for its peak of memory.

python large_model.py WIDTH FOLDER
"""

from __future__ import annotations

import json
import resource
import sys
import time

import pullback
import torch
from torch import nn


def peak_mb(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / 1024


def main(width: int, folder: str) -> None:
    layer, x = nn.Linear(2, 2), torch.ones(4, width)
    pullback.compile(lambda x: layer(x), torch.ones(4, 2), name="warm", out=folder)
    model = nn.Sequential(*(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(4)))
    before = peak_mb(resource.RUSAGE_SELF)
    start = time.perf_counter()
    compiled = pullback.compile(lambda x: model(x), x, name="model", out=folder)
    measured = {
        "seconds": time.perf_counter() - start,
        "own_mb": peak_mb(resource.RUSAGE_SELF) - before,
        "linker_mb": peak_mb(resource.RUSAGE_CHILDREN),
        "library_mb": compiled.path.stat().st_size / 1e6,
        "error": (compiled(x) - model(x)).abs().max().item(),
    }
    json.dump(measured, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
