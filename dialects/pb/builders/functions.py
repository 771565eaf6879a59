"""Builds functions of numbers and of bits (PbMath.td)."""

from __future__ import annotations

from mlir import ir

from .. import _pb_ops_gen as gen
from .creation import Creation


class Functions(Creation):
    def exp2(self, x: ir.Value) -> ir.Value:
        return self._make(gen.Exp2Op, x)

    def expm1(self, x: ir.Value) -> ir.Value:
        return self._make(gen.Expm1Op, x)

    def log1p(self, x: ir.Value) -> ir.Value:
        return self._make(gen.Log1pOp, x)

    def log2(self, x: ir.Value) -> ir.Value:
        return self._make(gen.Log2Op, x)

    def log10(self, x: ir.Value) -> ir.Value:
        return self._make(gen.Log10Op, x)

    def sinh(self, x: ir.Value) -> ir.Value:
        return self._make(gen.SinhOp, x)

    def cosh(self, x: ir.Value) -> ir.Value:
        return self._make(gen.CoshOp, x)

    def asinh(self, x: ir.Value) -> ir.Value:
        return self._make(gen.AsinhOp, x)

    def acosh(self, x: ir.Value) -> ir.Value:
        return self._make(gen.AcoshOp, x)

    def atanh(self, x: ir.Value) -> ir.Value:
        return self._make(gen.AtanhOp, x)

    def asin(self, x: ir.Value) -> ir.Value:
        return self._make(gen.AsinOp, x)

    def acos(self, x: ir.Value) -> ir.Value:
        return self._make(gen.AcosOp, x)

    def atan(self, x: ir.Value) -> ir.Value:
        return self._make(gen.AtanOp, x)

    def erf(self, x: ir.Value) -> ir.Value:
        return self._make(gen.ErfOp, x)

    def erfc(self, x: ir.Value) -> ir.Value:
        return self._make(gen.ErfcOp, x)

    def erfcx(self, x: ir.Value) -> ir.Value:
        return self._make(gen.ErfcxOp, x)

    def erfinv(self, x: ir.Value) -> ir.Value:
        return self._make(gen.ErfinvOp, x)

    def ndtri(self, x: ir.Value) -> ir.Value:
        return self._make(gen.NdtriOp, x)

    def log_ndtr(self, x: ir.Value) -> ir.Value:
        return self._make(gen.LogNdtrOp, x)

    def floor(self, x: ir.Value) -> ir.Value:
        return self._make(gen.FloorOp, x)

    def ceil(self, x: ir.Value) -> ir.Value:
        return self._make(gen.CeilOp, x)

    def trunc(self, x: ir.Value) -> ir.Value:
        return self._make(gen.TruncOp, x)

    def round(self, x: ir.Value) -> ir.Value:
        return self._make(gen.RoundOp, x)

    def bitcast(self, x: ir.Value) -> ir.Value:
        return self._make(gen.BitcastOp, x)

    def atan2(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.Atan2Op, x, y)

    def lgamma(self, x: ir.Value) -> ir.Value:
        return self._make(gen.LgammaOp, x)

    def digamma(self, x: ir.Value) -> ir.Value:
        return self._make(gen.DigammaOp, x)

    def polygamma(self, x: ir.Value, order: int) -> ir.Value:
        return self._make(gen.PolygammaOp, x, order) if order else self.digamma(x)

    def zeta(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.ZetaOp, x, y)

    def fmod(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.FmodOp, x, y)

    def bit_and(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.AndOp, x, y)

    def bit_or(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.OrOp, x, y)

    def bit_xor(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.XorOp, x, y)

    def shift_left(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.ShiftLeftOp, x, y)

    def shift_right(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._make(gen.ShiftRightOp, x, y)
