"""At a million elements, no launch that does a good part of the work is few threads, or few of
its threads. By plans and the text of kernels: nothing runs.

Every op, with each size of each sample in turn enlarged, and batched; and one derivative of each,
or all with `--sizes all`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from mlir import ir
from pullback.dialects.errors import MissingRuleError
from pullback.dialects.pb.types import tensor
from pullback.frontend import compile as frontend
from pullback.pipelines.gpu import pipeline
from pullback.pipelines.gpu.plan import For, If, Launch, Step, While

from .. import op_samples as made
from ..numeric.compiled import interface
from ..numeric.programs import CONTEXT, Array, Emit, Function, Program, type_of
from ..op_samples import SAMPLES
from .device import device
from .shares import Share, share
from .sizes import OF_SIZE

MILLION = 1 << 20
BLOCKS, THREADS = 64, 64
ELEMENTS = ("f32", "f64", "bf16")

#: Kernels that may be few threads, or leave it to few.
_ONE_BLOCK = "a matrix is one block's, however large: its steps wait for each other"
EXCEPTIONS = {
    "matrices": "a matrix is one thread's; blocks of a warp spread few over multiprocessors",
    "solve": "the threads that the rows of a small matrix keep busy, and some columns, are a warp",
    "cholesky": "so much of a large matrix that most work is in products",
    "lu": "so many columns of a large matrix that most work is in products",
    **dict.fromkeys(("qr", "eigh", "svd"), _ONE_BLOCK),
}


@dataclass(frozen=True)
class Case:
    label: str
    types: Sequence[ir.Type]
    build: Emit
    lanes: int = 0

    def forward(self, program: Program) -> Function:
        f = program.define(self.types, self.build)
        return f.vmap([0] * len(f.inputs), [0] * len(f.outputs), self.lanes) if self.lanes else f

    @property
    def builds(self) -> bool:
        program = Program()
        try:
            self.forward(program)
            return program.module.operation.verify()
        except Exception:  # of any kind, from any op
            return False


def cases(op: str) -> Iterator[Case]:
    for case in (*_enlarged(op), *_batched(op)):
        if case.builds:
            yield case


def _enlarged(op: str) -> Iterator[Case]:
    if op == "pb.basis":
        yield Case("of its size", (), made.basis(512, 2).build)
    elif op in OF_SIZE:
        sample = OF_SIZE[op](MILLION // 4)
        yield Case("of its size", [type_of(x) for x in sample.operands], sample.build)
    for n, sample in enumerate(SAMPLES[op] if op not in OF_SIZE else ()):
        counts = [Counter(x.shape) for x in sample.operands]
        for old in sorted({d for count in counts for d in count if d > 1}):
            if any(count[old] > 1 for count in counts) or not all(x.size for x in sample.operands):
                continue
            size = MILLION * old // max(x.size for x in sample.operands if old in x.shape)
            label = f"sample {n} with {size} for {old}"
            types = [_type(x, label, {old: size}) for x in sample.operands]
            yield Case(label, types, sample.build)


def _batched(op: str) -> Iterator[Case]:
    for sample in SAMPLES[op]:
        if sample.operands and all(x.size for x in sample.operands):
            types = [_type(x, op, {}) for x in sample.operands]
            lanes = MILLION // max(x.size for x in sample.operands)
            yield Case("batched", types, sample.build, lanes)
            return


def _type(x: Array, label: str, changed: dict[int, int]) -> ir.Type:
    """Numbers of f64 have a type that the label decides."""
    element = ELEMENTS[crc32(label.encode()) % len(ELEMENTS)]
    found = ir.Type.parse(element, CONTEXT) if x.dtype == np.float64 else type_of(x).element_type
    return tensor([changed.get(d, d) for d in map(int, x.shape)], found)


def shares(c: pipeline.Compilation) -> Iterator[tuple[Share, int]]:
    """Of each launch, and how often it happens."""
    assert c.plan is not None
    plan = c.plan
    functions = {
        ir.StringAttr(op.operation.attributes["sym_name"]).value: op.operation
        for op in c.module.body.operations
        if "sym_name" in op.operation.attributes
    }

    def of(steps: Sequence[Step], times: int) -> Iterator[tuple[Share, int]]:
        for step in steps:
            match step:
                case Launch(kernel=kernel):
                    name = plan.kernels[kernel]
                    yield share(name, functions[name], step), times
                case For(count=count, body=body):
                    yield from of(body, times * count)
                case If(then=then, orelse=orelse):
                    yield from of([*then, *orelse], times)
                case While(test=test, body=body):
                    yield from of([*test, *body], times)
                case _:
                    pass

    return of(plan.steps, 1)


def offenders(c: pipeline.Compilation) -> list[str]:
    """Launches with an eighth of the work or more that are not shared by many threads."""
    specs = (*c.interface.inputs, *c.interface.outputs)
    found = list(shares(c))
    work = sum(part.steps * times for part, times in found)
    least = max(work, *(math.prod(spec.shape) for spec in specs)) / 8
    return [
        f"{part.kernel}: {part.grid} blocks of {part.block}, of {part.mean:.0f} steps a thread "
        f"the busiest has {part.most:.0f}"
        for part, times in found
        if part.steps * times >= least
        and part.kernel.rstrip("0123456789").rstrip("_") not in EXCEPTIONS
        and (part.grid < BLOCKS or part.block < THREADS or part.most > 4 * part.mean)
    ]


def planned(make: Any) -> pipeline.Compilation:
    program = Program()
    program.join([make(program)])
    described = interface(program)
    with program.module.context:
        return pipeline.compiled(program.module, described, until="outlined")


@pytest.mark.parametrize("op", SAMPLES)
def test_many_threads_share_the_work(op: str, request: pytest.FixtureRequest) -> None:
    found: dict[str, list[str]] = {}
    every = request.config.getoption("--sizes") == "all"
    tried = list(cases(op))
    assert tried
    for n, case in enumerate(tried):
        found[case.label] = offenders(planned(case.forward))
        f = case.forward(Program())
        derived = f.floats() and f.float_outputs()
        if derived and (every or n == crc32(op.encode()) % len(tried)):
            with suppress(MissingRuleError):
                vjp = planned(lambda p, c=case: c.forward(p).vjp())
                found[f"vjp of {case.label}"] = offenders(vjp)
    assert not any(found.values()), {k: v for k, v in found.items() if v}


ALONE = """
func.func @alone(%x: memref<1048576xf32>) {
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %all = arith.constant 1048576 : index
  %number = arith.constant 2.0 : f32
  %narrow = nvvm.read.ptx.sreg.tid.x : i32
  %wide = nvvm.read.ptx.sreg.ctaid.x : i32
  %thread = arith.index_castui %narrow : i32 to index
  %block = arith.index_castui %wide : i32 to index
  %first = arith.cmpi eq, %WHO, %zero : index
  scf.if %first {
    scf.for %n = %START to %all step %one {
      memref.store %number, %x[%n] : memref<1048576xf32>
    }
  }
  return
}"""


@pytest.mark.parametrize(
    ("who", "start", "most", "mean"),
    [("thread", "zero", 1, 1 / 64), ("block", "zero", 1, 1 / 32), ("zero", "thread", 1, 1)],
)
def test_who_works_alone_is_seen(who: str, start: str, most: float, mean: float) -> None:
    """One thread of each block, all of one block, all: what they store, of all elements."""
    with ir.Context(), ir.Location.unknown():
        text = ALONE.replace("WHO", who).replace("START", start)
        module = ir.Module.parse(text)
        function = module.body.operations[0].operation
        found = share("alone", function, Launch(0, (32, 1, 1), (64, 1, 1), []))
    assert not found.loops_on_data
    assert found.touched == pytest.approx(4 * mean * 32 * 64 * MILLION, rel=1e-3)
    assert found.most == pytest.approx(most * MILLION, rel=1e-3)
    assert found.mean == pytest.approx(mean * MILLION, rel=1e-3)


COUNTED = {
    "elementwise": lambda x: torch.tanh(x) + 1,
    "softmax": lambda x: torch.softmax(x, 1),
    "rows": lambda x: x.sum(1),
    "columns": lambda x: x.amax(0),
    "everything": lambda x: x.sum(),
    "transpose": lambda x: x.T * 2,
    "product": lambda x: x @ x.T,
    "sum of parts": lambda x: torch.cumsum(x, 0),
}


@pytest.mark.parametrize("name", COUNTED)
def test_the_interpreter_counts_the_same(name: str) -> None:
    """Bytes of global memory, where no loop depends on data; steps are others in PTX."""
    x = torch.randn(300, 130, generator=torch.Generator().manual_seed(0))
    ran = device(COUNTED[name], x)
    ran([x.numpy()])
    counted = sum(c.read_bytes + c.written_bytes for _, c in ran.counters)
    lowered = frontend.lower(COUNTED[name], (x,), {})
    module = lowered.module()
    with module.context:
        c = pipeline.compiled(module, lowered.interface, until="outlined")
        found = list(shares(c))
    assert not any(part.loops_on_data for part, _ in found)
    # Of the turns of a loop without loops the first stands for the last, which may copy less.
    nearly = pytest.approx(counted, rel=0.3 if name == "product" else 0.1)
    assert sum(part.touched for part, _ in found) == nearly
