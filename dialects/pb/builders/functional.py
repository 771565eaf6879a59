"""Builds derivative stops, calls and transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from mlir import ir

from .. import _pb_ops_gen as gen
from .creation import Creation

Shape = Sequence[int]


class Functional(Creation):
    def stop_gradient(self, x: ir.Value, reverse_only: bool = False) -> ir.Value:
        return self._make(gen.StopGradientOp, x, reverse_only=reverse_only or None)

    def call(
        self, callee: str, args: Sequence[ir.Value], types: Sequence[ir.Type]
    ) -> list[ir.Value]:
        return self._calls(gen.CallOp(types, callee, args, loc=self.location, ip=self.ip))

    def vmap(
        self,
        callee: str,
        args: Sequence[ir.Value],
        in_dims: Sequence[int],
        out_dims: Sequence[int],
        axis_size: int,
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        """`types`: of the batched results; in_dims -1 stands for unbatched."""
        return self._calls(
            gen.VmapOp(
                types, callee, args, in_dims, out_dims, axis_size, loc=self.location, ip=self.ip
            )
        )

    def jvp(
        self,
        callee: str,
        primals: Sequence[ir.Value],
        tangents: Sequence[ir.Value],
        wrt: Sequence[int],
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        return self._calls(
            gen.JvpOp(types, callee, primals, tangents, wrt, loc=self.location, ip=self.ip)
        )

    def vjp(
        self,
        callee: str,
        primals: Sequence[ir.Value],
        cotangents: Sequence[ir.Value],
        wrt: Sequence[int],
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        return self._calls(
            gen.VjpOp(types, callee, primals, cotangents, wrt, loc=self.location, ip=self.ip)
        )

    def custom_call(
        self,
        primal: str,
        args: Sequence[ir.Value],
        types: Sequence[ir.Type],
        captured: int,
        differentiable: Sequence[int],
        saved: Sequence[int] = (),
        opaque: bool = False,
        **rules: str,
    ) -> list[ir.Value]:
        """`rules`: symbols, by the name of the op's attribute."""
        return self._calls(
            gen.CustomCallOp(
                types,
                primal,
                args,
                captured,
                list(differentiable),
                list(saved),
                opaque=opaque or None,
                **cast(Any, rules),
                loc=self.location,
                ip=self.ip,
            )
        )

    def linear_call(
        self,
        function: str,
        callee: Any,
        transposed: Any,
        residuals: Sequence[ir.Value],
        args: Sequence[ir.Value],
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        return self._calls(
            gen.LinearCallOp(
                types,
                function,
                residuals,
                args,
                callee=callee,
                transposed=transposed,
                loc=self.location,
                ip=self.ip,
            )
        )

    def linear_transpose(
        self,
        callee: str,
        residuals: Sequence[ir.Value],
        cotangents: Sequence[ir.Value],
        types: Sequence[ir.Type],
    ) -> list[ir.Value]:
        return self._calls(
            gen.LinearTransposeOp(
                types, callee, residuals, cotangents, loc=self.location, ip=self.ip
            )
        )
