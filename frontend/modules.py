"""torch.func's functions on modules: calling one with other parameters, stacking the state of many.

``functional_call`` is recorded like any transform (``api.py``): torch exchanges the parameters of
the module while it is traced, so that ties, buffers and hooks are torch's own business.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .api import Transformed
from .capture import Recorder, current
from .imported import module_of

State = dict[str, Any]


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: State | Sequence[State],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """``module(*args, **kwargs)`` with the given parameters and buffers instead of its own.

    ``args`` that is not a tuple is the only argument. Keys that are missing keep the module's
    tensors, unless ``strict``; tied weights change together, unless ``tie_weights`` is False.
    """

    module = module_of(module, "functional_call")

    def call(state: Any, args: Any, kwargs: Any) -> Any:
        return torch.func.functional_call(
            module, state, args, kwargs, tie_weights=tie_weights, strict=strict
        )

    if current() is not None:
        return call(parameter_and_buffer_dicts, args, kwargs)

    def record(_: Recorder, given: tuple[Any, ...], __: dict[str, Any]) -> Any:
        return call(*given)

    made = Transformed("functional_call", module, (tie_weights, strict), record)
    return made(parameter_and_buffer_dicts, args, kwargs)


def stack_module_state(models: Sequence[nn.Module]) -> tuple[State, State]:
    """(parameters, buffers) of models of one class, each stacked along a new first dimension.

    Outside of a trace the stacked parameters are leaves of torch's graph, ready for an optimizer;
    inside they are detached.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(model) is not type(models[0]) for model in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(model.named_parameters()) for model in models]
    buffers = [dict(model.named_buffers()) for model in models]
    return _stacked(parameters), _stacked(buffers)


def _stacked(states: list[dict[str, Any]]) -> State:
    return {name: stacked_leaf([state[name] for state in states], name) for name in states[0]}


def stacked_leaf(tensors: Sequence[Any], name: str) -> Tensor:
    learned = {tensor.requires_grad for tensor in tensors}
    if len(learned) > 1:
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    result = torch.stack(list(tensors))
    if not learned.pop():
        return result
    result = result.detach()
    return result if current() is not None else result.requires_grad_()
