"""torch.func's contract: each line of contract.txt run against torch.func and against pullback.

`test_contract.py` holds it; `python tests/frontend/contract.py --write` writes what differs, and
why, into frontend/TORCH_FUNC.md.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import warnings
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pullback
import torch
import torch.func
from torch.nn import functional
from torch.utils._pytree import tree_flatten

TABLE = Path(__file__).parent / "contract.txt"
DOCUMENT = Path(__file__).parent.parent.parent / "frontend" / "TORCH_FUNC.md"
F64 = torch.float64

#: The only differences, by call. Each says what pullback does, and why.
DIFFERENCES = {
    "T.grad(3)": "refused when it is made, with the TypeError that torch.func raises at the call",
    "T.vmap(3)": "refused when it is made, with the TypeError that torch.func raises at the call",
    "T.grad(lambda x: x.sum() if x.sum() > 0 else -x.sum())(x)": "CaptureError: the function is "
    "compiled, so both ways of a choice must be in the program (torch.where, torch.cond)",
    "T.grad(lambda x: torch.autograd.grad(x.sum(), x)[0].sum())(x)": "CaptureError: no tape "
    "is recorded inside a compiled function (use pullback.grad)",
    "T.jvp(torch.sin, (x.float(),), (y,))": "the tangent gets the dtype of the output; with "
    "torch.func that of the given tangent",
    "T.linearize(lambda x: x * 2.0)": "without primals: RuntimeError, as jvp",
    "T.jacfwd(total)(1.0)": "RuntimeError with jvp's words; torch's AttributeError is an accident",
    "T.vmap(lambda x, y: y, in_dims=(0, None), out_dims=1)(X, y)": "the batch dimension is where "
    "out_dims says; torch.func puts it first if the result is not batched",
    "T.vmap(lambda x, y: y, in_dims=(0, None), out_dims=None, chunk_size=2)(X, s)": "works; "
    "torch.func concatenates the chunks along None",
    "T.vmap(torch.sin, chunk_size=2)(torch.zeros(0, 3))": "works; torch.func has no chunk to look "
    "at",
    "T.vmap(lambda x: torch.zeros(4).add_(x))(X)": "works: the fresh tensor becomes batched",
    "T.vmap(lambda x: torch.sin(x, out=torch.zeros(4)))(X)": "works: the fresh tensor becomes "
    "batched",
    "T.grad(lambda x: T.functionalize(in_place)(x).sum())(x)": "works",
    'T.vmap(lambda x: T.rearrange(x, "(a b) -> b a", b=2))(X)': "works",
    'T.grad(lambda x: (T.rearrange(x, "(a b) -> b a", b=2)[0] ** 2).sum())(X[0])': "works",
    'T.rearrange(X, "1 a -> a")': "DimensionBindError: the dimension is not 1; torch.func sums it",
    "T.vmap(lambda x: T.debug_unwrap(x) * 2)(X)": "tensors are not wrapped while a function is "
    "traced: the example itself, not the batch",
}

#: What pullback adds to a name of torch.func, or does its own way.
NOTES = {
    "grad": "any order, inside anything; numpy arrays too (as all of these)",
    "vmap": "kwargs are not mapped, as torch's; `chunk_size` is a loop in the compiled program",
    "vjp": "the forward half runs once, `vjp_fn` is a program of its own",
    "jvp": "no op lacks forward mode",
    "linearize": "composes with every transform; the linear half is a program of its own",
    "jacrev": "one-hot cotangents are not stored",
    "jacfwd": "`chunk_size`",
    "hessian": "`chunk_size`",
    "functional_call": "also of an ExportedProgram",
    "stack_module_state": "inside a compiled function the stacks are no leaves",
    "functionalize": "the identity, compiled: writes are always resolved; has derivatives",
    "rearrange": "under vmap and derivatives, too",
    "replace_all_batch_norm_modules_": "torch's own",
    "debug_unwrap": "torch's own; tensors are not wrapped while a function is traced",
}

Pair = namedtuple("Pair", "u v")


@dataclasses.dataclass
class Data:
    x: Any


class Model:
    def energy(self, x):
        return 2 * (x * x).sum()


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(3.0, dtype=F64))

    def forward(self, x, power=1):
        return self.scale**power * x


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(4, 4, bias=False, dtype=F64)
        self.b = torch.nn.Linear(4, 4, bias=False, dtype=F64)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x).tanh())


def linear(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 4, dtype=F64)


def documented(x):
    """Documentation."""
    return x


def in_place(x):
    y = x.clone()
    y[0] = 0
    return y.mul_(x)


def written_view(x):
    y = x.clone()
    view = y[1:]
    view.add_(x[:-1])
    return y * view[0]


def under_no_grad(x):
    with torch.no_grad():
        return x * x


def no_grad(call):
    with torch.no_grad():
        return call()


def inference(call):
    with torch.inference_mode():
        return call()


def names() -> dict[str, Any]:
    """What a call may use, made anew: some calls change it."""
    torch.manual_seed(0)
    x = torch.tensor([0.5, -1.0, 2.0], dtype=F64)
    net = torch.nn.Sequential(torch.nn.Linear(4, 4, dtype=F64), torch.nn.Tanh())

    def backward(function):
        leaf = x.clone().requires_grad_()
        function(leaf).backward()
        return leaf.grad

    return {
        **{f.__name__: f for f in (linear, documented, in_place, written_view, under_no_grad)},
        **{f.__name__: f for f in (no_grad, inference, backward, partial, Pair, Data, Model)},
        **{f.__name__: f for f in (OrderedDict, defaultdict, torch, functional)},
        "functional": functional,
        "x": x,
        "y": torch.tensor([1.0, 0.3, -2.0], dtype=F64),
        "X": torch.arange(12.0, dtype=F64).reshape(3, 4) / 4,
        "i": torch.arange(3),
        "s": torch.tensor(2.0, dtype=F64),
        "p": x.clone().requires_grad_(),
        "zero": torch.zeros(3),
        "eye": torch.eye(4, dtype=F64),
        "net": net,
        "scaled": Scaled(),
        "tied": Tied(),
        "norm": lambda: torch.nn.BatchNorm1d(4, dtype=F64),
        "weights": lambda factor: {k: v.detach() * factor for k, v in net.named_parameters()},
        "total": lambda x: (x**2).sum(),
        "product": lambda x, y: (x * y * y).sum(),
        "cubic": lambda x: (x**3).sum() * x.sum(),
        "twisted": lambda x, y: {"p": x * y.sin(), "s": (x * x).sum()},
        "twice": lambda f, t: (f(t), f(t)),
    }


@dataclasses.dataclass(frozen=True)
class Row:
    """One behaviour: a call, and the exception it raises, if it does."""

    section: str
    call: str
    error: str = ""
    torch_words: str = ""
    words: str = ""


def rows() -> Iterator[Row]:
    section = ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line and not line.startswith("#"):
            call, _, raised = line.partition("  #! ")
            error, _, both = raised.partition(": ")
            theirs, _, ours = both.partition(" | ")
            yield Row(section, call, error, theirs, ours or theirs)


def outcome(row: Row, api: Any) -> Any:
    """The value of a row's call, or the exception it raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return eval(row.call, {**names(), "T": api})
    except Exception as error:
        return error


def difference(row: Row) -> str | None:
    """What pullback does other than torch.func; a row that torch.func contradicts is an error."""
    theirs, ours = outcome(row, torch.func), outcome(row, pullback)
    if row.error:
        name = type(theirs).__name__
        assert (name == row.error) and row.torch_words in text(theirs), (
            f"torch.func gives {name}: {text(theirs)}"
        )
        if not isinstance(ours, Exception):
            return "no exception"
        if not isinstance(ours, type(theirs)):
            return f"{type(ours).__name__}: {text(ours)}"
        return None if row.words in text(ours) else f"other words: {text(ours)}"
    if isinstance(theirs, Exception):
        raise theirs
    return (
        f"{type(ours).__name__}: {text(ours)}"
        if isinstance(ours, Exception)
        else (unequal(theirs, ours))
    )


def text(error: Any) -> str:
    return " ".join(str(error).split())


def unequal(theirs: Any, ours: Any) -> str | None:
    left, left_spec = tree_flatten(theirs)
    right, right_spec = tree_flatten(ours)
    if left_spec != right_spec:
        return f"the structure {right_spec}, not {left_spec}"
    for a, b in zip(left, right, strict=True):
        if isinstance(a, torch.Tensor):
            try:
                torch.testing.assert_close(b.detach(), a.detach(), equal_nan=True)
            except AssertionError as error:
                return text(error)
        elif not (a is b or a == b or (callable(a) and callable(b))):
            return f"{b!r}, not {a!r}"
    return None


def document() -> str:
    """The text of frontend/TORCH_FUNC.md."""
    table = list(rows())
    counts: dict[str, list[int]] = {}
    for row in table:
        count = counts.setdefault(row.section, [0, 0])
        count[0] += 1
        count[1] += row.call in DIFFERENCES
    lines = [
        "# torch.func and pullback",
        "",
        "Generated by `python tests/frontend/contract.py --write`; do not edit. Each row of",
        "`tests/frontend/contract.txt` is run against torch.func and against pullback: same value,",
        "or same exception type and key words.",
        "",
        f"{len(table)} rows, {len(table) - len(DIFFERENCES)} equal.",
        "",
        "| section | rows | different |",
        "|---|---|---|",
        *(f"| {name} | {total} | {other or ''} |" for name, (total, other) in counts.items()),
        "",
        "## Names",
        "",
        "Each takes torch.func's arguments. `torch.func.grad` and the others, and",
        "`torch.autograd.functional`, may also be called inside a compiled function: they are",
        "recorded as pullback's. Around a compiled function only pullback's work.",
        "",
        "| name | with pullback |",
        "|---|---|",
        *(f"| `{name}` | {NOTES.get(name, '')} |" for name in torch.func.__all__),
        "",
        "## Differences",
        "",
        "| call | pullback |",
        "|---|---|",
        *(f"| {code(row.call)} | {DIFFERENCES[row.call]} |" for row in table
          if row.call in DIFFERENCES),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def code(call: str) -> str:
    return "`" + re.sub(r"\bT\.", "", call).replace("|", "\\|") + "`"


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(document())
    else:
        print(document())
