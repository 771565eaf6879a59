"""Options of the whole suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nests",
        default="0",
        metavar="SEED|all",
        help="nests of three transforms to check: a sample with this seed (default 0), or all",
    )
