"""torch.autograd as a carrier of our derivatives.

A program called on tensors that require grad gets one graph node whose backward is the compiled
vjp of the same program. The vjp is called like any program, so that it can be differentiated too.
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
        ctx.program = program
        ctx.save_for_backward(*tensors)
        outputs = program.run(list(tensors))
        ctx.mark_non_differentiable(*(o for o in outputs if not o.is_floating_point()))
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        program: Program = ctx.program
        wrt = tuple(index for index, needed in enumerate(ctx.needs_input_grad[1:]) if needed)
        moving = [value.is_float for value in program.graph.outputs]
        cotangents = [grad for grad, is_float in zip(grads, moving, strict=True) if is_float]
        found = program.pullback(wrt)([*ctx.saved_tensors, *cotangents])
        results: list[Any] = [None] * len(ctx.needs_input_grad)
        for index, grad in zip(wrt, found, strict=True):
            results[index + 1] = grad
        return tuple(results)
