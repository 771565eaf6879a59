"""torch's own control flow, as captured: torch.cond, while_loop and scan.

They are higher-order operators, which torch hands to dynamo when they are called eagerly. In a
trace they are called directly instead, and reach the recorder like any operator.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch._higher_order_ops import utils as torch_utils
from torch._higher_order_ops.cond import cond_op
from torch._higher_order_ops.scan import scan_op
from torch._higher_order_ops.while_loop import while_loop_op
from torch.utils import checkpoint as torch_checkpoint
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from . import capture, control
from .capture import Recorder

_state = threading.local()


def install() -> None:
    """Makes torch call its control flow directly in a trace; outside of one nothing changes."""
    original = torch_utils._hop_compile_and_call
    if getattr(original, "of_pullback", False):
        return

    @functools.wraps(original)
    def call(fn: Callable[..., Any], args: Any, kwargs: Any = None) -> Any:
        if capture.current() is None:
            return original(fn, args, kwargs)
        with _structured():
            return fn(*args, **(kwargs or {}))

    call.of_pullback = True  # type: ignore[attr-defined]
    torch_utils._hop_compile_and_call = call


def _install_checkpoint() -> None:
    """torch.utils.checkpoint.checkpoint looks up what to call in an attribute of its function."""
    checkpoint: Any = torch_checkpoint.checkpoint
    wrapped = checkpoint.__wrapped__
    original = getattr(wrapped, "__dynamo_disable", None) or wrapped

    @functools.wraps(wrapped)
    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        recorder = capture.current()
        if recorder is None:
            return original(function, *args, **kwargs)
        options = inspect.signature(wrapped).parameters.keys() | {"preserve_rng_state"}
        named = {key: value for key, value in kwargs.items() if key not in options}
        return control.record_checkpoint(function, recorder, args, named)

    setattr(wrapped, "__dynamo_disable", call)


@contextmanager
def _structured() -> Iterator[None]:
    """Called by a user: bodies return trees, not the flat lists of an exported graph."""
    before, _state.structured = getattr(_state, "structured", False), True
    try:
        yield
    finally:
        _state.structured = before


def _cond(recorder: Recorder, pred: Any, true_fn: Any, false_fn: Any, operands: Any) -> Any:
    return control.record_cond(recorder, pred, true_fn, false_fn, tuple(operands))


def _while_loop(
    recorder: Recorder, cond_fn: Any, body_fn: Any, carried: Any, extra: Any = ()
) -> Any:
    def step(carry: list[Any]) -> list[Any]:
        return tree_leaves(body_fn(*carry, *extra))

    made = control.record_while(
        recorder, lambda carry: cond_fn(*carry, *extra), step, list(carried), None
    )
    return tuple(made)


def _scan(recorder: Recorder, combine_fn: Any, init: Any, xs: Any, extra: Any = ()) -> Any:
    structured = getattr(_state, "structured", False)
    init, xs = list(init), list(xs)

    def step(carry: list[Any], x: list[Any]) -> Any:
        out = combine_fn(*carry, *x, *extra)
        if structured:
            carry_out, y = out
            trees[:] = [tree_of(carry_out), tree_of(y)]
            return tree_leaves(carry_out), tree_leaves(y)
        return list(out[: len(carry)]), list(out[len(carry) :])

    trees: list[Callable[[list[Any]], Any]] = []
    carry, ys = control.record_scan(recorder, step, init, xs, None, False)
    if structured:
        return trees[0](carry), trees[1](ys)
    return [*carry, *ys]


def tree_of(tree: Any) -> Callable[[list[Any]], Any]:
    _, spec = tree_flatten(tree)
    return lambda leaves: tree_unflatten(leaves, spec)


def _called(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The recorder is switched off while an operator is looked up; bodies need it."""

    @functools.wraps(handler)
    def call(recorder: Recorder, *args: Any) -> Any:
        with recorder:
            return handler(recorder, *args)

    return call


for _operator, _handler in (
    (cond_op, _cond),
    (scan_op, _scan),
    (while_loop_op, _while_loop),
):
    _operator.py_impl(Recorder)(_called(_handler))
install()
_install_checkpoint()
