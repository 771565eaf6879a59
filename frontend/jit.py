"""``jit``: compiles a function at its first call with each signature, then runs machine code.

A compiled call equals running the Python again: shapes and dtypes, plain values in arguments,
closures and globals, and torch's ambient state select the program; tensors outside the arguments
are looked up again at each call. Between ``trace.py`` and the runtime's callable.
"""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad
from torch.utils._pytree import tree_flatten

from ..dialects.errors import CaptureError
from . import reach, writeback
from .capture import current
from .guards import Plan, tensor_key
from .imported import callable_of
from .location import Location, here, of_function
from .precision import tf32_allowed
from .program import Program, Target
from .state import graph_name
from .trace import Traced, argument_names, is_tensor, trace

log = logging.getLogger("pullback")
PROGRAMS = 512
WARN_AFTER = 8

_SIMPLE = (torch.Tensor, torch.nn.Parameter, np.ndarray)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)


@dataclass(slots=True)
class Entry:
    """One compile: what must hold for it, where its hidden tensors are, and the program."""

    signature: Any
    plan: Plan
    hidden: list[int | torch.Tensor]  # numbers in the plan, or a literal of the body
    traced: Traced
    program: Program
    moved: dict[Any, torch.Tensor] = field(default_factory=dict)  # literals on GPUs

    def literal(self, tensor: torch.Tensor, device: torch.device | None) -> torch.Tensor:
        """A literal of the body, on the GPU of the call if it has one."""
        if device is None:
            return tensor
        key = (id(tensor), device)
        if key not in self.moved:
            self.moved[key] = tensor.to(device)
        return self.moved[key]


@dataclass(slots=True)
class History:
    """All compiles of one function."""

    entries: list[Entry]
    compiles: int = 0


_lock = threading.RLock()
_cache: OrderedDict[Any, History] = OrderedDict()


class Prepared(NamedTuple):
    """A program with the tensors to run it on."""

    program: Program
    tensors: list[Any]
    as_numpy: bool
    result: Callable[[Sequence[Any]], Any]
    writes: list[writeback.WriteBack]


def run(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    target: Target = "cpu",
) -> Any:
    """``function(*args, **kwargs)``, compiled."""
    call = prepare(function, args, kwargs, target)
    return call.result(writeback.run(call.program, call.tensors, call.as_numpy, call.writes))


def prepare(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    target: Target = "cpu",
) -> Prepared:
    """Finds the program for a call, or captures it."""
    if peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        raise CaptureError(
            "a compiled function is called inside a transform of torch.func or torch.autograd",
            help="use the transforms of pullback, around the function or in it",
        )
    leaves, signature = signature_of(args, kwargs)
    if target == "cuda":
        signature = (*signature, tf32_allowed())
    history = _history((target, reach.function_key(function)))
    roots = [function, *_objects(leaves)]
    entry, objects = _find(history, signature, roots)
    if entry is None:
        with _lock:
            entry, objects = _find(history, signature, roots)
            if entry is None:
                entry, objects = _compile(history, signature, function, args, kwargs, roots, target)
    tensors = [leaf for leaf in leaves if is_tensor(leaf)]
    device = _gpu_of([*tensors, *(objects[h] for h in entry.hidden if isinstance(h, int))])
    hidden = [objects[h] if isinstance(h, int) else entry.literal(h, device) for h in entry.hidden]
    as_numpy = bool(tensors) and not any(isinstance(t, torch.Tensor) for t in tensors)
    traced = entry.traced
    if traced.reads_memory is not None:
        _check_memory([*tensors, *hidden], traced.reads_memory)
    given = [*tensors, *hidden, *([_new_key(as_numpy)] if traced.draws else [])]
    return Prepared(entry.program, given, as_numpy, traced.result, traced.writes)


def _gpu_of(tensors: Sequence[Any]) -> torch.device | None:
    """The GPU that a call is on, if any of its tensors is on one."""
    return next((t.device for t in tensors if isinstance(t, torch.Tensor) and t.is_cuda), None)


def _new_key(as_numpy: bool) -> Any:
    """The key of one call, from torch's default generator."""
    key = torch.empty((), dtype=torch.int64).random_()
    return key.numpy() if as_numpy else key


def _check_memory(tensors: Sequence[Any], location: Location) -> None:
    """as_strided reads the memory of a tensor, which compiled code knows as contiguous only."""
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor) and (
            tensor.storage_offset() or not tensor.is_contiguous()
        ):
            raise CaptureError(
                "as_strided is used here, and an argument or captured tensor is a view or not "
                "contiguous",
                location.place,
                location.notes(),
                "pass .clone(memory_format=torch.contiguous_format), or index instead",
            )


def signature_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """The leaves of the arguments, and all that selects a program besides the function."""
    if not kwargs and all(type(arg) in _SIMPLE for arg in args):
        leaves, spec = list(args), len(args)
    else:
        leaves, spec = tree_flatten((args, kwargs))
    return leaves, (
        spec,
        tuple(map(_leaf_key, leaves)),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


def _leaf_key(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return ("torch", *tensor_key(leaf))
    if isinstance(leaf, np.ndarray):
        return ("numpy", leaf.shape, leaf.dtype)
    if isinstance(leaf, float) and leaf == 0:
        return (float, repr(leaf))  # -0.0 is another program
    return (type(leaf), leaf if isinstance(leaf, _PLAIN) else None)


def _objects(leaves: list[Any]) -> list[Any]:
    """Static arguments that are more than a plain value: they are walked like closures."""
    return [leaf for leaf in leaves if not is_tensor(leaf) and not isinstance(leaf, _PLAIN)]


def _history(key: Any) -> History:
    with _lock:
        history = _cache.get(key)
        if history is None:
            history = _cache[key] = History([])
            while len(_cache) > PROGRAMS:
                _cache.popitem(last=False)
        else:
            _cache.move_to_end(key)
        return history


def _find(history: History, signature: Any, roots: list[Any]) -> tuple[Entry | None, list[Any]]:
    for entry in history.entries:
        if entry.signature == signature:
            objects, reason = entry.plan.follow(roots)
            if reason is None:
                return entry, objects
    return None, []


def _compile(
    history: History,
    signature: Any,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    roots: list[Any],
    target: Target,
) -> tuple[Entry, list[Any]]:
    reason = _why(history, signature, function, args, kwargs, roots)
    name = graph_name(function)
    if reason:
        log.info("compiling %s again: %s", name, reason)
        if history.compiles == WARN_AFTER:
            where = here()
            warnings.warn_explicit(
                f"{name} is compiled for the {WARN_AFTER + 1}th time: {reason}. Pass what changes "
                "as a tensor, or keep it fixed",
                UserWarning,
                where.file,
                where.line,
            )
    history.compiles += 1
    names = ["", *(f"argument {i}" for i in range(1, len(roots)))]
    before = reach.plan(roots, names)
    traced = trace(function, args, kwargs)
    plan = reach.plan(roots, names)
    if plan.fakes:
        raise CaptureError(
            f"the function keeps a tensor made while it was traced, in {plan.fakes[0]}",
            of_function(function).place,
            help="return the tensor instead: at a compiled call nothing is kept",
        )
    plan.forgive(before)
    hidden: list[int | torch.Tensor] = []
    for known in traced.hidden:
        number = plan.tensors.get(id(known.tensor))
        if number is None and not known.literal:
            raise CaptureError(
                "this line uses a tensor that is neither an argument nor found in a closure, "
                "global, module or default of the function",
                known.location.place,
                known.location.notes(),
                "pass it as an argument, or make it with torch.tensor in the function",
            )
        hidden.append(known.tensor if number is None else number)
    program = Program(traced.graph, target)
    traced.hidden.clear()  # the program must not keep the tensors alive
    entry = Entry(signature, plan, hidden, traced, program)
    history.entries.insert(0, entry)
    del history.entries[WARN_AFTER * 4 :]
    objects, _ = plan.follow(roots)
    return entry, objects


def _why(
    history: History,
    signature: Any,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    roots: list[Any],
) -> str | None:
    """Why the last compile of this function does not fit this call."""
    if not history.entries:
        return None
    last = history.entries[0]
    if last.signature == signature:
        return last.plan.follow(roots)[1]
    old_spec, old_leaves, *old_state = last.signature
    spec, leaves, *state = signature
    if old_state != state:
        return "torch's default dtype, grad mode, autocast or TF32 changed"
    if old_spec != spec or len(old_leaves) != len(leaves):
        return "the structure of the arguments changed"
    names = argument_names(function, args, kwargs)
    for name, old, new in zip(names, old_leaves, leaves, strict=True):
        if old != new:
            return f"the argument '{name}' changed from {_show(old)} to {_show(new)}"
    return None


def _show(key: Any) -> str:
    kind, *rest = key
    if kind in ("torch", "numpy"):
        return f"{rest[1]}{list(rest[0])}".replace("torch.", "")
    return repr(rest[0])


class Jit:
    """A function that compiles itself; made by ``jit``."""

    kind = "jit"
    options = ()

    def __init__(self, func: Callable[..., Any], target: Target = "cpu") -> None:
        if target not in get_args(Target):
            raise ValueError(f"target must be 'cpu' or 'cuda', got {target!r}")
        func = callable_of(func, "jit")
        functools.update_wrapper(self, func, updated=())
        self.func = func
        self.target: Target = target
        self.graph_name = graph_name(func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current() is not None:
            return self.func(*args, **kwargs)
        return run(self.func, args, kwargs, self.target)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "func":  # while an object is copied
            raise AttributeError(name)
        return getattr(self.func, name)  # jit(model).parameters()

    def __repr__(self) -> str:
        return f"<jit of {self.graph_name}>"


def jit(func: Callable[..., Any] | None = None, *, target: Target = "cpu") -> Any:
    """``func``, compiled once for each signature it is called with. Also a decorator.

    With the target ``cuda`` it runs on an NVIDIA GPU, called with tensors there or on the host;
    products of f32 use TF32 where ``torch.set_float32_matmul_precision("high")`` says so.
    """
    if func is None:
        return functools.partial(jit, target=target)
    return Jit(func, target)
