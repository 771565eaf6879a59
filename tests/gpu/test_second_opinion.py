"""The interpreter and LLVM's PTX backend against kernels for x86: the same bits, or one is wrong.

test_ops.py does this with the whole table of ops; here are derivatives in f32, the kernels that
are written by hand at sizes that nothing divides, and what shows that fibers see mistakes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pullback.dialects.pb.opdef import OPS
from pullback.frontend import compile as frontend
from pullback.pipelines.gpu.pipeline import Options
from torch.nn import functional as F

from ..numeric.checks import cotangents, differentiable, in_dtype
from ..numeric.compiled import interface
from ..numeric.programs import Program, type_of
from ..op_samples import SAMPLES
from .fibers import machine
from .fibers.compare import Opinions, same
from .fibers.machine import BACKWARDS, IN_ORDER, Problem

pytestmark = pytest.mark.skipif(not machine.available(), reason="fibers need x86 and a C compiler")

Array = np.ndarray
Arguments = Sequence[torch.Tensor]


def families() -> dict[str, list[str]]:
    """Modules of dialects/pb/ops -> the ops in them that have samples."""
    found: dict[str, list[str]] = defaultdict(list)
    for op in SAMPLES:
        found[OPS[op].__module__.rpartition(".")[2]].append(op)
    return dict(found)


@pytest.mark.parametrize("family", families())
def test_derivatives_of_a_family(family: str) -> None:
    """Forward and vjp: the first samples with elements, in f32, and one of them in f64."""
    program, functions, operands = Program(), [], []
    for op in families()[family]:
        kept = [s for s in SAMPLES[op] if all(x.size for x in s.operands)]
        cases = [(s, np.float32) for s in kept[:2]] + [(s, np.float64) for s in kept[:1]]
        for sample, dtype in cases:
            arrays = in_dtype(sample, dtype)
            function = program.define([type_of(x) for x in arrays], sample.build)
            if arrays and differentiable(sample):
                arrays = [*arrays, *cotangents(function, 20)]
                function = function.vjp()
            functions.append(function)
            operands += [np.asarray(x) for x in arrays]
    program.join(functions)
    Opinions(program.module, interface(program))(operands)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def opinions(function: Callable[..., Any], arguments: Arguments, **options: bool) -> Opinions:
    lowered = frontend.lower(function, tuple(arguments), {})
    return Opinions(lowered.module(), lowered.interface, Options(**options))


def arrays(arguments: Arguments) -> list[Array]:
    return [(x.view(torch.uint16) if x.dtype is torch.bfloat16 else x).numpy() for x in arguments]


def positive(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT + 3 * torch.eye(x.shape[-1], dtype=x.dtype)


def log_softmax_vjp(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.func.vjp(lambda z: torch.log_softmax(z, 1), x)[1](y)[0]


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return torch.softmax(q @ k.mT, -1) @ v


Case = tuple[Callable[..., Any], list[torch.Tensor]]
KERNELS: dict[str, Case] = {
    "product": (torch.matmul, [normal(67, 45), normal(45, 83, seed=1)]),
    "product, transposed": (lambda x, y: x.T @ y.T, [normal(45, 67), normal(83, 45)]),
    "product in parts": (torch.matmul, [normal(9, 1501), normal(1501, 13, seed=1)]),
    "batches": (torch.matmul, [normal(3, 33, 35), normal(3, 35, 37)]),
    "epilogue": (
        lambda x, w, b: torch.tanh(x @ w + b), [normal(33, 35), normal(35, 40), normal(40)]
    ),
    "convolution": (
        lambda x, w: F.conv2d(x, w, padding=1, stride=2), [normal(2, 3, 13, 11), normal(5, 3, 3, 3)]
    ),
    "softmax": (lambda x: torch.softmax(x, 1), [normal(13, 333)]),
    "softmax vjp": (log_softmax_vjp, [normal(7, 1001), normal(7, 1001, seed=1)]),
    "layer norm": (lambda x: F.layer_norm(x, (257,)), [normal(19, 257)]),
    "attention": (attention, [normal(2, 37, 16, seed=s) for s in range(3)]),
    "columns": (lambda x: x.sum(0), [normal(301, 37)]),
    "rows": (lambda x: x.amax(1), [normal(37, 301)]),
    "everything": (lambda x: (x * x).sum(), [normal(17, 1999)]),
    "transpose": (lambda x: x.T.exp(), [normal(71, 65)]),
    "sort": (lambda x: tuple(torch.sort(x, dim=1)), [normal(3, 1030)]),
    "long sort": (torch.argsort, [normal(9001)]),
    "scan": (lambda x: torch.cumsum(x, 0), [normal(5003)]),
    "extrema": (lambda x: tuple(torch.cummax(x, 0)), [normal(5003)]),
    "recurrence": (
        lambda x, y: torch.func.vjp(lambda z: torch.cumprod(z, 0), 1 + x / 64)[1](y)[0],
        [normal(5003), normal(5003, seed=1)],
    ),
    "scatter": (
        lambda x, i, u: x.index_add(0, i, u),
        [normal(21, 3), torch.arange(205) % 17, normal(205, 3)],
    ),
    "scatter, wide": (
        lambda x, i, u: x.index_add(0, i, u),
        [normal(21, 33), torch.arange(61) % 17, normal(61, 33)],
    ),
    "cholesky": (lambda x: torch.linalg.cholesky(positive(x)), [normal(3, 17, 17)]),
    "solve": (
        lambda x, y: torch.linalg.solve(positive(x), y), [normal(2, 13, 13), normal(2, 13, 3)]
    ),
    "eigenvalues": (lambda x: torch.linalg.eigvalsh(positive(x)), [normal(2, 7, 7)]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name: str, dtype: torch.dtype) -> None:
    function, wide = KERNELS[name]
    arguments = [x.to(dtype) if x.is_floating_point() else x for x in wide]
    opinions(function, arguments)(arrays(arguments))


#: A kernel, and how many of its mistakes there must be places for. (Two orders need not show each
#: race: the interpreter looks for races as such.)
MISTAKES = {
    "product": 2, "softmax": 20, "columns": 3, "everything": 6, "transpose": 1, "sort": 2, "scan": 3
}  # fmt: skip
_BARRIER = re.compile(r"^.*call void @llvm\.nvvm\.barrier.*\n", re.MULTILINE)
_WAIT = re.compile(r"^.*call void @llvm\.nvvm\.cp\.async\.wait.*\n", re.MULTILINE)
_SHUFFLE = re.compile(r"(@llvm\.nvvm\.shfl\.sync\.bfly\.i32\(i32 -1, i32 %\w+, i32 )(\d+)")
_CONSTANT = re.compile(r"(= f(?:add|sub|mul) (?:\w+ )*float %\w+, )[-+.\dxA-Fe]+$", re.MULTILINE)


def mistakes(text: str) -> Iterator[tuple[str, str]]:
    """What was done, and the text."""
    for pattern, new in (
        (_BARRIER, lambda _: ""),
        (_WAIT, lambda _: ""),
        (_SHUFFLE, lambda m: f"{m[1]}{int(m[2]) // 2 or 2}"),
        (_CONSTANT, lambda m: f"{m[1]}0x40091EB860000000"),
    ):
        for found in pattern.finditer(text):
            yield found[0].strip(), text[: found.start()] + new(found) + text[found.end() :]


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_seen(name: str) -> None:
    function, wide = KERNELS[name]
    arguments = [x.float() for x in wide]
    both = opinions(function, arguments)
    given = arrays(arguments)
    wanted = both(given)
    missed, seen = [], 0
    for what, text in mistakes(both.text):
        found, seen = both.altered(text), seen + 1
        try:
            for found.flags in (IN_ORDER, BACKWARDS):
                same(found(given), wanted)
        except AssertionError:
            continue
        missed.append(what)
    assert not missed
    assert seen >= MISTAKES[name]


#: A barrier that threads with an odd number pass by.
_PASSED_BY = """
define void @passed_by(i32 %number) {
  %thread = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %odd = trunc i32 %thread to i1
  br i1 %odd, label %away, label %wait
wait:
  call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 %number)
  ret void
away:
  ret void
}
"""


def test_a_barrier_that_not_all_reach() -> None:
    arguments = [normal(301, 37).float()]
    both = opinions(lambda x: x.sum(0), arguments)
    call = "call void @llvm.nvvm.barrier.cta.sync.aligned.all("
    assert call in both.text
    text = both.text.replace(call, "call void @passed_by(") + _PASSED_BY
    with pytest.raises(Problem, match="barrier"):
        both.altered(text)(arrays(arguments))


TENSOR_CORES: dict[str, Case] = {
    name: KERNELS[name] for name in ("product", "product, transposed", "batches")
} | {
    "product of 64": (torch.matmul, [normal(64, 64), normal(64, 64, seed=1)]),
    "convolution": (
        lambda x, w: F.conv2d(x, w, padding=1), [normal(2, 8, 13, 11), normal(8, 8, 3, 3)]
    ),
}  # fmt: skip
KINDS = {"f16": torch.float16, "bf16": torch.bfloat16, "tf32": torch.float32}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TENSOR_CORES)
def test_tensor_cores(name: str, kind: str) -> None:
    """Each adds in f64 and rounds once, in an order of its own: equal, but for ties."""
    function, wide = TENSOR_CORES[name]
    arguments = [x.to(KINDS[kind]) for x in wide]
    both = opinions(function, arguments, tf32=True)
    assert "llvm.nvvm.mma" in both.text
    both(arrays(arguments))
