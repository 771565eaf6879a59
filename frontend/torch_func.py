"""torch.func and torch.autograd.functional called inside a trace: recorded as our transforms.

``trace.py`` exchanges, while it traces, the functions that torch.func's transforms are made of, so
that those imported by name or made before the trace are ours, too. Other threads keep torch's.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.autograd.functional
from torch._functorch import apis, eager_transforms
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from . import api, autograd_functional, transforms
from .batching import basis
from .capture import Recorder, current
from .checks import Argnums
from .modules import stacked_leaf
from .randomness import seeding
from .rearrange import rearrange

Function = Callable[..., Any]
_MODULES = importlib.import_module("torch._functorch.functional_call")
_EINOPS = importlib.import_module("functorch.einops.rearrange")
_lock = threading.Lock()
_traces = 0
_kept: list[tuple[Any, str, Any]] = []


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """While this lasts, torch's transforms in a trace are recorded."""
    global _traces
    with _lock:
        if _traces == 0:
            for module, name, ours in _REPLACED:
                torchs = getattr(module, name)
                _kept.append((module, name, torchs))
                setattr(module, name, _chosen(torchs, ours))
        _traces += 1
    try:
        yield
    finally:
        with _lock:
            _traces -= 1
            if _traces == 0:
                while _kept:
                    setattr(*_kept.pop())


def _chosen(torchs: Function, ours: Function) -> Function:
    @functools.wraps(torchs)
    def choose(*args: Any, **kwargs: Any) -> Any:
        return (torchs if current() is None else ours)(*args, **kwargs)

    return choose


def _recorder() -> Recorder:
    recorder = current()
    assert recorder is not None
    return recorder


# --- what torch.func's transforms call --------------------------------------------------------


def _grad_and_value(
    func: Function, argnums: Argnums, has_aux: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    return api.grad_and_value(func, argnums, has_aux)(*args, **kwargs)


def _vmap(
    func: Function,
    in_dims: Any,
    out_dims: Any,
    randomness: str,
    chunk_size: int | None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    return api.vmap(func, in_dims, out_dims, randomness, chunk_size=chunk_size)(*args, **kwargs)


def _vjp(
    func: Function, *primals: Any, argnums: Argnums | None = None, has_aux: bool = False
) -> Any:
    return transforms.vjp_call(_recorder(), func, primals, has_aux, argnums)


def _jvp(
    func: Function,
    primals: Any,
    tangents: Any,
    argnums: Argnums | None,
    *,
    strict: bool = False,
    has_aux: bool,
) -> Any:
    return transforms.jvp_call(_recorder(), func, primals, tangents, strict, has_aux, argnums)


def _bases(tensors: Any, numels: Any, chunk_size: int | None = None) -> Any:
    """The rows that jacrev and jacfwd map over, as one basis where torch makes a dense matrix."""
    if len(tensors) == 1 and (chunk_size is None or chunk_size >= numels[0]):
        recorder, (tensor,) = _recorder(), tensors
        return iter([(recorder.tensor_of(basis(recorder, recorder.read(tensor))),)])
    return _torchs_bases(tensors, numels, chunk_size)


_torchs_bases = eager_transforms._chunked_standard_basis_for_


def _traced_linear(torchs: Function) -> Function:
    """linearize makes the graph of a jvp, and folds it; here the first is our linear function."""
    if torchs is not make_fx:
        return lambda linear: linear  # it is folded by our own means

    def trace(function: Any) -> Function:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
        at = {name: cell.cell_contents for name, cell in cells.items()}
        primals = tree_unflatten(at["flat_primals"], at["primals_argspec"])
        push = api.linearize(at["func"], *primals)[1]

        def linear(*flat: Any) -> Any:
            return tree_flatten(push(*tree_unflatten(flat, at["primals_argspec"])))[0]

        return lambda tangents: linear

    return trace


def _same(tree: Any, *_: Any, **__: Any) -> Any:
    return tree


def _nothing(*_: Any, **__: Any) -> int:
    return 0


def _rearrangement(rank: int, pattern: str, **lengths: int) -> Function:
    return lambda tensor: rearrange(tensor, pattern, **lengths)


_REPLACED: list[tuple[Any, str, Function]] = [
    (eager_transforms, "grad_and_value_impl", _grad_and_value),
    (eager_transforms, "_vjp_with_argnums", _vjp),
    (eager_transforms, "_jvp_with_argnums", _jvp),
    (eager_transforms, "_chunked_standard_basis_for_", _bases),
    (eager_transforms, "lazy_dynamo_disallow", _traced_linear),
    (apis, "vmap_impl", _vmap),
    # functionalize: the recorder resolves writes anyway
    (eager_transforms, "_func_increment_nesting", _nothing),
    (eager_transforms, "_func_decrement_nesting", _nothing),
    (eager_transforms, "_wrap_all_tensors_to_functional", _same),
    (eager_transforms, "_unwrap_all_tensors_from_functional", _same),
    (eager_transforms, "_propagate_functional_input_mutation", _nothing),
    (torch, "_sync", _nothing),
    *(
        (module, name, seeding)
        for module in (torch, torch.random)
        for name in ("manual_seed", "seed", "set_rng_state")
    ),
    (_EINOPS, "_create_rearrange_callable", _rearrangement),
    (_MODULES, "construct_stacked_leaf", stacked_leaf),
    *(
        (torch.autograd.functional, name, getattr(autograd_functional, name))
        for name in ("jacobian", "hessian", "vjp", "jvp", "vhp", "hvp")
    ),
]
