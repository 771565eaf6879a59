"""Functions of a module: making new ones, walking their bodies, copying one into another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from mlir import ir
from mlir.dialects import func

from ...diagnostics import user_location
from ...errors import VerifyError
from ..builder import Builder
from ..opdef import Op

Values = Sequence[ir.Value]
Environment = dict[ir.Value, ir.Value]


def functions(module: ir.Module) -> Iterator[func.FuncOp]:
    """The functions with a body."""
    for op in list(module.body.operations):
        if isinstance(op, func.FuncOp) and not op.is_external:
            yield op


def lookup(module: ir.Module, symbol: str) -> func.FuncOp:
    return cast(func.FuncOp, ir.SymbolTable(module.operation)[symbol])


def module_of(function: func.FuncOp) -> ir.Module:
    """The module op around a function, seen as a module."""
    return cast(ir.Module, function.operation.parent.opview)


def module_around(op: Op) -> ir.Module:
    """The module that an op is in."""
    owner: Any = op.operation
    while owner.name != "builtin.module":
        owner = owner.parent.operation
    return cast(ir.Module, owner.opview)


def known(function: func.FuncOp | None) -> func.FuncOp:
    """A function that is there by construction."""
    assert function is not None
    return function


def body(function: func.FuncOp) -> ir.Block:
    blocks = function.regions[0].blocks
    if len(blocks) != 1:
        name = function.name.value
        raise VerifyError(
            f"@{name} should have a body, of one block", user_location(function.location)
        )
    return blocks[0]


def block_of(of: func.FuncOp | ir.Block) -> ir.Block:
    return of if isinstance(of, ir.Block) else body(of)


def finished(function: func.FuncOp) -> bool:
    """False while `build` is at work on it."""
    operations = body(function).operations
    return len(operations) > 0 and isinstance(operations[len(operations) - 1], func.ReturnOp)


def ops(of: func.FuncOp | ir.Block) -> list[Op]:
    """The ops of a function's body, or of a block, in order, without the terminator."""
    return list(block_of(of).operations)[:-1]  # type: ignore[return-value]


def all_ops(of: func.FuncOp | ir.Block) -> Iterator[Op]:
    """The ops of a body and of the regions in it, outer ones first."""
    for op in ops(of):
        yield op
        for block in op.blocks():
            yield from all_ops(block)


def returned(of: func.FuncOp | ir.Block) -> list[ir.Value]:
    """What the terminator returns or yields."""
    operations = block_of(of).operations
    return list(operations[len(operations) - 1].operands)


def build(
    like: func.FuncOp,
    name: str,
    arguments: Sequence[ir.Type],
    emit: Callable[[Builder, Values], Values],
) -> func.FuncOp:
    """A new private function right before `like`, its body made by `emit(builder, arguments)`.

    `emit` runs while the function has no result types yet; they follow from what it returns.
    """
    location = like.location
    with location, ir.InsertionPoint(like):
        new = func.FuncOp(name, (list(arguments), []), visibility="private")
    block = ir.Block.create_at_start(new.body, list(arguments), [location] * len(arguments))
    ip = ir.InsertionPoint(block)
    values = list(emit(Builder(ip, location), list(block.arguments)))
    func.ReturnOp(values, loc=location, ip=ip)
    type_ = ir.FunctionType.get(list(arguments), [v.type for v in values], like.context)
    new.attributes["function_type"] = ir.TypeAttr.get(type_, like.context)
    return new


def fresh_name(function: func.FuncOp, suffix: str) -> str:
    """`f.suffix`, not yet in use."""
    table = ir.SymbolTable(function.operation.parent)
    base = name = f"{function.name.value}.{suffix}"
    count = 1
    while name in table:
        count += 1
        name = f"{base}.{count}"
    return name


def copy_op(b: Builder, op: Op, environment: Environment) -> Op:
    """`op` on the values that stand for its operands; its results enter the environment."""
    new = b.clone(op, [environment[operand] for operand in op.operands])
    environment.update(zip(op.results, new.results, strict=True))
    return cast(Op, new)


def copy_body(
    b: Builder, of: func.FuncOp | ir.Block, arguments: Iterable[ir.Value]
) -> list[ir.Value]:
    """The body of a function, or a block, on `arguments`; the values it returns."""
    environment: Environment = dict(zip(block_of(of).arguments, arguments, strict=True))
    outer = b.location
    for op in ops(of):
        b.location = op.location
        copy_op(b, op, environment)
    b.location = outer
    return [environment[value] for value in returned(of)]


def dependence(
    of: func.FuncOp | ir.Block,
    arguments: Sequence[bool],
    carries: Callable[[ir.Value], bool] = lambda _: True,
) -> set[ir.Value]:
    """The values that depend on the marked arguments, through values that `carries` holds of."""
    block = block_of(of)
    found: set[ir.Value] = set()
    found.update(v for v, is_in in zip(block.arguments, arguments, strict=True) if is_in)
    for op in ops(block):
        marks = [operand in found for operand in op.operands]
        if any(marks):
            results = zip(op.results, op.dependence(marks, carries), strict=True)
            found.update(result for result, is_in in results if is_in and carries(result))
    return found


def within(transform: str, location: ir.Location) -> ir.Location:
    """The user's line, under the name of the transform that made an op from it."""
    return ir.Location.name(transform, childLoc=location, context=location.context)
