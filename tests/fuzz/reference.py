"""torch's side of a random program: torch.func, and plain Python where torch.func has nothing.

Loops are unrolled and both branches of a condition computed, which is the meaning of control flow
under every transform.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._pytree import tree_map

Function = Callable[..., Any]


class Reference:
    """Has the names of pullback that programs use."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.func, name)

    @staticmethod
    def jvp(f: Function, primals: Any, tangents: Any) -> tuple[Any, Any]:
        """Tangents of the dtype of what they belong to: torch's are wider at times."""
        out, out_dot = torch.func.jvp(f, primals, tangents)
        return out, tree_map(lambda o, t: t.to(o.dtype), out, out_dot)

    @staticmethod
    def jacfwd(f: Function, argnums: Any = 0) -> Function:
        """As ``jvp``."""

        def run(*primals: torch.Tensor) -> Any:
            narrow = lambda o, jac: tree_map(lambda t: t.to(o.dtype), jac)  # noqa: E731
            return tree_map(narrow, f(*primals), torch.func.jacfwd(f, argnums)(*primals))

        return run

    @staticmethod
    def linearize(f: Function, *primals: torch.Tensor) -> tuple[Any, Function]:
        """torch.func's own forgets derivatives of what it has folded to constants."""
        return f(*primals), lambda *tangents: Reference.jvp(f, primals, tangents)[1]

    @staticmethod
    def cond(pred: torch.Tensor, on_true: Function, on_false: Function, *operands: Any) -> Any:
        pairs = on_true(*operands), on_false(*operands)
        return tree_map(lambda a, b: torch.where(pred, a, b), *pairs)

    @staticmethod
    def scan(
        f: Function, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
    ) -> tuple[Any, Any]:
        carry, count = init, len(xs) if length is None else length
        ys: list[Any] = [None] * count
        for k in reversed(range(count)) if reverse else range(count):
            carry, ys[k] = f(carry, None if xs is None else xs[k])
        return carry, tree_map(lambda *parts: torch.stack(parts), *ys)

    @staticmethod
    def checkpoint(f: Function) -> Function:
        return f

    @staticmethod
    def fori_loop(lower: int, upper: int, body: Function, init: Any) -> Any:
        carry = init
        for k in range(lower, upper):
            carry = body(torch.tensor(k), carry)
        return carry

    @staticmethod
    def while_loop(test: Function, body: Function, carried: Any, max_steps: int) -> Any:
        """A step that the test forbids changes nothing."""
        for _ in range(max_steps):
            held, after = carried, body(carried)
            again = test(carried)
            carried = tree_map(lambda a, b, again=again: torch.where(again, a, b), after, held)
        again = test(carried)
        if not torch._C._functorch.is_batchedtensor(again) and bool(again):
            raise RuntimeError("the loop is not finished")
        return carried


REFERENCE = Reference()


def _layer_norm(x: torch.Tensor, shape: Any, *rest: Any) -> torch.Tensor:
    dims = tuple(range(-len(shape), 0))
    centred = x - x.mean(dims, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dims, keepdim=True) + 1e-5)


def _instance_norm(x: torch.Tensor) -> torch.Tensor:
    return _layer_norm(x, x.shape[2:])


def _group_norm(x: torch.Tensor, groups: int) -> torch.Tensor:
    flat = x.reshape(len(x), groups, -1)
    return _layer_norm(flat, flat.shape[2:]).reshape(x.shape)


def _logcumsumexp(x: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.log(torch.cumsum(torch.exp(x), dim))


class Definition(Reference):
    """The second opinion: vmap is a loop, and a jvp the vjp of the vjp.

    torch.func's batching rules and forward formulas have defects of their own.
    """

    @staticmethod
    @contextlib.contextmanager
    def functions() -> Iterator[None]:
        """Functions whose higher derivatives torch has wrong, by their definitions meanwhile."""
        patches = [
            mock.patch.object(torch.nn.functional, "layer_norm", _layer_norm),
            mock.patch.object(torch.nn.functional, "instance_norm", _instance_norm),
            mock.patch.object(torch.nn.functional, "group_norm", _group_norm),
            mock.patch.object(torch, "logcumsumexp", _logcumsumexp),
        ]
        with contextlib.ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            yield

    @staticmethod
    def vmap(f: Function, in_dims: Any = 0, out_dims: int = 0) -> Function:
        def run(*args: torch.Tensor) -> Any:
            dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
            (size,) = {a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None}
            outs = [
                f(*(a if d is None else a.select(d, k) for a, d in zip(args, dims, strict=True)))
                for k in range(size)
            ]
            return tree_map(lambda *parts: torch.stack(parts, out_dims), *outs)

        return run

    @staticmethod
    def jvp(f: Function, primals: Any, tangents: Any) -> tuple[Any, Any]:
        out, pull = torch.func.vjp(f, *primals)
        zeros = tree_map(torch.zeros_like, out)
        return out, torch.func.vjp(pull, zeros)[1](tuple(tangents))[0]

    @staticmethod
    def linearize(f: Function, *primals: torch.Tensor) -> tuple[Any, Function]:
        return f(*primals), lambda *tangents: Definition.jvp(f, primals, tangents)[1]

    @staticmethod
    def jacfwd(f: Function, argnums: Any = 0) -> Function:
        return torch.func.jacrev(f, argnums, chunk_size=1)

    jacrev = jacfwd

    @staticmethod
    def hessian(f: Function, argnums: Any = 0) -> Function:
        return Definition.jacfwd(Definition.jacfwd(f, argnums), argnums)


DEFINITION = Definition()
