"""Captured control flow to ops with regions: each body is a call of a captured function.

Part of ``importer.py``; the calls are inlined by the transforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlir import ir

from ..dialects.pb import Builder
from .graph import Checkpoint, Cond, Control, Graph, Scan, While

Emit = Callable[[Builder, list[ir.Value]], Sequence[ir.Value]]


def options(target: Control) -> Any:
    """All that tells a target from another one with the same functions."""
    match target:
        case Checkpoint():
            return ()
        case Cond(_, places):
            return places
        case Scan():
            return (target.consts, target.carries, target.length, target.reverse)
        case While():
            return (target.places, target.carries, target.max_steps)


def emit(importer: Any, b: Builder, target: Control, args: list[ir.Value]) -> list[ir.Value]:
    """The op, with a call of a captured function in each region."""

    def calls(graph: Graph, arrange: Callable[[list[ir.Value]], list[ir.Value]]) -> Emit:
        symbol = importer.symbol(graph)
        types = [importer.type_of(value) for value in graph.outputs]
        return lambda b, given: b.call(symbol, arrange(given), types)

    match target:
        case Checkpoint(body):
            return b.checkpoint(args, False, calls(body, lambda given: given))
        case Cond(branches, places):
            bodies = [
                calls(graph, lambda given, at=at: [given[i] for i in at])
                for graph, at in zip(branches, places, strict=True)
            ]
            return b.cond(args[0], args[1:], *bodies)
        case Scan(body, consts, carries, length, reverse):
            inits, xs = args[consts : consts + carries], args[consts + carries :]
            run = calls(body, lambda given: [*given[consts:], *given[:consts]])
            return b.scan(args[:consts], inits, xs, length, reverse, run)
        case While(condition, body, places, carries, max_steps):
            count = len(args) - carries
            test, step = (
                calls(graph, lambda given, at=at: [*given[count:], *(given[i] for i in at)])
                for graph, at in zip((condition, body), places, strict=True)
            )
            return b.while_loop(args[:count], args[count:], max_steps, test, step)
