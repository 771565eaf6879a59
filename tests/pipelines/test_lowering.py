"""Every op against its definition: shapes, dtypes, and the cases at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from pullback.dialects.errors import ToolchainError
from pullback.pipelines import cpu

from .conftest import Check, Compile, arguments_for, assert_close, function, tensor

NUMBERS = ["f32", "f64", "i32", "i64"]


def binary(name: str, element: str) -> str:
    type_ = tensor((3, 7), element)
    return function(f"  %r = pb.{name} %x, %y : {type_}", {"%x": type_, "%y": type_}, {"%r": type_})


@pytest.mark.parametrize("element", NUMBERS)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum"])
def test_arithmetic(check: Check, name: str, element: str) -> None:
    check(binary(name, element))


@pytest.mark.parametrize("name", ["add", "mul", "maximum"])
def test_logic(check: Check, name: str) -> None:
    check(binary(name, "i1"))


@pytest.mark.parametrize("element", ["f32", "i64", "i1"])
def test_compare_and_select(check: Check, element: str) -> None:
    type_, truth = tensor((3, 7), element), tensor((3, 7), "i1")
    for predicate in ("eq", "ne", "lt", "le", "gt", "ge"):
        check(
            function(
                f'  %c = pb.compare "{predicate}" %x, %y : {type_}\n'
                f"  %r = pb.select %c, %x, %y : {truth}, {type_}, {type_}",
                {"%x": type_, "%y": type_},
                {"%c": truth, "%r": type_},
            )
        )


def test_any_nonzero_byte_is_true(compiled: Compile) -> None:
    truth, number = tensor((4,), "i1"), tensor((4,), "f32")
    run = compiled(
        function(
            f"  %r = pb.convert %x : {truth} -> {number}",
            {"%x": truth},
            {"%r": number, "%x": truth},
        )
    )
    x = np.array([0, 1, 2, 255], np.uint8).view(np.bool_)
    got, same = run.call_leaves([x])
    np.testing.assert_array_equal(got, [0, 1, 1, 1])
    assert same.dtype == np.bool_


ELEMENTS = ["f32", "f64", "i32", "i64", "i1"]


@pytest.mark.parametrize("source", ELEMENTS)
@pytest.mark.parametrize("target", ELEMENTS)
def test_convert(check: Check, source: str, target: str) -> None:
    before, after = tensor((5,), source), tensor((5,), target)
    check(function(f"  %r = pb.convert %x : {before} -> {after}", {"%x": before}, {"%r": after}))


RESHAPES = [
    ((6, 4), (24,)),
    ((24,), (2, 3, 4)),
    ((6, 4), (4, 6)),
    ((1, 6, 1), (6,)),
    ((), (1, 1)),
    ((1, 1), ()),
    ((2, 3, 4), (6, 1, 4)),
    ((2, 3, 4), (3, 8)),
]


@pytest.mark.parametrize("element", ["f32", "i1"])
def test_structure(check: Check, element: str) -> None:
    def one(op: str, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        x, r = tensor(before, element), tensor(after, element)
        check(function(f"  %r = pb.{op} : {x} -> {r}", {"%x": x}, {"%r": r}))

    one("broadcast %x dims = [1, 2]", (3, 1), (2, 3, 1, 4))
    one("broadcast %x dims = []", (), (2, 3))
    one("slice %x offsets = [1, 2] strides = [2, 1]", (7, 6), (3, 3))
    one("slice %x offsets = [0, 0] strides = [1, 1]", (7, 6), (3, 6))
    for before, after in RESHAPES:
        one("reshape %x", before, after)
    x, v, r = tensor((3, 3), element), tensor((), element), tensor((7, 6), element)
    check(
        function(
            f"  %r = pb.pad %x, %v offsets = [1, 2] strides = [2, 1] : {x}, {v} -> {r}",
            {"%x": x, "%v": v},
            {"%r": r},
        )
    )
    x, r = tensor((2, 3, 4), element), tensor((4, 2, 3), element)
    check(function(f"  %r = pb.transpose %x permutation = [2, 0, 1] : {x}", {"%x": x}, {"%r": r}))
    parts = {f"%x{n}": tensor((2, n), element) for n in (3, 1, 0)}
    check(
        function(
            f"  %r = pb.concatenate {', '.join(parts)} dim = 1 : {', '.join(parts.values())}",
            parts,
            {"%r": tensor((2, 4), element)},
        )
    )


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("op", ["reduce_sum", "reduce_max"])
def test_reduce(check: Check, op: str, element: str) -> None:
    for shape, dims in (
        ((3, 70, 5), [1]),
        ((3, 70, 5), [0]),
        ((3, 70, 5), [0, 2]),
        ((3, 70, 5), [0, 1, 2]),
        ((3, 70, 5), []),
        ((3, 0), [1]),
        ((3, 0), [0]),
    ):
        kept = [n for d, n in enumerate(shape) if d not in dims]
        x, r = tensor(shape, element), tensor(kept, element)
        check(function(f"  %r = pb.{op} %x dims = {dims} : {x}", {"%x": x}, {"%r": r}))


def test_reduce_max_keeps_nan(check: Check) -> None:
    x = np.arange(40, dtype=np.float32).reshape(2, 20)
    x[1, 13] = np.nan
    before, after = tensor((2, 20), "f32"), tensor((2,), "f32")
    check(
        function(f"  %r = pb.reduce_max %x dims = [1] : {before}", {"%x": before}, {"%r": after}), x
    )


def test_reductions_of_values_without_buffers(check: Check) -> None:
    """Of a constant, an iota, a broadcast along the reduced dimension and strided slices."""
    x, wide, narrow = tensor((9,), "f64"), tensor((4, 9), "f64"), tensor((3,), "f64")
    body = f"""
  %c = pb.constant dense<0.1> : {x}
  %i = pb.iota dim = 0 : {x}
  %b = pb.broadcast %x dims = [1] : {x} -> {wide}
  %s = pb.slice %x offsets = [1] strides = [3] : {x} -> {narrow}
  %t = pb.slice %x offsets = [0] strides = [1] : {x} -> {narrow}
  %u = pb.add %s, %t : {narrow}
  %0 = pb.reduce_sum %c dims = [0] : {x}
  %1 = pb.reduce_sum %i dims = [0] : {x}
  %2 = pb.reduce_sum %b dims = [0] : {wide}
  %3 = pb.reduce_sum %u dims = [0] : {narrow}
  %4 = pb.reduce_sum %t dims = [0] : {narrow}"""
    scalar = tensor((), "f64")
    results = {"%0": scalar, "%1": scalar, "%2": x, "%3": scalar, "%4": scalar}
    check(function(body, {"%x": x}, results))


def test_outputs(check: Check) -> None:
    """Inputs returned, a value returned twice, constants, nothing at all."""
    x, empty, flat = tensor((3, 2), "f32"), tensor((0, 2), "f64"), tensor((6,), "f32")
    body = f"""
  %a = pb.sin %x : {x}
  %f = pb.reshape %a : {x} -> {flat}
  %c = pb.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %t = pb.constant dense<[true, false]> : tensor<2xi1>
  %n = pb.constant dense<2.5> : tensor<f64>"""
    results = {"%x": x, "%a": x, "%f": flat, "%c": "tensor<3xf32>", "%t": "tensor<2xi1>"}
    results |= {"%n": "tensor<f64>", "%z": empty}
    check(function(body, {"%x": x, "%z": empty}, results))
    check(f"func.func @main(%x: {x}) -> ({x}, {x}) {{ return %x, %x : {x}, {x} }}")
    check(f"func.func @main(%x: {x}) {{ return }}")


def test_generated(check: Check) -> None:
    for element in NUMBERS:
        type_ = tensor((2, 5), element)
        check(function(f"  %r = pb.iota dim = 1 : {type_}", {}, {"%r": type_}))
    basis = tensor((6, 2, 3), "f64")
    check(function(f"  %r = pb.basis id = 0 : {basis}", {}, {"%r": basis}))


CONTRACTIONS = [
    ((4, 5), (5, 6), [], [], [1], [0], (4, 6)),
    ((5, 4), (6, 5), [], [], [0], [1], (4, 6)),
    ((2, 4, 5), (2, 5, 6), [0], [0], [2], [1], (2, 4, 6)),
    ((4, 2, 5), (5, 6, 2), [1], [2], [2], [0], (2, 4, 6)),
    ((5,), (5,), [], [], [0], [0], ()),
    ((4,), (3,), [], [], [], [], (4, 3)),
    ((4, 5), (5,), [], [], [1], [0], (4,)),
    ((4, 0), (0, 3), [], [], [1], [0], (4, 3)),
    ((0, 4), (4, 3), [], [], [1], [0], (0, 3)),
    ((2, 3, 4, 5), (5, 3, 6), [1], [1], [3], [0], (3, 2, 4, 6)),
    ((3, 4, 5), (5, 4, 2), [], [], [1, 2], [1, 0], (3, 2)),
    ((4, 3), (4, 3), [0, 1], [0, 1], [], [], (4, 3)),
]


def dot(x: str, y: str, dims: tuple[list[int], ...]) -> str:
    a, b, c, d = dims
    return f"pb.dot_general %x, %y batch = {a} x {b} contract = {c} x {d} : {x}, {y}"


@pytest.mark.parametrize("element", ["f32", "f64", "i64"])
def test_contractions(check: Check, element: str) -> None:
    for left, right, *dims, result in CONTRACTIONS:
        x, y, r = (tensor(shape, element) for shape in (left, right, result))
        check(function(f"  %r = {dot(x, y, tuple(dims))}", {"%x": x, "%y": y}, {"%r": r}))


SIZES = [(64, 64, 64), (37, 45, 53), (8, 32, 1100), (100, 10, 784), (5, 70, 513), (33, 8, 130)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_blocked_contractions(check: Check, element: str, sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    tolerance = 1e-4 if element == "f32" else 1e-12  # f32: the order of 1100 additions differs
    for x_transposed, y_transposed in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x = tensor((k, m) if x_transposed else (m, k), element)
        y = tensor((n, k) if y_transposed else (k, n), element)
        op = dot(x, y, ([], [], [1 - x_transposed], [y_transposed]))
        text = function(f"  %r = {op}", {"%x": x, "%y": y}, {"%r": tensor((m, n), element)})
        check(text, tolerance=tolerance)


def test_a_target_without_avx512(compiled: Compile) -> None:
    host = cpu.llvm.host()
    if not {"avx2", "fma"} <= host.enabled:
        pytest.skip("this machine has no AVX2")
    older = cpu.Options(cpu.llvm.Target(host.triple, "x86-64-v3", "+avx,+avx2,+fma"))
    x, y = tensor((37, 53), "f64"), tensor((53, 45), "f64")
    op = dot(x, y, ([], [], [1], [0]))
    r = tensor((37, 45), "f64")
    text = function(f"  %d = {op}\n  %r = pb.sin %d : {r}", {"%x": x, "%y": y}, {"%r": r})
    left, right = arguments_for(text)
    [got] = compiled(text, options=older).call_leaves([left, right])
    assert_close(np.asarray(got), np.sin(left @ right))


def test_a_target_without_fused_multiply_add(compiled: Compile) -> None:
    host = cpu.llvm.host()
    oldest = cpu.Options(cpu.llvm.Target(host.triple, "x86-64", ""))
    with pytest.raises(ToolchainError, match="fused multiply-add"):
        compiled(binary("add", "f32"), options=oldest)


@pytest.mark.parametrize("shape", [(1 << 18,), (1 << 14, 24)])
def test_long_sums_are_accurate(compiled: Compile, shape: tuple[int, ...]) -> None:
    x, r = tensor(shape, "f32"), tensor(shape[1:], "f32")
    run = compiled(function(f"  %r = pb.reduce_sum %x dims = [0] : {x}", {"%x": x}, {"%r": r}))
    values = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    [got] = run.call_leaves([values])
    np.testing.assert_allclose(np.asarray(got), values.astype(np.float64).sum(0), rtol=1e-6)


def test_batched_blocks(check: Check) -> None:
    x, y, r = tensor((2, 3, 20, 50), "f64"), tensor((2, 3, 40, 50), "f64"), (2, 3, 20, 40)
    op = dot(x, y, ([0, 1], [0, 1], [3], [3]))
    check(function(f"  %r = {op}", {"%x": x, "%y": y}, {"%r": tensor(r, "f64")}))


GATHERS = [
    ((5, 3), [0], 0, (4,), (4, 3)),
    ((5, 3), [1], 0, (2, 2), (2, 2, 5)),
    ((4, 5, 3), [1], 1, (4, 2), (4, 2, 3)),
    ((5, 6), [0, 1], 0, (3,), (3,)),
    ((4, 5, 6), [1, 2], 1, (4, 2), (4, 2)),
    ((5,), [0], 0, (), ()),
]


@pytest.mark.parametrize("element", ["i32", "i64"])
@pytest.mark.parametrize("flag", ["", " {in_bounds}"])
def test_indexing(check: Check, element: str, flag: str) -> None:
    """Without in_bounds any index is clamped; scatter_add adds at repeated places."""
    rng = np.random.default_rng(0)
    for shape, axes, batch, of_index, result in GATHERS:
        names = [f"%i{number}" for number in range(len(axes))]
        low, high = (0, min(shape[a] for a in axes)) if flag else (-3, 9)
        places = [rng.integers(low, high, of_index) for _ in axes]
        index, x, r = tensor(of_index, element), tensor(shape, "f32"), tensor(result, "f32")
        at = f"at ({', '.join(names)}) axes = {axes} batch_dims = {batch}{flag}"
        types = ", ".join([index] * len(axes))
        inputs = {"%x": x} | dict.fromkeys(names, index)
        check(
            function(f"  %r = pb.gather %x {at} : {x}, {types}", inputs, {"%r": r}), None, *places
        )
        inputs = {"%x": x, "%u": r} | dict.fromkeys(names, index)
        check(
            function(f"  %r = pb.scatter_add %x, %u {at} : {x}, {r}, {types}", inputs, {"%r": x}),
            None,
            None,
            *places,
        )


def test_checked_indices(compiled: Compile) -> None:
    text = """
func.func @main(%x: tensor<5x3xf32>, %i: tensor<4xi64>) -> tensor<4x3xf32> {
  %c = pb.check_index %i size = 5 message = "IndexError: too large" {wrap}
    : tensor<4xi64> loc("u.py":12:3)
  %g = pb.gather %x at (%c) axes = [0] batch_dims = 0 {in_bounds} : tensor<5x3xf32>, tensor<4xi64>
  %dead = pb.check_index %i size = 4 message = "IndexError: second" : tensor<4xi64> loc("u.py":13:3)
  return %g : tensor<4x3xf32>
}"""
    run = compiled(text)
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    [got] = run.call_leaves([x, np.array([3, 0, 1, 1])])
    np.testing.assert_array_equal(got, x[[3, 0, 1, 1]])
    for bad, message in (([5, 4, 0, 0], "too large.*u.py:12"), ([-1, 0, 0, 0], "second")):
        with pytest.raises(IndexError, match=message):
            run.call_leaves([x, np.array(bad)])
