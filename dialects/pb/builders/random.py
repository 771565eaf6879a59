"""Builds random bits."""

from __future__ import annotations

from mlir import ir

from .. import _pb_ops_gen as gen
from ..types import shape
from .structure import Structure


class Random(Structure):
    def random_bits(self, key: ir.Value, counter: ir.Value, bits: int = 64) -> ir.Value:
        """Those of each counter under the key, i64 both; a 0-dim key is the key of all."""
        if shape(key) != shape(counter):
            key = self.broadcast(key, shape(counter), [])
        return self._make(gen.RandomBitsOp, key, counter, bits)
