"""The main job on real data: derivatives of a softmax regression over handwritten digits.

Compiles per-sample gradients and the Hessian ahead of time, loads the libraries as a program
without a compiler would, checks them against torch.func and compares speed and size.

    python -m pullback.tools.digits [DIRECTORY]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pullback
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from torch.utils._pytree import tree_leaves

BATCH = 256
TOLERANCE = 1e-10


def loss(params: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of one image of 64 pixels, for ten classes."""
    logits = params["weight"] @ image + params["bias"]
    return torch.nn.functional.cross_entropy(logits, label)


def mean_loss(
    params: dict[str, torch.Tensor], images: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The loss of a batch."""
    logits = images @ params["weight"].T + params["bias"]
    return torch.nn.functional.cross_entropy(logits, labels)


@dataclass(frozen=True)
class Job:
    """One function to compile: ``of`` makes it with pullback or with torch.func."""

    name: str
    title: str
    of: Callable[[Any], Callable[..., Any]]


JOBS = [
    Job(
        "digits_gradients",
        "per-sample gradients",
        lambda func: func.vmap(func.grad(loss), in_dims=(None, 0, 0)),
    ),
    Job("digits_hessian", "Hessian", lambda func: func.hessian(mean_loss)),
]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1797 images of 8 x 8 pixels between 0 and 1, and the digit that each shows."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("this example needs scikit-learn: pip install scikit-learn")
    data: Any = load_digits()
    return torch.from_numpy(data.data / 16.0), torch.from_numpy(data.target).long()


def trained(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Parameters after some steps of gradient descent, by a compiled gradient of course."""
    params = {
        "weight": torch.zeros(10, 64, dtype=torch.float64),
        "bias": torch.zeros(10, dtype=torch.float64),
    }
    gradient = pullback.jit(pullback.grad(mean_loss))
    for _ in range(50):
        step = gradient(params, images, labels)
        params = {name: value - step[name] for name, value in params.items()}
    return params


def seconds(call: Callable[[], Any], budget: float = 1.0) -> float:
    """The best time of a call."""
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def largest_error(actual: Any, expected: Any) -> float:
    """The largest difference between two results, relative to the largest element."""
    pairs = list(zip(tree_leaves(actual), tree_leaves(expected), strict=True))
    scale = max(e.abs().max().item() for _, e in pairs)
    return max((a - e).abs().max().item() for a, e in pairs) / scale


def size(count: float) -> str:
    return f"{count / 1024:.1f} KB"


def duration(time_: float) -> str:
    return f"{time_ * 1e6:,.0f} µs" if time_ < 1e-2 else f"{time_ * 1e3:,.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pullback.tools.digits", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("build/digits"))
    directory = parser.parse_args().directory

    console, progress = Console(), Console(stderr=True)
    images, labels = digits()
    with progress.status("training a softmax regression"):
        params = trained(images, labels)
    logits = images @ params["weight"].T + params["bias"]
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    console.print(f"softmax regression on {len(images)} digits: {accuracy:.1%} right")
    arguments = (params, images[:BATCH], labels[:BATCH])

    numbers = ("library", "built in", "a call", "torch.func", "error")
    table = Table(
        f"on {BATCH} digits", *(Column(name, justify="right") for name in numbers), box=SIMPLE
    )
    worst = 0.0
    for job in JOBS:
        with progress.status(f"compiling {job.title}"):
            start = time.perf_counter()
            pullback.compile(job.of(pullback), *arguments, name=job.name, out=directory)
            built = time.perf_counter() - start
        library = directory / f"{job.name}.so"
        # From here on neither torch nor the compiler is needed; see `pullback run`.
        function = pullback.load(library)
        with progress.status(f"comparing {job.title} with torch.func"):
            reference = job.of(torch.func)
            error = largest_error(function(*arguments), reference(*arguments))
            ours = seconds(lambda f=function: f(*arguments))
            theirs = seconds(lambda f=reference: f(*arguments))
        worst = max(worst, error)
        table.add_row(
            job.title,
            size(library.stat().st_size),
            f"{built:.2f} s",
            duration(ours),
            duration(theirs),
            f"{error:.0e}",
        )
    console.print(table)
    console.print(f"the libraries and their headers are in {directory}")
    if not worst <= TOLERANCE:
        sys.exit(f"the largest error, {worst:.0e}, is above {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
