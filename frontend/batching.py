"""``vmap`` inside a trace: one call of a batched function, or a loop over chunks of the batch.

``api.py`` calls ``vmap``; the Jacobians of ``transforms.py`` map over one-hot bases with
``over_basis``. With a ``chunk_size`` both are a loop over chunks, which share their memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from . import checks, forbidden
from .capture import Recorder
from .control import record_scan
from .graph import Basis, Graph, Value, Vmap
from .state import Draws, Subgraph, View

Function = Callable[..., Any]


def vmap(
    recorder: Recorder,
    func: Function,
    in_dims: Any,
    out_dims: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    chunk_size: int | None = None,
    randomness: str = "error",
) -> Any:
    size, dims = checks.vmap_inputs(in_dims, args, func)
    leaves, spec = tree_flatten(args)
    where = [position for position, dim in enumerate(dims) if dim is not None]
    mapped = [dims[position] or 0 for position in where]
    operands = [recorder.read(leaves[position]) for position in where]
    examples = [
        Value((*v.shape[:d], *v.shape[d + 1 :]), v.dtype)
        for v, d in zip(operands, mapped, strict=True)
    ]

    def body(tensors: list[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
        inner = list(leaves)
        for position, tensor in zip(where, tensors, strict=True):
            inner[position] = tensor
        output = func(*tree_unflatten(inner, spec), **kwargs)
        chosen_dims = checks.vmap_outputs(out_dims, output, func)
        out_leaves, out_spec = tree_flatten(output)
        tensors_out = [leaf for leaf in out_leaves if isinstance(leaf, torch.Tensor)]
        return (out_leaves, out_spec, chosen_dims), tensors_out

    draws = None if randomness == "same" else Draws(randomness, size)
    inner = recorder.subgraph(func, examples, body, writes="kept", batched=len(where), draws=draws)
    out_leaves, out_spec, wanted = inner.result
    graph, written = inner.graph, inner.written
    of_tensors = [
        dim for leaf, dim in zip(out_leaves, wanted, strict=True) if isinstance(leaf, torch.Tensor)
    ]
    of_writes = [None if write.input is None else mapped[write.input] for write in written]
    at = _positions(graph, [*of_tensors, *of_writes], len(where), func)
    keys = None if draws is None else draws.keys
    in_dims = (*mapped, *(0 if value is keys else -1 for value in inner.captured))
    tensors = _mapped(recorder, graph, [*operands, *inner.captured], in_dims, at, size, chunk_size)
    tensors = [
        tensor[0] if dim is None else tensor
        for tensor, dim in zip(tensors, [*of_tensors, *of_writes], strict=True)
    ]
    _pass_on(recorder, inner, [leaves[p] for p in where], tensors[len(of_tensors) :])
    given = iter(tensors)
    final = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in out_leaves]
    return tree_unflatten(final, out_spec)


def _pass_on(
    recorder: Recorder, inner: Subgraph, arguments: list[torch.Tensor], new: list[torch.Tensor]
) -> None:
    """What the function wrote to its arguments, and to tensors around it, in the outer frame."""
    states = [recorder.state_of(argument) for argument in arguments]
    roots = [state.base if isinstance(state, View) else state for state in states]
    for write, tensor in zip(inner.written, new, strict=True):
        if write.input is None:
            recorder.write(write.cell, recorder.read(tensor), write.unseen)
            continue
        root = roots[write.input]
        if roots.count(root) > 1 or root.value in inner.captured:
            raise recorder.error(*forbidden.WRITE_SHARED)
        recorder.assign(arguments[write.input], tensor, write.unseen)


def _positions(
    graph: Graph, dims: Sequence[int | None], batched_inputs: int, func: Function
) -> list[int]:
    """Where each output gets its batch dimension; 0 for those that the user wants without."""
    reached = graph.dependent(graph.inputs[:batched_inputs])
    at = []
    for out, dim in zip(graph.outputs, dims, strict=True):
        if dim is None and out in reached:
            name = checks.name_of(func)
            raise ValueError(
                f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None"
            )
        rank = len(out.shape) + 1
        if dim is not None and not -rank <= dim < rank:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but "
                f"got {dim})"
            )
        at.append(0 if dim is None else dim % rank)
    return at


def over_basis(
    recorder: Recorder,
    func: Callable[[torch.Tensor], list[torch.Tensor]],
    like: Value,
    out_dims: Sequence[int],
    chunk_size: int | None = None,
) -> list[torch.Tensor]:
    """``vmap(func)(basis)`` for the one-hot basis in the shape of ``like``."""
    inner = recorder.subgraph(func, [like], lambda tensors: (None, func(tensors[0])))
    graph, captured, count = inner.graph, inner.captured, math.prod(like.shape)
    dims = (0, *(-1 for _ in captured))

    def rows(numbers: Sequence[torch.Tensor], length: int) -> list[torch.Tensor]:
        hot = numbers[0][:, None] == torch.arange(count)
        seed = recorder.read(hot.to(like.dtype).reshape(length, *like.shape))
        return _whole(recorder, graph, [seed, *captured], dims, [0] * len(out_dims), length)

    if chunk_size is None or chunk_size >= count:
        seed = basis(recorder, like)
        return _whole(recorder, graph, [seed, *captured], dims, out_dims, count)
    return _chunks(recorder, rows, [torch.arange(count)], out_dims, count, chunk_size)


def basis(recorder: Recorder, like: Value) -> Value:
    """Every one-hot tensor in the shape of ``like``, along a new first dimension."""
    recorder.bases += 1
    result = Value((math.prod(like.shape), *like.shape), like.dtype)
    return recorder.emit(Basis(recorder.bases), (), {}, [result])[0]


def _mapped(
    recorder: Recorder,
    graph: Graph,
    operands: Sequence[Value],
    in_dims: Sequence[int],
    out_dims: Sequence[int],
    size: int,
    chunk_size: int | None,
) -> list[torch.Tensor]:
    """``graph`` over a batch of ``size``, at most ``chunk_size`` examples at once."""
    if chunk_size is None or chunk_size >= size:
        return _whole(recorder, graph, operands, in_dims, out_dims, size)
    mapped = [number for number, dim in enumerate(in_dims) if dim >= 0]
    stacks = [recorder.tensor_of(operands[n]).movedim(in_dims[n], 0) for n in mapped]
    dims = [min(dim, 0) for dim in in_dims]

    def examples(parts: Sequence[torch.Tensor], length: int) -> list[torch.Tensor]:
        given = list(operands)
        for number, part in zip(mapped, parts, strict=True):
            given[number] = recorder.read(part)
        return _whole(recorder, graph, given, dims, [0] * len(out_dims), length)

    return _chunks(recorder, examples, stacks, out_dims, size, chunk_size)


def _chunks(
    recorder: Recorder,
    take: Callable[[Sequence[torch.Tensor], int], list[torch.Tensor]],
    stacks: Sequence[torch.Tensor],
    out_dims: Sequence[int],
    size: int,
    chunk_size: int,
) -> list[torch.Tensor]:
    """``take`` of each chunk of the stacks in turn, as one loop and a shorter chunk at the end.

    ``take`` gets and returns tensors with the batch in front.
    """
    steps, rest = divmod(size, chunk_size)
    done = steps * chunk_size

    def chunk(_: Any, parts: Sequence[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
        return (), take(parts, chunk_size)

    folded = [s[:done].reshape(steps, chunk_size, *s.shape[1:]) for s in stacks]
    _, results = record_scan(recorder, chunk, (), folded, None, reverse=False)
    results = [result.reshape(done, *result.shape[2:]) for result in results]
    if rest:
        last = take([stack[done:] for stack in stacks], rest)
        results = [torch.cat(both) for both in zip(results, last, strict=True)]
    return [result.movedim(0, dim) for result, dim in zip(results, out_dims, strict=True)]


def _whole(
    recorder: Recorder,
    graph: Graph,
    operands: Sequence[Value],
    in_dims: Sequence[int],
    out_dims: Sequence[int],
    size: int,
) -> list[torch.Tensor]:
    results = [
        Value((*out.shape[:dim], size, *out.shape[dim:]), out.dtype)
        for out, dim in zip(graph.outputs, out_dims, strict=True)
    ]
    return recorder.apply(Vmap(graph, tuple(in_dims), tuple(out_dims), size), operands, results)
