"""Runs one program by torch.func and by pullback and says how they compare.

What torch's own rounding does to a program decides how near a result must be: a difference counts
if it is beyond the dtype's rounding at the scale of the result and beyond what a perturbation of
the arguments by one rounding does. Where that is everything, the program says nothing. Where they
differ, ``arbiter`` says who is wrong.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pullback
import torch
from torch.utils._pytree import tree_leaves, tree_structure

from .arbiter import Judgement, Undecided, arbitrate, measured
from .programs import FILE, HALVES, INTEGERS, Program, floats, shrunk
from .reference import DEFINITION, REFERENCE

#: Of the scale, up to three orders of derivatives; of halves only a wrong factor is clear.
TOLERANCE = {
    torch.float64: 1e-9,
    torch.float32: 2e-4,
    torch.float16: 0.02,
    torch.bfloat16: 0.2,
}
#: Functions of which torch is less exact, and by how much; and those whose derivatives at equal
#: values are open: which of them is the k-th, how equal eigenvalues part.
INEXACT = {".digamma(": 1e-7}
OPEN = (".kthvalue(", ".eigvalsh(", ".svdvals(")
AMPLIFIED, AMPLIFIED_HALF = 1e3, 10  # how often a rounding may be met in a program
USELESS, USELESS_HALF = 1e-2, 0.5  # of the scale: such a perturbation hides everything
#: What torch raises where it cannot: also vmap of in-place, of data-dependent shapes, and so on.
TORCH = (
    *(RuntimeError, IndexError, TypeError, ValueError),
    *(NotImplementedError, AttributeError, AssertionError),
)
EXPLAINED = (
    pullback.UnsupportedOpError,
    pullback.CaptureError,
    pullback.NotDifferentiableError,
    pullback.ShapeError,
    pullback.MissingRuleError,
)
#: Two that compare nothing come first: torch cannot run the program, or rounding decides it.
#: ``measured`` is the same as differences, where torch.func cannot run the program.
VERDICTS = (
    *("cannot", "noise", "same", "measured", "unsupported"),
    *("torch wrong", "wrong", "undecided", "crash"),
)
BAD = ("crash", "wrong", "undecided", "timeout")
_LINE = re.compile(rf"{FILE}:(\d+):")
_CALL = re.compile(r"\baten\.\w+(?:\.\w+)?")


@dataclass(frozen=True)
class Outcome:
    """A verdict, one of ``VERDICTS``, and what there is to say about it.

    ``differs`` stands for the last three until the arbiter has spoken.
    """

    verdict: str
    text: str = ""

    @property
    def bad(self) -> bool:
        return self.verdict in BAD


def judge(program: Program) -> tuple[Program, Outcome, list[str]]:
    """The verdict, the program it is about (without what is unsupported), and what that was."""
    unsupported: list[str] = []
    while True:
        outcome, lines = attempt(program)
        if outcome.verdict == "unsupported" and lines:
            unsupported.append(outcome.text)
            smaller = program.without(program.names_at(lines))
            if len(smaller.lines) < len(program.lines):
                program = smaller
                continue
        if outcome.verdict == "differs":
            program, outcome = decide(program, outcome)
        return program, outcome, unsupported


def decide(program: Program, outcome: Outcome) -> tuple[Program, Outcome]:
    """Who is wrong; what the whole program does not tell, its smallest part that differs may."""
    judgement = arbiter(program)
    if not judgement.wrong:
        program, outcome = shrink(program, outcome)
        judgement = arbiter(program)
        if judgement.alone and any(name in program.source for name in OPEN):
            return program, Outcome("noise", "open at equal values")
        if not judgement.wrong and agrees(program):
            judgement = Judgement("torch", "in nests of vjp only, torch.func agrees with pullback")
    return program, judged(outcome, judgement)


def judged(outcome: Outcome, judgement: Judgement) -> Outcome:
    verdict = {"ours": "wrong", "torch": "torch wrong", "": "undecided"}[judgement.wrong]
    return Outcome(verdict, f"{outcome.text}; {judgement.evidence}")


def examined(program: Program) -> Outcome:
    """The verdict on this very program."""
    outcome, _ = attempt(program)
    return judged(outcome, arbiter(program)) if outcome.verdict == "differs" else outcome


def arbiter(program: Program) -> Judgement:
    limit = tolerance(program)
    try:
        return arbitrate(
            program,
            lambda p, values: p.run(pullback, pullback.jit, values),
            lambda p, values: p.run(REFERENCE, values=values),
            lambda a, b: ~near(a, b, limit),
        )
    except Exception as error:
        return Judgement("", f"the arbiter fails: {type(error).__name__}: {_first(error)}")


def agrees(program: Program) -> bool:
    """Whether torch.func without its batching rules, forward formulas and known faults agrees."""
    expected = defined(program)
    if expected is None:
        return False
    found = program.run(pullback, pullback.jit)
    return not compare(found, expected, lambda: None, tolerance(program))


def defined(program: Program) -> Any:
    """The result by torch's vjp alone, or None where torch raises an error."""
    try:
        with DEFINITION.functions():
            return program.run(DEFINITION)
    except TORCH:
        return None


def attempt(program: Program) -> tuple[Outcome, set[int]]:
    """The verdict, and which lines of the source are unsupported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference, reason = REFERENCE, ""
        try:
            expected = program.run(REFERENCE)
        except TORCH as error:
            reference, reason = DEFINITION, f"{type(error).__name__}: {error}"
            expected = defined(program)
        try:
            found = program.run(pullback, pullback.jit)
        except EXPLAINED as error:
            lines = {int(number) for number in _LINE.findall(str(error))}
            return Outcome("unsupported", _first(error)), lines
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            own = isinstance(error, TORCH) and not isinstance(error, pullback.CompileError)
            if own and defined(program) is None:  # torch.func's vmap does not look at indices
                return Outcome("cannot", reason or text), set()
            return Outcome("crash", text), set()
        if expected is None:
            return compared_with_differences(program, reason), set()
        again = lambda values: program.run(reference, values=values)  # noqa: E731
        moved = lambda: noise(program, expected, again)  # noqa: E731
        text = compare(found, expected, moved, tolerance(program))
        if text == "noise":
            return Outcome("noise"), set()
        if text and reference is DEFINITION:
            return compared_with_differences(program, reason), set()
        return (Outcome("differs", text) if text else Outcome("same")), set()


def compared_with_differences(program: Program, reason: str) -> Outcome:
    """For what neither torch.func nor a nest of vjp can run."""
    try:
        judgement = measured(
            program, lambda p, values: p.run(pullback, pullback.jit, values), tolerance(program)
        )
    except (Undecided, *TORCH) as error:
        return Outcome("cannot", f"{reason}; differences: {_first(error)}")
    except Exception as error:
        return Outcome("crash", f"{type(error).__name__}: {error}")
    if judgement.wrong and drowned(program):
        return Outcome("noise")
    verdict = "undecided" if judgement.wrong else "measured"
    return Outcome(verdict, f"{judgement.evidence}; torch.func: {reason}")


def drowned(program: Program) -> bool:
    """Whether a rounding of the arguments moves our results beyond use."""
    run = lambda values: program.run(pullback, pullback.jit, values)  # noqa: E731
    found = run(program.values())
    moved = noise(program, found, run)
    useless = USELESS_HALF if precision(program) in HALVES else USELESS
    return moved is None or any(
        bool((wiggle > useless * _scale(leaf)).any())
        for wiggle, leaf in zip(moved, tree_leaves(found), strict=True)
    )


def _first(error: Exception) -> str:
    found = _CALL.search(str(error))
    return found[0] if found else str(error).splitlines()[0]


def tolerance(program: Program) -> float:
    limits = [limit for name, limit in INEXACT.items() if name in program.source]
    return max(TOLERANCE[precision(program)], *limits, 0)


def precision(program: Program) -> torch.dtype:
    """The narrowest dtype it computes in."""
    return max((value.dtype for value in floats(program.variables())), key=eps_of)


def eps_of(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def noise(
    program: Program, expected: Any, run: Callable[[list[torch.Tensor]], Any]
) -> list[torch.Tensor] | None:
    """How much each result moves when the arguments move by a rounding; None: it cannot be said.

    Multiples of one half stay, and with them the ties that they make. Of halves it is also what
    all the roundings of the program do: it is run in f32.
    """
    narrowest = precision(program)
    eps = eps_of(narrowest) * (1 if narrowest in HALVES else 4)
    moved: list[torch.Tensor] | None = None
    runs: list[list[torch.Tensor]] = []
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        values = []
        for value in program.values():
            if value.dtype not in INTEGERS:
                factor = 1 + eps * (torch.rand(value.shape, generator=generator) * 2 - 1).double()
                exact = (value * 2).round() == value * 2
                value = torch.where(exact, value, value * factor.to(value.dtype))
            values.append(value)
        runs.append(values)
    if narrowest in HALVES:
        runs.append([v.float() if v.dtype in HALVES else v for v in program.values()])
    for values in runs:
        try:
            leaves = tree_leaves(run(values))
        except TORCH:
            return None
        steps = [
            (a.double() - e.double()).abs().nan_to_num(torch.inf)
            for a, e in zip(leaves, tree_leaves(expected), strict=True)
        ]
        moved = steps if moved is None else list(map(torch.maximum, moved, steps))
    return moved


def compare(
    found: Any, expected: Any, wiggle: Callable[[], list[torch.Tensor] | None], limit: float
) -> str:
    """What is wrong, "noise", or nothing."""
    if tree_structure(found) != tree_structure(expected):
        return f"structure {tree_structure(found)} instead of {tree_structure(expected)}"
    texts = []
    for index, (a, e) in enumerate(zip(tree_leaves(found), tree_leaves(expected), strict=True)):
        if a.shape != e.shape:
            return f"result {index}: shape {list(a.shape)} instead of {list(e.shape)}"
        if a.dtype != e.dtype:
            return f"result {index}: {a.dtype} instead of {e.dtype}"
        good = near(a, e, limit)
        if not good.all():
            texts.append((index, a[~good], e[~good], good, a, e))
    if not texts:
        return ""
    moved = wiggle()
    if moved is None:
        return "noise"
    noisy, half = False, limit >= TOLERANCE[torch.float16]
    amplified, useless = (AMPLIFIED_HALF, USELESS_HALF) if half else (AMPLIFIED, USELESS)
    for index, a, e, good, whole, truth in texts:
        wiggles = moved[index]
        scale = max(_scale(truth), 1e-30)
        allowed = amplified * (wiggles.max() if wiggles.numel() else wiggles.sum())
        if not allowed <= useless * scale:
            noisy = True
            continue
        left = ~good & ~((whole.double() - truth.double()).abs() <= allowed)
        if left.any():
            return f"result {index}: {_shown(a)} instead of {_shown(e)}"
    return "noise" if noisy else ""


def near(found: torch.Tensor, expected: torch.Tensor, limit: float) -> torch.Tensor:
    if not expected.is_floating_point():
        return found == expected
    a, e = found.double(), expected.double()
    difference = (a - e).abs()
    close = difference <= limit * max(1.0, _scale(expected))
    # A Jacobian may be finite where torch multiplies zero by infinity.
    return e.isnan() | (a == e) | (close & e.isfinite())


def _scale(tensor: torch.Tensor) -> float:
    finite = tensor[tensor.isfinite()].double().abs()
    return finite.max().item() if finite.numel() else 0.0


def _shown(values: torch.Tensor) -> str:
    return str([float(f"{v:.9g}") for v in values.reshape(-1)[:4].double().tolist()])


def shrink(program: Program, outcome: Outcome, budget: int = 150) -> tuple[Program, Outcome]:
    """The smallest program found that fails in the same way."""
    kind = outcome.text.split(":")[0] if outcome.verdict == "crash" else ""
    again = True
    while again:
        again = False
        for smaller in shrunk(program):
            budget -= 1
            if budget < 0:
                return program, outcome
            if smaller == program:
                continue
            found = attempt(smaller)[0] if outcome.verdict == "differs" else examined(smaller)
            if found.verdict == outcome.verdict and found.text.startswith(kind):
                program, outcome, again = smaller, found, True
                break
    return program, outcome
