"""`custom_vjp` and `custom_jvp`: functions that bring their own derivative, with JAX's interface.

Inside a trace a call records primal and rules as one custom call (`custom.py`); from plain Python
it compiles, like every transformed function, so that torch.autograd sees the rules as well.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from .api import Transformed
from .capture import Recorder
from .checks import name_of
from .custom import Call, Forward, Linear, Tensors, zeros
from .graph import Graph, Value
from .state import Subgraph

Function = Callable[..., Any]


class _Rules(tuple[Any, ...]):
    """The rules among the options of a function: walked like closures, not part of its name."""

    def __repr__(self) -> str:
        return "rules"


class _Arguments:
    """The arguments of one call, apart into differentiable leaves and everything else."""

    def __init__(
        self, func: Function, fixed: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if kwargs:
            bound = inspect.signature(func).bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
            if bound.kwargs:
                raise TypeError(
                    f"{name_of(func)}: keyword-only arguments are not supported by custom "
                    f"derivative rules, got {sorted(bound.kwargs)}"
                )
        count = len(args)
        numbers = {n + count if n < 0 else n for n in fixed}
        self.args, self.fixed = args, sorted(numbers)
        self.open = [i for i in range(count) if i not in numbers]
        self.leaves, self.spec = tree_flatten(tuple(args[i] for i in self.open))
        self.where = [i for i, x in enumerate(self.leaves) if isinstance(x, torch.Tensor)]
        self.tensors = [self.leaves[i] for i in self.where]

    def nondiff(self) -> list[Any]:
        return [self.args[i] for i in self.fixed]

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> tuple[Any, ...]:
        """The differentiable arguments around other tensors."""
        leaves = list(self.leaves)
        for i, tensor in zip(self.where, tensors, strict=True):
            leaves[i] = tensor
        return tree_unflatten(leaves, self.spec)

    def all_with(self, tensors: Sequence[torch.Tensor]) -> list[Any]:
        args = list(self.args)
        for i, arg in zip(self.open, self.with_tensors(tensors), strict=True):
            args[i] = arg
        return args

    def key(self) -> Any:
        kinds = tuple(
            (tuple(x.shape), x.dtype) if isinstance(x, torch.Tensor) else repr(x)
            for x in [*self.leaves, *self.nondiff()]
        )
        return str(self.spec), kinds


class _Custom(Transformed):
    def __init__(self, kind: str, func: Function, nondiff_argnums: Sequence[int]) -> None:
        if isinstance(nondiff_argnums, int):
            nondiff_argnums = (nondiff_argnums,)
        self.nondiff_argnums = tuple(nondiff_argnums)
        self.rules: _Rules = _Rules()
        super().__init__(kind, func, (), self._record)
        self.text = "f"  # in a manifest the function is the user's

    @property
    def options(self) -> tuple[Any, ...]:
        return (self.nondiff_argnums, self.rules)

    @options.setter
    def options(self, _: tuple[Any, ...]) -> None:
        pass

    def _record(self, recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.rules:
            kind, setter = ("VJP", "defvjp") if self.kind == "custom_vjp" else ("JVP", "defjvp")
            raise AttributeError(
                f"No {kind} defined for {self.kind} function {name_of(self.func)} using {setter}."
            )
        given = _Arguments(self.func, self.nondiff_argnums, args, kwargs)
        operands = [recorder.read(tensor) for tensor in given.tensors]
        call = Call(recorder, (id(self), given.key()), operands, opaque=False)
        specs = recorder.custom_results
        results = call.running()
        if results is None:

            def primal(tensors: Tensors) -> tuple[None, Tensors]:
                leaves, spec = tree_flatten(self.func(*given.all_with(tensors)))
                outs = _tensors(leaves, self.func)
                specs[call.key] = spec
                return None, outs

            results = self._call(recorder, call, given, primal)
        return tree_unflatten(results, specs[call.key])

    def _call(self, recorder: Recorder, call: Call, given: _Arguments, primal: Any) -> Any:
        raise NotImplementedError


def _tensors(leaves: Sequence[Any], func: Function) -> Tensors:
    """The leaves of a result; numbers become tensors."""
    found = []
    for leaf in leaves:
        if isinstance(leaf, (bool, int, float)):
            leaf = torch.full((), leaf)
        if not isinstance(leaf, torch.Tensor):
            raise TypeError(
                f"{name_of(func)} must return tensors in tuples, lists or dicts, got a "
                f"{type(leaf).__name__}"
            )
        found.append(leaf)
    return found


def _matching(
    leaves: Tensors, spec: TreeSpec, like: Sequence[Value], wanted: TreeSpec, what: str
) -> None:
    if spec != wanted:
        raise TypeError(f"{what} the container structure {wanted}, got {spec}")
    for leaf, value in zip(leaves, like, strict=True):
        if (tuple(leaf.shape), leaf.dtype) != (value.shape, value.dtype):
            raise TypeError(
                f"{what} the shapes and dtypes of the primal output, got "
                f"{leaf.dtype}{list(leaf.shape)} for {value}"
            )


class custom_vjp(_Custom):
    """A function with a reverse-mode rule of its own, as JAX's `custom_vjp`.

    `defvjp(fwd, bwd)`: `fwd(*args)` returns (output, residuals); `bwd(*nondiff, residuals, ct)`
    returns one cotangent for each argument that is not in `nondiff_argnums`, None for zero.
    Forward mode raises CustomRuleError (a TypeError, as in JAX).
    """

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__("custom_vjp", fun, nondiff_argnums)

    def defvjp(
        self,
        fwd: Function,
        bwd: Function,
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        if symbolic_zeros:
            raise NotImplementedError("custom_vjp: symbolic_zeros=True is not supported")
        self.rules = _Rules((fwd, bwd))

    def _call(self, recorder: Recorder, call: Call, given: _Arguments, primal: Any) -> Any:
        fwd, bwd = self.rules

        def rule(graph: Graph | None) -> Subgraph:
            assert graph is not None
            spec = recorder.custom_results[call.key]

            def body(tensors: Tensors) -> tuple[Forward, Tensors]:
                forward = Forward(recorder, tensors)
                pair = fwd(*given.all_with(tensors))
                if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
                    raise TypeError(
                        f"Custom VJP fwd rule {name_of(fwd)} for function {name_of(self.func)} "
                        "must produce a pair (list or tuple of length two) where the first "
                        "element represents the primal output and the second element represents "
                        f"residuals, got {type(pair).__name__}"
                    )
                leaves, made = tree_flatten(pair[0])
                outs = _tensors(leaves, fwd)
                what = f"Custom VJP fwd rule {name_of(fwd)} for {name_of(self.func)} must produce"
                _matching(outs, made, graph.outputs, spec, f"{what} a primal output with")
                moving = [k for k, out in enumerate(outs) if out.is_floating_point()]
                pull = self._pull(bwd, given, tensors, pair[1], outs, spec)
                seeds = [outs[k] for k in moving]
                backward = Linear(recorder, "backward", bwd, seeds, pull)
                return forward, forward.finish(outs, moving, [backward])

            return recorder.subgraph(fwd, call.operands, body)

        return call.run((self.func, primal), rule)[0]

    def _pull(
        self,
        bwd: Function,
        given: _Arguments,
        tensors: Tensors,
        residuals: Any,
        outs: Tensors,
        spec: TreeSpec,
    ) -> Callable[[Tensors], tuple[None, Tensors]]:
        def body(cotangents: Tensors) -> tuple[None, Tensors]:
            arriving = iter(cotangents)
            cts = [next(arriving) if out.is_floating_point() else zeros(out) for out in outs]
            bars = bwd(*given.nondiff(), residuals, tree_unflatten(cts, spec))
            return None, self._bars(bwd, bars, given.with_tensors(tensors))

        return body

    def _bars(self, bwd: Function, bars: Any, args: tuple[Any, ...]) -> Tensors:
        """The cotangents of the floating-point leaves of `args`."""
        what = (
            f"Custom VJP bwd rule {name_of(bwd)} for {name_of(self.func)} must produce an output "
            "with the same container (pytree) structure as the args tuple of the primal function"
        )
        if isinstance(bars, list):
            bars = tuple(bars)
        if not isinstance(bars, tuple) or len(bars) != len(args):
            raise TypeError(f"{what}: a tuple of {len(args)}, got {_shown(bars)}")
        found: Tensors = []
        for index, (bar, arg) in enumerate(zip(bars, args, strict=True)):
            leaves, spec = tree_flatten(arg)
            given = [None] * len(leaves) if bar is None else _up_to(bar, spec, what, index)
            for grad, leaf in zip(given, leaves, strict=True):
                if not isinstance(leaf, torch.Tensor) or not leaf.is_floating_point():
                    continue
                if grad is None:
                    grad = zeros(leaf)
                elif isinstance(grad, (int, float)):
                    grad = torch.full((), grad, dtype=leaf.dtype)
                if tuple(grad.shape) != tuple(leaf.shape):
                    raise ValueError(
                        f"{what}, with the same shapes: for argument {index} got "
                        f"{list(grad.shape)} instead of {list(leaf.shape)}"
                    )
                found.append(grad if grad.dtype == leaf.dtype else grad.to(leaf.dtype))
        return found


def _shown(bars: Any) -> str:
    return f"a tuple of {len(bars)}" if isinstance(bars, tuple) else type(bars).__name__


def _up_to(bar: Any, spec: TreeSpec, what: str, index: int) -> list[Any]:
    leaves, given = tree_flatten(bar)  # None is a leaf
    if given != spec:
        raise TypeError(f"{what}: argument {index} has {spec}, got {given}")
    return leaves


class custom_jvp(_Custom):
    """A function with a forward-mode rule of its own, as JAX's `custom_jvp`.

    `defjvp(rule)`: `rule(*nondiff, primals, tangents)` returns (output, output tangent), linear in
    the tangents. Reverse mode transposes it.
    """

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__("custom_jvp", fun, nondiff_argnums)

    def defjvp(self, jvp: Function, symbolic_zeros: bool = False) -> Function:
        if symbolic_zeros:
            raise NotImplementedError("custom_jvp: symbolic_zeros=True is not supported")
        self.rules = _Rules((jvp,))
        return jvp

    def defjvps(self, *jvps: Function | None) -> None:
        """A rule `jvp(tangent, output, *primals)` for each argument, None for zero."""
        if self.nondiff_argnums:
            raise TypeError("Can't use ``defjvps`` with ``nondiff_argnums``.")

        def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
            out = self(*primals)
            total = zeros(out)
            for jvp, tangent in zip(jvps, tangents, strict=True):
                if jvp is not None:
                    total = total + jvp(tangent, out, *primals)
            return out, total

        self.defjvp(rule)

    def _call(self, recorder: Recorder, call: Call, given: _Arguments, primal: Any) -> Any:
        (jvp,) = self.rules
        moving = [i for i, value in enumerate(call.operands) if value.is_float]
        tangent_values = [call.operands[i] for i in moving]

        def rule(graph: Graph | None) -> Subgraph:
            assert graph is not None
            spec = recorder.custom_results[call.key]
            inputs = [Value(v.shape, v.dtype) for v in (*call.operands, *tangent_values)]

            def body(tensors: Tensors) -> tuple[None, Tensors]:
                count = len(call.operands)
                primals = tensors[:count]
                dots = {i: dot for i, dot in zip(moving, tensors[count:], strict=True)}
                tangents = [dots[i] if i in dots else zeros(x) for i, x in enumerate(primals)]
                pair = jvp(
                    *given.nondiff(), given.with_tensors(primals), given.with_tensors(tangents)
                )
                return None, self._checked(jvp, pair, graph, spec)

            return recorder.subgraph(jvp, inputs, body)

        return call.run((self.func, primal), rule, after=len(moving))[0]

    def _checked(self, jvp: Function, pair: Any, graph: Graph, spec: TreeSpec) -> Tensors:
        what = f"Custom JVP rule {name_of(jvp)} for function {name_of(self.func)} must produce"
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise TypeError(
                f"{what} a pair (list or tuple of length two) representing primal and tangent "
                f"outputs, got {type(pair).__name__}"
            )
        both = []
        for tree, kind in zip(pair, ("primal", "tangent"), strict=True):
            leaves, made = tree_flatten(tree)
            outs = _tensors(leaves, jvp)
            _matching(outs, made, graph.outputs, spec, f"{what} {kind} outputs with")
            both.append(outs)
        return [*both[0], *(dot for dot in both[1] if dot.is_floating_point())]
