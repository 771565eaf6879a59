"""The mathematics an op must satisfy, as checks of one sample; each raises AssertionError.

Derivatives are compared with torch, with finite differences, and with each other; vmap with a
loop. `test_rules.py` applies them to the whole table, `test_mutations.py` to broken rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from ..op_samples import Sample
from .programs import Function, Program, type_of

Array = np.ndarray

#: Relative to scale, per order of derivative.
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-5}
#: Five-point differences in f64: h^4 f'''''/30 is below 1e-11 and rounding eps f/h below 1e-12
#: for the samples; second derivatives of pow and div have large fifth derivatives.
STEP, DIFFERENCES = 1e-3, 1e-8
LANES = 3


def close(
    actual: Array, expected: Array, order: int = 1, tolerance: float = 0.0, scale: float = 0.0
) -> None:
    """Equal shape and dtype; floats within the tolerance, of each element or of the whole.

    `scale`: that of what was computed with, if the result may cancel to zero.
    """
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), (
        f"{actual.dtype}{actual.shape} instead of {expected.dtype}{expected.shape}"
    )
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    limit = tolerance or order * TOLERANCE[expected.dtype]
    finite = np.abs(expected[np.isfinite(expected)])
    scale = scale or (min(1.0, finite.max()) if finite.size else 1.0)
    np.testing.assert_allclose(actual, expected, rtol=limit, atol=limit * scale)


def same_zeros(actual: Array, expected: Array) -> None:
    """-0.0 where it should be."""
    if expected.dtype.kind == "f":
        zero = expected == 0
        np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(expected[zero]))


def all_close(actual: Sequence[Array], expected: Sequence[Array], **options: float) -> None:
    for a, e in zip(actual, expected, strict=True):
        close(a, e, **options)  # type: ignore[arg-type]


def in_dtype(sample: Sample, dtype: type) -> list[Array]:
    return [
        x.astype(dtype) if x.dtype.kind == "f" and x.dtype == np.float64 else x
        for x in sample.operands
    ]


def sample_function(sample: Sample, operands: Sequence[Array]) -> Function:
    return Program().define([type_of(x) for x in operands], sample.build)


def direction(x: Array, seed: int) -> Array:
    return np.random.default_rng([1000 + seed, x.size]).standard_normal(x.shape).astype(x.dtype)


def directions(f: Function, operands: Sequence[Array], seed: int) -> list[Array]:
    return [direction(np.asarray(operands[i]), seed + i) for i in f.floats()]


def cotangents(f: Function, seed: int) -> list[Array]:
    from pullback.dialects.pb.types import dtype, shape

    return [
        direction(np.empty(shape(t), dtype(t)), seed + i) for i, t in enumerate(f.float_outputs())
    ]


def differentiable(sample: Sample) -> bool:
    f = sample_function(sample, sample.operands)
    return bool(f.floats() and f.float_outputs())


# -- against torch ---------------------------------------------------------------------


def against_torch(sample: Sample, dtype: type) -> None:
    """The value, and the cotangents at every point, special ones included."""
    operands = in_dtype(sample, dtype)
    f = sample_function(sample, operands)
    f.program.export("f", f)
    derivable = bool(f.floats() and f.float_outputs())
    if derivable:
        f.program.export("vjp", f.vjp())
    tensors = [torch.tensor(x) for x in operands]
    for i in f.floats():
        tensors[i].requires_grad_()
    expected = sample.torch(*tensors)
    (value,) = f.program.run("f", *operands)
    close(value, expected.detach().numpy())
    if not sample.either_zero:
        same_zeros(value, expected.detach().numpy())
    if not derivable:
        return
    cts = cotangents(f, 70)
    wrt = [tensors[i] for i in f.floats()]
    bars: Sequence[torch.Tensor | None] = [None] * len(wrt)
    if expected.requires_grad:
        bars = torch.autograd.grad(expected, wrt, torch.tensor(cts[0]), allow_unused=True)
    wanted = [
        np.zeros(x.shape, x.detach().numpy().dtype) if bar is None else bar.numpy()
        for x, bar in zip(wrt, bars, strict=True)
    ]
    all_close(f.program.run("vjp", *operands, *cts)[1:], wanted, order=2)


# -- derivatives -----------------------------------------------------------------------


def moved(arrays: Sequence[Array], where: Sequence[int], dots: Sequence[Array], t: float):
    out = [np.asarray(x) for x in arrays]
    for i, dot in zip(where, dots, strict=True):
        out[i] = out[i] + t * dot
    return out


def differences(
    run: Callable[..., list[Array]], arrays: Sequence[Array], where: Sequence[int], dots
) -> list[Array]:
    """The derivative of `run` along `dots`, by the five-point rule."""

    def at(t: float) -> list[Array]:
        return run(*moved(arrays, where, dots, t * STEP))

    near, far = zip(at(1), at(-1), strict=True), zip(at(2), at(-2), strict=True)
    return [
        (8 * (a - b) - (c - d)) / (12 * STEP) if a.dtype.kind == "f" else a
        for (a, b), (c, d) in zip(near, far, strict=True)
    ]


def inner(xs: Iterable[Array], ys: Iterable[Array]) -> float:
    return float(sum(np.sum(np.asarray(x) * y) for x, y in zip(xs, ys, strict=True)))


def dual(pushed: Sequence[Array], u: Sequence[Array], v: Sequence[Array], pulled) -> None:
    """<J v, u> = <v, J' u>"""
    with np.errstate(all="ignore"):
        left, right = inner(pushed, u), inner(v, pulled)
        scale = inner(map(np.abs, pushed), map(np.abs, u))
    if np.isfinite(left) and np.isfinite(right):
        dtypes = {np.asarray(x).dtype for x in (*pushed, *pulled)}
        limit = max((TOLERANCE[dtype] for dtype in dtypes), default=0.0)
        assert abs(left - right) <= limit * scale, f"<Jv,u> = {left}, <v,J'u> = {right}"


def first_order(sample: Sample) -> None:
    f = sample_function(sample, sample.operands)
    f.program.export("f", f)
    f.program.export("jvp", f.jvp())
    f.program.export("vjp", f.vjp())
    run = f.program.run
    v, u = directions(f, sample.operands, 10), cotangents(f, 20)
    value = run("f", *sample.operands)
    pushed = run("jvp", *sample.operands, *v)
    pulled = run("vjp", *sample.operands, *u)
    all_close(pushed[:1], value)
    all_close(pulled[:1], value)
    if sample.smooth:
        expected = differences(lambda *x: run("f", *x), sample.operands, f.floats(), v)
        all_close(pushed[1:], expected, tolerance=DIFFERENCES)
    if not sample.one_way:
        dual(pushed[1:], u, v, pulled[1:])
    each_operand(sample, f, v, pushed[1:])


def each_operand(sample: Sample, f: Function, v: Sequence[Array], pushed) -> None:
    """One operand differentiated at a time: the derivatives add up to the whole."""
    if len(f.floats()) < 2:
        return
    alone = sample_function(sample, sample.operands)
    parts = []
    for i in f.floats():
        alone.program.export(f"jvp{i}", alone.jvp([i]))
        alone.program.export(f"vjp{i}", alone.vjp([i]))
    u = cotangents(f, 20)
    for i, dot in zip(f.floats(), v, strict=True):
        push = alone.program.run(f"jvp{i}", *sample.operands, dot)[1:]
        parts.append(push)
        if not sample.one_way:
            dual(push, u, [dot], alone.program.run(f"vjp{i}", *sample.operands, *u)[1:])
    with np.errstate(all="ignore"):
        total = [sum(part[k] for part in parts) for k in range(len(pushed))]
    all_close(total, pushed, order=2)


def second_order(sample: Sample) -> None:
    """jvp and vjp of the pullback, and vjp of the pushforward."""
    f = sample_function(sample, sample.operands)
    pull = f.vjp().keep(*range(1, 1 + len(f.floats())))
    push = f.jvp().keep(1)
    for name, function in {"pull": pull, "push": push}.items():
        f.program.export(name, function)
        f.program.export(f"{name}.jvp", function.jvp())
        f.program.export(f"{name}.vjp", function.vjp())
    run = f.program.run
    for name, g, extra in (
        ("pull", pull, cotangents(f, 20)),
        ("push", push, directions(f, sample.operands, 30)),
    ):
        at = [*sample.operands, *extra]
        v, u = directions(g, at, 40), cotangents(g, 50)
        pushed = run(f"{name}.jvp", *at, *v)[len(g.outputs) :]
        pulled = run(f"{name}.vjp", *at, *u)[len(g.outputs) :]
        if sample.smooth:
            expected = differences(lambda *x, n=name: run(n, *x), at, g.floats(), v)
            all_close(pushed, expected, tolerance=DIFFERENCES)
        if not sample.one_way:
            dual(pushed, u, v, pulled)


# -- vmap ------------------------------------------------------------------------------


def example(x: Array, i: int) -> Array:
    """Another operand like `x`, with the same values in other places (so indices stay good)."""
    x = np.asarray(x)
    rolled = np.roll(x.reshape(-1), i).reshape(x.shape)
    if x.dtype.kind == "f":
        return (rolled * (1 + i / 8)).astype(x.dtype)
    return ~rolled if x.dtype == bool and i % 2 else rolled


def choices(ranks: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every choice of batched operands and of their batch dimensions (-1: not batched)."""
    for dims in itertools.product(*(range(-1, rank + 1) for rank in ranks)):
        if any(dim >= 0 for dim in dims):
            yield dims


def against_loop(f: Function, operands: Sequence[Array], picks: Sequence[tuple[int, ...]]) -> None:
    """vmap of `f` for each choice of batch dimensions, against a loop over the examples."""
    from pullback.dialects.pb.types import rank

    program = f.program
    program.export("one", f)
    for k, dims in enumerate(picks):
        out_dims = [k % (rank(t) + 1) for t in f.outputs]
        program.export(f"all{k}", f.vmap(dims, out_dims, LANES))
    lanes = [[example(x, i) for i in range(LANES)] for x in operands]
    for k, dims in enumerate(picks):
        stacked = [
            np.stack(lane, dim) if dim >= 0 else lane[0]
            for lane, dim in zip(lanes, dims, strict=True)
        ]
        found = program.run(f"all{k}", *stacked)
        looped = [
            program.run(
                "one", *(lane[i if d >= 0 else 0] for lane, d in zip(lanes, dims, strict=True))
            )
            for i in range(LANES)
        ]
        for j, (out, type_) in enumerate(zip(found, f.outputs, strict=True)):
            dim = k % (rank(type_) + 1)
            close(out, np.stack([outs[j] for outs in looped], dim), order=2)


def batching(sample: Sample) -> None:
    f = sample_function(sample, sample.operands)
    against_loop(f, sample.operands, list(choices([x.ndim for x in sample.operands])))


def batched_derivatives(sample: Sample) -> None:
    """vmap of jvp and of vjp: everything batched, and each operand alone."""
    for derivative, extra in (("jvp", directions), ("vjp", None)):
        f = sample_function(sample, sample.operands)
        more = extra(f, sample.operands, 3) if extra else cotangents(f, 30)
        operands = [*sample.operands, *more]
        n = len(operands)
        picks = [(0,) * n, tuple(np.asarray(x).ndim for x in operands)]
        picks += [tuple(0 if i == j else -1 for j in range(n)) for i in range(n) if n > 1]
        against_loop(getattr(f, derivative)(), operands, picks)


def edges_of_batching(sample: Sample) -> None:
    """Batches of one example and of none."""
    from pullback.dialects.pb.types import shape

    f = sample_function(sample, sample.operands)
    n = len(sample.operands)
    for size in (0, 1):
        program = Program()
        f = program.define([type_of(x) for x in sample.operands], sample.build)
        program.export("all", f.vmap([0] * n, [0] * len(f.outputs), size))
        stacked = [np.broadcast_to(x, (size, *np.shape(x))).copy() for x in sample.operands]
        for out, type_ in zip(program.run("all", *stacked), f.outputs, strict=True):
            assert out.shape == (size, *shape(type_))


#: Checks of every sample, and of those with a derivative.
ALWAYS = {
    "f64": lambda sample: against_torch(sample, np.float64),
    "f32": lambda sample: against_torch(sample, np.float32),
}
IF_OPERANDS = {"batching": batching, "edges_of_batching": edges_of_batching}
IF_DIFFERENTIABLE = {
    "first_order": first_order,
    "second_order": second_order,
    "batched_derivatives": batched_derivatives,
}


def checks_of(sample: Sample) -> dict[str, Callable[[Sample], None]]:
    """The checks that make sense for a sample, by name."""
    checks: dict[str, Callable[[Sample], None]] = dict(ALWAYS)
    if sample.operands:
        checks |= IF_OPERANDS
        if differentiable(sample):
            checks |= IF_DIFFERENTIABLE
    return checks
