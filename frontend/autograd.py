"""torch.autograd as a carrier of our derivatives.

A program called on tensors that require grad gets one graph node. Its forward also returns the
residuals, its backward is the compiled transpose that takes them. Under ``create_graph`` the
backward is the program's vjp instead, called like any program: so it can be differentiated again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .program import Program


def wanted(tensors: list[Any], program: Program) -> bool:
    """Whether the results belong into torch's graph."""
    return (
        torch.is_grad_enabled()
        and any(isinstance(t, torch.Tensor) and t.requires_grad for t in tensors)
        and any(value.is_float for value in program.graph.outputs)
    )


def call(program: Program, tensors: list[Any]) -> list[torch.Tensor]:
    given = [t if isinstance(t, torch.Tensor) else torch.from_numpy(t) for t in tensors]
    return list(_Call.apply(program, *given))  # type: ignore[arg-type]


class _Call(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, program: Program, *tensors: torch.Tensor) -> Any:
        needed = enumerate(ctx.needs_input_grad[1:])
        ctx.program, ctx.wrt = program, tuple(index for index, need in needed if need)
        forward, _backward = program.linearized(ctx.wrt, transposed=True)
        results, count = forward.run(tensors), len(program.graph.outputs)
        outputs, residuals = results[:count], results[count:]
        ctx.save_for_backward(*tensors, *residuals)
        tracked = program.tracked(ctx.wrt)
        ctx.mark_non_differentiable(*(o for o, t in zip(outputs, tracked, strict=True) if not t))
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        program: Program = ctx.program
        graph, saved = program.graph, ctx.saved_tensors
        pairs = zip(grads, graph.outputs, strict=True)
        cotangents = [grad for grad, value in pairs if value.is_float]
        count = len(graph.inputs)
        if torch.is_grad_enabled():
            found = program.pullback(ctx.wrt)([*saved[:count], *cotangents])
        else:
            _forward, backward = program.linearized(ctx.wrt, transposed=True)
            found = backward.run([*saved[count:], *cotangents])
        results: list[Any] = [None] * (1 + count)
        for index, grad in zip(ctx.wrt, found, strict=True):
            results[1 + index] = grad
        return tuple(results)
