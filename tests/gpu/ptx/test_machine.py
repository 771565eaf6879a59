"""Traps and counters of the interpreter, on kernels written by hand: each trap has a twin."""

from __future__ import annotations

import numpy as np
import pytest

from .handwritten import HEAD, lines, run
from .launch import launch
from .memory import Memory
from .program import Program
from .trap import Trap

COPY = "ld.global.b32 %r6, [%rd4]; st.global.b32 [%rd5], %r6;"

#: What traps, its twin that does not, and the kind of trap.
TWINS = {
    "beyond the end": (
        "ld.global.b32 %r6, [%rd4+4]; st.global.b32 [%rd5], %r6;", COPY, "out of bounds",
    ),
    "before the start": (
        "ld.global.b32 %r6, [%rd4+-4]; st.global.b32 [%rd5], %r6;", COPY, "out of bounds",
    ),
    "misaligned": ("ld.global.b32 %r6, [%rd1+2];", "ld.global.b32 %r6, [%rd1+4];", "misaligned"),
    "a vector that is not aligned": (
        "ld.global.v4.b32 {%r6, %r7, %r8, %r9}, [%rd1+8];",
        "ld.global.v4.b32 {%r6, %r7, %r8, %r9}, [%rd1+16];",
        "misaligned",
    ),
    "never written": ("ld.global.b32 %r6, [%rd5];", "ld.global.b32 %r6, [%rd4];", "uninitialised"),
    "shared and never written": (
        "ld.shared.b32 %r6, [%rd8];",
        "st.shared.b32 [%rd8], %r1; ld.shared.b32 %r6, [%rd8];",
        "uninitialised",
    ),
    "beyond shared memory": (
        "st.shared.b32 [%rd8+1000], %r1;", "st.shared.b32 [%rd8+512], %r1;", "out of bounds",
    ),
    "read without a barrier": (
        "st.shared.b32 [%rd8], %r1; ld.shared.b32 %r6, [%rd10];",
        "st.shared.b32 [%rd8], %r1; bar.sync 0; ld.shared.b32 %r6, [%rd10];",
        "race",
    ),
    "overwritten without a barrier": (
        "st.shared.b32 [%rd8], %r1; bar.sync 0; ld.shared.b32 %r6, [%rd10];"
        "st.shared.b32 [%rd8], %r6;",
        "st.shared.b32 [%rd8], %r1; bar.sync 0; ld.shared.b32 %r6, [%rd10]; bar.sync 0;"
        "st.shared.b32 [%rd8], %r6;",
        "race",
    ),
    "all write one word": (
        "st.shared.b32 [tile], %r1;",
        "setp.eq.s32 %p1, %r1, 0;\n@%p1 st.shared.b32 [tile], %r1;",
        "race",
    ),
    "blocks write one word": (
        "setp.eq.s32 %p1, %r1, 0;\n@%p1 st.global.b32 [%rd2], %r1;",
        "setp.eq.s32 %p1, %r4, 0;\n@%p1 st.global.b32 [%rd2], %r1;",
        "race",
    ),
    "another block's result": (
        "st.global.b32 [%rd5], %r1; bar.sync 0; xor.b32 %r7, %r4, 64; mul.wide.u32 %rd11, %r7, 4;"
        "add.s64 %rd12, %rd2, %rd11; ld.global.b32 %r8, [%rd12];",
        "st.global.b32 [%rd5], %r1; bar.sync 0; xor.b32 %r7, %r4, 1; mul.wide.u32 %rd11, %r7, 4;"
        "add.s64 %rd12, %rd2, %rd11; ld.global.b32 %r8, [%rd12];",
        "race",
    ),
    "a barrier for some": (
        "setp.lt.u32 %p1, %r1, 32;\n@%p1 bra L1;\nbar.sync 0;\nL1:",
        "setp.lt.u32 %p1, %r1, 32;\n@%p1 bra L1;\nadd.s32 %r6, %r1, 1;\nL1:\nbar.sync 0;",
        "divergent barrier",
    ),
    "a lane that has left": (
        "and.b32 %r6, %r1, 31; setp.lt.u32 %p1, %r6, 16;\n@%p1 bra L1;\n"
        "shfl.sync.bfly.b32 %r7, %r1, 16, 31, -1;\nL1:",
        "and.b32 %r6, %r1, 31; setp.lt.u32 %p1, %r6, 16;\n@%p1 bra L1;\nadd.s32 %r7, %r1, 1;\nL1:\n"
        "shfl.sync.bfly.b32 %r7, %r1, 16, 31, -1;",
        "inactive lane",
    ),
    "a mask without this lane": (
        "shfl.sync.bfly.b32 %r7, %r1, 1, 31, 65535;",
        "shfl.sync.bfly.b32 %r7, %r1, 1, 31, -1;",
        "inactive lane",
    ),
    "a copy that is not waited for": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.commit_group;"
        "ld.shared.b32 %r6, [%rd8];",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.commit_group;"
        "cp.async.wait_group 0; ld.shared.b32 %r6, [%rd8];",
        "uninitialised",
    ),
    "another thread's copy": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.commit_group;"
        "cp.async.wait_group 0; ld.shared.b32 %r6, [%rd10];",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.commit_group;"
        "cp.async.wait_group 0; bar.sync 0; ld.shared.b32 %r6, [%rd10];",
        "race",
    ),
    "an instruction that is not known": (
        "frobnicate.b32 %r6, %r1;", "not.b32 %r6, %r1;", "unknown instruction",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_a_trap_and_its_twin(name: str) -> None:
    bad, good, kind = TWINS[name]
    run(lines(good))
    with pytest.raises(Trap) as caught:
        run(lines(bad))
    assert caught.value.kind == kind


def test_memory_that_was_freed() -> None:
    memory = Memory(np.zeros(1 << 12, np.uint8))
    first = memory.allocate(256)
    memory.write(first, np.zeros(64, np.uint32))
    memory.free(first)
    with pytest.raises(Trap, match="free"):
        memory.free(first)
    params = [first.to_bytes(8, "little")] * 2
    program = Program(HEAD + "ld.global.b32 %r6, [%rd4];\nret;\n}\n")
    with pytest.raises(Trap, match="use after free"):
        launch(program, "kernel", (1, 1, 1), (64, 1, 1), params, 0, memory)


def test_parameters_that_do_not_fit() -> None:
    memory = Memory(np.zeros(1 << 12, np.uint8))
    program = Program(HEAD + "ret;\n}\n")
    for params in ([bytes(8)], [bytes(8), bytes(4)]):
        with pytest.raises(Trap, match="parameters"):
            launch(program, "kernel", (1, 1, 1), (64, 1, 1), params, 0, memory)
    with pytest.raises(Trap, match="launch"):
        launch(program, "kernel", (1, 1, 1), (2048, 1, 1), [bytes(8)] * 2, 0, memory)


def test_loops_branches_and_early_returns() -> None:
    """Thread i adds up 0 + 1 + ... + i; those from 96 on return before."""
    found, _ = run(
        lines(
            "setp.ge.u32 %p1, %r4, 96;@%p1 ret;mov.b32 %r6, 0;mov.b32 %r7, 0;\nL1:\n"
            "add.s32 %r6, %r6, %r7;add.s32 %r7, %r7, 1;setp.le.u32 %p2, %r7, %r4;@%p2 bra L1;"
            "st.global.b32 [%rd5], %r6;"
        )
    )
    number = np.arange(96)
    np.testing.assert_array_equal(found[:96], number * (number + 1) // 2)
    assert (found[96:] == 0).all()


def test_a_sum_by_shuffles() -> None:
    steps = "".join(
        f"shfl.sync.bfly.b32 %r7, %r6, {n}, 31, -1;add.s32 %r6, %r6, %r7;" for n in (16, 8, 4, 2, 1)
    )
    found, _ = run(lines(f"ld.global.b32 %r6, [%rd4];{steps}st.global.b32 [%rd5], %r6;"))
    sums = np.arange(128).reshape(4, 32).sum(1)
    np.testing.assert_array_equal(found.reshape(4, 32), np.repeat(sums[:, None], 32, 1))


#: A body, sectors of its loads and stores, and the ideal: 4 warps of 2 blocks.
SECTORS = {
    "in order": (COPY, 4 * (4 + 4), 4 * (4 + 4)),
    "every other word": (
        "shl.b32 %r6, %r1, 1; mul.wide.u32 %rd11, %r6, 4; add.s64 %rd12, %rd1, %rd11;"
        "ld.global.b32 %r7, [%rd12];",
        4 * 8,
        4 * 4,
    ),
    "one word for all": ("ld.global.b32 %r7, [%rd1];", 4 * 1, 4 * 4),
}


@pytest.mark.parametrize("name", SECTORS)
def test_sectors(name: str) -> None:
    body, sectors, ideal = SECTORS[name]
    _, counters = run(lines(body))
    assert (counters.sectors, counters.ideal_sectors) == (sectors, ideal)


#: Turns at the banks that a warp's stores take.
BANKS = {"in order": (4, 1), "every other word": (8, 2), "one bank": (128, 32)}


@pytest.mark.parametrize("name", BANKS)
def test_bank_conflicts(name: str) -> None:
    stride, turns = BANKS[name]
    body = f"mul.lo.s32 %r6, %r1, {stride}; cvt.u64.u32 %rd11, %r6; add.s64 %rd12, %rd7, %rd11;"
    text = HEAD.replace("tile[1024]", "tile[8192]")
    memory = Memory(np.zeros(1 << 12, np.uint8))
    params = [memory.allocate(4).to_bytes(8, "little")] * 2
    program = Program(text + lines(body + "st.shared.b32 [%rd12], %r1;") + "ret;\n}\n")
    counters = launch(program, "kernel", (1, 1, 1), (32, 1, 1), params, 0, memory)
    assert counters.shared_cycles == turns * counters.shared_requests


def test_counts_of_work() -> None:
    _, counters = run(lines(COPY + "fma.rn.f32 %r7, %r6, %r6, %r6;"))
    assert counters.flops == 2 * 128
    assert counters.read_bytes == counters.written_bytes == 4 * 128
    assert counters.unique_bytes() == (512, 512)
    assert counters.threads == 128 and counters.most * 128 == counters.total
