"""Small pb modules for the numeric tests: functions, transforms of them, and ways to run them.

A `Function` names a function of a module and makes further ones by transform ops. `Program.run`
expands everything and evaluates with the reference interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from mlir import ir
from mlir.dialects import func
from pullback.dialects.pb import Builder
from pullback.dialects.pb.interpret import evaluate
from pullback.dialects.pb.transforms import expand
from pullback.dialects.pb.types import DTYPES, is_float, shape, tensor, with_shape

Array = np.ndarray
Emit = Callable[..., "ir.Value | Sequence[ir.Value]"]

CONTEXT = ir.Context()
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def type_of(array: Array) -> ir.RankedTensorType:
    return tensor(array.shape, ir.Type.parse(NAMES[np.asarray(array).dtype], CONTEXT))


@dataclass(frozen=True)
class Function:
    program: Program
    name: str
    inputs: tuple[ir.Type, ...]
    outputs: tuple[ir.Type, ...]

    def floats(self) -> tuple[int, ...]:
        """The operands that can be differentiated."""
        return tuple(i for i, type_ in enumerate(self.inputs) if is_float(type_))

    def float_outputs(self) -> tuple[ir.Type, ...]:
        return tuple(type_ for type_ in self.outputs if is_float(type_))

    def call(self, b: Builder, *args: ir.Value) -> list[ir.Value]:
        return b.call(self.name, args, self.outputs)

    def keep(self, *outputs: int) -> Function:
        """Only some of the outputs."""
        return self.program.define(
            self.inputs, lambda b, *args: [self.call(b, *args)[i] for i in outputs]
        )

    def jvp(self, wrt: Sequence[int] | None = None) -> Function:
        """(primals, tangents of `wrt`) -> (outputs, tangents of the float outputs)."""
        wrt = self.floats() if wrt is None else tuple(wrt)
        outputs = (*self.outputs, *self.float_outputs())
        n = len(self.inputs)
        return self.program.define(
            (*self.inputs, *(self.inputs[i] for i in wrt)),
            lambda b, *args: b.jvp(self.name, args[:n], args[n:], wrt, outputs),
        )

    def vjp(self, wrt: Sequence[int] | None = None) -> Function:
        """(primals, cotangents of the float outputs) -> (outputs, cotangents of `wrt`)."""
        wrt = self.floats() if wrt is None else tuple(wrt)
        outputs = (*self.outputs, *(self.inputs[i] for i in wrt))
        n = len(self.inputs)
        return self.program.define(
            (*self.inputs, *self.float_outputs()),
            lambda b, *args: b.vjp(self.name, args[:n], args[n:], wrt, outputs),
        )

    def vmap(self, in_dims: Sequence[int], out_dims: Sequence[int], size: int) -> Function:
        inputs = [batched(t, dim, size) for t, dim in zip(self.inputs, in_dims, strict=True)]
        outputs = [batched(t, dim, size) for t, dim in zip(self.outputs, out_dims, strict=True)]
        return self.program.define(
            inputs, lambda b, *args: b.vmap(self.name, args, in_dims, out_dims, size, outputs)
        )


def batched(type_: ir.Type, dim: int, size: int) -> ir.Type:
    if dim < 0:
        return type_
    dims = list(shape(type_))
    return with_shape(type_, [*dims[:dim], size, *dims[dim:]])


class Program:
    """A module. Functions are private until `export` gives them a public name."""

    def __init__(self) -> None:
        self.module = ir.Module.create(ir.Location.file("test.py", 1, 1, CONTEXT))
        self.count = 0
        self.expanded = False

    def define(self, inputs: Sequence[ir.Type], emit: Emit, public: str | None = None) -> Function:
        """A new function: `emit(builder, *arguments)` returns its results."""
        self.count += 1
        name = public or f"f{self.count}"
        location = ir.Location.file(f"{name}.py", self.count, 1, CONTEXT)
        with location, ir.InsertionPoint(self.module.body):
            visibility = None if public else "private"
            function = func.FuncOp(name, (list(inputs), []), visibility=visibility)
        block = ir.Block.create_at_start(function.body, list(inputs), [location] * len(inputs))
        ip = ir.InsertionPoint(block)
        made = emit(Builder(ip, location), *block.arguments)
        values = [made] if isinstance(made, ir.Value) else list(made)
        func.ReturnOp(values, loc=location, ip=ip)
        outputs = tuple(value.type for value in values)
        type_ = ir.FunctionType.get(list(inputs), list(outputs), CONTEXT)
        function.attributes["function_type"] = ir.TypeAttr.get(type_, CONTEXT)
        return Function(self, name, tuple(inputs), outputs)

    def export(self, name: str, function: Function) -> None:
        self.define(function.inputs, function.call, public=name)

    def expand(self) -> None:
        assert self.module.operation.verify()
        expand.run(self.module)
        assert self.module.operation.verify()
        self.expanded = True

    def run(self, name: str, *arrays: Array) -> list[Array]:
        """The results of a public function, by the interpreter."""
        if not self.expanded:
            self.expand()
        return evaluate(self.module, name, [np.asarray(array) for array in arrays])

    def join(self, functions: Sequence[Function]) -> Function:
        """@main: all functions side by side, operands after operands, results after results."""

        def emit(b: Builder, *args: ir.Value) -> list[ir.Value]:
            given, results = iter(args), []
            for function in functions:
                results += function.call(b, *islice(given, len(function.inputs)))
            return results

        inputs = [type_ for function in functions for type_ in function.inputs]
        return self.define(inputs, emit, public="main")
