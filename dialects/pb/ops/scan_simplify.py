"""Simplification of pb.scan: what is dead, constant or invariant leaves the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlir import ir

from ..opdef import Op
from ..regions import chosen, literal, needed_arguments
from ..transforms import functions
from ..types import shape, size

if TYPE_CHECKING:
    from ..builder import Builder


def simplified(op: Any, b: Builder) -> Sequence[ir.Value] | None:
    """Values for the results of a scan, or None if there is nothing to do."""
    if op.length.value == 0:
        zeros = [b.zeros(result.type) for result in list(op.results)[len(op.inits) :]]
        return [*op.inits, *zeros]
    return rebuilt(op, b, hoisted(op, b))


def live(op: Any) -> tuple[list[bool], list[bool]]:
    """Which arguments of the body, and which results, anybody needs."""
    (body,) = op.blocks()
    start, count = len(op.consts), len(op.inits)
    results = [any(True for _ in result.uses) for result in op.results]
    while True:
        arguments = needed_arguments(body, results)
        carried = arguments[start : start + count]
        grown = [r or a for r, a in zip(results, carried, strict=False)]
        if grown == results[:count]:
            arguments[start : start + count] = grown
            return arguments, results
        results[:count] = grown


def rebuilt(op: Any, b: Builder, outside: functions.Environment) -> Sequence[ir.Value] | None:
    """The loop without dead carries, results and operands, and without what is made `outside`.

    Carried values that never change become constants; literals are made in the body.
    """
    (body,) = op.blocks()
    returned = functions.returned(body)
    arguments, results = live(op)
    consts, inits, xs = op.parts(op.operands)
    c_args, k_args, x_args = op.parts(list(body.arguments))
    c_live, k_live, x_live = op.parts(arguments)
    carries = len(inits)
    invariant = [argument == out for argument, out in zip(k_args, returned, strict=False)]
    fixed = [*zip(c_args, consts, c_live, strict=True)]
    fixed += [
        (a, v, live_ and same)
        for a, v, live_, same in zip(k_args, inits, k_live, invariant, strict=True)
    ]
    k_live = [live_ and not same for live_, same in zip(k_live, invariant, strict=True)]
    #: By argument: what it is outside, made again inside if it is a literal.
    passed: functions.Environment = dict(outside)
    inside: dict[ir.Value, Op] = {}
    for argument, value, is_live in fixed:
        if is_live and (made := literal(value)) is not None:
            inside[argument] = made
        elif is_live:
            passed[argument] = value
    values = list(dict.fromkeys(passed.values()))
    y_live = results[carries:]
    unchanged = values == consts and all(k_live) and all(x_live) and all(y_live)
    if unchanged and not outside:
        return None
    kept = [*k_live, *y_live]

    def emit(b: Builder, given: list[ir.Value]) -> list[ir.Value]:
        environment: functions.Environment = {}
        places = dict(zip(values, given, strict=False))
        environment.update((a, places[v]) for a, v in passed.items())
        rest = [*chosen(k_args, k_live), *chosen(x_args, x_live)]
        environment.update(zip(rest, given[len(values) :], strict=True))
        for argument, made in inside.items():
            environment[argument] = b.clone(made, []).results[0]
        for inner in functions.ops(body):
            known = all(operand in environment for operand in inner.operands)
            if all(result in environment for result in inner.results) or not known:
                continue  # hoisted, or computes what is dead
            b.location = inner.location
            functions.copy_op(b, inner, environment)
        return [environment[value] for value in chosen(returned, kept)]

    made = iter(op.again(b, values, chosen(inits, k_live), chosen(xs, x_live), emit))
    out = []
    for i, result in enumerate(op.results):
        if kept[i]:
            out.append(next(made))
        elif i < carries and invariant[i]:
            out.append(inits[i])
        else:
            out.append(b.zeros(result.type))  # nobody uses it
    return out


def hoisted(op: Any, b: Builder) -> functions.Environment:
    """What each step would compute again, made in front of the loop, unless it is larger there."""
    (body,) = op.blocks()
    outside = dict(zip(op.parts(list(body.arguments))[0], op.consts, strict=True))
    found: functions.Environment = {}
    for inner in functions.ops(body):
        literals = [literal(operand) for operand in inner.operands]
        known = zip(inner.operands, literals, strict=True)
        if not all(operand in outside or made is not None for operand, made in known):
            continue
        if not inner.pure or all(made is not None for made in literals) or grows(inner):
            continue
        for operand, made in zip(inner.operands, literals, strict=True):
            if operand not in outside:
                outside[operand] = b.clone(made, []).results[0]
        b.location = inner.location
        functions.copy_op(b, inner, outside)
        found.update((result, outside[result]) for result in inner.results)
    b.location = op.location
    return found


def grows(op: Op) -> bool:
    largest = max(size(shape(operand)) for operand in op.operands)
    return any(size(shape(result)) > largest for result in op.results)
