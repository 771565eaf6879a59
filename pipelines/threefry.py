"""Threefry-2x32 with 20 rounds on elements: the scalar body of pb.random_bits.

`scalars.py` calls it; the definition it must equal bit by bit is in dialects/pb/ops/random.py.
"""

from __future__ import annotations

from typing import Any

from mlir import ir
from mlir.dialects import arith

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _number(value: int, width: int) -> ir.Value:
    type_ = ir.IntegerType.get_signless(width)
    wrapped = value - (1 << width) if value >> (width - 1) else value
    literal: Any = ir.IntegerAttr.get(type_, wrapped)
    return arith.ConstantOp(type_, literal).result


def _words(x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """High and low word of an i64."""
    i32 = ir.IntegerType.get_signless(32)
    return arith.trunci(i32, arith.shrui(x, _number(32, 64))), arith.trunci(i32, x)


def _rotated(x: ir.Value, by: int) -> ir.Value:
    return arith.ori(arith.shli(x, _number(by, 32)), arith.shrui(x, _number(32 - by, 32)))


def random_bits(key: ir.Value, counter: ir.Value, bits: int) -> ir.Value:
    """The highest `bits` of the 64 that belong to two i64, as an i64."""
    first, second = _words(key)
    keys = (first, second, arith.xori(arith.xori(first, second), _number(_PARITY, 32)))
    x, y = _words(counter)
    x, y = arith.addi(x, keys[0]), arith.addi(y, keys[1])
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = arith.addi(x, y)
            y = arith.xori(x, _rotated(y, rotation))
        x = arith.addi(x, keys[(group + 1) % 3])
        y = arith.addi(arith.addi(y, keys[(group + 2) % 3]), _number(group + 1, 32))
    i64 = ir.IntegerType.get_signless(64)
    high = arith.shli(arith.extui(i64, x), _number(32, 64))
    both = arith.ori(high, arith.extui(i64, y))
    return both if bits == 64 else arith.shrui(both, _number(64 - bits, 64))
