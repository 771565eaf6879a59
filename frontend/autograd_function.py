"""torch.autograd.Function inside a trace: forward, backward and jvp become rules of a custom call.

`apply` reaches `applied` through a hook that is in place while a trace runs: `Function.apply` ends
in a call of its base class, where also functions find it that were bound before
(`relu = MyReLU.apply`). Batching is done by our own rules, so neither `generate_vmap_rule` nor the
`vmap` staticmethod is asked for.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from . import capture
from .capture import Recorder
from .custom import Call, Forward, Linear, Tensors, zeros
from .state import Subgraph

_BASE: Any = torch.autograd.Function.__mro__[1]  # where super().apply of Function.apply looks
_ONCE = once_differentiable(lambda ctx: None).__code__
_lock = threading.Lock()
_traces = 0


@contextlib.contextmanager
def hooked() -> Iterator[None]:
    """While one trace or more are running, `apply` asks whether it is inside one."""
    global _traces
    with _lock:
        _traces += 1
        if _traces == 1:
            _BASE.apply = classmethod(_apply)
    try:
        yield
    finally:
        with _lock:
            _traces -= 1
            if _traces == 0:
                del _BASE.apply


def _apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
    recorder = capture.current()
    if recorder is None:
        return super(_BASE, cls).apply(*args, **kwargs)
    return applied(recorder, cls, args, kwargs)


class Context(FunctionCtx):
    """What the staticmethods get as `ctx`."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.forward_mode = False

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        name = "saved_for_forward" if self.forward_mode else "to_save"
        return tuple(getattr(self, name, ()))

    def marked(self, name: str) -> tuple[Any, ...]:
        return tuple(getattr(self, name, ()))


def _own(cls: Any, name: str) -> Any:
    """A staticmethod that the class defines, or None."""
    method = getattr(cls, name)
    return None if method is getattr(torch.autograd.Function, name) else method


def applied(recorder: Recorder, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    where = [i for i, arg in enumerate(args) if isinstance(arg, torch.Tensor)]
    operands = [recorder.read(args[i]) for i in where]
    floats = [i for i, operand in zip(where, operands, strict=True) if operand.is_float]
    with_setup = _own(cls, "setup_context") is not None
    found: dict[str, Any] = {}

    def body(tensors: Tensors) -> tuple[Forward, Tensors]:
        forward = Forward(recorder, tensors)
        given = list(args)
        for i, tensor in zip(where, tensors, strict=True):
            given[i] = tensor
        ctx = Context(tuple(i in floats for i in range(len(args))))
        if with_setup:
            result = cls.forward(*given, **kwargs)
            cls.setup_context(ctx, tuple(given), result)
        else:
            result = cls.forward(ctx, *given, **kwargs)
        if ctx.marked("dirty_tensors"):
            raise recorder.error(
                f"{cls.__name__} changes an argument in place (mark_dirty)",
                help="return a new tensor from forward",
            )
        leaves = result if isinstance(result, tuple) else (result,)
        found.update(leaves=leaves, single=not isinstance(result, tuple))
        outs = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        fixed = {id(tensor) for tensor in ctx.marked("non_differentiable")}
        moving = [
            k for k, out in enumerate(outs) if out.is_floating_point() and id(out) not in fixed
        ]
        rules = []
        if floats and moving:
            parts = (recorder, cls, ctx, given, floats, leaves, outs, moving)
            with torch.enable_grad():
                rules = [rule for rule in (_backward(*parts), _jvp(*parts)) if rule is not None]
        return forward, forward.finish(outs, moving, rules)

    def rule(_: Any) -> Subgraph:
        inner = recorder.subgraph(cls.forward, operands, body, grad_enabled=False)
        inner.graph.name = cls.__name__
        return inner

    results, _, _ = Call(recorder, object(), operands, opaque=True).run(None, rule)
    given = iter(results)
    leaves = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in found["leaves"]]
    return leaves[0] if found["single"] else tuple(leaves)


def _backward(
    recorder: Recorder,
    cls: Any,
    ctx: Context,
    given: list[Any],
    floats: list[int],
    leaves: Sequence[Any],
    outs: Tensors,
    moving: list[int],
) -> Linear | None:
    method = _own(cls, "backward") or _own(cls, "vjp")
    if method is None:
        return None

    def run(cotangents: Tensors) -> list[torch.Tensor]:
        arriving = dict(zip(moving, cotangents, strict=True))
        grads, k = [], 0
        for leaf in leaves:
            if isinstance(leaf, torch.Tensor):
                grads.append(arriving[k] if k in arriving else zeros(leaf))
                k += 1
            else:
                grads.append(None)
        ctx.forward_mode = False
        result = method(ctx, *grads)
        result = result if isinstance(result, tuple) else (result,)
        name, count = f"{cls.__name__}Backward", len(given)
        if len(result) > count and all(grad is None for grad in result[count:]):
            result = result[:count]
        if len(result) != count:
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {count}, "
                f"got {len(result)})"
            )
        return [_fitted(result[i], given[i], name, i) for i in floats]

    def body(cotangents: Tensors) -> tuple[None, Tensors]:
        if getattr(method, "__code__", None) is not _ONCE:
            return None, run(cotangents)
        operands = [recorder.read(tensor) for tensor in cotangents]

        def once(tensors: Tensors) -> tuple[Forward, Tensors]:
            inner = Forward(recorder, tensors)
            bars = run(tensors)
            return inner, inner.finish(bars, range(len(bars)), [])

        # A custom call without rules: its derivative is an error, as torch has it.
        call = Call(recorder, object(), operands, opaque=False)
        bars, _, _ = call.run(None, lambda _: recorder.subgraph(method, operands, once))
        return None, bars

    return Linear(recorder, "backward", method, [outs[k] for k in moving], body)


def _jvp(
    recorder: Recorder,
    cls: Any,
    ctx: Context,
    given: list[Any],
    floats: list[int],
    leaves: Sequence[Any],
    outs: Tensors,
    moving: list[int],
) -> Linear | None:
    method = _own(cls, "jvp")
    if method is None:
        return None

    def body(tangents: Tensors) -> tuple[None, Tensors]:
        arriving = dict(zip(floats, tangents, strict=True))
        ctx.forward_mode = True
        result = method(ctx, *(arriving.get(i) for i in range(len(given))))
        result = result if isinstance(result, tuple) else (result,)
        if len(result) != len(leaves):
            raise RuntimeError(
                f"{cls.__name__}.jvp returned {len(result)} tangents for {len(leaves)} outputs"
            )
        pairs = zip(leaves, result, strict=True)
        dots = [dot for leaf, dot in pairs if isinstance(leaf, torch.Tensor)]
        return None, [_fitted(dots[k], outs[k], f"{cls.__name__}.jvp", k) for k in moving]

    return Linear(recorder, "linear", method, [given[i] for i in floats], body)


def _fitted(grad: Any, like: torch.Tensor, name: str, index: int) -> torch.Tensor:
    """A gradient in the shape and dtype of what it belongs to, as torch's engine makes it."""
    if grad is None:
        return zeros(like)
    if not isinstance(grad, torch.Tensor):
        raise TypeError(f"{name}: expected Tensor or None, got {type(grad).__name__}")
    if grad.shape != like.shape:
        wide = [1] * (grad.dim() - like.dim()) + list(like.shape)
        fits = len(wide) == grad.dim() and all(
            w in (1, g) for w, g in zip(wide, grad.shape, strict=True)
        )
        if not fits:
            raise RuntimeError(
                f"Function {name} returned an invalid gradient at index {index} - got "
                f"{list(grad.shape)} but expected shape compatible with {list(like.shape)}"
            )
        grad = grad.sum_to_size(like.shape)
    return grad if grad.dtype == like.dtype else grad.to(like.dtype)
