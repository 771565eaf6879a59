"""What a transformed function records when it is called inside a trace.

``api.py`` calls these. Each captures the inner function as a graph of its own and appends one
transform call (jvp, vjp) to the graph being recorded; Jacobians and Hessians map those over one-hot
bases, with ``batching.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from . import checks
from .batching import over_basis
from .capture import Recorder
from .checks import Argnums
from .graph import Call, Graph, Jvp, Value, Vjp

Function = Callable[..., Any]


@dataclass(frozen=True)
class Recorded:
    """A captured function at the values of its arguments, ready to be differentiated."""

    recorder: Recorder
    graph: Graph
    operands: tuple[Value, ...]  # the differentiated leaves, then everything else it needs
    spec: TreeSpec  # of the output
    aux: Any

    def keeping(self, output: int) -> Recorded:
        return replace(self, graph=self.graph.keeping([output]))

    def outputs(self) -> list[torch.Tensor]:
        return self.recorder.apply(Call(self.graph), self.operands, self.graph.outputs)

    def pull(
        self, wrt: Sequence[int], cotangents: Sequence[Value]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The outputs, and the cotangents of the operands ``wrt``."""
        graph = self.graph
        results = [*graph.outputs, *(graph.inputs[i] for i in wrt)]
        values = (*self.operands, *cotangents)
        tensors = self.recorder.apply(Vjp(graph, tuple(wrt)), values, results)
        return tensors[: len(graph.outputs)], tensors[len(graph.outputs) :]

    def push(
        self, wrt: Sequence[int], tangents: Sequence[Value]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The outputs and their tangents; those of integer outputs are zeros."""
        graph = self.graph
        moving = [out for out in graph.outputs if out.is_float]
        values = (*self.operands, *tangents)
        tensors = self.recorder.apply(Jvp(graph, tuple(wrt)), values, [*graph.outputs, *moving])
        outs, given = tensors[: len(graph.outputs)], iter(tensors[len(graph.outputs) :])
        return outs, [
            next(given) if o.is_float else torch.zeros_like(t)
            for o, t in zip(graph.outputs, outs, strict=True)
        ]


def positions(args: tuple[Any, ...], argnums: Argnums) -> list[int]:
    """Where the leaves of the chosen arguments are among the leaves of all."""
    starts, total = [], 0
    for arg in args:
        starts.append(total)
        total += len(tree_flatten(arg)[0])
    ends = [*starts[1:], total]
    chosen = (argnums,) if isinstance(argnums, int) else argnums
    return [leaf for number in chosen for leaf in range(starts[number], ends[number])]


def chosen(args: tuple[Any, ...], argnums: Argnums) -> Any:
    return args[argnums] if isinstance(argnums, int) else tuple(args[i] for i in argnums)


def record(
    recorder: Recorder,
    func: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    where: Sequence[int],
    has_aux: bool,
    api: str,
    check: Callable[[Any], None],
    grad_enabled: bool | None,
) -> Recorded:
    """Captures ``func`` with the leaves at ``where`` as new inputs, and its auxiliary result."""
    leaves, spec = tree_flatten(args)
    primals = [recorder.read(leaves[position]) for position in where]

    def body(tensors: list[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
        inner = list(leaves)
        for position, tensor in zip(where, tensors, strict=True):
            inner[position] = tensor
        output, aux = func(*tree_unflatten(inner, spec), **kwargs), None
        if has_aux:
            output, aux = checks.pair(output, api)
            checks.aux_leaves(tree_flatten(aux)[0])
        check(output)
        out_leaves, out_spec = tree_flatten(output)
        aux_leaves, aux_spec = tree_flatten(aux) if has_aux else ([], None)
        return (out_spec, len(out_leaves), aux_spec), [*out_leaves, *aux_leaves]

    kind = "jvp" if api == checks.JVP else "grad"
    inner = recorder.subgraph(func, primals, body, grad_enabled, kind)
    out_spec, count, aux_spec = inner.result
    operands = (*primals, *inner.captured)
    aux = None
    if has_aux:
        extra = inner.graph.keeping(range(count, len(inner.graph.outputs)))
        aux = tree_unflatten(recorder.apply(Call(extra), operands, extra.outputs), aux_spec)
    return Recorded(recorder, inner.graph.keeping(range(count)), operands, out_spec, aux)


# --- reverse mode -----------------------------------------------------------------------------


def grad_and_value(
    recorder: Recorder,
    func: Function,
    argnums: Argnums,
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, Any]:
    numbers = checks.argnums_of(argnums, len(args))
    leaves, spec = tree_flatten(chosen(args, numbers))
    checks.differentiable(leaves)
    where = positions(args, numbers)
    api = "grad_and_value(f)(*args)"
    inner = record(
        recorder, func, args, kwargs, where, has_aux, api, checks.scalar_output, grad_enabled=True
    )
    out = inner.graph.outputs[0]
    if out.is_float:
        seed = recorder.read(torch.ones((), dtype=out.dtype))
        (value,), grads = inner.pull(range(len(where)), [seed])
    else:
        (value,), grads = inner.outputs(), [torch.zeros_like(leaf) for leaf in leaves]
    result = tree_unflatten(grads, spec)
    return (result, (value, inner.aux)) if has_aux else (result, value)


def vjp(
    recorder: Recorder,
    func: Function,
    primals: tuple[Any, ...],
    argnums: Argnums | None = None,
    has_aux: bool = False,
    jacobian: bool = False,
) -> tuple[Recorded, list[int]]:
    """The captured function and the operands that get a cotangent."""
    numbers = tuple(range(len(primals))) if argnums is None else argnums
    if argnums is not None:
        numbers = checks.argnums_of(argnums, len(primals))
    checks.differentiable(tree_flatten(chosen(primals, numbers))[0])
    api = "vjp(f, *primals)"

    def check(output: Any) -> None:
        leaves = tree_flatten(output)[0]
        checks.tensor_outputs(leaves, api)
        if jacobian:
            checks.real("jacrev", leaves, is_input=False)
        checks.float_outputs(leaves)

    where = positions(primals, numbers)
    inner = record(recorder, func, primals, {}, where, has_aux, api, check, grad_enabled=True)
    return inner, list(range(len(where)))


def vjp_call(
    recorder: Recorder,
    func: Function,
    primals: tuple[Any, ...],
    has_aux: bool = False,
    argnums: Argnums | None = None,
) -> Any:
    """(output, vjp_fn), and aux; vjp_fn gives a tuple for all primals, or those of ``argnums``."""
    inner, wrt = vjp(recorder, func, primals, argnums, has_aux)
    spec = tree_flatten(chosen(primals, several(argnums, len(primals))))[1]
    output, pull = tree_unflatten(inner.outputs(), inner.spec), vjp_function(inner, wrt, spec)
    return (output, pull, inner.aux) if has_aux else (output, pull)


def several(argnums: Argnums | None, count: int) -> tuple[int, ...]:
    """The argument numbers as a tuple; None is all of them."""
    if argnums is None:
        return tuple(range(count))
    numbers = checks.argnums_of(argnums, count)
    return (numbers,) if isinstance(numbers, int) else numbers


def vjp_function(inner: Recorded, wrt: list[int], spec: TreeSpec) -> Callable[..., Any]:
    def vjp_fn(cotangents: Any, *, retain_graph: bool = True, create_graph: Any = None) -> Any:
        leaves, given = tree_flatten(cotangents)
        leaves = checks.cotangents(given, inner.spec, leaves, inner.graph.outputs)
        values = [
            cast(inner.recorder, leaf, out)
            for leaf, out in zip(leaves, inner.graph.outputs, strict=True)
        ]
        return tree_unflatten(inner.pull(wrt, values)[1], spec)

    return vjp_fn


def cast(recorder: Recorder, tensor: torch.Tensor, like: Value) -> Value:
    """torch does not check the dtype of tangents and cotangents."""
    return recorder.read(tensor if tensor.dtype == like.dtype else tensor.to(like.dtype))


def jacrev(
    recorder: Recorder,
    func: Function,
    argnums: Argnums,
    has_aux: bool,
    args: tuple[Any, ...],
    chunk_size: int | None = None,
) -> Any:
    checks.real("jacrev", tree_flatten(args)[0], is_input=True)
    numbers = checks.argnums_of(argnums, len(args))
    inner, wrt = vjp(recorder, func, args, numbers, has_aux, jacobian=True)
    leaves, spec = tree_flatten(chosen(args, numbers))
    jacobians = []
    for index, out in enumerate(inner.graph.outputs):
        one = inner.keeping(index)
        if not out.shape:
            seed = recorder.read(torch.ones((), dtype=out.dtype))
            rows = one.pull(wrt, [seed])[1]
        else:

            def pull(ct: torch.Tensor, one: Recorded = one) -> list[torch.Tensor]:
                return one.pull(wrt, [recorder.read(ct)])[1]

            rows = over_basis(recorder, pull, out, [0] * len(wrt), chunk_size)
        blocks = [
            row.reshape((*out.shape, *leaf.shape)) for row, leaf in zip(rows, leaves, strict=True)
        ]
        jacobians.append(tree_unflatten(blocks, spec))
    result = tree_unflatten(jacobians, inner.spec)
    return (result, inner.aux) if has_aux else result


# --- forward mode -----------------------------------------------------------------------------


def jvp(
    recorder: Recorder,
    func: Function,
    primals: Any,
    argnums: Argnums | None = None,
    has_aux: bool = False,
    strict: bool = False,
    jacobian: bool = False,
) -> tuple[Recorded, list[int]]:
    numbers = tuple(range(len(primals))) if argnums is None else argnums
    where = positions(primals, numbers)

    def check(output: Any) -> None:
        leaves = tree_flatten(output)[0]
        checks.tensor_outputs(leaves, checks.JVP)
        if jacobian:
            checks.real("jacfwd", leaves, is_input=False)

    inner = record(recorder, func, primals, {}, where, has_aux, checks.JVP, check, None)
    if strict:
        reached = inner.graph.dependent(inner.graph.inputs[: len(where)])
        if any(out not in reached for out in inner.graph.outputs):
            raise RuntimeError(
                f"{checks.JVP[:-1]}, strict=True): The output of f is independent of the inputs. "
                "This is not allowed with strict=True."
            )
    return inner, list(range(len(where)))


def jvp_call(
    recorder: Recorder,
    func: Function,
    primals: Any,
    tangents: Any,
    strict: bool,
    has_aux: bool,
    argnums: Argnums | None = None,
) -> Any:
    """(output, its tangent), and aux; ``tangents`` are for all primals, or for ``argnums``."""
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"{checks.JVP}: Expected primals to be a tuple. E.g. it should be valid to call "
            "f(*primals)."
        )
    numbers = several(argnums, len(primals))
    checks.tangents(chosen(primals, numbers), tangents)
    inner, wrt = jvp(recorder, func, primals, numbers, has_aux, strict)
    outs, moved = inner.push(wrt, tangent_values(recorder, tangents, inner, wrt))
    result = tree_unflatten(outs, inner.spec), tree_unflatten(moved, inner.spec)
    return (*result, inner.aux) if has_aux else result


def tangent_values(
    recorder: Recorder, tangents: Any, inner: Recorded, wrt: Sequence[int]
) -> list[Value]:
    leaves = tree_flatten(tangents)[0]
    inputs = [inner.graph.inputs[i] for i in wrt]
    return [cast(recorder, leaf, like) for leaf, like in zip(leaves, inputs, strict=True)]


def jacfwd(
    recorder: Recorder,
    func: Function,
    argnums: Argnums | None,
    has_aux: bool,
    args: tuple[Any, ...],
    chunk_size: int | None = None,
) -> Any:
    checks.real("jacfwd", tree_flatten(args)[0], is_input=True)
    numbers = tuple(range(len(args))) if argnums is None else checks.argnums_of(argnums, len(args))
    leaves, spec = tree_flatten(chosen(args, numbers))
    picked = leaves if not isinstance(numbers, int) else [chosen(args, numbers)]
    checks.tangents(tuple(picked), tuple(picked))
    inner, wrt = jvp(recorder, func, args, numbers, has_aux, jacobian=True)
    columns: list[list[torch.Tensor]] = []  # by input leaf, then by output leaf
    for operand in wrt:
        like = inner.graph.inputs[operand]

        def push(tangent: torch.Tensor, operand: int = operand) -> list[torch.Tensor]:
            return inner.push([operand], [recorder.read(tangent)])[1]

        if like.shape:
            at = [len(out.shape) for out in inner.graph.outputs]
            moved = over_basis(recorder, push, like, at, chunk_size)
        else:
            moved = push(torch.ones((), dtype=like.dtype))
        columns.append(moved)
    jacobians = []
    for index, out in enumerate(inner.graph.outputs):
        blocks = [
            column[index].reshape((*out.shape, *leaf.shape))
            for column, leaf in zip(columns, leaves, strict=True)
        ]
        jacobians.append(tree_unflatten(blocks, spec))
    result = tree_unflatten(jacobians, inner.spec)
    return (result, inner.aux) if has_aux else result
