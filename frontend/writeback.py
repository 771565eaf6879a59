"""Writes of a compiled function to its arguments and to tensors around it.

The program returns the new values as its last outputs; after the call they are copied back, as if
the Python had run. What torch's autograd would make of such a write is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.lib.array_utils import byte_bounds

from ..dialects.errors import CaptureError
from . import autograd, forbidden

if TYPE_CHECKING:
    from .program import Program


@dataclass(frozen=True, slots=True)
class WriteBack:
    """An input of the program that gets a new value; ``unseen``: under no_grad or ``.data``."""

    input: int
    unseen: bool


def run(
    program: Program, tensors: list[Any], as_numpy: bool, writes: Sequence[WriteBack]
) -> list[Any]:
    """The outputs that are results; the other ones are written back."""
    if not writes:
        return program(tensors, as_numpy)
    _check_memory(tensors, writes)
    if torch.is_grad_enabled() and not as_numpy:
        _check_autograd(program, tensors, writes)
    given = list(tensors)
    if not as_numpy and autograd.wanted(tensors, program):
        for write in writes:  # torch's graph keeps what it is given, for second derivatives
            kept = given[write.input]
            if isinstance(kept, torch.Tensor) and not kept.requires_grad:
                given[write.input] = kept.clone()
    outputs = program(given, as_numpy)
    count = len(outputs) - len(writes)
    for write, new in zip(writes, outputs[count:], strict=True):
        target = tensors[write.input]
        if isinstance(target, torch.Tensor):
            with torch.no_grad():
                target.copy_(torch.as_tensor(new))
        else:
            np.copyto(target, np.asarray(new))
    return outputs[:count]


def refuse(writes: Sequence[WriteBack]) -> None:
    """Where a derivative of the function is taken."""
    if writes:
        message, help = forbidden.WRITE_TO_LEAF
        raise CaptureError(message, help=help)


def _memory(x: Any) -> tuple[str, int, int]:
    """Where the elements are: the kind of memory, its first byte and the one behind the last."""
    if isinstance(x, torch.Tensor):
        last = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
        end = (last + 1) * x.element_size() if x.numel() else 0
        return x.device.type, x.data_ptr(), x.data_ptr() + end
    low, high = byte_bounds(x)
    return "cpu", low, high if x.size else low


def _check_memory(tensors: list[Any], writes: Sequence[WriteBack]) -> None:
    """Another input in the same memory would have to change, too, in the middle of the call."""
    places = [_memory(tensor) for tensor in tensors]
    for write in writes:
        where, first, end = places[write.input]
        for number, (kind, low, high) in enumerate(places):
            if number != write.input and kind == where and low < end and first < high:
                raise CaptureError(
                    "the function writes to a tensor that shares memory with another one it uses",
                    help="pass a copy, x.clone()",
                )


def _check_autograd(program: Program, tensors: list[Any], writes: Sequence[WriteBack]) -> None:
    graph = program.graph
    needed = tuple(
        i for i, t in enumerate(tensors) if isinstance(t, torch.Tensor) and t.requires_grad
    )
    if not needed:
        return
    count = len(graph.outputs) - len(writes)
    for write, value, tracked in zip(
        writes, graph.outputs[count:], program.tracked(needed)[count:], strict=True
    ):
        if write.input not in needed:
            if tracked and not write.unseen:
                raise CaptureError(
                    "a value that depends on tensors that require grad is written to a tensor "
                    "from outside the function, which would become part of torch's graph",
                    help="write value.detach(), or under torch.no_grad()",
                )
            continue
        if not write.unseen:
            message, help = forbidden.WRITE_TO_LEAF
            raise CaptureError(message, help=help)
        if any(output in graph.dependent([value]) for output in graph.outputs[:count]):
            raise CaptureError(
                "a result depends on a tensor that requires grad after it was written to under "
                "torch.no_grad()",
                help="compute the results before the write",
            )
