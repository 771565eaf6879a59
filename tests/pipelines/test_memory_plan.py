"""The planner alone: buffers that live together stay apart, others share."""

from __future__ import annotations

import random

import pytest
from mlir import ir
from pullback.pipelines import cpu
from pullback.pipelines.plan_memory import Buffer, place

from .conftest import function, interface, tensor


def test_buffers_one_after_the_other_share() -> None:
    buffers = [Buffer(64 * (1 + i % 3), i, i) for i in range(10)]
    assert place(buffers) == 192
    assert {buffer.offset for buffer in buffers} == {0}


def test_nothing_to_place() -> None:
    assert place([]) == 0


@pytest.mark.parametrize("seed", range(20))
def test_no_overlap(seed: int) -> None:
    choose = random.Random(seed)
    buffers = []
    for _ in range(60):
        first = choose.randrange(100)
        buffers.append(Buffer(64 * choose.randint(1, 9), first, first + choose.randrange(20)))
    end = place(buffers)
    peak = max(sum(b.size for b in buffers if b.first <= t <= b.last) for t in range(120))
    assert peak <= end <= 2 * peak
    for i, one in enumerate(buffers):
        assert one.offset % 64 == 0
        for other in buffers[:i]:
            apart = one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
            assert apart or not one.meets(other)


def test_a_chain_needs_two_buffers() -> None:
    """However long a chain of contractions is, a value and the next one are all that live."""
    type_ = tensor((64, 64), "f32")
    lines = [
        f"  %v{i + 1} = pb.dot_general %v{i}, %w batch = [] x [] contract = [1] x [0] : "
        f"{type_}, {type_}"
        for i in range(10)
    ]
    text = function("\n".join(lines), {"%v0": type_, "%w": type_}, {"%v10": type_})
    packed = 64 * 32 * 4
    assert workspace(text) <= 2 * 64 * 64 * 4 + packed


def test_elementwise_loops_work_in_place() -> None:
    """exp(x) is needed twice, and the quotient goes where it was."""
    wide, rows = tensor((64, 100), "f64"), tensor((64,), "f64")
    body = f"""
  %e = pb.exp %x : {wide}
  %s = pb.reduce_sum %e dims = [1] : {wide}
  %b = pb.broadcast %s dims = [0] : {rows} -> {wide}
  %q = pb.div %e, %b : {wide}
  %m = pb.reduce_max %q dims = [0] : {wide}
  %n = pb.broadcast %m dims = [1] : {tensor((100,), "f64")} -> {wide}
  %d = pb.sub %q, %n : {wide}
  %r = pb.reduce_sum %d dims = [1] : {wide}"""
    text = function(body, {"%x": wide}, {"%r": rows})
    assert workspace(text) < 2 * 64 * 100 * 8


def workspace(text: str) -> int:
    with ir.Context():
        module = ir.Module.parse(text)
        compilation = cpu.Compilation(module, interface(module), cpu.Options())
        for stage in cpu.STAGES:
            stage.run(compilation)
            if stage.name == "bufferized":
                break
        return compilation.workspace
