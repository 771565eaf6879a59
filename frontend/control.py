"""Control flow as users write it: ``cond``, ``scan``, ``while_loop``, with pytrees and closures.

In a trace each body is captured once, as a function of its own; tensors it closes over become
operands of the loop. Called from plain Python, the loop compiles itself and runs (``jit.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from .capture import Recorder, current
from .graph import Checkpoint, Cond, Scan, Value, While
from .state import Draws, Subgraph

Function = Callable[..., Any]


def cond(pred: Any, true_fn: Function, false_fn: Function, *operands: Any) -> Any:
    """``true_fn(*operands)`` if ``pred`` holds, else ``false_fn(*operands)``; only one is run.

    ``pred`` is a bool, or a tensor of one bool. Both functions return the same structure of
    tensors, of equal shapes and dtypes. Under ``vmap`` with a ``pred`` that differs among examples
    both run, and errors and NaNs of the one that is not taken have no effect.
    """
    recorder = current()
    if recorder is None:

        def record(recorder: Recorder, args: tuple[Any, ...], _: Any) -> Any:
            return record_cond(recorder, args[0], true_fn, args[1], args[2:])

        return _run("cond", true_fn, (), record, pred, false_fn, *operands)
    return record_cond(recorder, pred, true_fn, false_fn, operands)


def scan(
    f: Function,
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """A loop with carried values: ``carry, y = f(carry, x)`` for each ``x`` along dimension 0.

    Returns the last carry and the ``y`` stacked. ``init`` and ``xs`` are pytrees of tensors; the
    carry keeps its structure, shapes and dtypes. Without ``xs``, ``f`` gets None and ``length``
    says how many steps there are. ``reverse`` starts with the last slice. Compile time does not
    depend on the number of steps. For a derivative in reverse each step keeps what ``f`` needs;
    ``checkpoint(f)`` keeps the carry only.
    """
    recorder = current()
    if recorder is None:

        def record(recorder: Recorder, args: tuple[Any, ...], _: Any) -> Any:
            init, xs = args
            return record_scan(recorder, f, init, xs, length, reverse)

        return _run("scan", f, (length, reverse), record, init, xs)
    return record_scan(recorder, f, init, xs, length, reverse)


def while_loop(
    cond_fn: Function, body_fn: Function, carried: Any, max_steps: int | None = None
) -> Any:
    """``while cond_fn(carried): carried = body_fn(carried)``; returns the last ``carried``.

    ``carried`` is a pytree of tensors that keeps its structure, shapes and dtypes; ``cond_fn``
    returns a tensor of one bool. Under ``vmap`` each example has its own number of steps. A
    derivative in reverse needs ``max_steps``: what each step keeps is stored for so many. A loop
    that is not finished after ``max_steps`` raises RuntimeError.
    """
    recorder = current()
    if recorder is None:

        def record(recorder: Recorder, args: tuple[Any, ...], _: Any) -> Any:
            body_fn, carried = args
            return record_while(recorder, cond_fn, body_fn, carried, max_steps)

        return _run("while_loop", cond_fn, (max_steps,), record, body_fn, carried)
    return record_while(recorder, cond_fn, body_fn, carried, max_steps)


def fori_loop(lower: int, upper: int, body_fn: Function, init: Any) -> Any:
    """``for i in range(lower, upper): carry = body_fn(i, carry)``, as a scan.

    ``i`` is a tensor of int64. Bounds that are tensors make it a while loop, which has no
    derivative in reverse.
    """

    def step(carry: Any, i: torch.Tensor) -> tuple[Any, None]:
        return body_fn(i, carry), None

    recorder = current()
    if recorder is None:

        def record(_: Recorder, args: tuple[Any, ...], __: Any) -> Any:
            return fori_loop(args[0], args[1], body_fn, args[2])

        return _run("fori_loop", body_fn, (), record, lower, upper, init)
    if not isinstance(lower, int) or not isinstance(upper, int):
        return _for_tensors(recorder, lower, upper, body_fn, init)
    steps = torch.arange(lower, max(lower, upper))
    return record_scan(recorder, step, init, steps, None, False)[0]


def checkpoint(f: Function) -> Function:
    """``f``, of which a derivative keeps the arguments only and computes the rest again.

    Less memory for more time: in a scan over ``checkpoint(step)`` each step keeps its carry.
    """
    from .api import Transformed  # api.py records scans

    return Transformed("checkpoint", f, (), lambda *call: record_checkpoint(f, *call))


def _for_tensors(recorder: Recorder, lower: Any, upper: Any, body_fn: Function, init: Any) -> Any:
    def more(carried: Any) -> torch.Tensor:
        return carried[0] < upper

    def step(carried: Any) -> Any:
        i, carry = carried
        return i + 1, body_fn(i, carry)

    start = torch.as_tensor(lower, dtype=torch.int64)
    return record_while(recorder, more, step, (start, init), None)[1]


def _run(
    kind: str, f: Function, options: tuple[Any, ...], record: Callable[..., Any], *args: Any
) -> Any:
    """In plain Python a loop is a function of its own, known by the function it repeats."""
    from .api import Transformed  # api.py records scans

    return Transformed(kind, f, options, record)(*args)


# --- recording --------------------------------------------------------------------------------


def is_number(leaf: Any) -> bool:
    return isinstance(leaf, (bool, int, float))


def as_tensors(tree: Any) -> tuple[list[Any], TreeSpec]:
    """The leaves, numbers as tensors; others (None) stay what they are."""
    leaves, spec = tree_flatten(tree)
    return [torch.tensor(leaf) if is_number(leaf) else leaf for leaf in leaves], spec


def tensors_of(leaves: Sequence[Any]) -> list[torch.Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def filled(leaves: Sequence[Any], tensors: Sequence[torch.Tensor], spec: TreeSpec) -> Any:
    """The tree with other tensors in it."""
    given = iter(tensors)
    return tree_unflatten(
        [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], spec
    )


def described(leaves: Sequence[Any]) -> str:
    texts = [str(as_value(x)) if isinstance(x, torch.Tensor) else repr(x) for x in leaves]
    return f"({', '.join(texts)})"


def as_value(tensor: torch.Tensor) -> Value:
    return Value(tuple(tensor.shape), tensor.dtype)


def same_types(
    recorder: Recorder, one: tuple[Any, TreeSpec], other: tuple[Any, TreeSpec], what: str
) -> None:
    """An error unless two flattened trees have equal structures, shapes and dtypes."""
    (left, left_spec), (right, right_spec) = one, other
    if left_spec != right_spec:
        raise recorder.error(f"{what} different structures: {left_spec} and {right_spec}")
    for a, b in zip(left, right, strict=True):
        tensors = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
        if (str(as_value(a)) != str(as_value(b))) if tensors else a is not b and a != b:
            raise recorder.error(
                f"{what} different types: {described(left)} and {described(right)}",
                help="convert with .to(), or make the tensors of one shape",
            )


def captured(
    recorder: Recorder,
    f: Function,
    examples: Sequence[Value],
    run: Callable[[list[torch.Tensor]], tuple[Any, TreeSpec]],
    draws: Draws | None = None,
) -> tuple[Subgraph, list[Any], TreeSpec]:
    """The captured body, the leaves that it returned, and their structure."""

    def body(tensors: list[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
        leaves, spec = as_tensors(run(tensors))
        return (leaves, spec), tensors_of(leaves)

    inner = recorder.subgraph(f, examples, body, draws=draws)
    return inner, *inner.result


def record_cond(
    recorder: Recorder, pred: Any, true_fn: Function, false_fn: Function, operands: Any
) -> Any:
    if not isinstance(pred, torch.Tensor):
        return (true_fn if pred else false_fn)(*operands)
    if pred.numel() != 1 or pred.dtype != torch.bool:
        raise recorder.error(
            f"cond needs one truth value, not {as_value(pred)}",
            help="compare, or reduce with .any() or .all()",
        )
    test = recorder.read(pred.reshape(()))
    leaves, spec = tree_flatten(tuple(operands))
    values = [recorder.read(tensor) for tensor in tensors_of(leaves)]
    made = []
    for branch in (true_fn, false_fn):
        made.append(
            captured(
                recorder,
                branch,
                values,
                lambda tensors, branch=branch: branch(*filled(leaves, tensors, spec)),
            )
        )
    (on_true, left, out_spec), (on_false, right, other) = made
    same_types(recorder, (left, out_spec), (right, other), "the branches of cond return")
    consts, (at_true, at_false) = shared(on_true, on_false)
    first = range(len(values))
    places = [(*first, *(len(values) + i for i in at)) for at in (at_true, at_false)]
    target = Cond((on_true.graph, on_false.graph), (places[0], places[1]))
    tensors = recorder.apply(target, [test, *values, *consts], on_true.graph.outputs)
    return filled(left, tensors, out_spec)


def shared(
    first: Subgraph, second: Subgraph
) -> tuple[list[Value], tuple[tuple[int, ...], tuple[int, ...]]]:
    """What two bodies close over, and which of it each takes."""
    consts = list(dict.fromkeys([*first.captured, *second.captured]))
    number = {value: i for i, value in enumerate(consts)}
    one, other = (tuple(number[value] for value in body.captured) for body in (first, second))
    return consts, (one, other)


def record_while(
    recorder: Recorder, cond_fn: Function, body_fn: Function, carried: Any, max_steps: int | None
) -> Any:
    if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 0):
        raise recorder.error(f"max_steps should be a number of steps, not {max_steps!r}")
    carry, spec = as_tensors(carried)
    inits = [recorder.read(tensor) for tensor in tensors_of(carry)]

    def test(tensors: list[torch.Tensor]) -> Any:
        pred = cond_fn(filled(carry, tensors, spec))
        if isinstance(pred, bool):
            pred = torch.tensor(pred)
        if not isinstance(pred, torch.Tensor) or pred.numel() != 1 or pred.dtype != torch.bool:
            found = as_value(pred) if isinstance(pred, torch.Tensor) else type(pred).__name__
            raise recorder.error(
                f"the condition of while_loop should be one truth value, not {found}",
                help="compare, or reduce with .any() or .all()",
            )
        return pred.reshape(())

    def step(tensors: list[torch.Tensor]) -> Any:
        out = body_fn(filled(carry, tensors, spec))
        what = "the carried values of while_loop have, before and after a step,"
        same_types(recorder, (carry, spec), as_tensors(out), what)
        return out

    condition, _, _ = captured(recorder, cond_fn, inits, test, Draws("loop"))
    body, leaves, _ = captured(recorder, body_fn, inits, step, Draws("loop"))
    consts, places = shared(condition, body)
    target = While(condition.graph, body.graph, places, len(inits), max_steps)
    tensors = recorder.apply(target, [*consts, *inits], body.graph.outputs)
    return filled(leaves, tensors, spec)


def record_checkpoint(
    f: Function, recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    leaves, spec = tree_flatten((args, kwargs))
    values = [recorder.read(tensor) for tensor in tensors_of(leaves)]

    def run(tensors: list[torch.Tensor]) -> Any:
        given, named = filled(leaves, tensors, spec)
        return f(*given, **named)

    def body(tensors: list[torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
        out_leaves, out_spec = tree_flatten(run(tensors))
        return (out_leaves, out_spec), tensors_of(out_leaves)

    inner = recorder.subgraph(f, values, body)
    tensors = recorder.apply(
        Checkpoint(inner.graph), [*values, *inner.captured], inner.graph.outputs
    )
    return filled(inner.result[0], tensors, inner.result[1])


def length_of(recorder: Recorder, xs: Sequence[torch.Tensor], length: int | None) -> int:
    if any(x.dim() == 0 for x in xs):
        raise recorder.error("scan goes along dimension 0 of xs, but one of them has none")
    lengths = {x.shape[0] for x in xs} | ({length} if length is not None else set())
    if not lengths:
        raise recorder.error("scan needs xs, or a length")
    if len(lengths) > 1:
        raise recorder.error(f"scan got different lengths: {sorted(lengths)}")
    return lengths.pop()


def record_scan(
    recorder: Recorder, f: Function, init: Any, xs: Any, length: int | None, reverse: bool
) -> tuple[Any, Any]:
    carry, carry_spec = as_tensors(init)
    x_leaves, x_spec = tree_flatten(xs)
    stacks = tensors_of(x_leaves)
    steps = length_of(recorder, stacks, length)
    inits = [recorder.read(tensor) for tensor in tensors_of(carry)]
    sources = [recorder.read(tensor) for tensor in stacks]
    slices = [Value(value.shape[1:], value.dtype) for value in sources]
    count = len(inits)

    def run(tensors: list[torch.Tensor]) -> Any:
        x = filled(x_leaves, tensors[count:], x_spec)
        out = f(filled(carry, tensors[:count], carry_spec), x)
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise recorder.error("the function of scan should return a pair: carry, y")
        same_types(
            recorder,
            (carry, carry_spec),
            as_tensors(out[0]),
            "the carry of scan has, before and after a step,",
        )
        return tuple(out)

    draws = Draws("different", steps)
    inner, leaves, spec = captured(recorder, f, [*inits, *slices], run, draws)
    consts = inner.captured
    if draws.keys is not None:  # one for each step, so a stack like xs
        place = consts.index(draws.keys)
        first = count + len(sources)
        inner.graph.inputs.insert(first, inner.graph.inputs.pop(first + place))
        sources.append(consts.pop(place))
    target = Scan(inner.graph, len(consts), count, steps, reverse)
    outputs = inner.graph.outputs
    stacked = [Value((steps, *value.shape), value.dtype) for value in outputs[count:]]
    tensors = recorder.apply(target, [*consts, *inits, *sources], [*outputs[:count], *stacked])
    return filled(leaves, tensors, spec)
