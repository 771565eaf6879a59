"""Which loops there are, and that fusing changes no value."""

from __future__ import annotations

import random

import numpy as np
import pytest
from mlir import ir
from pullback.pipelines import cpu

from .conftest import Check, function, interface, tensor


def linalg(text: str) -> str:
    with ir.Context():
        module = ir.Module.parse(text)
        return cpu.show(module, interface(module), "linalg")


def loops(text: str) -> int:
    return linalg(text).count("linalg.generic")


X = tensor((64, 10), "f32")
ROWS = tensor((64,), "f32")


def test_values_used_twice_share_a_loop() -> None:
    body = f"""
  %s = pb.sin %x : {X}
  %c = pb.cos %x : {X}
  %p = pb.mul %s, %c : {X}
  %q = pb.add %p, %s : {X}"""
    text = function(body, {"%x": X}, {"%q": X, "%c": X})
    assert loops(text) == 1
    assert "tensor.empty" not in linalg(text)


def test_softmax_has_two_loops_and_one_buffer_of_its_size() -> None:
    body = f"""
  %m = pb.reduce_max %x dims = [1] : {X}
  %mb = pb.broadcast %m dims = [0] : {ROWS} -> {X}
  %d = pb.sub %x, %mb : {X}
  %e = pb.exp %d : {X}
  %s = pb.reduce_sum %e dims = [1] : {X}
  %sb = pb.broadcast %s dims = [0] : {ROWS} -> {X}
  %r = pb.div %e, %sb : {X}"""
    text = function(body, {"%x": X}, {"%r": X})
    # maximum; exponentials and their sum; quotient
    assert loops(text) == 3
    assert linalg(text).count("tensor.empty() : tensor<64x10xf32>") == 1


def test_cheap_values_are_never_stored() -> None:
    """A mask, a broadcast and a constant that two loops use are computed in both."""
    masks = tensor((64, 10), "i1")
    body = f"""
  %zero = pb.constant dense<0.0> : {X}
  %b = pb.broadcast %y dims = [0] : {ROWS} -> {X}
  %c = pb.compare "lt" %x, %zero : {X}
  %u = pb.select %c, %x, %b : {masks}, {X}, {X}
  %0 = pb.reduce_sum %u dims = [0] : {X}
  %v = pb.select %c, %b, %x : {masks}, {X}, {X}
  %1 = pb.reduce_sum %v dims = [1] : {X}"""
    text = function(body, {"%x": X, "%y": ROWS}, {"%0": tensor((10,), "f32"), "%1": ROWS})
    assert "i8" not in linalg(text)
    assert "tensor.empty" not in linalg(text)


def test_small_dimensions_become_one_loop() -> None:
    type_ = tensor((100, 3, 1), "f32")
    text = function(f"  %r = pb.neg %x : {type_}", {"%x": type_}, {"%r": type_})
    assert "tensor<300xf32>" in linalg(text)


def test_every_op_keeps_its_line() -> None:
    text = (
        "func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {\n"
        '  %r = pb.neg %x : tensor<4xf32> loc("user.py":7:1)\n  return %r : tensor<4xf32>\n}'
    )
    with ir.Context():
        module = ir.Module.parse(text)
        compilation = cpu.Compilation(module, interface(module), cpu.Options())
        for stage in cpu.STAGES[:3]:
            stage.run(compilation)
        assert 'loc("user.py":7:1)' in module.operation.get_asm(enable_debug_info=True)


class Program:
    """A random function: its text grows op by op."""

    SHAPES = ((6,), (2, 3), (6, 4), (4,), (2, 3, 4), (), (1, 6), (24,))
    LARGEST = 200

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.lines: list[str] = []
        shapes = [self.choose.choice(self.SHAPES) for _ in range(3)]
        self.inputs = {f"%a{i}": tensor(shape, "f64") for i, shape in enumerate(shapes)}
        self.values = list(zip(self.inputs, shapes, strict=True))
        for _ in range(self.choose.choice([8, 15, 30])):
            value, shape = self.choose.choice(self.values[-8:])
            rule = self.choose.choice([self.unary, self.binary, self.binary, *self.RULES])
            rule(self, value, shape) if rule in self.RULES else rule(value, shape)

    def text(self) -> str:
        kept = [self.values[-1], *self.choose.sample(self.values, self.choose.randint(0, 3))]
        results = {value: tensor(shape, "f64") for value, shape in kept}
        return function("\n".join(self.lines), self.inputs, results)

    def add(self, op: str, shape: tuple[int, ...]) -> None:
        if np.prod(shape) <= self.LARGEST:
            name = f"%t{len(self.lines)}"
            self.lines.append(f"  {name} = pb.{op}")
            self.values.append((name, shape))

    def another(self, shape: tuple[int, ...]) -> str:
        return self.choose.choice([v for v, s in self.values if s == shape])

    def unary(self, x: str, shape: tuple[int, ...]) -> None:
        self.add(
            f"{self.choose.choice(['sin', 'tanh', 'neg'])} {x} : {tensor(shape, 'f64')}", shape
        )

    def binary(self, x: str, shape: tuple[int, ...]) -> None:
        name = self.choose.choice(["add", "sub", "mul", "maximum"])
        self.add(f"{name} {x}, {self.another(shape)} : {tensor(shape, 'f64')}", shape)

    def broadcast(self, x: str, shape: tuple[int, ...]) -> None:
        place, size = self.choose.randint(0, len(shape)), self.choose.choice([1, 2, 3])
        result = (*shape[:place], size, *shape[place:])
        dims = [d for d in range(len(result)) if d != place]
        types = f"{tensor(shape, 'f64')} -> {tensor(result, 'f64')}"
        self.add(f"broadcast {x} dims = {dims} : {types}", result)

    def transpose(self, x: str, shape: tuple[int, ...]) -> None:
        order = self.choose.sample(range(len(shape)), len(shape))
        result = tuple(shape[d] for d in order)
        self.add(f"transpose {x} permutation = {order} : {tensor(shape, 'f64')}", result)

    def reshape(self, x: str, shape: tuple[int, ...]) -> None:
        size = int(np.prod(shape))
        shapes = [(size,), (1, size), *((n, size // n) for n in (2, 3, 4, 6) if size % n == 0)]
        result = self.choose.choice(shapes)
        self.add(f"reshape {x} : {tensor(shape, 'f64')} -> {tensor(result, 'f64')}", result)

    def reduce(self, x: str, shape: tuple[int, ...]) -> None:
        dims = [d for d in range(len(shape)) if self.choose.random() < 0.5]
        result = tuple(n for d, n in enumerate(shape) if d not in dims)
        name = self.choose.choice(["reduce_sum", "reduce_max"])
        self.add(f"{name} {x} dims = {dims} : {tensor(shape, 'f64')}", result)

    def slice(self, x: str, shape: tuple[int, ...]) -> None:
        offsets = [self.choose.randint(0, max(0, n - 1)) for n in shape]
        strides = [self.choose.choice([1, 1, 2]) for _ in shape]
        triples = zip(shape, offsets, strides, strict=True)
        result = tuple(self.choose.randint(1, -(-(n - o) // s)) if n else 0 for n, o, s in triples)
        types = f"{tensor(shape, 'f64')} -> {tensor(result, 'f64')}"
        self.add(f"slice {x} offsets = {offsets} strides = {strides} : {types}", result)

    def pad(self, x: str, shape: tuple[int, ...]) -> None:
        scalars = [v for v, s in self.values if s == ()]
        if not scalars:
            return
        offsets = [self.choose.randint(0, 2) for _ in shape]
        strides = [self.choose.choice([1, 1, 2]) for _ in shape]
        triples = zip(shape, offsets, strides, strict=True)
        result = tuple(o + max(0, (n - 1) * s + 1) + 1 for n, o, s in triples)
        types = f"{tensor(shape, 'f64')}, tensor<f64> -> {tensor(result, 'f64')}"
        value = self.choose.choice(scalars)
        self.add(f"pad {x}, {value} offsets = {offsets} strides = {strides} : {types}", result)

    def concatenate(self, x: str, shape: tuple[int, ...]) -> None:
        if shape:
            type_ = tensor(shape, "f64")
            result = (2 * shape[0], *shape[1:])
            self.add(f"concatenate {x}, {self.another(shape)} dim = 0 : {type_}, {type_}", result)

    def dot(self, x: str, shape: tuple[int, ...]) -> None:
        fitting = [(v, s) for v, s in self.values if shape and shape[-1] in s]
        if not fitting:
            return
        y, other = self.choose.choice(fitting)
        along = other.index(shape[-1])
        contract = f"contract = [{len(shape) - 1}] x [{along}]"
        types = f"{tensor(shape, 'f64')}, {tensor(other, 'f64')}"
        result = (*shape[:-1], *(n for d, n in enumerate(other) if d != along))
        self.add(f"dot_general {x}, {y} batch = [] x [] {contract} : {types}", result)

    def constant(self, x: str, shape: tuple[int, ...]) -> None:
        self.add(
            f"constant dense<{self.choose.choice([0.0, -2.0])}> : {tensor(shape, 'f64')}", shape
        )

    def iota(self, x: str, shape: tuple[int, ...]) -> None:
        if shape:
            dim = self.choose.randrange(len(shape))
            self.add(f"iota dim = {dim} : {tensor(shape, 'f64')}", shape)

    RULES = (
        broadcast,
        transpose,
        reshape,
        reduce,
        slice,
        pad,
        concatenate,
        dot,
        constant,
        iota,
    )


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(check: Check, seed: int) -> None:
    check(Program(seed).text(), tolerance=1e-9, seed=seed)
