"""A few of torch's operators under the seven functions, and that wrong results would be seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from . import worker
from .cases import cases, operators, prepare
from .forms import FORMS, Arguments, theirs
from .most_used import MOST_USED
from .table import complete, page
from .verdict import check

NAMES = ("sin", "amax", "var", "where", "addmm", "cumsum", "scatter_add")

#: Where the command has found a defect once.
FOUND = (
    "softmax",
    "torch.ops.aten._safe_softmax.default",
    "max.reduction_no_dim",
    "nn.functional.prelu",
    "logaddexp2",
    "nextafter",
    "lerp",
    "nn.functional.hardswish",
    "nn.functional.dropout",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES + FOUND)
def test_operator(name: str) -> None:
    result = worker.examine(name, "f64", 1, lambda text: None)
    assert result["samples"] and complete(result), result["why"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_wrong_results_are_seen(form: str) -> None:
    case = next(cases(operators()["mul"], torch.float64, 1))
    assert prepare(case)
    given = Arguments(case, case.function(*case.arguments))
    right = next(theirs(case, form, given))
    assert check(case, form, given, right) is None
    wrong = [t * (1 + 1e-6) for t in right]
    assert "differ" in str(check(case, form, given, wrong))
    assert "instead of" in str(check(case, form, given, [t[None] for t in right]))


@pytest.mark.filterwarnings("ignore")
def test_unexpected_exceptions_are_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def jit(function: Any) -> Any:
        def run(**arguments: Any) -> Any:
            raise KeyError("lost")

        return run

    monkeypatch.setattr(worker.pullback, "jit", jit)
    result = worker.examine("sin", "f64", 1, lambda text: None)
    assert set(result["forms"].values()) == {"crash"}


@pytest.mark.parametrize(
    ("name", "random"), [("bernoulli", True), ("normal.in_place", True), ("sin", False)]
)
def test_random_functions_are_seen(name: str, random: bool) -> None:
    case = next(cases(operators()[name], torch.float32, 1))
    assert prepare(case) and case.random is random


def test_page() -> None:
    result = {"forms": dict.fromkeys(FORMS, "pass"), "why": {}, "differentiable": True}
    text = page({"sin f64": result, "sin f32": {**result, "forms": {"forward": "wrong"}}})
    assert "0 of 1 differentiable" in text and "| sin | `W------` | `ppppppp` |" in text


def test_most_used_are_operators() -> None:
    assert len(MOST_USED) == len(set(MOST_USED)) == 150
    assert set(MOST_USED) <= set(operators())
