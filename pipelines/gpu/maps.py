"""Kernels of loop nests without reductions: a thread computes one element, or 16 bytes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlir import ir
from mlir.dialects import arith, memref, vector

from ..builders import index_constant
from ..plan_memory import size_of
from .launch import BLOCK, Threads, launch, less, unravelled, when
from .nests import Access, Nest

#: From this many elements on, threads are plenty and 16 bytes at a time are faster.
_MANY = 1 << 16
#: Larger bodies are not repeated for each lane of a vector.
_LARGEST_BODY = 300


def emit(nest: Nest) -> None:
    """The kernel, here."""
    count = math.prod(nest.domain)
    lanes = _lanes(nest, count)
    threads = count if lanes == 1 else count // lanes + count % lanes
    block = min(BLOCK, -(-threads // 32) * 32)
    with launch(nest.name, -(-threads // block), block) as t:
        if lanes == 1:
            with when(less(t.flat(), count)):
                scalar(nest, unravelled(t.flat(), nest.domain))
            return
        _vectorised(nest, t, count, lanes)


def scalar(nest: Nest, loops: Sequence[ir.Value]) -> None:
    """One element."""
    results = nest.run(loops, nest.loads(loops, {}))
    for access, value in zip(nest.outputs, results, strict=True):
        memref.store(value, access.buffer, access.at(loops))


def _vectorised(nest: Nest, t: Threads, count: int, lanes: int) -> None:
    """16 bytes a thread; what is left of a row of odd length is done one by one."""
    *outer, row = nest.domain
    whole = count // lanes
    loops = unravelled(t.flat(), [*outer, row // lanes if outer else whole])
    with when(less(t.flat(), whole)):
        _vector(nest, [*loops[:-1], arith.muli(loops[-1], index_constant(lanes))], lanes)
    if count % lanes:
        rest = arith.addi(t.flat(), index_constant(whole * lanes - whole))
        late = arith.cmpi(arith.CmpIPredicate.uge, t.flat(), index_constant(whole))
        with when(arith.andi(late, less(rest, count))):
            scalar(nest, [rest])


def _vector(nest: Nest, loops: list[ir.Value], lanes: int) -> None:
    """The elements from `loops` on, so many along the last loop."""
    vectors: dict[int, Any] = {}
    same: dict[int, ir.Value] = {}
    for number, access in enumerate(nest.accesses):
        if not nest.used[number] or not isinstance(access.buffer.type, ir.MemRefType):
            continue
        if _is_vector(nest, access, lanes):
            type_ = ir.VectorType.get([lanes], access.buffer.type.element_type)
            bytes_ = lanes * _bytes(access)
            op = vector.LoadOp(type_, access.buffer, access.at(loops), alignment=bytes_)
            vectors[number] = op.result
        elif len(nest.domain) - 1 not in access.loops():
            same[number] = memref.load(access.buffer, access.at(loops))
    lists: list[list[ir.Value]] = []
    for lane in range(lanes):
        at = [*loops[:-1], arith.addi(loops[-1], index_constant(lane)) if lane else loops[-1]]
        known = same | {n: vector.extract(v, [], [lane]) for n, v in vectors.items()}
        lists.append(nest.run(at, nest.loads(at, known)))
    for access, values in zip(nest.outputs, zip(*lists, strict=True), strict=True):
        assert isinstance(access.buffer.type, ir.MemRefType)
        type_ = ir.VectorType.get([lanes], access.buffer.type.element_type)
        packed = vector.from_elements(type_, list(values))
        vector.StoreOp(packed, access.buffer, access.at(loops), alignment=lanes * _bytes(access))


def _lanes(nest: Nest, count: int) -> int:
    """How many elements a thread computes."""
    if count < _MANY or len(nest.body) > _LARGEST_BODY:
        return 1
    lanes = 16 // max(map(_bytes, nest.outputs))
    if len(nest.domain) > 1 and nest.domain[-1] % lanes:
        return 1
    if not all(_is_vector(nest, access, lanes) for access in nest.outputs):
        return 1
    return lanes


def _bytes(access: Access) -> int:
    type_ = access.buffer.type
    assert isinstance(type_, ir.MemRefType)
    return size_of(ir.MemRefType.get([1], type_.element_type))


def _is_vector(nest: Nest, access: Access, lanes: int) -> bool:
    """Do consecutive elements of the last loop lie beside each other, from an aligned one on?"""
    type_ = access.buffer.type
    last = len(nest.domain) - 1
    if not isinstance(type_, ir.MemRefType) or not access.indices or lanes * _bytes(access) > 16:
        return False
    if type_.layout != ir.AffineMapAttr.get(ir.AffineMap.get_identity(type_.rank)):
        return False
    if access.indices[-1] != (0, ((last, 1),)) or last in _outer_loops(access):
        return False
    return type_.rank == 1 or type_.shape[-1] % lanes == 0


def _outer_loops(access: Access) -> set[int]:
    return {d for _, terms in access.indices[:-1] for d, _ in terms}
