"""Random torch functions: a seed makes the source of a function, its arguments and a nest."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch

SHAPES = [(), (2,), (3,), (2, 3), (3, 3), (1, 3), (2, 1, 3), (0, 3)]
INTEGERS = (torch.int64, torch.int32)
LARGEST = 100  # elements of a tensor

STATEMENTS = (
    """
torch.sin({x})|torch.tanh({x})|torch.exp(-{x} * {x})|torch.log({x} * {x} + 0.5)|{x} ** 3
torch.sqrt({x} * {x} + 1)|torch.sigmoid({x})|{x}.abs()|torch.relu({x})|{x}.clamp(-0.5, 0.5)
torch.floor({x})|torch.round({x})|{x} % 0.3|2 - {x}|{x} / 2|{x}.detach()|torch.expm1({x})
torch.nn.functional.elu({x})|torch.nn.functional.softplus({x})|torch.reciprocal({x} * {x} + 1)
{x} + {y}|{x} * {y}|{x} - {y}|{x} / ({y} * {y} + 1)|torch.maximum({x}, {y})
torch.minimum({x}, {y})|torch.where({x} > {y}, {x}, {y} * 2)|({x} * {x} + 1) ** {y}
torch.lerp({x}, {y}, 0.3)|torch.nn.functional.mse_loss({x}, {y})|torch.clamp({x}, max={y})
torch.nn.functional.smooth_l1_loss({x}, {y})|torch.addcmul({x}, {y}, {y})
{x}.sum({d}, keepdim={k})|{x}.mean({d}, keepdim={k})|{x}.amax({d}, keepdim={k})
{x}.var({d})|torch.logsumexp({x}, {d})|{x}.norm(dim={d})|{x}.prod({d})|{x}.max({d}).values
{x}.argmax({d})|torch.softmax({x}, {d})|torch.log_softmax({x}, {d})|{x}.cumsum({d})|{x}.flip({d})
{x} @ {y}|{x} @ {y}.mT|torch.einsum("...i,...i->...", {x}, {y})|torch.outer({x}, {y})
torch.einsum("ij,ik->jk", {x}, {y})|torch.tensordot({x}, {y}, 1)|torch.einsum("ii->i", {x})
{x}[0]|{x}[1:]|{x}[..., 0]|{x}[::2]|{x}[None]|{x}.mT|{x}.reshape(-1)|{x}.expand(2, *{x}.shape)
{x}.diagonal()|torch.tril({x})|torch.nn.functional.pad({x}, (1, 2))|{x}.roll(1, {d})
{x}[[0, -1]]|torch.diag_embed({x})|{x}.repeat_interleave(2, 0)|{x}.squeeze()|{x}.unsqueeze({d})
torch.cat([{x}, {y}])|torch.stack([{x}, {y}], -1)|torch.cat([{x}, {y}], {d})
{x}[{i}]|{x}.gather({d}, {i})|torch.zeros_like({x}).scatter_add({d}, {i}, {x})|{x} * {i}|{i} // 2
torch.zeros_like({x}).index_add(0, {i}, {x})|torch.nn.functional.cross_entropy({x}, {i})
{i} / 2|{x}.index_select(0, {i})|{i}.sum()|{x} > {y}|torch.where({b}, {x}, {x} * 2)|{b}.sum()
{x}.masked_fill({b}, 0.5)|{x} * {b}|~{b}
{x}.clone(); {t}[0] = {y}|{x}.clone(); {t}[1:] *= 2|{x}.clone(); {t} += {y}; {t}.mul_(2)
torch.zeros_like({x}); {t}[0] = {x}[0]|{x}.clone(); u = {t}.view(-1); u[0] = 1.5
{x}.clone(); u = {t}[1:]; {t}.mul_(2); {t} = u + 1|{x}.clone(); {t}[{x} > 0] = 0.0
torch.zeros(2, dtype={x}.dtype); {t}[1] = {x}.sum(); {t}[0] = {t}[1] * 2
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@dataclass(frozen=True)
class Case:
    """``make(api)`` in ``source`` is the function, with ``api`` torch.func or pullback."""

    source: str
    arguments: list[torch.Tensor]

    def run(self, api: Any, wrap: Any = lambda f: f) -> Any:
        names: dict[str, Any] = {"torch": torch}
        exec(self.source, names)
        return wrap(names["make"](api))(*(argument.clone() for argument in self.arguments))


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = self.random.choice([torch.float64, torch.float64, torch.float32])

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if dtype in INTEGERS:
            return torch.randint(0, 2, shape, generator=self.generator).to(dtype)
        drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        if self.random.random() < 0.3:
            drawn = (drawn * 2).round() / 2  # ties and zeros
        return drawn.to(dtype)

    def case(self) -> Case:
        choose = self.random.choice
        shape = choose(SHAPES)
        arguments = [self.tensor(shape, self.dtype), self.tensor(choose([shape, (3,)]), self.dtype)]
        arguments.append(self.tensor(choose([(), (2,), (3,), shape]), choose(INTEGERS)))
        known = {f"a{number}": argument for number, argument in enumerate(arguments)}
        lines: list[str] = []
        for _ in range(200):
            if len(lines) == 7:
                break
            if (line := self.line(known)) is not None:
                lines.append(line)
        floats = [n for n, v in known.items() if v.is_floating_point() and n.startswith("v")]
        terms = [f"({n} * {n} + {n}).sum().to(a0.dtype)" for n in floats[-3:]] or ["a0.sum()"]
        body = "".join(f"    {line}\n" for line in lines)
        result = f"'last': {list(known)[-1]}, 'total': {' + '.join(terms)}"
        source = f"def f(a0, a1, a2):\n{body}    return {{{result}}}\n"
        source += "def s(a0, a1, a2):\n    return f(a0, a1, a2)['total']\n"
        nest, arguments = self.nest(arguments)
        return Case(f"{source}def make(api):\n    return {nest}\n", arguments)

    def line(self, known: dict[str, torch.Tensor]) -> str | None:
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
        scope = {"torch": torch, **{name: value.clone() for name, value in known.items()}}
        try:
            exec(line, scope)
        except (RuntimeError, IndexError, TypeError, ValueError):
            return None
        value = scope[target]
        if value.numel() > LARGEST or value.dtype not in (*INTEGERS, torch.bool, self.dtype):
            return None
        known[target] = value
        return line

    def nest(self, arguments: list[torch.Tensor]) -> tuple[str, list[torch.Tensor]]:
        """A nest of up to two transforms over ``f`` or its scalar total ``s``."""
        wrt = self.random.choice(["0", "1", "(0, 1)"])
        inner = self.random.choice(
            ["f", "s", f"api.jacrev(f, {wrt})"]
            + [f"api.{n}(s, {wrt})" for n in ("grad", "hessian", "jacfwd", "grad_and_value")]
        )
        outer = self.random.choice(["", "", "vmap", "vmap", "jvp", "vjp"])
        if outer == "vmap":
            dims = [self.random.choice([None, 0, value.dim()]) for value in arguments]
            dims[0] = dims[0] or 0
            arguments = [
                value
                if dim is None
                else torch.stack(
                    [value] + [self.tensor(tuple(value.shape), value.dtype) for _ in "12"], dim
                )
                for value, dim in zip(arguments, dims, strict=True)
            ]
            return f"api.vmap({inner}, in_dims={tuple(dims)})", arguments
        if outer == "jvp":
            tangents = "(torch.cos(a), torch.sin(b))"
            call = f"api.jvp(lambda a, b: ({inner})(a, b, c), (a, b), {tangents})"
            return f"lambda a, b, c: {call}", arguments
        if outer == "vjp":
            once = "api.vjp(lambda a: s(a, b, c), a)"
            return f"lambda a, b, c: {once}[1]({once}[0] * 2 + 1)", arguments
        return inner, arguments
