"""Samples of ops at other sizes and in other types.

A sample is varied in one size, wherever its operands have it. Which sample and which of its sizes
that is goes round with the op and the size, so that runs of all sizes see many of them. Matrices
that must be far from singular, and numbers that are part of an op, keep the size they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
from mlir import ir
from pullback.dialects.pb.types import rounded, shape, size, tensor

from .. import op_samples as made
from ..numeric.programs import CONTEXT, Array, Function, Program, type_of
from ..op_samples import SAMPLES, Sample, normal

#: Nothing, one, less and more than a warp, many blocks; and primes.
SIZES = (0, 1, 17, 33, 1000, 7, 61, 257)
ELEMENTS = ("f32", "f64", "f16", "bf16", "i32", "i64")
LANES = 3
#: What the interpreter has time for, in one function.
_MOST = 1 << 15

#: Of ops that have the shape of their result as an argument, or no operand.
OF_SIZE: dict[str, Callable[[int], Sample]] = {
    "pb.basis": lambda n: made.basis(min(n, 61), 2),
    "pb.broadcast": lambda n: made.broadcast(normal(n), (3, n), (1,)),
    "pb.constant": lambda n: made.literal(normal(n)),
    "pb.iota": lambda n: made.iota("f64", made.torch.float64, (n, 3), 0),
    "pb.pad": lambda n: made.pad(normal(n), normal(), (2 * n + 5,), (1,), (2,)),
    "pb.reshape": lambda n: made.reshape(normal(2, n), n, 2),
}


@dataclass(frozen=True)
class Case:
    """A sample with the types of its operands."""

    sample: Sample
    types: tuple[ir.Type, ...]

    @property
    def operands(self) -> list[Array]:
        pairs = zip(self.sample.operands, self.types, strict=True)
        return [_numbers(x, type_) for x, type_ in pairs]


def case(op: str, n: int, element: str) -> Case | str:
    """The op at this size and in this type; or why there is none."""
    samples = [OF_SIZE[op](n)] if op in OF_SIZE else list(varied(op, n))
    if not samples:
        return f"no sample of {op} can have the size {n}"
    start = crc32(f"{op} {n}".encode())
    for k in range(len(samples)):
        sample = samples[(start + k) % len(samples)]
        types = tuple(_of_element(x, sample, element) for x in sample.operands)
        found = Case(sample, types)
        if _builds(found) and (element in map(_name, types) or not types):
            return found
    return f"{op} does not take {element}"


def varied(op: str, n: int) -> Iterator[Sample]:
    """The samples of an op that can have one of their sizes be n."""
    for sample in SAMPLES[op]:
        counts = [Counter(x.shape) for x in sample.operands]
        kinds = {x.dtype.kind for x in sample.operands}
        shapes = {x.shape for x in sample.operands}
        for old in sorted({d for count in counts for d in count if d > 1}):
            square = any(count[old] > 1 for count in counts)
            if square or not all(x.size for x in sample.operands):
                continue
            operands = tuple(_resized(x, old, n) for x in sample.operands)
            # What may be positions must stay inside; there is none in nothing.
            if n < old and "i" in kinds and ("f" in kinds or len(shapes) > 1):
                if any(x.dtype.kind == "i" and x.size for x in operands) and not n:
                    continue
                operands = tuple(x % n if x.dtype.kind == "i" and n else x for x in operands)
            resized = replace(sample, operands=operands)
            if _builds(Case(resized, tuple(map(type_of, resized.operands)))):
                yield resized


def _resized(x: Array, old: int, n: int) -> Array:
    dims = tuple(n if d == old else d for d in x.shape)
    if dims == x.shape:
        return x
    if not size(dims):
        return np.zeros(dims, x.dtype)
    tiled = np.resize(x, dims)
    if x.dtype.kind != "f":
        return tiled
    # Nearly the same, for what is defined in parts, but not periodic.
    return tiled * (1 - np.random.default_rng([n, *dims]).random(dims) / 16)


def _name(type_: ir.Type) -> str:
    return str(ir.RankedTensorType(type_).element_type)


def _of_element(x: Array, sample: Sample, element: str) -> ir.Type:
    """Floats have the type; where there are none integers have."""
    kinds = {y.dtype.kind for y in sample.operands}
    changes = x.dtype == np.float64 or (x.dtype.kind == "i" and "f" not in kinds)
    if not changes or (x.dtype.kind == "i" and element[0] != "i"):
        return type_of(x)
    return tensor(x.shape, ir.Type.parse(element, CONTEXT))


def _numbers(x: Array, type_: ir.Type) -> Array:
    element = ir.RankedTensorType(type_).element_type
    if isinstance(element, ir.IntegerType) and x.dtype.kind == "f":
        with np.errstate(all="ignore"):
            x = np.round(np.clip(np.nan_to_num(4 * x), -99, 99))
    return rounded(x, element)


def _builds(of: Case) -> bool:
    """Whether the op can be so; a reason not to is one of the op's own checks."""
    program = Program()
    try:
        f = program.define(of.types, of.sample.build)
        good = program.module.operation.verify()
    except Exception:  # of any kind, from any op
        return False
    return good and sum(size(shape(t)) for t in (*f.inputs, *f.outputs)) <= _MOST


Part = tuple[str, Function, list[Array]]


def parts(program: Program, of: Case) -> Iterator[Part]:
    """The op, and each transform of it, with operands."""
    operands = of.operands
    f = program.define(of.types, of.sample.build)
    yield "forward", f, operands
    if not operands:
        return
    stacked = [np.stack([np.roll(x.reshape(-1), i).reshape(x.shape) for i in range(LANES)])
               for x in operands]  # fmt: skip
    yield "vmap", f.vmap([0] * len(f.inputs), [0] * len(f.outputs), LANES), stacked
    if f.floats() and f.float_outputs():
        inputs = [f.inputs[i] for i in f.floats()]
        yield "jvp", f.jvp(), [*operands, *_directions(inputs, 10)]
        yield "vjp", f.vjp(), [*operands, *_directions(f.float_outputs(), 20)]


def _directions(types: Any, seed: int) -> list[Array]:
    generator = np.random.default_rng(seed)
    return [
        rounded(generator.standard_normal(shape(t)), ir.RankedTensorType(t).element_type)
        for t in types
    ]
