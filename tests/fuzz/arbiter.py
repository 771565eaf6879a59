"""Who is wrong where pullback and torch.func differ: central differences in f64 decide.

Every transform of a nest is a difference of values of the program here, so that no derivative
formula, of torch or ours, has a part in the judgement. Where values meet (the ties of a maximum,
the corner of a relu) a difference says nothing about the subgradient, so the judgement is made at
points near by; a difference that is only at the given point is ours, for torch defines it there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from .programs import Program
from .reference import Definition, Function

STEPS = (1e-3, 2.5e-3)
STENCIL = ((1, 8), (-1, -8), (2, -1), (-2, 1))  # of fourth order, over 12 steps
EVALUATIONS = 60_000  # of a function in a nest, at most
FEWER = 8_000  # for what differs from nothing
NEARER = 0.1  # of the difference between the two: who is so near to the truth is right
AGREED = 0.01  # of it: so near must the differences of two steps be
POINTS = 3
SURE, COARSE = 1e-5, 2e-3  # of the scale: differences agree; a result agrees with them


class Undecided(Exception):
    """Differences would cost too much, or say nothing."""


class Differences(Definition):
    """The names that programs use, each derivative a difference of values."""

    def __init__(self, step: float, evaluations: int = EVALUATIONS) -> None:
        self.step, self.left = step, evaluations

    def slope(self, f: Function, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
        """The derivative of all results in one direction."""
        self.left -= len(STENCIL)
        if self.left < 0:
            raise Undecided("too many evaluations")
        pairs = list(zip(primals, tangents, strict=True))
        moved = [
            f(*(p + k * self.step * t if p.is_floating_point() else p for p, t in pairs))
            for k, _ in STENCIL
        ]
        weights = [weight / (12 * self.step) for _, weight in STENCIL]

        def combine(*values: torch.Tensor) -> torch.Tensor:
            return sum(
                (w * v.double() for w, v in zip(weights, values, strict=True)),
                start=torch.zeros((), dtype=torch.float64),
            )

        return tree_map(combine, *moved)

    def slopes(self, f: Function, primals: tuple[Any, ...], wrt: int) -> Iterator[Any]:
        """The derivative by each element of an argument."""
        for place in range(primals[wrt].numel()):
            tangents = [torch.zeros(p.shape, dtype=p.dtype) for p in primals]
            tangents[wrt].view(-1)[place] = 1
            yield self.slope(f, primals, tuple(tangents))

    def jacfwd(self, f: Function, argnums: Any = 0) -> Function:
        def run(*primals: torch.Tensor) -> Any:
            single = isinstance(argnums, int)
            numbers = (argnums,) if single else argnums
            columns = [list(self.slopes(f, primals, wrt)) for wrt in numbers]
            shapes = [primals[wrt].shape for wrt in numbers]

            def leaf(place: int, out: torch.Tensor) -> Any:
                parts = tuple(
                    torch.stack([tree_leaves(c)[place] for c in column], -1).reshape(
                        (*out.shape, *shape)
                    )
                    if column
                    else torch.zeros((*out.shape, *shape), dtype=torch.float64)
                    for column, shape in zip(columns, shapes, strict=True)
                )
                return parts[0] if single else parts

            places = itertools.count()
            return tree_map(lambda out: leaf(next(places), out), f(*primals))

        return run

    jacrev = grad = jacfwd  # pyright: ignore[reportAssignmentType]

    def hessian(self, f: Function, argnums: Any = 0) -> Function:
        return self.jacfwd(self.jacfwd(f, argnums), argnums)

    def grad_and_value(self, f: Function, argnums: Any = 0) -> Function:
        return lambda *primals: (self.jacfwd(f, argnums)(*primals), f(*primals))

    def jvp(self, f: Function, primals: Any, tangents: Any) -> tuple[Any, Any]:
        return f(*primals), self.slope(f, tuple(primals), tuple(tangents))

    def linearize(self, f: Function, *primals: torch.Tensor) -> tuple[Any, Function]:
        return f(*primals), lambda *tangents: self.slope(f, primals, tangents)

    def vjp(self, f: Function, *primals: torch.Tensor) -> tuple[Any, Function]:
        def pull(cotangents: Any) -> Any:
            weights = tree_leaves(cotangents)

            def paired(*values: torch.Tensor) -> torch.Tensor:
                terms = [
                    (o * w).sum() for o, w in zip(tree_leaves(f(*values)), weights, strict=True)
                ]
                return sum(terms, start=torch.zeros((), dtype=torch.float64))

            return self.jacfwd(paired, tuple(range(len(primals))))(*primals)

        return f(*primals), pull


@dataclass(frozen=True)
class Judgement:
    """Whose result is wrong, ours, torch or "" (unknown); ``alone``: at one point only."""

    wrong: str
    evidence: str
    alone: bool = False


def arbitrate(
    program: Program,
    ours: Callable[[Program, list[torch.Tensor]], Any],
    torchs: Callable[[Program, list[torch.Tensor]], Any],
    differs: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Judgement:
    """Judges at points near the arguments; ``differs`` says which elements of two results do.

    Differences see through ``detach``: it is taken out first, and what differs no more without it
    is undecided. Halves may meet at one point by chance, so ours is wrong only at two.
    """
    program, wide = without_detach(program)
    generator = torch.Generator().manual_seed(program.seed)
    met, faults = 0, []
    for _ in range(POINTS):
        values = [nudged(value, generator) for value in program.values()]
        results = tree_leaves(ours(program, values)), tree_leaves(torchs(program, values))
        if not any(differs(a, b).any() for a, b in zip(*results, strict=True)):
            continue
        met += 1
        try:
            truths = [truth(wide, values, step) for step in STEPS]
        except Undecided as reason:
            return Judgement("", str(reason))
        votes = [
            vote(a, b, t, again, differs) for a, b, t, again in zip(*results, *truths, strict=True)
        ]
        if texts := [text for who, text in votes if who == "ours"]:
            faults.append(texts[0])
        elif (texts := [text for who, text in votes if who == "torch"]) and not faults:
            return Judgement("torch", texts[0])
    if len(faults) > 1:
        return Judgement("ours", faults[0])
    if met > len(faults):
        return Judgement("", "the differences of two step sizes do not agree")
    return Judgement(
        "", "they differ at these arguments only: a tie, a corner, or detach", alone=True
    )


def without_detach(program: Program) -> tuple[Program, Program]:
    """The program, and the same all in f64."""
    lines = tuple((name, line.replace(".detach()", "")) for name, line in program.lines)
    wide = tuple((name, line.replace(".float()", ".double()")) for name, line in lines)
    return replace(program, lines=lines), replace(program, lines=wide)


def measured(
    program: Program, ours: Callable[[Program, list[torch.Tensor]], Any], limit: float
) -> Judgement:
    """Compares a program that torch.func cannot run with differences; ``wrong`` is ours or ""."""
    program, wide = without_detach(program)
    values = [nudged(v, torch.Generator().manual_seed(program.seed)) for v in program.values()]
    found = tree_leaves(ours(program, values))
    sure = False
    for a, t, s in zip(found, *(truth(wide, values, step, FEWER) for step in STEPS), strict=True):
        if a.shape != t.shape:
            return Judgement("ours", f"shape {list(t.shape)}, pullback {list(a.shape)}")
        scale = t.double().abs().nan_to_num(0, 0, 0).amax().clamp(min=1) if t.numel() else 1
        # NaN may be torch's too: the derivative of where(x > 0, sqrt(x), 0) multiplies 0 by it.
        known = ((t - s).abs() <= SURE * scale) & t.isfinite() & ~a.isnan()
        bad = known & ~((a.double() - t).abs() <= max(COARSE, limit) * scale)
        if bad.any():
            shown = [float(x[bad][0]) for x in (t, s, a)]
            return Judgement(
                "ours", "differences give {:.7g} and {:.7g}, pullback {}".format(*shown)
            )
        sure |= bool(known.all())
    if not sure:
        raise Undecided("the differences of two step sizes do not agree")
    return Judgement("", "as differences")


def nudged(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not value.is_floating_point():
        return value
    return value + (0.02 * torch.randn(value.shape, generator=generator)).to(value.dtype)


def truth(
    program: Program, values: list[torch.Tensor], step: float, evaluations: int = EVALUATIONS
) -> list[torch.Tensor]:
    wide = [v.double() if v.is_floating_point() else v for v in values]
    return tree_leaves(program.run(Differences(step, evaluations), values=wide))


def vote(
    ours: torch.Tensor,
    torchs: torch.Tensor,
    truth: torch.Tensor,
    again: torch.Tensor,
    differs: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> tuple[str, str]:
    """Who is wrong in this result; ours if both are somewhere.

    Right is who is much nearer to the truth than to the other, or as near to it as results may be.
    """
    where = differs(ours, torchs)
    a, b, t, s = (x.double()[where] for x in (ours, torchs, truth, again))
    apart = (a - b).abs().nan_to_num(torch.inf).clamp(max=t.abs() + 1)
    sure = ((t - s).abs() <= AGREED * apart) & t.isfinite()
    near = [~differs(x, truth)[where] for x in (ours, torchs)]
    good = [((x - t).abs() <= NEARER * apart) | n for x, n in zip((a, b), near, strict=True)]
    text = "differences give {:.7g} and {:.7g}, pullback {:.9g}, torch.func {:.9g}"
    for who, faulty in (("ours", sure & ~good[0]), ("torch", sure & good[0] & ~good[1])):
        if faulty.any():
            shown = [float(x[faulty][0]) for x in (t, s, a, b)]
            return who, text.format(*shown)
    return "", ""
