"""A process that checks one operator at a time; see ``tests/processes.py``."""

from __future__ import annotations

from typing import Any

import pullback
import torch
from pullback.frontend import jit

from ..processes import answer
from .cases import DTYPES, Case, cases, operators, points, prepare
from .forms import Arguments, forms_of, ours, theirs
from .verdict import TORCH, check

# torch's attention as it is defined: its fused kernel reads a NaN score as -inf.
torch.backends.cuda.enable_flash_sdp(False)  # of the CPU, too

Verdict = tuple[str, str]  # pass, wrong, unsupported or crash, and why
DEFECTS = (pullback.InternalError, pullback.VerifyError, pullback.ToolchainError)
SEVERITY = ("pass", "unsupported", "wrong", "crash")


class Found:
    """The worst verdict of each form over the cases of one operator."""

    def __init__(self) -> None:
        self.forms: dict[str, str] = {}
        self.why: dict[str, str] = {}
        self.samples = 0
        self.refused: dict[str, Verdict] = {}  # forms of the present case

    def add(self, form: str, verdict: str, why: str) -> None:
        if SEVERITY.index(verdict) >= SEVERITY.index(self.forms.get(form, "pass")):
            if why and self.forms.get(form) != verdict:
                self.why[form] = why
            self.forms[form] = verdict


def failure(error: BaseException) -> Verdict:
    lines = [line.strip() for line in str(error).splitlines() or [""]]
    lines = [line for line in lines if not line.startswith(("note:", "result = process"))]
    text = f"{type(error).__name__}: {' '.join(lines)}"[:500]
    known = isinstance(error, pullback.PullbackError) and not isinstance(error, DEFECTS)
    return ("unsupported" if known else "crash"), text


def examine(name: str, dtype: str, samples: int, at: Any) -> dict[str, Any]:
    """All forms of one operator in one dtype."""
    found = Found()
    op = operators()[name]
    for case in cases(op, DTYPES[dtype], samples):
        at(case.title)
        try:
            if not prepare(case):
                continue
            outs = case.function(*case.arguments)
        except Exception:  # torch itself cannot
            continue
        found.samples += 1
        one(case, [*outs], found, at)
    return {"forms": found.forms, "why": found.why, "samples": found.samples}


def one(case: Case, outs: list[torch.Tensor], found: Found, at: Any) -> None:
    """A case at its points. Shapes stay, so that each function is compiled once."""
    jit._cache.clear()
    found.refused.clear()
    given = Arguments(case, outs)
    forms = tuple(forms_of(case))
    functions = {forms: pullback.jit(ours(case, forms, given))}
    for point in points(case):
        try:
            outs = [*point.function(*point.arguments)]
        except Exception:
            continue
        given = Arguments(point, outs)
        tree = given.tree()
        for group in [*functions]:
            at(point.title)
            try:
                results = functions[group](**tree)
            except Exception as error:
                verdict, why = failure(error)
                del functions[group]
                if len(group) == 1:
                    record(point, group[0], given, (verdict, why), found)
                    continue
                for part in [(form,) for form in group]:
                    if "forward" in found.refused:  # then no form can be imported
                        record(point, part[0], given, found.refused["forward"], found)
                        continue
                    functions[part] = pullback.jit(ours(case, part, given))
                    try:
                        at(f"{point.title}, {part[0]}")
                        results = functions[part](**tree)
                    except Exception as error:
                        del functions[part]
                        if isinstance(error, pullback.UnsupportedOpError):
                            found.refused[part[0]] = failure(error)
                        record(point, part[0], given, failure(error), found)
                    else:
                        compare(point, part, given, results, found)
            else:
                compare(point, group, given, results, found)


def record(point: Case, form: str, given: Arguments, verdict: Verdict, found: Found) -> None:
    """A failure counts if torch has a result there."""
    try:
        next(theirs(point, form, given))
    except Exception:
        return
    found.add(form, verdict[0], f"{point.title}: {verdict[1]}")


def compare(
    point: Case, group: tuple[str, ...], given: Arguments, results: Any, found: Found
) -> None:
    for form in group:
        try:
            wrong = check(point, form, given, results[form])
        except TORCH as error:
            if not point.special:
                found.why.setdefault(f"{form}, torch", f"{type(error).__name__}: {error}"[:200])
            continue
        why = f"{point.title}: {wrong}" if wrong else ""
        found.add(form, "wrong" if wrong else "pass", why)


if __name__ == "__main__":
    answer(lambda request, at: examine(at=at, **request))
