"""``vjp`` and ``linearize`` called from plain Python: the forward half runs once.

Inside a trace they are in ``transforms.py``. Where the result belongs into torch's graph, the
function and its vjp are called as two programs instead, since torch must see their inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from . import api, autograd, checks, jit, transforms, writeback
from .api import Transformed
from .capture import Recorder, current
from .trace import is_tensor

Function = Callable[..., Any]


def _forward(kind: str, func: Function, has_aux: bool, check: Function) -> Transformed:
    """``func`` itself with its result checked; the auxiliary part has no derivative here."""

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output, aux = func(*args), None
        if has_aux:
            output, aux = checks.pair(output, "vjp(f, *primals)")
            leaves, spec = tree_flatten(aux)
            checks.aux_leaves(leaves)
            aux = tree_unflatten([leaf.detach() for leaf in leaves], spec)
        check(tree_flatten(output)[0])
        return output, aux

    return Transformed(kind, func, (has_aux,), record)


def _check_vjp(leaves: list[Any]) -> None:
    checks.tensor_outputs(leaves, "vjp(f, *primals)")
    checks.float_outputs(leaves)


def _check_linearize(leaves: list[Any]) -> None:
    checks.tensor_outputs(leaves, checks.JVP)


def _as_tensors(leaves: list[Any]) -> list[Any]:
    """Arrays of numpy count as tensors for torch.func's checks."""
    return [
        torch.from_numpy(leaf) if not isinstance(leaf, torch.Tensor) and is_tensor(leaf) else leaf
        for leaf in leaves
    ]


def vjp_at(func: Function, primals: tuple[Any, ...], has_aux: bool) -> Any:
    leaves, spec = tree_flatten(primals)
    checks.differentiable(_as_tensors(leaves))
    with torch.enable_grad():  # torch.func's vjp too looks inside an outer no_grad
        call = jit.prepare(_forward("vjp_forward", func, has_aux, _check_vjp), primals, {})
    writeback.refuse(call.writes)
    program, tensors, as_numpy = call.program, call.tensors, call.as_numpy
    wrt = tuple(range(len(leaves)))
    if not as_numpy and autograd.wanted(tensors, program):
        values = program(tensors)

        def pull(cotangents: list[Any]) -> list[Any]:
            rest = [torch.zeros_like(v) for v in values[len(cotangents) :] if v.is_floating_point()]
            return program.pullback(wrt)([*tensors, *cotangents, *rest])

    else:
        forward, backward = program.linearized(wrt, transposed=True)
        results = forward.run(tensors, as_numpy)
        count = len(program.graph.outputs)
        values, residuals = results[:count], results[count:]

        def pull(cotangents: list[Any]) -> list[Any]:
            given = len(cotangents)
            rest = [
                torch.zeros(v.shape, dtype=v.dtype, device=getattr(value, "device", "cpu"))
                for v, value in zip(program.graph.outputs[given:], values[given:], strict=True)
                if v.is_float
            ]
            return backward.run([*residuals, *cotangents, *rest], as_numpy)

    output, aux = call.result(values)
    outs, out_spec = tree_flatten(output)

    def vjp_fn(cotangents: Any, *, retain_graph: bool = True, create_graph: Any = None) -> Any:
        if current() is not None:  # as in vmap(vjp_fn): the point is captured by the trace
            return api.vjp(func, *primals, has_aux=has_aux)[1](cotangents)
        given, given_spec = tree_flatten(cotangents)
        given = _as_tensors(given)
        given = checks.cotangents(given_spec, out_spec, given, outs)
        cast = [_to(ct, value) for ct, value in zip(given, program.graph.outputs, strict=False)]
        return tree_unflatten(pull(cast), spec)

    _belongs_to_user(vjp_fn)
    return (output, vjp_fn, aux) if has_aux else (output, vjp_fn)


def _belongs_to_user(function: Any) -> None:
    """Lets `reach.py` into the closure, where a trace finds the point as captured tensors."""
    function.__module__ = "__main__"


def _to(tensor: torch.Tensor, like: Any) -> torch.Tensor:
    return tensor if tensor.dtype == like.dtype else tensor.to(like.dtype)


def linearize_at(func: Function, primals: tuple[Any, ...]) -> tuple[Any, Function]:
    leaves, spec = tree_flatten(primals)
    given = tree_unflatten(_as_tensors(leaves), spec)
    checks.tangents(given, given)
    call = jit.prepare(_forward("linearize_forward", func, False, _check_linearize), primals, {})
    writeback.refuse(call.writes)
    program, as_numpy = call.program, call.as_numpy
    if not as_numpy and autograd.wanted(call.tensors, program):
        values = program(call.tensors)

        def push(tangents: list[Any]) -> list[Any]:
            moved = Transformed("linearize", func, (), _record_push)(primals, tuple(tangents))
            return tree_flatten(moved)[0]

    else:
        forward, linear = program.linearized(tuple(range(len(leaves))), transposed=False)
        results = forward.run(call.tensors, as_numpy)
        count = len(program.graph.outputs)
        values, residuals = results[:count], results[count:]

        def push(tangents: list[Any]) -> list[Any]:
            moved = iter(linear.run([*residuals, *tangents], as_numpy))
            zero = torch.zeros_like
            return [
                next(moved) if v.is_float else zero(torch.as_tensor(o))
                for v, o in zip(program.graph.outputs, values, strict=True)
            ]

    output, _aux = call.result(values)

    def jvp_fn(*tangents: Any) -> Any:
        if current() is not None:
            return api.linearize(func, *primals)[1](*tangents)
        flat, flat_spec = tree_flatten(tangents)
        checks.linear_tangents(_as_tensors(flat), flat_spec, _as_tensors(leaves), spec)
        return tree_unflatten(push(flat), tree_flatten(output)[1])

    _belongs_to_user(jvp_fn)

    def _record_push(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inner, flat = args
        tangents = tree_unflatten(list(flat), tree_flatten(inner)[1])
        return transforms.jvp_call(recorder, func, inner, tangents, False, False)[1]

    return output, jvp_fn
