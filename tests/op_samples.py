"""Samples of every op: operands, how to build it, and the same thing in torch.

All tests of `numeric/` go over this table, so an op that joins it is tested as a whole. Operands
of f64 are also used in f32. `smooth=False`: finite differences say nothing here (a tie, an
infinity, a derivative stop); the derivative is still compared with torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mlir import ir

from .samples import convolution, linalg, spectral
from .samples.control import CONTROL
from .samples.cumulative import CUMULATIVE
from .samples.functions import FUNCTIONS
from .samples.indexing import INDEXING
from .samples.making import (
    FIRST,
    INF,
    NAN,
    SECOND,
    SPECIAL,
    Array,
    Sample,
    bools,
    floats,
    integers,
    normal,
    positive,
)
from .samples.random import RANDOM

__all__ = ["SAMPLES", "WITHOUT_SAMPLE", "Sample", "kind", "normal"]


def binary(build: str, function: Callable[..., Any], *more: Sample, safe: bool = False):
    """Two operands of one shape; `safe`: both positive."""
    make = positive if safe else normal

    def emit(b: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return getattr(b, build)(x, y)

    def sample(*operands: Array, **options: bool) -> Sample:
        return Sample(emit, function, operands, **options)

    return [
        sample(make(2, 3), make(2, 3, seed=1) if safe else positive(2, 3, seed=1)),
        sample(make(), positive()),
        sample(make(0, 3), make(0, 3)),
        sample(make(1, 4), positive(1, 4, seed=2)),
        sample(FIRST, SECOND, smooth=False),
        *more,
    ]


def integer_binary(build: str, function: Callable[..., Any]) -> list[Sample]:
    def emit(b: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        return getattr(b, build)(x, y)

    x, y = integers(3, 4), integers(3, 4, seed=1)
    return [
        Sample(emit, function, (x, y)),
        Sample(emit, function, (x.astype(np.int32), y.astype(np.int32))),
        Sample(emit, function, (integers(), integers(seed=3))),
    ]


def bool_binary(build: str, function: Callable[..., Any]) -> Sample:
    truth = np.array([False, False, True, True]), np.array([False, True, False, True])
    return Sample(lambda b, x, y: getattr(b, build)(x, y), function, truth)


def unary(build: str, function: Callable[..., Any], make: Callable[..., Array] = normal):
    def emit(b: Any, x: ir.Value) -> ir.Value:
        return getattr(b, build)(x)

    return [
        Sample(emit, function, (make(2, 3),)),
        Sample(emit, function, (make(),)),
        Sample(emit, function, (make(2, 0),)),
        Sample(emit, function, (make(37),)),  # more than a vector, and not a multiple of one
        Sample(emit, function, (SPECIAL,), smooth=False),
    ]


def divide_integers(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    safe = torch.where(y == 0, 1, y)
    return torch.where(y == 0, 0, torch.div(x, safe, rounding_mode="trunc"))


def compare(predicate: str, *operands: Array) -> Sample:
    return Sample(lambda b, x, y: b.compare(predicate, x, y), getattr(torch, predicate), operands)


def kind(name: str, like: ir.Value) -> ir.Type:
    """The element type called f32, i64, ..."""
    return ir.Type.parse(name, like.context)


def convert(name: str, dtype: torch.dtype, x: Array) -> Sample:
    # rounding to f32 has steps that finite differences see
    return Sample(
        lambda b, x: b.convert(x, kind(name, x)), lambda x: x.to(dtype), (x,), smooth=False
    )


def reduce_max(x: torch.Tensor, dims: Sequence[int]) -> torch.Tensor:
    if any(x.shape[d] == 0 for d in dims):
        kept = [n for d, n in enumerate(x.shape) if d not in dims]
        lowest = -INF if x.is_floating_point() else torch.iinfo(x.dtype).min
        return torch.full(kept, lowest, dtype=x.dtype)
    return torch.amax(x, list(dims))


def reductions(build: str, function: Callable[..., Any]) -> list[Sample]:
    def sample(x: Array, *dims: int, smooth: bool = True) -> Sample:
        return Sample(
            lambda b, x: getattr(b, build)(x, dims), lambda x: function(x, dims), (x,), smooth
        )

    return [
        sample(normal(2, 3, 4), 1),
        sample(normal(2, 3, 4), 0, 2),
        sample(normal(2, 3, 4), 0, 1, 2),
        sample(normal(5), 0),
        sample(normal(2, 37), 1),
        sample(normal(37, 2), 0),
        sample(normal(1, 4), 0),
        sample(normal(3, 0), 0),
        sample(normal(3, 0), 1, smooth=False),
        sample(floats(2.0, 2.0, 1.0, 2.0), 0, smooth=False),
        sample(floats(1.0, NAN, 3.0), 0, smooth=False),
        sample(floats(1.0, INF, INF, -INF), 0, smooth=False),
        sample(floats(0.0, -0.0), 0, smooth=False),
        sample(integers(3, 4), 1),
        sample(integers(3, 4).astype(np.int32), 0),
    ]


def broadcast(x: Array, shape: Sequence[int], dims: Sequence[int]) -> Sample:
    def function(x: torch.Tensor) -> torch.Tensor:
        spread = [shape[d] if d in dims else 1 for d in range(len(shape))]
        return x.reshape(spread).expand(list(shape))

    return Sample(lambda b, x: b.broadcast(x, shape, dims), function, (x,))


def reshape(x: Array, *shape: int) -> Sample:
    return Sample(lambda b, x: b.reshape(x, shape), lambda x: x.reshape(shape), (x,))


def transpose(x: Array, *permutation: int) -> Sample:
    return Sample(lambda b, x: b.transpose(x, permutation), lambda x: x.permute(permutation), (x,))


def region(offsets: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> tuple:
    parts = zip(offsets, sizes, strides, strict=True)
    return tuple(slice(o, o + max(0, (n - 1) * s + 1) if n else o, s) for o, n, s in parts)


def strided_slice(x: Array, offsets, sizes, strides) -> Sample:
    return Sample(
        lambda b, x: b.slice(x, offsets, sizes, strides),
        lambda x: x[region(offsets, sizes, strides)],
        (x,),
    )


def pad(x: Array, value: Array, shape, offsets, strides) -> Sample:
    def function(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = value.expand(shape).clone()
        out[region(offsets, x.shape, strides)] = x
        return out

    return Sample(
        lambda b, x, value: b.pad(x, value, shape, offsets, strides), function, (x, value)
    )


def concatenate(dim: int, *xs: Array) -> Sample:
    return Sample(lambda b, *xs: b.concatenate(xs, dim), lambda *xs: torch.cat(xs, dim), xs)


def gathered(x: torch.Tensor, indices, axes: Sequence[int], batch: int) -> torch.Tensor:
    """What gather reads, with torch's own indexing: batch dimensions first, then axes."""
    rest = [d for d in range(batch, x.ndim) if d not in axes]
    x_ = x.permute([*range(batch), *axes, *rest])
    clamped = [i.clamp(0, x.shape[a] - 1) for i, a in zip(indices, axes, strict=True)]
    grid = [
        torch.arange(x.shape[d]).reshape([-1 if i == d else 1 for i in range(indices[0].ndim)])
        for d in range(batch)
    ]
    return x_[(*grid, *clamped)]


def gather(x: Array, axes: Sequence[int], batch: int, *indices: Array, safe: bool = True):
    return Sample(
        lambda b, x, *indices: b.gather(x, indices, axes, batch, safe),
        lambda x, *indices: gathered(x, indices, axes, batch),
        (x, *indices),
    )


def scatter_add(
    x: Array, updates: Array, axes: Sequence[int], batch: int, *indices: Array, safe: bool = True
) -> Sample:
    def function(x: torch.Tensor, updates: torch.Tensor, *indices: torch.Tensor) -> torch.Tensor:
        # the transpose of gather, by torch's autograd, plus x
        if not x.is_floating_point():
            counts = function(x.double(), updates.double(), *indices)
            return counts.to(x.dtype)
        with torch.enable_grad():
            zero = torch.zeros_like(x, requires_grad=True)
            (added,) = torch.autograd.grad(
                gathered(zero, indices, axes, batch), zero, updates, create_graph=True
            )
        return x + added

    return Sample(
        lambda b, x, updates, *indices: b.scatter_add(x, updates, indices, axes, batch, safe),
        function,
        (x, updates, *indices),
    )


def dot_general(x: Array, y: Array, xb, yb, xc, yc) -> Sample:
    def function(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        letters = iter("abcdefghij")
        xs = [next(letters) for _ in range(x.ndim)]
        ys = [next(letters) for _ in range(y.ndim)]
        for i, j in zip([*xb, *xc], [*yb, *yc], strict=True):
            ys[j] = xs[i]
        out = [xs[i] for i in xb] + [xs[i] for i in range(x.ndim) if i not in (*xb, *xc)]
        out += [ys[j] for j in range(y.ndim) if j not in (*yb, *yc)]
        return torch.einsum(f"{''.join(xs)},{''.join(ys)}->{''.join(out)}", x, y)

    return Sample(lambda b, x, y: b.dot_general(x, y, xb, yb, xc, yc), function, (x, y))


def literal(value: Array) -> Sample:
    def emit(b: Any) -> ir.Value:
        names = {"float64": "f64", "float32": "f32", "int64": "i64", "int32": "i32", "bool": "i1"}
        return b.constant(value, ir.Type.parse(names[value.dtype.name], b.location.context))

    return Sample(emit, lambda: torch.tensor(value), ())


def iota(name: str, dtype: torch.dtype, shape: Sequence[int], dim: int) -> Sample:
    def function() -> torch.Tensor:
        ramp = torch.arange(shape[dim], dtype=dtype)
        return ramp.reshape([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)

    return Sample(
        lambda b: b.iota(shape, dim, ir.Type.parse(name, b.location.context)), function, ()
    )


def basis(*shape: int) -> Sample:
    n = int(np.prod(shape))
    return Sample(
        lambda b: b.basis(0, shape, ir.Type.parse("f64", b.location.context)),
        lambda: torch.eye(n, dtype=torch.float64).reshape(n, *shape),
        (),
    )


def composed(
    build: Callable[..., ir.Value], function: Callable[..., Any], *operands: Array
) -> Sample:
    """Two ops that simplification makes one."""
    return Sample(build, function, operands)


INDEX = np.array([2, 0, 2, 1])
ROW, COLUMN = np.array([[0, 1, 1]]), np.array([[2, 0, 2]])

SAMPLES: dict[str, list[Sample]] = {
    "pb.add": [
        *binary("add", torch.add),
        *integer_binary("add", torch.add),
        bool_binary("add", torch.logical_or),
        composed(lambda b, x, y: b.add(x, b.neg(y)), torch.sub, normal(3), normal(3, seed=1)),
        composed(lambda b, x, y: b.add(b.neg(x), y), lambda x, y: y - x, normal(2), positive(2)),
        composed(
            lambda b, x, y: b.add(b.broadcast(x, (2, 3), (1,)), b.broadcast(y, (2, 3), (1,))),
            lambda x, y: (x + y).expand(2, 3),
            normal(3),
            positive(3),
        ),
    ],
    "pb.sub": [
        *binary("sub", torch.sub),
        *integer_binary("sub", torch.sub),
        composed(lambda b, x, y: b.sub(x, b.neg(y)), torch.add, normal(3), positive(3)),
    ],
    "pb.mul": [
        *binary("mul", torch.mul),
        *integer_binary("mul", torch.mul),
        bool_binary("mul", torch.logical_and),
        composed(lambda b, x: b.mul(x, b.full_like(x, -1)), torch.neg, normal(3)),
        composed(lambda b, x: b.mul(b.full_like(x, 1), x), lambda x: x.clone(), bools(3)),
        composed(lambda b, x, y: b.mul(b.neg(x), y), lambda x, y: -x * y, normal(3), positive(3)),
    ],
    "pb.div": [*binary("div", torch.div), *integer_binary("div", divide_integers)],
    "pb.pow": [
        *binary("pow", torch.pow, safe=True),
        Sample(
            lambda b, x: b.pow(x, b.full_like(x, 2)),
            lambda x: x**2,
            (floats(-1.5, 0.0, -0.0, 2.0),),
        ),
        Sample(
            lambda b, x: b.pow(x, b.full_like(x, 0)),
            lambda x: torch.pow(x, torch.zeros_like(x)),
            (floats(-1.5, 0.0, 2.0),),
        ),
    ],
    "pb.maximum": [
        *binary("maximum", torch.maximum),
        *integer_binary("maximum", torch.maximum),
        bool_binary("maximum", torch.logical_or),
        Sample(
            lambda b, x: b.maximum(x, b.zeros_like(x)),
            lambda x: torch.maximum(x, torch.zeros_like(x)),
            (floats(0.0, -0.0, 1.0, -1.0),),
            smooth=False,
        ),
    ],
    "pb.neg": [
        *unary("neg", torch.neg),
        Sample(lambda b, x: b.neg(x), torch.neg, (integers(5),)),
        composed(lambda b, x: b.neg(b.neg(x)), lambda x: 1 * x, normal(3)),
    ],
    "pb.exp": unary("exp", torch.exp),
    "pb.log": unary("log", torch.log, positive),
    "pb.sin": unary("sin", torch.sin),
    "pb.cos": unary("cos", torch.cos),
    "pb.tanh": unary("tanh", torch.tanh),
    "pb.sqrt": unary("sqrt", torch.sqrt, positive),
    "pb.logistic": unary("logistic", torch.sigmoid),
    "pb.compare": [
        *(compare(p, FIRST, SECOND) for p in ("eq", "ne", "lt", "le", "gt", "ge")),
        *(compare(p, integers(40), integers(40, seed=1)) for p in ("eq", "lt", "ge")),
        compare("eq", bools(8), bools(8, seed=1)),
        compare("lt", normal(2, 3), normal(2, 3, seed=1)),
    ],
    "pb.select": [
        Sample(
            lambda b, p, x, y: b.select(p, x, y),
            torch.where,
            (bools(2, 3), normal(2, 3), normal(2, 3, seed=1)),
        ),
        Sample(
            lambda b, p, x, y: b.select(p, x, y), torch.where, (bools(), normal(), normal(seed=1))
        ),
        Sample(
            lambda b, p, x, y: b.select(p, x, y),
            torch.where,
            (bools(3), integers(3), integers(3, seed=1)),
        ),
        Sample(  # the trap stays a trap: 0 * inf behind the branch that is not taken
            lambda b, x: b.select(b.compare("gt", x, b.zeros_like(x)), b.sqrt(x), b.zeros_like(x)),
            lambda x: torch.where(x > 0, torch.sqrt(x), torch.zeros_like(x)),
            (floats(0.0, 4.0, -1.0),),
            smooth=False,
        ),
    ],
    "pb.convert": [
        convert("f32", torch.float32, normal(2, 3)),
        convert("f64", torch.float64, normal(2, 3).astype(np.float32)),
        convert("i64", torch.int64, floats(-1.5, -0.5, 0.0, 0.9, 7.0)),
        convert("i32", torch.int32, floats(-1.5, -0.5, 0.0, 0.9, 7.0)),
        convert("i1", torch.bool, floats(-1.5, 0.0, -0.0, NAN, 0.25)),
        convert("f64", torch.float64, integers(3)),
        convert("i32", torch.int32, integers(3)),
        convert("i64", torch.int64, integers(3).astype(np.int32)),
        convert("i1", torch.bool, integers(5, low=-1, high=2)),
        convert("f32", torch.float32, bools(4)),
        convert("i64", torch.int64, bools(4)),
    ],
    "pb.constant": [
        literal(normal(2, 3)),
        literal(normal(2).astype(np.float32)),
        literal(np.float64(2.5) * np.ones(())),
        literal(np.full((2, 2), -0.0)),
        literal(floats(0.0, -0.0, NAN, INF)),
        literal(integers(3, 2)),
        literal(integers(3).astype(np.int32)),
        literal(bools(5)),
        literal(np.array([True, True])),
        literal(np.zeros((0, 2))),
    ],
    "pb.iota": [
        iota("i64", torch.int64, (2, 3), 0),
        iota("i32", torch.int32, (2, 3), 1),
        iota("f64", torch.float64, (4,), 0),
        iota("f32", torch.float32, (3, 0), 0),
    ],
    "pb.basis": [basis(2, 3), basis(3), basis(), basis(0)],
    "pb.broadcast": [
        broadcast(normal(3), (2, 3), (1,)),
        broadcast(normal(3), (3, 2), (0,)),
        broadcast(normal(), (2, 3), ()),
        broadcast(normal(2, 3), (2, 4, 3, 1), (0, 2)),
        broadcast(normal(3), (0, 3), (1,)),
        broadcast(integers(3), (2, 3), (1,)),
        broadcast(bools(3), (2, 3), (1,)),
        composed(
            lambda b, x: b.broadcast(b.broadcast(x, (2, 3), (1,)), (2, 4, 3), (0, 2)),
            lambda x: x.expand(2, 4, 3),
            normal(3),
        ),
    ],
    "pb.reshape": [
        reshape(normal(2, 6), 3, 4),
        reshape(normal(2, 3), 6),
        reshape(normal(1, 1)),
        reshape(normal(), 1, 1),
        reshape(normal(0, 3), 3, 0, 2),
        reshape(normal(2, 3), 1, 2, 1, 3),
        reshape(bools(4), 2, 2),
        composed(
            lambda b, x: b.reshape(b.broadcast(x, (2, 1, 3), (0, 2)), (3, 2)),
            lambda x: x.reshape(3, 2),
            normal(2, 3),
        ),
    ],
    "pb.transpose": [
        transpose(normal(2, 3), 1, 0),
        transpose(normal(2, 3, 4), 2, 0, 1),
        transpose(normal(2, 3, 4), 1, 2, 0),
        transpose(normal(2, 3, 4), 0, 2, 1),
        transpose(normal(2, 0), 1, 0),
        transpose(integers(2, 3), 1, 0),
        composed(
            lambda b, x: b.transpose(b.transpose(x, (2, 0, 1)), (0, 2, 1)),
            lambda x: x.permute(2, 0, 1).permute(0, 2, 1),
            normal(2, 3, 4),
        ),
        composed(
            lambda b, x: b.transpose(b.broadcast(x, (2, 5, 3, 4), (0, 2, 3)), (3, 1, 0, 2)),
            lambda x: x.reshape(2, 1, 3, 4).expand(2, 5, 3, 4).permute(3, 1, 0, 2),
            normal(2, 3, 4),
        ),
        composed(
            lambda b, x, y: b.transpose(b.dot_general(x, y, (0,), (1,), (2,), (0,)), (0, 2, 1)),
            lambda x, y: torch.einsum("bik,kbj->bji", x, y),
            normal(2, 3, 4),
            normal(4, 2, 5),
        ),
    ],
    "pb.slice": [
        strided_slice(normal(6), (1,), (2,), (3,)),
        strided_slice(normal(4, 5), (1, 0), (2, 5), (1, 1)),
        strided_slice(normal(4, 5), (0, 1), (2, 2), (3, 2)),
        strided_slice(normal(4), (4,), (0,), (1,)),
        strided_slice(normal(4, 2), (2, 0), (1, 2), (1, 1)),
        strided_slice(bools(4), (1,), (2,), (2,)),
        composed(
            lambda b, x: b.slice(b.pad(x, None, (7,), (1,), (2,)), (1,), (3,), (2,)),
            lambda x: 1 * x,
            normal(3),
        ),
        composed(
            lambda b, x: b.slice(b.pad(x, None, (7,), (1,), (2,)), (0,), (3,), (2,)),
            torch.zeros_like,
            normal(3),
        ),
    ],
    "pb.pad": [
        pad(normal(3), normal(), (7,), (1,), (2,)),
        pad(normal(2, 3), normal(), (4, 6), (1, 0), (1, 2)),
        pad(normal(2), normal(), (2,), (0,), (1,)),
        pad(normal(0), normal(), (3,), (2,), (1,)),
        pad(normal(), normal(), (), (), ()),
        pad(integers(2), integers(), (5,), (2,), (1,)),
    ],
    "pb.concatenate": [
        concatenate(0, normal(2, 3), normal(1, 3)),
        concatenate(1, normal(2, 3), normal(2, 2), normal(2, 1)),
        concatenate(0, normal(0, 2), normal(2, 2)),
        concatenate(0, integers(2), integers(3)),
    ],
    "pb.gather": [
        gather(normal(3, 5), (0,), 0, INDEX),
        gather(normal(5, 3), (1,), 0, INDEX),
        gather(normal(2, 3), (0, 1), 0, ROW, COLUMN),
        gather(normal(2, 4, 3), (0, 2), 0, ROW, COLUMN),
        gather(normal(2, 3, 4), (1,), 1, np.array([[2, 0], [1, 1]])),
        gather(normal(2, 4, 3), (2,), 1, np.array([2, 0])),
        gather(normal(2, 3, 4), (2,), 2, integers(2, 3, 5, low=0, high=4)),
        gather(normal(3, 5), (0,), 0, np.array(2)),
        gather(normal(3, 5), (0,), 0, np.zeros((0,), np.int64)),
        gather(normal(3, 5), (0,), 0, np.array([-7, 9, 1]), safe=False),
        gather(normal(3, 5), (0,), 0, INDEX.astype(np.int32)),
        gather(integers(3, 5), (0,), 0, INDEX),
        gather(bools(3, 5), (0,), 0, INDEX),
    ],
    "pb.scatter_add": [
        scatter_add(normal(3, 5), normal(4, 5), (0,), 0, INDEX),
        scatter_add(normal(5, 3), normal(4, 5), (1,), 0, INDEX),
        scatter_add(normal(2, 3), normal(1, 3), (0, 1), 0, ROW, COLUMN),
        scatter_add(normal(2, 4, 3), normal(1, 3, 4), (0, 2), 0, ROW, COLUMN),
        scatter_add(normal(2, 3, 4), normal(2, 2, 4), (1,), 1, np.array([[2, 0], [1, 1]])),
        scatter_add(normal(2, 4, 3), normal(2, 4), (2,), 1, np.array([2, 0])),
        scatter_add(normal(3, 5), normal(5), (0,), 0, np.array(2)),
        scatter_add(normal(3, 5), normal(0, 5), (0,), 0, np.zeros((0,), np.int64)),
        scatter_add(normal(3, 5), normal(3, 5), (0,), 0, np.array([-7, 9, 1]), safe=False),
        scatter_add(integers(3), integers(4), (0,), 0, INDEX),
    ],
    "pb.check_index": [
        Sample(
            lambda b, i: b.check_index(i, 3, "IndexError: too far"),
            lambda i: torch.where(i < 0, i + 3, i),
            (np.array([-3, -1, 0, 2]),),
        ),
        Sample(
            lambda b, i: b.check_index(i, 3, "IndexError: too far", wrap=False),
            lambda i: i.clone(),
            (np.array([[0, 2]], np.int32),),
        ),
    ],
    "pb.reduce_sum": [
        *reductions("reduce_sum", lambda x, dims: torch.sum(x, list(dims), dtype=x.dtype)),
        Sample(lambda b, x: b.reduce_sum(x, [0]), lambda x: x.any(0), (bools(3, 4),)),
        composed(
            lambda b, x: b.reduce_sum(b.transpose(x, (2, 0, 1)), (0, 1)),
            lambda x: x.sum((2, 0)),
            normal(2, 3, 4),
        ),
        composed(
            lambda b, x: b.reduce_sum(b.transpose(x, (2, 1, 0)), (1,)),
            lambda x: x.sum(1).T,
            normal(2, 3, 4),
        ),
    ],
    "pb.reduce_max": [
        *reductions("reduce_max", reduce_max),
        Sample(lambda b, x: b.reduce_max(x, [1]), lambda x: x.any(1), (bools(3, 4),)),
    ],
    "pb.dot_general": [
        dot_general(normal(2, 3), normal(3, 4), (), (), (1,), (0,)),
        dot_general(normal(3, 2), normal(4, 3), (), (), (0,), (1,)),
        dot_general(normal(3), normal(3, seed=1), (), (), (0,), (0,)),
        dot_general(normal(2), normal(3), (), (), (), ()),
        dot_general(normal(2), normal(), (), (), (), ()),
        dot_general(normal(5, 2, 3), normal(5, 3, 4), (0,), (0,), (2,), (1,)),
        dot_general(normal(2, 5, 3), normal(3, 4, 5), (1,), (2,), (2,), (0,)),
        dot_general(normal(2, 3, 4), normal(4, 5, 3), (), (), (1, 2), (2, 0)),
        dot_general(normal(3, 2), normal(3, 2, seed=1), (1, 0), (1, 0), (), ()),
        dot_general(normal(2, 0), normal(0, 4), (), (), (1,), (0,)),
        dot_general(normal(0, 3), normal(3, 4), (), (), (1,), (0,)),
        dot_general(normal(17, 33), normal(33, 19), (), (), (1,), (0,)),
        dot_general(integers(2, 3), integers(3, 4), (), (), (1,), (0,)),
        composed(
            lambda b, x, y: b.dot_general(
                b.transpose(x, (1, 2, 0)), b.transpose(y, (2, 0, 1)), (0,), (1,), (1,), (2,)
            ),
            lambda x, y: torch.einsum("abc,bcd->bad", x, y),
            normal(2, 3, 4),
            normal(3, 4, 5),
        ),
    ],
    "pb.stop_gradient": [
        Sample(lambda b, x: b.stop_gradient(x), torch.detach, (normal(3),), smooth=False),
        Sample(
            lambda b, x: b.mul(x, b.stop_gradient(x)),
            lambda x: x * x.detach(),
            (normal(3),),
            smooth=False,
        ),
        Sample(
            lambda b, x: b.mul(x, b.stop_gradient(x, reverse_only=True)),
            lambda x: x * x.detach(),
            (normal(3),),
            smooth=False,
            one_way=True,
        ),
    ],
}

for _op in ("pb.maximum", "pb.reduce_max"):
    SAMPLES[_op] = [replace(sample, either_zero=True) for sample in SAMPLES[_op]]

#: Families with a file of their own in samples/.
FAMILIES: list[dict[str, list[Sample]]] = [
    CONTROL,
    CUMULATIVE,
    FUNCTIONS,
    INDEXING,
    convolution.SAMPLES,
    linalg.SAMPLES,
    spectral.SAMPLES,
    RANDOM,
]
for _family in FAMILIES:
    SAMPLES |= _family

#: Ops that cannot stand alone in a function of tensors, or have no rules yet, and why.
WITHOUT_SAMPLE = {
    "pb.call": "names a function; inlined before any rule is asked",
    "pb.vmap": "a transform; transforms/vmap.py is tested with every op",
    "pb.jvp": "a transform; transforms/jvp.py is tested with every op",
    "pb.vjp": "a transform; transforms/linearize.py is tested with every op",
    "pb.linear_transpose": "a transform; transforms/transpose.py is tested with every op",
    "pb.custom_call": "names functions; tests/frontend/test_custom.py",
    "pb.linear_call": "names functions; tests/frontend/test_custom.py",
    "pb.barrier": "made once no transform is left, by pb.checkpoint",
    "pb.yield": "ends a region",
}
