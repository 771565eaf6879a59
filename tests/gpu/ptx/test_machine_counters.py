"""What the interpreter counts, against numbers that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from .handwritten import lines, run

FIRST = np.zeros(4096, np.uint32)
ONE = "setp.lt.u32 %p1, %r1, 32;@!%p1 ret;"  # one warp of each block


def _strided(stride: int) -> str:
    return f"mul.wide.u32 %rd11, %r4, {stride}; add.s64 %rd12, %rd1, %rd11;"


#: A body, and of 2 blocks of 2 warps: requests, sectors, the ideal, bytes read, bytes touched.
REQUESTS = {
    "bytes in order": (
        _strided(1) + "ld.global.b8 %h1, [%rd12];", (4, 4, 4, 128, 128),
    ),
    "words in order": ("ld.global.b32 %r6, [%rd4];", (4, 16, 16, 512, 512)),
    "words beside a sector's start": ("ld.global.b32 %r6, [%rd4+4];", (4, 20, 16, 512, 512)),
    "8 bytes in order": (_strided(8) + "ld.global.b64 %rd13, [%rd12];", (4, 32, 32, 1024, 1024)),
    "16 bytes in order": (
        _strided(16) + "ld.global.v4.b32 {%r6, %r7, %r8, %r9}, [%rd12];", (4, 64, 64, 2048, 2048),
    ),
    "words 128 bytes apart": (
        _strided(128) + "ld.global.b32 %r6, [%rd12];", (4, 128, 16, 512, 512),
    ),
    "backwards": (
        "sub.s32 %r6, 127, %r4; mul.wide.u32 %rd11, %r6, 4; add.s64 %rd12, %rd1, %rd11;"
        "ld.global.b32 %r7, [%rd12];",
        (4, 16, 16, 512, 512),
    ),
    "one word for all": ("ld.global.b32 %r6, [%rd1];", (4, 4, 16, 512, 4)),
    "one warp of two": (ONE + "ld.global.b32 %r6, [%rd4];", (2, 8, 8, 256, 256)),
    "8 lanes of each warp": (
        "and.b32 %r6, %r1, 31; setp.lt.u32 %p1, %r6, 8;@%p1 ld.global.b32 %r7, [%rd4];",
        (4, 4, 4, 128, 128),
    ),
    "a copy of 16 bytes": (
        ONE + _strided(16) + "mul.wide.u32 %rd13, %r1, 16; add.s64 %rd14, %rd7, %rd13;"
        "cp.async.cg.shared.global [%rd14], [%rd12], 16; cp.async.wait_all;",
        (2, 32, 32, 1024, 1024),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str) -> None:
    body, expected = REQUESTS[name]
    _, c = run(lines(body), first=FIRST)
    found = c.requests, c.sectors, c.ideal_sectors, c.read_bytes, c.unique_bytes()[0]
    assert found == expected
    assert c.written_bytes == c.unique_bytes()[1] == 0


def test_what_is_written_and_updated() -> None:
    _, c = run(
        lines("st.global.b32 [%rd5], %r4; st.global.b32 [%rd5], %r4; red.global.add.u32 [%rd1], 1;")
    )
    assert (c.read_bytes, c.written_bytes) == (512, 3 * 512)
    assert c.unique_bytes() == (4, 512 + 4)
    assert c.requests == 12
    assert c.flops == 0


#: A store by one warp: its address in shared memory, and requests and turns.
BANKS = {
    "in order": ("4", "b32", "%r1", (1, 1)),
    "33 words apart": ("132", "b32", "%r1", (1, 1)),
    "two words apart": ("8", "b32", "%r1", (1, 2)),
    "16 words apart": ("64", "b32", "%r1", (1, 16)),
    "8 bytes": ("8", "b64", "%rd6", (2, 2)),
    "8 bytes, 16 apart": ("16", "b64", "%rd6", (2, 4)),
    "16 bytes": ("16", "v4.b32", "{%r1, %r1, %r1, %r1}", (4, 4)),
    "16 bytes, 144 apart": ("144", "v4.b32", "{%r1, %r1, %r1, %r1}", (4, 4)),
    "16 bytes, 128 apart": ("128", "v4.b32", "{%r1, %r1, %r1, %r1}", (4, 32)),
}


@pytest.mark.parametrize("name", BANKS)
def test_turns_at_banks(name: str) -> None:
    apart, type_, value, expected = BANKS[name]
    body = f"mul.wide.u32 %rd11, %r1, {apart}; add.s64 %rd12, %rd7, %rd11;"
    _, c = run(
        lines(body + f"st.shared.{type_} [%rd12], {value};"), 1, 32,
        edit=lambda text: text.replace("tile[1024]", "tile[8192]"),
    )  # fmt: skip
    assert (c.shared_requests, c.shared_cycles) == expected


def test_lanes_that_read_one_word_take_one_turn() -> None:
    _, c = run(lines("st.shared.b32 [%rd8], %r1; bar.sync 0; ld.shared.b32 %r6, [tile+20];"), 1, 32)
    assert (c.shared_requests, c.shared_cycles) == (2, 2)


def test_upper_lanes_are_their_own_request() -> None:
    """Lanes 16 to 31 store 8 bytes: half a warp, whoever else is there."""
    _, c = run(
        lines(
            "setp.ge.u32 %p1, %r1, 16; mul.wide.u32 %rd11, %r1, 8; add.s64 %rd12, %rd7, %rd11;"
            "@%p1 st.shared.b64 [%rd12], %rd6;"
        ),
        1, 32,
    )  # fmt: skip
    assert (c.shared_requests, c.shared_cycles) == (1, 1)


#: Bytes from row to row, and the turns of four matrices of 8 rows.
ROWS = {"16 apart": (16, 4), "32 apart": (32, 8), "48 apart": (48, 4), "128 apart": (128, 32)}


@pytest.mark.parametrize("name", ROWS)
def test_turns_of_rows_of_matrices(name: str) -> None:
    apart, turns = ROWS[name]
    _, c = run(
        lines(
            f"mul.wide.u32 %rd11, %r1, {apart}; add.s64 %rd12, %rd7, %rd11;"
            "st.shared.v4.b32 [%rd12], {%r1, %r1, %r1, %r1}; bar.sync 0;"
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r6, %r7, %r8, %r9}, [%rd12];"
        ),
        1, 32, edit=lambda text: text.replace("tile[1024]", "tile[4096]"),
    )  # fmt: skip
    assert (c.shared_requests, c.shared_cycles) == (8, 2 * turns)  # the stores take as many


#: Instructions of HEAD and of the return behind the body.
AROUND = 15 + 1


def test_instructions_of_threads_and_warps() -> None:
    """The first warp of each block does one more, and 5 lanes of each warp another two."""
    _, c = run(
        lines(
            "setp.ge.u32 %p1, %r1, 32; @%p1 bra L1; add.s32 %r6, %r1, 1;\nL1:\n"
            "and.b32 %r7, %r1, 31; setp.ge.u32 %p2, %r7, 5; @%p2 bra L2; add.s32 %r8, %r1, 1;"
            "add.s32 %r8, %r1, 2;\nL2:"
        )
    )
    each = AROUND + 5
    assert c.instructions == c.total == 128 * each + 64 * 1 + 4 * 5 * 2
    assert c.warp_instructions == 4 * each + 2 * 1 + 4 * 2
    assert c.most == each + 3
    assert c.threads == 128


#: Floating operations of a thread.
FLOPS = {
    "add.rn.f32 %r6, %r1, %r1;": 1,
    "fma.rn.f64 %rd11, %rd6, %rd6, %rd6;": 2,
    "fma.rn.f16x2 %r6, %r1, %r1, %r1;": 4,
    "sqrt.rn.f32 %r6, %r1;": 1,
    "add.s32 %r6, %r1, %r1;": 0,
    "atom.global.add.f32 %r6, [%rd1], %r1;": 1,
}


@pytest.mark.parametrize("text", FLOPS)
def test_floating_operations(text: str) -> None:
    _, c = run(text)
    assert c.flops == 128 * FLOPS[text]
