"""What the interpreter knows of memory: spaces, atomics, copies under way, what may be written."""

from __future__ import annotations

import numpy as np
import pytest

from .handwritten import HEAD, lines, run
from .launch import launch
from .memory import Memory
from .program import Program
from .trap import Trap

#: Registers that lead to this thread's neighbour, in the same block and in the other one.
NEIGHBOUR = (
    "xor.b32 %r20, %r4, 1; mul.wide.u32 %rd20, %r20, 4; add.s64 %rd21, %rd2, %rd20;"
    "xor.b32 %r21, %r4, 64; mul.wide.u32 %rd22, %r21, 4; add.s64 %rd23, %rd2, %rd22;"
)
VARIABLES = (
    ".const .align 4 .b32 fixed[4] = {10, 20, 30, 40};\n"
    ".global .align 4 .b8 free[16] = {1, 0, 0, 0, 2};\n"
    ".extern .shared .align 16 .b8 rest[];"
)
STACK = ".local .align 8 .b8 depot[32]; mov.b64 %rd11, depot;"

#: What traps, its twin that does not, and the kind of trap.
TWINS = {
    "a store to constants": (
        "mov.b64 %rd11, fixed; cvta.const.u64 %rd12, %rd11; setp.eq.s32 %p1, %r4, 0;"
        "@%p1 st.b32 [%rd12], %r1;",
        "mov.b64 %rd11, free; cvta.global.u64 %rd12, %rd11; setp.eq.s32 %p1, %r4, 0;"
        "@%p1 st.b32 [%rd12], %r1;",
        "read only",
    ),
    "a constant read of what was written": (
        "st.global.b32 [%rd5], %r1; ld.global.nc.b32 %r6, [%rd5];",
        "st.global.b32 [%rd5], %r1; ld.global.b32 %r6, [%rd5];",
        "read only",
    ),
    "a constant read of what is written later": (
        "ld.global.nc.b32 %r6, [%rd4]; bar.sync 0; st.global.b32 [%rd4], %r6;",
        "ld.global.nc.b32 %r6, [%rd4]; bar.sync 0; st.global.b32 [%rd5], %r6;",
        "read only",
    ),
    "beyond the stack": (
        STACK + "st.local.b32 [%rd11+32], %r1;", STACK + "st.local.b32 [%rd11+28], %r1;",
        "out of bounds",
    ),
    "the stack and never written": (
        STACK + "st.local.b32 [%rd11+4], %r1; ld.local.b64 %rd12, [%rd11];",
        STACK + "st.local.v2.b32 [%rd11], {%r1, %r2}; ld.local.b64 %rd12, [%rd11];",
        "uninitialised",
    ),
    "half a word was written": (
        "cvt.u16.u32 %h1, %r1; st.shared.b16 [%rd8], %h1; ld.shared.b32 %r6, [%rd8];",
        "cvt.u16.u32 %h1, %r1; st.shared.b16 [%rd8], %h1; ld.shared.b16 %h2, [%rd8];",
        "uninitialised",
    ),
    "beyond what the launch gives": (
        "mov.b64 %rd11, rest; add.s64 %rd12, %rd11, %rd6; st.shared.b32 [%rd12+4], %r1;",
        "mov.b64 %rd11, rest; add.s64 %rd12, %rd11, %rd6; st.shared.b32 [%rd12], %r1;",
        "out of bounds",
    ),
    "an update and a read": (
        "st.shared.b32 [%rd8], %r1; bar.sync 0; red.shared.add.u32 [tile], 1;"
        "ld.shared.b32 %r6, [tile];",
        "st.shared.b32 [%rd8], %r1; bar.sync 0; red.shared.add.u32 [tile], 1; bar.sync 0;"
        "ld.shared.b32 %r6, [tile];",
        "race",
    ),
    "a read and an update": (
        "ld.global.b32 %r6, [%rd1]; atom.global.add.u32 %r7, [%rd1], 1;",
        "atom.global.add.u32 %r6, [%rd1], 0; atom.global.add.u32 %r7, [%rd1], 1;",
        "race",
    ),
    "an update and a write": (
        "red.global.max.u32 [%rd1], %r1; setp.eq.s32 %p1, %r4, 3;@%p1 st.global.b32 [%rd1], %r1;",
        "red.global.max.u32 [%rd1], %r1; setp.eq.s32 %p1, %r4, 3;"
        "@%p1 st.global.b32 [%rd1+4], %r1;",
        "race",
    ),
    "another block's update, with barriers": (
        "red.global.add.u32 [%rd1], 1; bar.sync 0; ld.global.b32 %r6, [%rd1];",
        "red.global.add.u32 [%rd4], 1; bar.sync 0; ld.global.b32 %r6, [%rd4];",
        "race",
    ),
    "an update of what was never written": (
        "red.global.add.u32 [%rd2], 1;", "red.global.add.u32 [%rd1], 1;", "uninitialised",
    ),
    "an update of bf16, which is no f16": (
        "atom.global.add.noftz.bf16x2 %r6, [%rd1], %r1;", "atom.global.add.u32 %r6, [%rd1], %r1;",
        "unknown instruction",
    ),
    "a neighbour's word": (
        NEIGHBOUR + "st.global.b32 [%rd5], %r1; ld.global.b32 %r6, [%rd21];",
        NEIGHBOUR + "st.global.b32 [%rd5], %r1; bar.sync 0; ld.global.b32 %r6, [%rd21];",
        "race",
    ),
    "read by a block, written by the other": (
        NEIGHBOUR + "ld.global.b32 %r6, [%rd4]; bar.sync 0; xor.b32 %r7, %r4, 64;"
        "mul.wide.u32 %rd11, %r7, 4; add.s64 %rd12, %rd1, %rd11; st.global.b32 [%rd12], %r6;",
        NEIGHBOUR + "ld.global.b32 %r6, [%rd4]; bar.sync 0; xor.b32 %r7, %r4, 1;"
        "mul.wide.u32 %rd11, %r7, 4; add.s64 %rd12, %rd1, %rd11; st.global.b32 [%rd12], %r6;",
        "race",
    ),
    "a register without a value": (
        "add.s32 %r6, %r20, 1;", "mov.b32 %r20, 7; add.s32 %r6, %r20, 1;", "uninitialised",
    ),
    "a register with a value for some": (
        "setp.eq.s32 %p1, %r1, 0;@%p1 bra L1;mov.b32 %r20, 7;\nL1:\nadd.s32 %r6, %r20, 1;",
        "mov.b32 %r20, 8; setp.eq.s32 %p1, %r1, 0;@%p1 bra L1;mov.b32 %r20, 7;\nL1:\n"
        "add.s32 %r6, %r20, 1;",
        "uninitialised",
    ),
    "a register with a value under a guard": (
        "setp.eq.s32 %p1, %r1, 0;@%p1 mov.b32 %r20, 7;add.s32 %r6, %r20, 1;",
        "setp.eq.s32 %p1, %r1, 0;// implicit-def: %r20\n@%p1 mov.b32 %r20, 7;"
        "add.s32 %r6, %r20, 1;",
        "uninitialised",
    ),
    "a half without a value": (
        "mov.b16 %h1, 1; mov.b32 %r6, {%h1, %h2}; mov.b16 %h2, 7;",
        "mov.b16 %h1, 1; mov.b32 %r6, {%h1, %h2};",
        "uninitialised",
    ),
    "a copy that is written over": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; st.shared.b32 [%rd10], %r1;",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.wait_all; bar.sync 0;"
        "st.shared.b32 [%rd10], %r1;",
        "race",
    ),
    "a copy that its own thread writes over": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; st.shared.b32 [%rd8], %r1;"
        "cp.async.wait_all;",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.wait_all;"
        "st.shared.b32 [%rd8], %r1;",
        "race",
    ),
    "two copies to one place": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.ca.shared.global [%rd8], [%rd4], 4;"
        "cp.async.wait_all;",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.wait_all;"
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.wait_all;",
        "race",
    ),
    "a wait that leaves the last group": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.commit_group;"
        "cp.async.wait_group 1; ld.shared.b32 %r6, [%rd8];",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.commit_group;"
        "cp.async.commit_group; cp.async.wait_group 1; ld.shared.b32 %r6, [%rd8];",
        "uninitialised",
    ),
    "a copy before its group": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.wait_group 0;"
        "ld.shared.b32 %r6, [%rd8];",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4; cp.async.wait_all;"
        "ld.shared.b32 %r6, [%rd8];",
        "uninitialised",
    ),
    "a copy that is not aligned": (
        "cp.async.cg.shared.global [tile], [%rd1+8], 16;",
        "setp.eq.s32 %p1, %r1, 0;@%p1 cp.async.cg.shared.global [tile], [%rd1+16], 16;",
        "misaligned",
    ),
    "a copy of more than there is": (
        "cp.async.ca.shared.global [%rd8], [%rd4], 4, 8;",
        "cp.async.ca.shared.global [%rd8], [%rd4], 4, 4;",
        "out of bounds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_a_trap_and_its_twin(name: str) -> None:
    bad, good, kind = TWINS[name]
    run(lines(good), shared=256, before=VARIABLES)
    with pytest.raises(Trap) as caught:
        run(lines(bad), shared=256, before=VARIABLES)
    assert caught.value.kind == kind


def test_a_trap_says_where() -> None:
    body = "setp.eq.s32 %p1, %r4, 71;\n@%p1 ld.global.b32 %r6, [%rd1+512];"
    with pytest.raises(Trap, match=r"thread 7 of block 1 in line \d+: @%p1 ld.global.b32"):
        run(body)


def test_freed_memory_is_handed_out_late() -> None:
    memory = Memory(np.zeros(1 << 14, np.uint8))
    first = memory.allocate(1 << 11)
    memory.free(first)
    later = [memory.allocate(1 << 11) for _ in range(6)]
    assert first not in later
    assert memory.allocate(1 << 11) == first  # there is no other place
    with pytest.raises(MemoryError):
        memory.allocate(1 << 11)
    assert len(memory.leaks()) == 7


def test_the_host_is_checked_too() -> None:
    memory = Memory(np.zeros(1 << 12, np.uint8))
    address = memory.allocate(64)
    memory.write(address, np.arange(16, dtype=np.uint32))
    assert (memory.read(address + 8, 8).view(np.uint32) == [2, 3]).all()
    for place, size in ((address, 65), (address - 1, 4), (address + 64, 1), (0, 1)):
        with pytest.raises(Trap, match="out of bounds"):
            memory.read(place, size)
    memory.free(address)
    with pytest.raises(Trap, match="use after free"):
        memory.write(address, np.zeros(4, np.uint8))
    assert not memory.leaks()


def test_spaces_and_generic_addresses() -> None:
    """Each thread sums words of five kinds of memory, reached by one kind of load."""
    found, _ = run(
        lines(
            STACK + "st.local.b32 [%rd11+8], %r1; st.shared.b32 [%rd8], %r2;"
            "mov.b64 %rd12, rest; add.s64 %rd13, %rd12, %rd6; st.shared.b32 [%rd13], 1000;"
            "cvta.local.u64 %rd14, %rd11; ld.b32 %r6, [%rd14+8];"
            "cvta.shared.u64 %rd15, %rd8; ld.b32 %r7, [%rd15]; add.s32 %r6, %r6, %r7;"
            "cvta.shared.u64 %rd15, %rd13; ld.b32 %r7, [%rd15]; add.s32 %r6, %r6, %r7;"
            "ld.const.b32 %r7, [fixed+8]; add.s32 %r6, %r6, %r7;"
            "ld.global.b32 %r7, [free+4]; add.s32 %r6, %r6, %r7; st.b32 [%rd5], %r6;"
        ),
        shared=256,
        before=VARIABLES,
    )
    number = np.arange(128)
    np.testing.assert_array_equal(found, number % 64 + number // 64 + 1000 + 30 + 2)


def test_widths_and_vectors() -> None:
    """Signed bytes are extended; vectors are words beside each other."""
    found, _ = run(
        lines(
            "ld.global.s8 %r6, [%rd1+3]; ld.global.u8 %r7, [%rd1+3]; ld.global.s16 %r8, [%rd1+2];"
            "mov.b64 %rd12, {%r6, %r7}; mov.b64 {_, %r9}, %rd12; setp.eq.s32 %p1, %r4, 0;"
            "@!%p1 ret; st.global.v4.b32 [%rd2], {%r6, %r7, %r8, %r9};"
            "ld.global.v2.b64 {%rd13, %rd14}, [%rd1+16];"
            "st.global.v2.b64 [%rd2+16], {%rd14, %rd13};"
        ),
        first=np.array([0x80FF0000, 0, 0, 0, 1, 2, 3, 4], np.uint32),
    )
    assert found[:8].tolist() == [0xFFFFFF80, 0x80, 0xFFFF80FF, 0x80, 3, 4, 1, 2]


#: The operation on a word that starts as given, with each thread's operand; the word afterwards.
ATOMS = {
    "add.u32": (5, "%r4", 5 + 127 * 64),
    "add.f32": (0x3F800000, "0f3F000000", int(np.float32(65).view(np.uint32))),
    "min.s32": (7, "-3", 0xFFFFFFFD),
    "min.u32": (7, "-3", 7),
    "max.s32": (0xFFFFFFFE, "%r4", 127),
    "and.b32": (0xFF, "0x3C", 0x3C),
    "or.b32": (0x100, "%r4", 0x17F),
    "xor.b32": (9, "%r4", 9),
    "inc.u32": (0, "99", 128 % 100),
    "dec.u32": (3, "9", (3 - 128) % 10),
    "exch.b32": (3, "77", 77),
    "cas.b32": (4, "4, 11", 11),
}


@pytest.mark.parametrize("name", ATOMS)
@pytest.mark.parametrize("space", ["global.", "", "relaxed.gpu.global."])
def test_atomics(name: str, space: str) -> None:
    start, operand, expected = ATOMS[name]
    operation, type_ = name.split(".")
    found, _ = run(
        lines(
            f"atom.{space}{operation}.{type_} %r6, [%rd2], {operand};red.{space}or.b32 [%rd2+4], 1;"
        ),
        second=np.array([start, 0], np.uint32),
        words=128,
    )
    assert found[0] == expected
    assert found[1] == 1


def test_every_thread_finds_another_old_value() -> None:
    found, _ = run(
        lines(
            "setp.eq.s32 %p1, %r1, 0;@%p1 st.shared.b32 [tile], 0;bar.sync 0;"
            "atom.shared.add.u32 %r6, [tile], 1; st.global.b32 [%rd5], %r6;"
        )
    )
    np.testing.assert_array_equal(np.sort(found.reshape(2, 64), 1), [range(64)] * 2)


def test_copies_in_two_buffers() -> None:
    """Sums over rounds, each of which copies the next words while it adds the last."""
    found, counters = run(
        lines(
            "mov.b32 %r10, 0; mov.b32 %r6, 0; mov.b64 %rd11, %rd4; mov.b64 %rd12, %rd8;"
            "cp.async.ca.shared.global [%rd12], [%rd11], 4; cp.async.commit_group;\nL1:\n"
            "add.s32 %r10, %r10, 1; and.b32 %r11, %r10, 1; mul.wide.u32 %rd13, %r11, 256;"
            "add.s64 %rd14, %rd8, %rd13; setp.ge.u32 %p1, %r10, 4; add.s64 %rd11, %rd11, 512;"
            "@%p1 bra L2;"
            "cp.async.ca.shared.global [%rd14], [%rd11], 4;\nL2:\ncp.async.commit_group;"
            "cp.async.wait_group 1; ld.shared.b32 %r7, [%rd12]; add.s32 %r6, %r6, %r7;"
            "mov.b64 %rd12, %rd14; setp.lt.u32 %p2, %r10, 4; @%p2 bra L1;"
            "st.global.b32 [%rd5], %r6;"
        ),
        first=np.arange(512, dtype=np.uint32) ** 2,
    )
    squares = np.arange(512, dtype=np.uint32).reshape(4, 128) ** 2
    np.testing.assert_array_equal(found, squares.sum(0))
    assert counters.read_bytes == 4 * 512


def test_copies_fill_with_zeros() -> None:
    found, _ = run(
        lines(
            "setp.ne.s32 %p1, %r1, 0;@%p1 ret;"
            "cp.async.cg.shared.global [tile], [%rd1+16], 16, 8; cp.async.wait_all;"
            "ld.shared.v4.b32 {%r6, %r7, %r8, %r9}, [tile]; st.global.v4.b32 [%rd2], {%r6, %r7, "
            "%r8, %r9};"
        ),
        grid=1,
    )
    assert found[:4].tolist() == [4, 5, 0, 0]


#: Changes of the text, or of the launch, that must be refused.
REFUSED = {
    "shared memory beyond the static limit": (
        {"edit": lambda text: text.replace("tile[1024]", "tile[50000]")}, "static shared",
    ),
    "shared memory beyond all limits": ({"shared": 227 << 10}, "shared memory"),
    "no block": ({"grid": 0}, "grid"),
    "too many threads": ({"block": 1025}, "block"),
    "another block than is required": (
        {"edit": lambda text: text.replace("param_1)", "param_1) .reqntid 32, 1, 1")}, "needs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_launches_that_are_refused(name: str) -> None:
    change, match = REFUSED[name]
    with pytest.raises(Trap, match=match) as caught:
        run("mov.b64 %rd11, tile;", **change)
    assert caught.value.kind == "launch"


def test_an_unknown_kernel() -> None:
    with pytest.raises(Trap, match="unknown kernel"):
        launch(
            Program(HEAD + "ret;\n}\n"), "colonel", (1,) * 3, (1,) * 3, [], 0, Memory(np.zeros(64))
        )
