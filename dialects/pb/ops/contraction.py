"""The contraction: batched, transposed and outer products are all one op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from mlir import ir

from .. import _pb_ops_gen as gen
from ..families import Bilinear, defining
from ..opdef import Batched, Tangent, register
from ..types import rank, shape, size
from .structure import batch_dim

if TYPE_CHECKING:
    from ..builder import Builder


@register(gen.DotGeneralOp)
class DotGeneral(Bilinear):
    def sides(self) -> tuple[list[int], list[int], list[int], list[int]]:
        return tuple(map(list, (self.x_batch, self.y_batch, self.x_contract, self.y_contract)))  # type: ignore[return-value]

    def free_dims(self, of: str) -> list[int]:
        """The dimensions of one operand that are neither batch nor contracted."""
        used = {*getattr(self, f"{of}_batch"), *getattr(self, f"{of}_contract")}
        return [d for d in range(rank(getattr(self, of))) if d not in used]

    def transpose(self, b: Builder, ct: ir.Value, x: Any, y: Any) -> Sequence[Tangent | None]:
        x_batch, y_batch, x_contract, y_contract = self.sides()
        n, x_free, y_free = len(x_batch), self.free_dims("x"), self.free_dims("y")
        batch, xs = list(range(n)), list(range(n, n + len(x_free)))
        ys = list(range(n + len(x_free), rank(ct)))
        if x is None:  # ct with y over the free dimensions of y, then back in the order of x
            bar = b.dot_general(ct, y, batch, y_batch, ys, y_free)
            pairs = sorted(zip(y_contract, x_contract, strict=True))
            made = [*x_batch, *x_free, *(dim for _, dim in pairs)]
            return b.transpose(bar, np.argsort(made).tolist()), None
        bar = b.dot_general(ct, x, batch, x_batch, xs, x_free)
        pairs = sorted(zip(x_contract, y_contract, strict=True))
        made = [*y_batch, *y_free, *(dim for _, dim in pairs)]
        return None, b.transpose(bar, np.argsort(made).tolist())

    def batch(self, b: Builder, size: int, x: Batched, y: Batched) -> Batched:
        x_batch, y_batch, x_contract, y_contract = self.sides()
        n = len(x_batch)

        def past(dims: Sequence[int], d: int) -> list[int]:
            return [dim + (dim >= d) for dim in dims]

        if y.dim is None:
            d = batch_dim(x)
            out = b.dot_general(
                x.value, y.value, past(x_batch, d), y_batch, past(x_contract, d), y_contract
            )
            return Batched(out, n + sum(dim < d for dim in past(self.free_dims("x"), d)))
        e = y.dim
        if x.dim is None:
            out = b.dot_general(
                x.value, y.value, x_batch, past(y_batch, e), x_contract, past(y_contract, e)
            )
            before = n + len(self.free_dims("x"))
            return Batched(out, before + sum(dim < e for dim in past(self.free_dims("y"), e)))
        d = x.dim
        out = b.dot_general(
            x.value,
            y.value,
            [d, *past(x_batch, d)],
            [e, *past(y_batch, e)],
            past(x_contract, d),
            past(y_contract, e),
        )
        return Batched(out, 0)

    def reference(self, x: Any, y: Any) -> Any:
        x_batch, y_batch, x_contract, y_contract = self.sides()
        xs: list[int] = list(range(x.ndim))
        ys: list[int] = list(range(x.ndim, x.ndim + y.ndim))
        for i, j in zip(x_batch + x_contract, y_batch + y_contract, strict=True):
            ys[j] = xs[i]
        out = [xs[i] for i in (*x_batch, *self.free_dims("x"))] + [
            ys[j] for j in self.free_dims("y")
        ]
        return np.asarray(np.einsum(x, xs, y, ys, out), x.dtype)

    def simplify(self, b: Builder) -> ir.Value | None:
        """A transposed operand is read in place if its free dimensions keep their order."""
        x_batch, y_batch, x_contract, y_contract = self.sides()
        for of in ("x", "y"):
            inner = defining(getattr(self, of), gen.TransposeOp)
            if inner is None:
                continue
            order = list(inner.permutation)
            free = [order[d] for d in self.free_dims(of)]
            if free != sorted(free):
                continue
            if of == "x":
                batch, contract = [order[d] for d in x_batch], [order[d] for d in x_contract]
                return b.dot_general(inner.x, self.y, batch, y_batch, contract, y_contract)
            batch, contract = [order[d] for d in y_batch], [order[d] for d in y_contract]
            return b.dot_general(self.x, inner.x, x_batch, batch, x_contract, contract)
        return None

    def flops(self) -> int:
        contracted = [shape(self.x)[d] for d in self.x_contract]
        return 2 * size(shape(self.result)) * size(contracted)

    def lower(self, loops: Any, x: Any, y: Any) -> Any:
        x_batch, y_batch, x_contract, y_contract = self.sides()
        return loops.dot_general(x, y, (x_batch, y_batch), (x_contract, y_contract))
