"""Random torch functions: a seed makes the source of a function, its arguments and a nest.

A program is lines of text, so that a failure can be shown, shrunk and run by hand.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from .reference import REFERENCE
from .statements import STATEMENTS

SHAPES = [(), (2,), (3,), (2, 3), (3, 3), (1, 3), (2, 1, 3), (0, 3)]
LENGTHS = (2, 4, 4, 6, 6, 8, 12, 20, 30)
INTEGERS = (torch.int64, torch.int32)
HALVES = (torch.bfloat16, torch.float16)
FLOATS = (torch.float64, torch.float32, *HALVES)
LARGEST = 100  # elements of a tensor
LARGE, LARGE_HALF = 1e6, 30.0  # a program with larger numbers says little
FILE = "<program>"
HEAD = "def f(a0, a1, a2):\n    {copies}\n"
#: torch.func cannot say what a derivative by a tensor is that the function writes into.
COPIES, NO_COPIES = "a0, a1 = a0.clone(), a1.clone()", "pass"


def total(tree: Any) -> torch.Tensor:
    """A smooth scalar of all floats in a result."""
    terms = [(t * t + t).sum().double() for t in floats(tree)]
    return sum(terms, start=torch.zeros((), dtype=torch.float64))


def floats(tree: Any) -> list[torch.Tensor]:
    return [t for t in tree_leaves(tree) if t.is_floating_point()]


def like(tree: Any) -> Any:
    """Cotangents for a result, made of it."""
    return tree_map(lambda t: t * 0.5 + 1, tree)


@dataclass(frozen=True)
class Level:
    """One transform: the source of the new function in terms of ``{h}``; vmap's dimensions."""

    source: str
    dims: tuple[int | None, ...] | None = None


@dataclass(frozen=True)
class Program:
    seed: int
    lines: tuple[tuple[str, str], ...]  # the name that a line defines, the line
    arguments: tuple[torch.Tensor, ...]  # of f itself
    levels: tuple[Level, ...]

    @property
    def source(self) -> str:
        known = [name for name, _ in self.lines]
        results = ", ".join(["a0", *known[-3:]])
        if self.levels:
            results = f"*(t for t in [{results}] if t.is_floating_point())"
        body = "".join(f"    {line}\n" for _, line in self.lines)
        head = HEAD.format(copies=COPIES if self.levels else NO_COPIES)
        text = f"{head}{body}    return [{results}]\n\ndef make(api):\n    h0 = f\n"
        for number, level in enumerate(self.levels, 1):
            made = level.source.replace("{h}", f"h{number - 1}").replace("{n}", str(number))
            text += f"    {made}\n"
        return f"{text}    return h{len(self.levels)}\n"

    def variables(self) -> dict[str, torch.Tensor]:
        """The arguments and what the lines define, outside of every transform."""
        scope: dict[str, Any] = {"torch": torch, "api": REFERENCE}
        scope |= {f"a{k}": argument.clone() for k, argument in enumerate(self.arguments)}
        for _, line in self.lines:
            exec(line, scope)
        return {name: value for name, value in scope.items() if isinstance(value, torch.Tensor)}

    def values(self) -> list[torch.Tensor]:
        """The arguments of the whole nest: vmap adds dimensions."""
        generator = torch.Generator().manual_seed(self.seed)
        values = list(self.arguments)
        for level in self.levels:
            if level.dims is not None:
                values = [
                    value if dim is None else _stacked(value, dim, generator)
                    for value, dim in zip(values, level.dims, strict=True)
                ]
        return values

    def run(
        self,
        api: Any,
        wrap: Callable[[Any], Any] = lambda f: f,
        values: list[torch.Tensor] | None = None,
    ) -> Any:
        names = {"torch": torch, "api": api, "total": total, "like": like, "floats": floats}
        exec(compile(self.source, FILE, "exec"), names)
        values = self.values() if values is None else values
        given = [laid_out(value, self.seed >> 2 * place) for place, value in enumerate(values)]
        result = wrap(names["make"](api))(*given)
        return result if self.levels else (result, given)  # it may have written into them

    def without(self, dropped: set[str]) -> Program:
        """Without the lines that define these names, and those that need them."""
        dropped, kept = set(dropped), []
        for name, line in self.lines:
            if name in dropped or any(re.search(rf"\b{other}\b", line) for other in dropped):
                dropped.add(name)
            else:
                kept.append((name, line))
        return replace(self, lines=tuple(kept))

    def names_at(self, numbers: set[int]) -> set[str]:
        """What the lines of the source with these numbers define."""
        first = HEAD.count("\n") + 1
        return {name for k, (name, _) in enumerate(self.lines) if k + first in numbers}

    def show(self) -> str:
        values = "".join(
            f"# {name} = torch.tensor({v.tolist()}, dtype={v.dtype})\n"
            for name, v in zip("abc", self.values(), strict=True)
        )
        return f"# seed {self.seed}\n{values}{self.source}"


def laid_out(value: torch.Tensor, kind: int) -> torch.Tensor:
    """A copy, its elements in memory in one of three ways."""
    if kind % 4 == 2 and value.dim() > 1:
        return value.mT.clone(memory_format=torch.contiguous_format).mT
    if kind % 4 == 3:
        return torch.stack([value, value], -1)[..., 1]
    return value.clone(memory_format=torch.contiguous_format)


def _stacked(value: torch.Tensor, dim: int, generator: torch.Generator) -> torch.Tensor:
    if not value.is_floating_point():
        others = [torch.randint(0, 2, value.shape, generator=generator) for _ in "12"]
    else:
        others = [torch.randn(value.shape, generator=generator) for _ in "12"]
    return torch.stack([value, *(o.to(value.dtype) for o in others)], dim)


def shrunk(program: Program) -> Iterator[Program]:
    """Smaller programs, the boldest first."""
    half = len(program.lines) // 2
    names = [name for name, _ in program.lines]
    if half > 1:
        yield program.without(set(names[:half]))
        yield program.without(set(names[half:]))
    for k in range(len(program.levels)):
        yield replace(program, levels=program.levels[:k] + program.levels[k + 1 :])
    for name in reversed(names):
        yield program.without({name})
    for k, (_, line) in enumerate(program.lines):  # a name replaced by an argument
        for other in names[:k]:
            if re.search(rf"\b{other}\b", line):
                for argument in ("a0", "a1"):
                    new = (names[k], re.sub(rf"\b{other}\b", argument, line))
                    lines = (*program.lines[:k], new, *program.lines[k + 1 :])
                    yield replace(program, lines=lines)


class Maker:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = self.random.choice([*[torch.float64] * 4, *[torch.float32] * 2, *HALVES])

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if dtype in INTEGERS:
            return torch.randint(0, 2, shape, generator=self.generator).to(dtype)
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        if self.random.random() < 0.3:
            drawn = (drawn * 2).round() / 2  # ties and zeros
        return drawn.to(dtype)

    def program(self, longest: int = LENGTHS[-1]) -> Program:
        choose = self.random.choice
        shape = choose(SHAPES)
        arguments = [self.tensor(shape, self.dtype), self.tensor(choose([shape, (3,)]), self.dtype)]
        arguments.append(self.tensor(choose([(), (2,), (3,), shape]), choose(INTEGERS)))
        known = {f"a{number}": argument for number, argument in enumerate(arguments)}
        lines: list[tuple[str, str]] = []
        length = min(choose(LENGTHS), longest)
        for _ in range(30 * length):
            if len(lines) == length:
                break
            if (line := self.line(known)) is not None:
                lines.append(line)
        return Program(self.seed, tuple(lines), tuple(arguments), tuple(self.levels(arguments)))

    def line(self, known: dict[str, torch.Tensor]) -> tuple[str, str] | None:
        """A random statement that torch can run; its result joins ``known``."""
        names, target = {}, f"v{len(known)}"
        kinds = {
            "x": lambda t: t.is_floating_point(),
            "y": lambda t: t.is_floating_point(),
            "i": lambda t: t.dtype in INTEGERS,
            "b": lambda t: t.dtype == torch.bool,
        }
        template = self.random.choice(STATEMENTS)
        for letter, fits in kinds.items():
            fitting = [name for name, value in known.items() if fits(value)]
            if not fitting and f"{{{letter}}}" in template:
                return None
            names[letter] = self.random.choice(fitting[-4:]) if fitting else ""
        rank = max(known[names["x"]].dim(), 1)
        names |= {"d": self.random.randrange(-rank, rank), "k": self.random.random() < 0.5}
        line = f"{target} = " + template.format(**names, t=target)
        after = copy.deepcopy(known)  # with its views
        scope = {"torch": torch, "api": REFERENCE, **after}
        try:
            exec(line, scope)
        except (RuntimeError, IndexError, TypeError, ValueError, AttributeError):
            return None
        value = scope[target]
        if not isinstance(value, torch.Tensor) or value.numel() > LARGEST:
            return None
        if value.dtype not in (*INTEGERS, torch.bool, *FLOATS):
            return None
        after[target] = value
        largest = LARGE_HALF if self.dtype in HALVES else LARGE
        if not all((value.isfinite() & (value.abs() < largest)).all() for value in floats(after)):
            return None
        known.update(after)
        return target, line

    def levels(self, arguments: list[torch.Tensor]) -> Iterator[Level]:
        """A nest of up to three transforms, of which two may multiply the size of the result."""
        growing = 0
        for _ in range(self.random.choice([0, 1, 1, 2, 2, 2, 3])):
            wrt = self.random.choice(["0", "1", "(0, 1)"])
            kinds = ["grad", "grad_and_value", "vmap", "jvp", "vjp"]
            kinds += ["jacrev", "jacfwd", "hessian", "linearize"] if growing < 2 else []
            kind = self.random.choice(kinds)
            growing += {"jacrev": 1, "jacfwd": 1, "vmap": 1, "hessian": 2}.get(kind, 0)
            scalar = "lambda a, b, c: total({h}(a, b, c))"
            part = "lambda a, b: {h}(a, b, c)"
            if kind == "vmap":
                dims = [self.random.choice([None, 0, v.dim()]) for v in arguments]
                dims[0] = dims[0] or 0
                arguments = [
                    v if d is None else v.unsqueeze(d).expand(*v.shape[:d], 3, *v.shape[d:])
                    for v, d in zip(arguments, dims, strict=True)
                ]
                yield Level(f"h{{n}} = api.vmap({{h}}, in_dims={tuple(dims)})", tuple(dims))
            elif kind in ("grad", "grad_and_value", "hessian"):
                yield Level(f"h{{n}} = api.{kind}({scalar}, {wrt})")
            elif kind in ("jacrev", "jacfwd"):
                yield Level(f"h{{n}} = api.{kind}({{h}}, {wrt})")
            elif kind == "jvp":
                tangents = "(torch.cos(a), torch.sin(b))"
                yield Level(f"h{{n}} = lambda a, b, c: api.jvp({part}, (a, b), {tangents})")
            elif kind == "linearize":
                yield Level(
                    f"h{{n}} = lambda a, b, c: api.linearize({part}, a, b)"
                    "[1](torch.cos(a), torch.sin(b))"
                )
            else:
                yield Level(
                    "def h{n}(a, b, c):\n"
                    "        out, pull = api.vjp(lambda a, b: floats({h}(a, b, c)), a, b)\n"
                    "        return pull(like(out))"
                )
