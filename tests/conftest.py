"""Options of the whole suite."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Side by side (`-n 2`), each process has one thread for torch and numpy.

    The compile cache is made for many processes; tests that look into it have one of their own.
    """
    if hasattr(config, "workerinput"):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nests",
        default="0",
        metavar="SEED|all",
        help="nests of three transforms to check: a sample with this seed (default 0), or all",
    )
    parser.addoption(
        "--sizes",
        default="",
        metavar="all",
        help="kernels of every op: at a size and in a type of its own, or all at all and in all",
    )
