"""An OpInfo of torch's ``op_db`` becomes cases: a function of tensors, its arguments, directions.

First step of the coverage command: which samples of an operator are checked, and at which points.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it misses a package that only its own tests need
    from torch.testing._internal import common_methods_invocations as invocations
    from torch.testing._internal.opinfo.core import BinaryUfuncInfo, OpInfo, UnaryUfuncInfo

seeded = invocations.wrapper_set_seed

DTYPES = {"f32": torch.float32, "f64": torch.float64}
INF, NAN = math.inf, math.nan
#: The values written into a sample's inputs, in turn; each row is one point.
SPECIAL = {
    "zeros": [0.0],
    "ties": [0.5, 0.5, -0.5, 1.0, 1.0],
    "signed zeros": [0.0, -0.0, 1.0, -0.0, 0.0, -1.0],
    "1e3": [1e3, -1e3, 0.25],
    "1e30": [0.25, 1e30, -1e30],
    "inf": [0.25, INF, -0.75],
    "-inf": [-INF, 0.25, 1.5],
    "nan": [0.25, NAN, -0.75],
    "all": [0.0, -0.0, 1e3, -1e3, 1e30, -1e30, INF, -INF, NAN, 1.0, -1.0],
}
SEEN = 40  # samples of an operator that are looked at; some give hundreds
#: Their results are memory nobody wrote.
UNINITIALISED = "empty"
#: The inputs of these have structure (definite, orthogonal, triangular) that only scaling keeps.
STRUCTURED = ("linalg", "cholesky", "lu", "triangular", "geqrf", "ormqr", "svd", "logdet")


def full_name(op: OpInfo) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def operators() -> dict[str, OpInfo]:
    return {full_name(op): op for op in invocations.op_db}


def unseeded(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """In place of torch's own: a seed set in a function is refused; ``prepare`` sees the draws."""
    return op(*args, **kwargs)


invocations.wrapper_set_seed = unseeded


@dataclass
class Case:
    """``function(*primals, *others)`` gives a tuple of tensors."""

    name: str
    title: str
    function: Callable[..., tuple[torch.Tensor, ...]]
    primals: list[torch.Tensor]
    others: list[torch.Tensor]
    elementwise: bool = False
    structured: bool = False
    in_dim: int = 0  # of every batched argument that has so many dimensions
    batch_others: bool = False
    special: bool = False
    point: str = ""  # the name of the special values
    #: Which outputs torch differentiates, and whether the values are random; see ``prepare``.
    moving: list[int] = field(default_factory=list)
    random: bool = False
    draws: bool = False  # random numbers, whether they show or not
    unwritten: bool = False

    @property
    def arguments(self) -> list[torch.Tensor]:
        return [*self.primals, *self.others]

    def at(self, title: str, primals: list[torch.Tensor]) -> Case:
        changed = {**self.__dict__, "title": f"{self.title}, {title}", "primals": primals}
        return Case(**{**changed, "special": True, "point": title})

    def cast(self, dtype: torch.dtype) -> Case:
        def to(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
            return [t.to(dtype) if t.is_floating_point() else t for t in tensors]

        return Case(**{**self.__dict__, "primals": to(self.primals), "others": to(self.others)})


def cases(op: OpInfo, dtype: torch.dtype, count: int) -> Iterator[Case]:
    """Up to ``count`` samples of an operator: small ones, each with other options if it can be."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    found = []
    for sample in islice(op.sample_inputs("cpu", dtype, requires_grad=op.supports_autograd), SEEN):
        leaves, spec = tree_flatten((sample.input, sample.args, sample.kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if any(t.layout is not torch.strided or t.is_complex() for t in tensors):
            continue
        size = sum(t.numel() for t in tensors)
        kind = (
            str(spec),
            *((t.dim(), t.dtype) if isinstance(t, torch.Tensor) else repr(t) for t in leaves),
        )
        found.append((any(not t.numel() for t in tensors), size, len(found), kind, sample))
    found.sort(key=lambda entry: entry[:3])
    first, rest, kinds = [], [], set()
    for entry in found:
        (rest if entry[3] in kinds else first).append(entry)
        kinds.add(entry[3])
    for number, entry in enumerate((_spread(first, count) + rest)[:count]):
        yield _case(op, entry[4], number)


def _spread(entries: list[Any], count: int) -> list[Any]:
    """The smallest, and then some from all over the list: options come late in it."""
    if len(entries) <= count:
        return entries
    return [entries[round(k * (len(entries) - 1) / max(count, 1))] for k in range(count)]


def _case(op: OpInfo, sample: Any, number: int) -> Case:
    leaves, spec = tree_flatten((sample.input, sample.args, sample.kwargs))
    at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    primal = [i for i in at if leaves[i].requires_grad and leaves[i].is_floating_point()]
    if op.supports_autograd and not primal:  # some samples forget to ask
        primal = [i for i in at[:1] if leaves[i].is_floating_point()]
    order = primal + [i for i in at if i not in primal]
    static = [None if i in order else leaf for i, leaf in enumerate(leaves)]
    call, wrapper, process = op.op, op.gradcheck_wrapper, sample.output_process_fn_grad
    wrapper = unseeded if wrapper is seeded else wrapper

    def function(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values = list(static)
        for position, tensor in zip(order, tensors, strict=True):
            values[position] = tensor
        first, args, kwargs = tree_unflatten(values, spec)
        result = process(wrapper(call, first, *args, **kwargs))
        return tuple(x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor))

    tensors = [leaves[i].detach().clone() for i in order]
    options = {k: v for k, v in sample.kwargs.items() if not isinstance(v, torch.Tensor)}
    plain = [x for x in sample.args if not isinstance(x, torch.Tensor)]
    shapes = ", ".join(str(list(t.shape)) for t in tensors)
    return Case(
        full_name(op),
        f"sample {number} ({'; '.join(str(part) for part in (shapes, plain, options) if part)})",
        function,
        tensors[: len(primal)],
        tensors[len(primal) :],
        elementwise=isinstance(op, UnaryUfuncInfo | BinaryUfuncInfo),
        structured=op.name.startswith(STRUCTURED),
        in_dim=-1 if number % 2 else 0,
        batch_others=number % 2 == 1 or not primal,
        unwritten=UNINITIALISED in op.name,
    )


def prepare(case: Case) -> bool:
    """Runs torch once to learn what the function is; False where torch has no tensors for us."""
    torch.manual_seed(1)
    leaves = [p.clone().requires_grad_() for p in case.primals]
    before = torch.get_rng_state()
    outs = [out.clone() for out in case.function(*leaves, *case.others)]  # it may write in place
    case.draws = not torch.equal(before, torch.get_rng_state())
    case.moving = [i for i, out in enumerate(outs) if out.requires_grad and out.is_floating_point()]
    case.random = case.unwritten or any(_differ(case, outs, seed) for seed in range(2, 10))
    return bool(outs)


def _differ(case: Case, outs: list[torch.Tensor], seed: int) -> bool:
    torch.manual_seed(seed)
    return any(
        not torch.equal(a.nan_to_num(), b.nan_to_num())
        for a, b in zip(outs, case.function(*case.arguments), strict=True)
        if a.layout is torch.strided and not a.is_complex()
    )


def points(case: Case) -> Iterator[Case]:
    """The case itself, then with special values in its inputs; shapes and dtypes stay."""
    yield case
    if case.random or not any(p.numel() for p in case.primals):
        return
    if case.structured:
        yield case.at("1e3 times", [p * 1e3 for p in case.primals])
        return
    for title, values in SPECIAL.items():
        primals = []
        for shift, primal in enumerate(case.primals):
            row = torch.tensor(values, dtype=torch.float64).roll(shift)
            count = primal.numel()
            filled = row.repeat(math.ceil(count / len(values)) or 1)[:count]
            if title not in ("zeros", "all"):  # one of two keeps the sample's value
                keep = torch.arange(count) % 2 == shift % 2
                keep &= torch.arange(count) >= len(values)
                filled = torch.where(keep, primal.reshape(-1).double(), filled)
            primals.append(filled.reshape(primal.shape).to(primal.dtype))
        yield case.at(title, primals)


def direction(like: torch.Tensor, seed: int) -> torch.Tensor:
    """A tangent or cotangent without structure."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(like.shape, generator=generator, dtype=torch.float64) + 0.5
    sign = torch.randint(0, 2, like.shape, generator=generator) * 2 - 1
    return (drawn * sign).to(like.dtype if like.is_floating_point() else torch.float64)


def other(case: Case, tensor: torch.Tensor) -> torch.Tensor:
    """The second example of a batch."""
    if not tensor.is_floating_point():
        return tensor
    if case.structured or not tensor.dim():
        return tensor * 0.9375
    return tensor.flip(-1) * 0.9375
