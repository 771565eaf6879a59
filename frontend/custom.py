"""Captures a function together with its derivative rules as one custom call.

`custom_rules.py` (custom_jvp, custom_vjp) and `autograd_function.py` (torch.autograd.Function) say
how their functions are called; here are the graphs: the tensors that a backward rule uses from its
forward rule are found by capturing the one inside the frame of the other, and all rules of a call
close over the same outer tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from .capture import Recorder
from .graph import Custom, Graph, Value
from .state import Subgraph

Tensors = list[torch.Tensor]
Body = Callable[[Tensors], tuple[Any, Tensors]]


def zeros(like: Value | torch.Tensor) -> torch.Tensor:
    return torch.zeros(tuple(like.shape), dtype=like.dtype)


class Linear:
    """A rule that is linear in tangents or cotangents, captured inside the forward rule's frame."""

    def __init__(
        self, recorder: Recorder, name: str, rule: object, inputs: Sequence[Any], body: Body
    ) -> None:
        given = [Value(tuple(x.shape), x.dtype) for x in inputs]
        self.name = name
        self.inner = recorder.subgraph(rule, given, body)


class Forward:
    """What the body of a forward rule found out: its results, and the rules inside it."""

    def __init__(self, recorder: Recorder, inputs: Tensors) -> None:
        self.recorder = recorder
        self.inputs = [recorder.read(tensor) for tensor in inputs]
        self.outputs: list[Value] = []
        self.rules: list[Linear] = []
        self.differentiable: tuple[int, ...] = ()

    def finish(
        self, outputs: Tensors, differentiable: Sequence[int], rules: Sequence[Linear]
    ) -> Tensors:
        """The outputs of the forward graph: results, then what the rules need of its inside."""
        self.outputs = [self.recorder.read(tensor) for tensor in outputs]
        self.differentiable, self.rules = tuple(differentiable), list(rules)
        known = {*self.inputs, *self.outputs}
        self.residuals = [value for value in self.saved() if value not in known]
        return [*outputs, *(self.recorder.tensor_of(value) for value in self.residuals)]

    def saved(self) -> list[Value]:
        """All values that the linear rules take from the forward rule, each once."""
        return list(dict.fromkeys(v for rule in self.rules for v in rule.inner.captured))

    def places(self, captured: int) -> tuple[int, ...]:
        """Where the saved values are among arguments, captured values, results and residuals."""
        place: dict[Value, int] = {}
        start = len(self.inputs) + captured
        for values, first in (
            (self.inputs, 0),
            (self.outputs, start),
            (self.residuals, start + len(self.outputs)),
        ):
            for offset, value in enumerate(values):
                place.setdefault(value, first + offset)
        return tuple(place[value] for value in self.saved())

    def graphs(self) -> dict[str, Graph]:
        saved = self.saved()
        return {rule.name: _taking(rule.inner, saved) for rule in self.rules}


def _taking(inner: Subgraph, saved: Sequence[Value]) -> Graph:
    """The graph of a linear rule with all saved values in front, used or not."""
    graph = inner.graph
    count = len(graph.inputs) - len(inner.captured)
    own = dict(zip(inner.captured, graph.inputs[count:], strict=True))
    graph.inputs[:] = [own.get(v) or Value(v.shape, v.dtype) for v in saved] + graph.inputs[:count]
    return graph


def _closing_over(inner: Subgraph, arguments: int, union: Sequence[Value], after: int = 0) -> Graph:
    """The graph with the values of `union` behind its arguments, and then `after` others."""
    graph = inner.graph
    count = arguments + after
    own = dict(zip(inner.captured, graph.inputs[count:], strict=True))
    closed = [own.get(v) or Value(v.shape, v.dtype) for v in union]
    graph.inputs[:] = [*graph.inputs[:arguments], *closed, *graph.inputs[arguments:count]]
    return graph


class Call:
    """One call of a custom function: captures, in this order, primal and rules."""

    def __init__(
        self, recorder: Recorder, key: Hashable, operands: Sequence[Value], opaque: bool
    ) -> None:
        self.recorder, self.key, self.opaque = recorder, key, opaque
        self.operands = list(operands)

    def running(self) -> list[torch.Tensor] | None:
        """The results, where the call stands inside a rule of the same function."""
        known = self.recorder.customs.get(self.key)
        if known is None:
            return None
        target, captured = known
        if target is None:
            raise self.recorder.error("a function with a derivative of its own calls itself")
        target.recursive = True
        args = [*self.operands, *captured]
        return self.recorder.apply(target, args, target.graph.outputs)

    def run(
        self,
        primal: tuple[object, Body] | None,
        rule: Callable[[Graph | None], Subgraph],
        after: int = 0,
        grad_enabled: bool | None = None,
    ) -> tuple[list[torch.Tensor], Any, Any]:
        """(results, raw result of the primal, raw result of the rule).

        `rule(primal)` captures the forward rule, whose raw result is a Forward, or a jvp rule,
        which takes `after` tangents behind the arguments. Without `primal` the forward rule's
        results are the primal's.
        """
        recorder, count = self.recorder, len(self.operands)
        recorder.customs[self.key] = (None, [])
        try:
            first: Subgraph | None = None
            captured: list[Value] = []
            target = Custom(Graph("", [], [], [], recorder.location()), {}, 0, ())
            if primal is not None:
                first = recorder.subgraph(primal[0], self.operands, primal[1], grad_enabled)
                captured = first.captured
                target.graph = first.graph
                recorder.customs[self.key] = (target, captured)
            inner = rule(None if first is None else first.graph)
        finally:
            del recorder.customs[self.key]
        union = list(dict.fromkeys([*captured, *inner.captured]))
        if target.recursive and len(union) > len(captured):
            raise recorder.error(
                "a rule that calls its own function closes over other tensors than the function",
                help="pass the tensors as arguments",
            )
        if first is not None:
            _closing_over(first, count, union)
        graph = _closing_over(inner, count, union, after)
        found = inner.result
        if isinstance(found, Forward):
            outs = len(found.outputs)
            if first is None:
                target.graph = graph.keeping(range(outs))
            target.rules |= found.graphs()
            if target.rules:
                target.rules["forward"] = graph
                target.saved = found.places(len(union))
            target.differentiable = found.differentiable
        else:
            target.rules["jvp_rule"] = graph
            target.differentiable = tuple(
                i for i, out in enumerate(target.graph.outputs) if out.is_float
            )
        target.captured, target.opaque = len(union), self.opaque
        results = recorder.apply(target, [*self.operands, *union], target.graph.outputs)
        return results, None if first is None else first.result, found
