"""Every row of torch.func's contract, and the document about what differs."""

from __future__ import annotations

import inspect

import pullback
import pytest
import torch.func

from . import contract

ROWS = list(contract.rows())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.call)
def test_row(row, interpreted):
    found = contract.difference(row)
    if row.call in contract.DIFFERENCES:
        assert found, "this is no difference any more"
    else:
        assert not found


def test_names():
    for name in torch.func.__all__:
        assert callable(getattr(pullback, name))
        assert any(f"T.{name}(" in row.call for row in ROWS)


@pytest.mark.parametrize("name", torch.func.__all__)
def test_signature(name):
    """torch's parameters with their kinds and defaults; ours may have more, by keyword."""
    theirs = inspect.signature(getattr(torch.func, name)).parameters.values()
    ours = inspect.signature(getattr(pullback, name)).parameters
    for parameter in theirs:
        found = ours[parameter.name]
        assert (found.kind, found.default) == (parameter.kind, parameter.default), parameter
    for extra in set(ours) - {p.name for p in theirs}:
        assert ours[extra].kind is inspect.Parameter.KEYWORD_ONLY
    positional = [p.name for p in theirs if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert list(ours)[: len(positional)] == positional


def test_size_and_share():
    calls = {row.call for row in ROWS}
    assert len(calls) == len(ROWS) >= 200
    assert calls >= set(contract.DIFFERENCES)
    assert len(contract.DIFFERENCES) <= 0.05 * len(ROWS)


def test_document():
    assert contract.DOCUMENT.read_text() == contract.document()
