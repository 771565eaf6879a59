"""torch.autograd.functional on our transforms, for calls inside a trace (``torch_func.py``).

As there, a result has no derivative of its own unless ``create_graph``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map

from ..dialects.errors import CaptureError
from . import api

Function = Callable[..., Any]


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _given(api_name: str, inputs: Any, strict: bool) -> tuple[Any, ...]:
    if strict:
        raise CaptureError(
            f"torch.autograd.functional.{api_name}(strict=True) is not available inside a compiled "
            "function",
            help="leave strict out, or use pullback.jvp(strict=True)",
        )
    several = _several(inputs)
    for index, tensor in enumerate(several):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(
                f"The inputs given to {api_name} must be either a Tensor or a tuple of Tensors but "
                f"the value at index {index} has type {type(tensor)}."
            )
    return several


def _result(tree: Any, create_graph: bool) -> Any:
    return tree if create_graph else tree_map(torch.detach, tree)


def _one(values: Any, like: Any) -> Any:
    """What belongs to inputs given as one tensor is one tensor."""
    return values if isinstance(like, (tuple, list)) else values[0]


def _vector(v: Any, like: Any, what: str) -> tuple[Any, ...]:
    """``v``, or one where a single element leaves no choice."""
    tensors = _several(like)
    if v is None:
        if len(tensors) != 1 or tensors[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if {what} has a single element.")
        return (torch.ones_like(tensors[0]),)
    vectors = _several(v)
    if len(vectors) != len(tensors):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(tensors)} but got {len(vectors)}."
        )
    for index, (vector, tensor) in enumerate(zip(vectors, tensors, strict=True)):
        if vector.shape != tensor.shape:
            raise RuntimeError(
                f"Entry {index} in v has invalid size: should be {tensor.shape} but got "
                f"{vector.shape}."
            )
    return vectors


def _scalar(func: Function, api_name: str) -> Function:
    def checked(*inputs: Any) -> Any:
        output = func(*inputs)
        if not isinstance(output, torch.Tensor) or output.numel() != 1:
            raise RuntimeError(
                f"The function given to {api_name} should return a single Tensor with a single "
                "element."
            )
        return output.reshape(())

    return checked


def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    args = _given("jacobian", inputs, strict)
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(f"Expected strategy to be forward-mode or reverse-mode: {strategy}")
    made = api.jacfwd if strategy == "forward-mode" else api.jacrev
    found = made(func, argnums=tuple(range(len(args))))(*args)
    single = isinstance(found[0], torch.Tensor)  # one output: a tuple over the inputs
    rows = _one(found, inputs) if single else tuple(_one(row, inputs) for row in found)
    return _result(rows, create_graph)


def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    args = _given("hessian", inputs, strict)
    numbers = tuple(range(len(args)))
    found = api.hessian(_scalar(func, "hessian"), argnums=numbers)(*args)
    return _result(_one(tuple(_one(row, inputs) for row in found), inputs), create_graph)


def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    args = _given("vjp", inputs, strict)
    output, pull = api.vjp(func, *args)
    vectors = _vector(v, output, "the output of the user-provided function")
    found = pull(vectors if isinstance(output, tuple) else vectors[0])
    return _result((output, _one(found, inputs)), create_graph)


def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    args = _given("jvp", inputs, strict)
    vectors = _vector(v, inputs, "the input to the user-provided function")
    return _result(api.jvp(func, args, vectors), create_graph)


def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    args = _given("vhp", inputs, strict)
    scalar, numbers = _scalar(func, "vhp"), tuple(range(len(args)))
    vectors = _vector(v, inputs, "the input to the user-provided function")
    found = api.vjp(api.grad(scalar, argnums=numbers), *args)[1](vectors)
    return _result((func(*args), _one(found, inputs)), create_graph)


def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    args = _given("hvp", inputs, strict)
    scalar, numbers = _scalar(func, "hvp"), tuple(range(len(args)))
    vectors = _vector(v, inputs, "the input to the user-provided function")
    found = api.jvp(api.grad(scalar, argnums=numbers), args, vectors)[1]
    return _result((func(*args), _one(found, inputs)), create_graph)
