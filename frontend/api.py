"""The transforms as users call them, with torch.func's signatures.

Called inside a trace a transformed function records transform ops (``transforms.py``); called
from plain Python it compiles itself and runs machine code (``jit.py``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Signature
from types import MethodType
from typing import Any

from torch.utils._pytree import tree_flatten, tree_unflatten

from . import batching, checks, transforms
from .capture import Recorder, current
from .checks import Argnums
from .imported import callable_of
from .state import graph_name

Function = Callable[..., Any]


class Transformed:
    """A function made from ``func`` by one transform.

    ``record`` says what a call records; ``options`` are all that tells it from another function
    of the same ``kind`` made from the same ``func``; ``shown`` are those worth printing.
    """

    __signature__: Signature | None  # where it takes other arguments than ``func``

    def __init__(
        self,
        kind: str,
        func: Function,
        options: tuple[Any, ...],
        record: Callable[[Recorder, tuple[Any, ...], dict[str, Any]], Any],
        **shown: Any,
    ) -> None:
        functools.update_wrapper(self, func, updated=())
        self.graph_name = f"{kind}_{graph_name(func)}"
        self.text = _text(kind, func, shown)
        self.kind, self.func, self.options, self.record = kind, func, options, record

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        recorder = current()
        if recorder is not None:
            return self.record(recorder, args, kwargs)
        from .jit import run  # jit.py knows Transformed

        return run(self, args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<{self.kind} of {checks.name_of(self.func)}>"


def _text(kind: str, func: Function, shown: dict[str, Any]) -> str:
    """The call that made a function, with ``f`` for what the user wrote."""
    inner = func.text if isinstance(func, Transformed) else "f"
    return f"{kind}({', '.join([inner, *(f'{key}={value!r}' for key, value in shown.items())])})"


def _aux(has_aux: bool, argnums: Argnums) -> dict[str, Any]:
    shown: dict[str, Any] = {} if argnums == 0 else {"argnums": argnums}
    return shown | ({"has_aux": True} if has_aux else {})


def _chunk(chunk_size: int | None) -> dict[str, Any]:
    return {} if chunk_size is None else {"chunk_size": chunk_size}


def _positional_only(kind: str, kwargs: dict[str, Any]) -> None:
    if kwargs:
        raise TypeError(f"{kind} got an unexpected keyword argument {next(iter(kwargs))!r}")


def grad(func: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """The gradient of a function with a scalar result, with respect to ``argnums``."""
    func = callable_of(func, "grad")

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found, value = transforms.grad_and_value(recorder, func, argnums, has_aux, args, kwargs)
        return (found, value[1]) if has_aux else found

    return Transformed("grad", func, (argnums, has_aux), record, **_aux(has_aux, argnums))


def grad_and_value(func: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """As ``grad``; returns (gradient, value), or (gradient, (value, aux))."""
    func = callable_of(func, "grad_and_value")

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return transforms.grad_and_value(recorder, func, argnums, has_aux, args, kwargs)

    return Transformed("grad_and_value", func, (argnums, has_aux), record, **_aux(has_aux, argnums))


def vmap(
    func: Function,
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Function:
    """``func`` for every example along the mapped dimensions, ``chunk_size`` of them at once.

    ``randomness`` says what random draws in ``func`` do: "error", the "same" numbers for all
    examples, or "different" ones, which do not depend on ``chunk_size``.
    """
    func = callable_of(func, "vmap")
    checks.vmap_options(randomness, chunk_size)

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        checks.vmap_out_dims_type(out_dims, func)
        return batching.vmap(
            recorder, func, in_dims, out_dims, args, kwargs, chunk_size, randomness
        )

    shown = {} if in_dims == 0 else {"in_dims": in_dims}
    shown |= {} if out_dims == 0 else {"out_dims": out_dims}
    shown |= _chunk(chunk_size)
    return Transformed("vmap", func, (in_dims, out_dims, randomness, chunk_size), record, **shown)


def jacrev(
    func: Function,
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Function:
    """The Jacobian by reverse mode, ``chunk_size`` rows at once."""
    func = callable_of(func, "jacrev")
    checks.chunk_size("jacrev", chunk_size)

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _positional_only("jacrev", kwargs)
        return transforms.jacrev(recorder, func, argnums, has_aux, args, chunk_size)

    shown = _aux(has_aux, argnums) | _chunk(chunk_size)
    return Transformed("jacrev", func, (argnums, has_aux, chunk_size), record, **shown)


def jacfwd(
    func: Function,
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Function:
    """The Jacobian by forward mode, ``chunk_size`` columns at once (torch's has no such option)."""
    func = callable_of(func, "jacfwd")
    checks.chunk_size("jacfwd", chunk_size)

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _positional_only("jacfwd", kwargs)
        checks.vmap_options(randomness, None)
        return transforms.jacfwd(recorder, func, argnums, has_aux, args, chunk_size)

    shown = _aux(has_aux, argnums) | _chunk(chunk_size)
    return Transformed("jacfwd", func, (argnums, has_aux, randomness, chunk_size), record, **shown)


def hessian(func: Function, argnums: Argnums = 0, *, chunk_size: int | None = None) -> Function:
    """``jacfwd(jacrev(func))``, both with ``chunk_size`` (torch's has no such option)."""
    made: Any = jacfwd(jacrev(func, argnums, chunk_size=chunk_size), argnums, chunk_size=chunk_size)
    made.text = _text("hessian", func, _aux(False, argnums) | _chunk(chunk_size))
    made.graph_name = f"hessian_{graph_name(func)}"
    return made


def functionalize(func: Function, *, remove: str = "mutations") -> Function:
    """``func``, compiled: in-place writes and views are always resolved, whatever ``remove``."""
    func = callable_of(func, "functionalize")
    checks.functionalize_option(remove)

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)

    return Transformed("functionalize", func, (), record)


def jvp(
    func: Function,
    primals: Any,
    tangents: Any,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """(output, tangent of the output), and aux with ``has_aux``."""
    func = callable_of(func, "jvp")

    def record(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return transforms.jvp_call(recorder, func, *args, strict=strict, has_aux=has_aux)

    return Transformed("jvp", func, (strict, has_aux), record)(primals, tangents)


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """(output, vjp_fn), and aux with ``has_aux``; ``vjp_fn`` may be called many times."""
    func = callable_of(func, "vjp")
    recorder = current()
    if recorder is None:
        from .linear import vjp_at

        return vjp_at(func, primals, has_aux)
    return transforms.vjp_call(recorder, func, primals, has_aux)


def linearize(func: Function, *primals: Any) -> tuple[Any, Function]:
    """(output, jvp_fn): ``jvp_fn`` maps tangents of the primals to tangents of the output."""
    func = callable_of(func, "linearize")
    recorder = current()
    if recorder is None:
        from .linear import linearize_at

        return linearize_at(func, primals)
    leaves, spec = tree_flatten(primals)
    checks.tangents(primals, primals)
    inner, wrt = transforms.jvp(recorder, func, primals)

    def jvp_fn(*tangents: Any) -> Any:
        given, given_spec = tree_flatten(tangents)
        checks.linear_tangents(given, given_spec, leaves, spec)
        values = transforms.tangent_values(recorder, tangents, inner, wrt)
        return tree_unflatten(inner.push(wrt, values)[1], inner.spec)

    return tree_unflatten(inner.outputs(), inner.spec), jvp_fn
