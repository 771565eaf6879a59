"""Instructions of warps: shuffles, votes, reductions, matrices; lanes that must be there."""

from __future__ import annotations

import numpy as np
import pytest

from .handwritten import lines, run
from .trap import Trap

LANES = np.arange(32)
#: A shuffle of lane numbers + 100, and for each lane the source, and whether it is in range.
SHUFFLES = {
    "down.b32 %r7|%p1, %r6, 4, 31": (lambda i: (i + 4, i + 4 < 32)),
    "up.b32 %r7|%p1, %r6, 4, 0": (lambda i: (i - 4, i >= 4)),
    "bfly.b32 %r7|%p1, %r6, 5, 31": (lambda i: (i ^ 5, i >= 0)),
    "idx.b32 %r7|%p1, %r6, 9, 31": (lambda i: (9 + 0 * i, i >= 0)),
    # Within parts of 8 lanes: the clamp's upper bits say which bits of the lane stay.
    "down.b32 %r7|%p1, %r6, 4, 6175": (lambda i: (i + 4, i % 8 < 4)),
    "up.b32 %r7|%p1, %r6, 4, 6144": (lambda i: (i - 4, i % 8 >= 4)),
    "idx.b32 %r7|%p1, %r6, 1, 6175": (lambda i: (i // 8 * 8 + 1, i >= 0)),
}


@pytest.mark.parametrize("text", SHUFFLES)
def test_shuffles(text: str) -> None:
    found, _ = run(
        lines(
            f"and.b32 %r6, %r1, 31; add.s32 %r6, %r6, 100; shfl.sync.{text}, -1;"
            "selp.b32 %r8, 1000, 0, %p1; add.s32 %r7, %r7, %r8; st.global.b32 [%rd5], %r7;"
        )
    )
    source, good = SHUFFLES[text](LANES)
    expected = 100 + np.where(good, source, LANES) + 1000 * good
    np.testing.assert_array_equal(found.reshape(4, 32), [expected] * 4)


HALF = "and.b32 %r6, %r1, 31; setp.lt.u32 %p1, %r6, 16; setp.lt.u32 %p2, %r6, 3;"


def test_votes_and_reductions_of_part_of_a_warp() -> None:
    """Lanes below 16 vote; those from 16 on see who is there."""
    found, _ = run(
        lines(
            HALF + "@!%p1 bra L1; vote.sync.ballot.b32 %r7, %p2, 65535;"
            "vote.sync.any.pred %p3, %p2, 65535; vote.sync.all.pred %p4, %p2, 65535;"
            "vote.sync.uni.pred %p5, %p2, 65535; vote.sync.all.pred %p6, !%p2, 65535;"
            "selp.b32 %r8, 16, 0, %p3; or.b32 %r7, %r7, %r8; selp.b32 %r8, 32, 0, %p4;"
            "or.b32 %r7, %r7, %r8; selp.b32 %r8, 64, 0, %p5; or.b32 %r7, %r7, %r8;"
            "selp.b32 %r8, 128, 0, %p6; or.b32 %r7, %r7, %r8; bra.uni L2;\n"
            "L1:\nactivemask.b32 %r7;\nL2:\nst.global.b32 [%rd5], %r7;"
        )
    )
    np.testing.assert_array_equal(found.reshape(4, 2, 16)[:, 0], 7 | 16)
    np.testing.assert_array_equal(found.reshape(4, 2, 16)[:, 1], 0xFFFF0000)


#: redux.sync of lane - 5, and the result as signed.
REDUCTIONS = {
    "add.s32": int((LANES - 5).sum()),
    "min.s32": -5,
    "max.s32": 26,
    "min.u32": 0,
    "max.u32": -1,
    "and.b32": 0,
    "or.b32": -1,
    "xor.b32": int(np.bitwise_xor.reduce(LANES - 5)),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    found, _ = run(
        lines(
            "and.b32 %r6, %r1, 31; add.s32 %r6, %r6, -5;"
            f"redux.sync.{name} %r7, %r6, -1; st.global.b32 [%rd5], %r7;"
        )
    )
    np.testing.assert_array_equal(found.view(np.int32), REDUCTIONS[name])


def test_masks_of_lanes() -> None:
    found, _ = run(
        lines(
            "mov.u32 %r6, %lanemask_lt; mov.u32 %r7, %lanemask_ge; xor.b32 %r8, %r6, %r7;"
            "mov.u32 %r9, %lanemask_eq; mov.u32 %r10, %lanemask_le; xor.b32 %r9, %r9, %r10;"
            "mov.u32 %r11, %lanemask_gt; and.b32 %r8, %r8, %r9; add.s32 %r8, %r8, %r11;"
            "st.global.b32 [%rd5], %r8;"
        )
    )
    # lt ^ ge is everything, eq ^ le is lt.
    below, above = (1 << LANES) - 1, (1 << 32) - (2 << LANES)
    np.testing.assert_array_equal(found.reshape(4, 32), [below + above] * 4)


STORED = "st.shared.b32 [%rd8], %r1; bar.sync 0;"

#: What traps, its twin that does not; all of "inactive lane".
ABSENT = {
    "lanes that left": (
        HALF + "@%p1 ret; shfl.sync.down.b32 %r7, %r1, 1, 31, -1;",
        HALF + "@%p1 ret; shfl.sync.down.b32 %r7, %r1, 1, 31, 0xFFFF0000;",
    ),
    "a lane outside of the mask": (
        HALF + "@!%p1 bra L1; shfl.sync.idx.b32 %r7, %r1, 20, 31, 65535;\nL1:",
        HALF + "@!%p1 bra L1; shfl.sync.idx.b32 %r7, %r1, 10, 31, 65535;\nL1:",
    ),
    "a vote of more lanes than are there": (
        HALF + "@!%p1 bra L1; vote.sync.any.pred %p3, %p2, -1;\nL1:",
        HALF + "@!%p1 bra L1; vote.sync.any.pred %p3, %p2, 65535;\nL1:",
    ),
    "a vote without oneself": (
        "vote.sync.ballot.b32 %r7, 1, 65535;", "vote.sync.ballot.b32 %r7, 1, -1;",
    ),
    "a reduction over lanes that are not there": (
        HALF + "@!%p1 bra L1; redux.sync.add.s32 %r7, %r1, -1;\nL1:",
        HALF + "@!%p1 bra L1; redux.sync.add.s32 %r7, %r1, 65535;\nL1:",
    ),
    "a barrier of lanes that are not there": (
        HALF + "@!%p1 bra L1; bar.warp.sync -1;\nL1:",
        HALF + "@!%p1 bra L1; bar.warp.sync 65535;\nL1:",
    ),
    "masks that differ": (
        HALF + "selp.b32 %r8, 0x0000FFFF, -1, %p1; redux.sync.add.s32 %r7, %r1, %r8;",
        HALF + "selp.b32 %r8, 0xFFFFFFFF, -1, %p1; redux.sync.add.s32 %r7, %r1, %r8;",
    ),
    "half a warp loads matrices": (
        HALF + STORED + "@%p1 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r7}, [tile];",
        HALF + STORED + "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r7}, [tile];",
    ),
    "half a warp multiplies": (
        HALF + "@!%p1 bra L1; mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r7, %r8}, "
        "{%r1, %r1}, {%r1}, {%r1, %r1};\nL1:",
        "mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r7, %r8}, {%r1, %r1}, {%r1}, "
        "{%r1, %r1};",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ABSENT)
def test_lanes_that_must_be_there(name: str) -> None:
    bad, good = (lines(text) for text in ABSENT[name])
    run(good, grid=1)
    with pytest.raises(Trap) as caught:
        run(bad, grid=1)
    assert caught.value.kind == "inactive lane"


def test_lanes_wait_for_those_that_branched_behind_the_instruction() -> None:
    """Half of the lanes come to the shuffle by a block that lies behind it."""
    found, _ = run(
        lines(
            HALF + "mov.b32 %r8, %r6; @%p1 bra L2;\nL1:\nshfl.sync.bfly.b32 %r7, %r8, 16, 31, -1;"
            "st.global.b32 [%rd5], %r7; ret;\nL2:\nadd.s32 %r8, %r6, 100; bra.uni L1;"
        )
    )
    expected = np.where(LANES < 16, LANES + 16, LANES - 16 + 100)
    np.testing.assert_array_equal(found.reshape(4, 32), [expected] * 4)


UNKNOWN = [
    "vote.sync.most.pred %p3, %p1, -1;",
    "redux.sync.add.f32 %r7, %r1, -1;",
    "shfl.b32 %r7, %r1, 1, 31, -1;",
    "bar.red.popc.u32 %r7, 0, %p1;",
    "bar.arrive 0, 64;",
    "barrier.cluster.arrive;",
    "mma.sync.aligned.m8n8k4.row.col.f16.f16.f16.f16 {%r7}, {%r1}, {%r1}, {%r1};",
    "ldmatrix.sync.aligned.m16n16.x1.shared.b8 {%r7}, [tile];",
    "cp.async.bulk.commit_group;",
    "cp.async.mbarrier.arrive.shared.b64 [tile];",
    "ld.global.b128 %rd11, [%rd1];",
    "mov.u32 %r6, %clock;",
]


@pytest.mark.parametrize("text", UNKNOWN)
def test_what_is_not_known(text: str) -> None:
    body = "setp.eq.s32 %p1, %r1, 0;\n" + text
    with pytest.raises(Trap) as caught:
        run(body)
    assert caught.value.kind in ("unknown instruction", "syntax")


PRODUCT = (
    # Rows of A, 16 x 16, and of B, 16 x 8, both f16, come from the first buffer as they are.
    "mul.wide.u32 %rd11, %r1, 16; add.s64 %rd12, %rd1, %rd11; add.s64 %rd13, %rd7, %rd11;"
    "ld.global.v4.b32 {%r6, %r7, %r8, %r9}, [%rd12];"
    "st.shared.v4.b32 [%rd13], {%r6, %r7, %r8, %r9};"
    "setp.lt.u32 %p1, %r1, 16;@!%p1 bra L1;"
    "ld.global.v4.b32 {%r6, %r7, %r8, %r9}, [%rd12+512];"
    "st.shared.v4.b32 [%rd13+512], {%r6, %r7, %r8, %r9};\nL1:\nBARRIER"
    # Lane L gives row L % 16 of A, in the half L / 16; of B, row L % 16.
    "and.b32 %r10, %r1, 15; shr.u32 %r11, %r1, 4; mul.wide.u32 %rd14, %r10, 32;"
    "mul.wide.u32 %rd15, %r11, 16; add.s64 %rd14, %rd14, %rd15; add.s64 %rd14, %rd7, %rd14;"
    "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r12, %r13, %r14, %r15}, [%rd14];"
    "mul.wide.u32 %rd16, %r10, 16; add.s64 %rd16, %rd7, %rd16;"
    "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r16, %r17}, [%rd16+512];"
    "mov.b32 %r18, 0f3F800000;"
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r20, %r21, %r22, %r23}, "
    "{%r12, %r13, %r14, %r15}, {%r16, %r17}, {%r18, %r18, %r18, %r18};"
    "shr.u32 %r24, %r1, 2; and.b32 %r25, %r1, 3; mul.wide.u32 %rd17, %r24, 32;"
    "mul.wide.u32 %rd18, %r25, 8; add.s64 %rd17, %rd17, %rd18; add.s64 %rd17, %rd2, %rd17;"
    "st.global.v2.b32 [%rd17], {%r20, %r21}; st.global.v2.b32 [%rd17+256], {%r22, %r23};"
)  # fmt: skip


def _factors() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return tuple(
        generator.integers(-8, 8, shape).astype(np.float16) for shape in ((16, 16), (16, 8))
    )  # type: ignore[return-value]


def _product(barrier: str = "bar.sync 0;", old: str = "", new: str = ""):
    a, b = _factors()
    given = np.concatenate([a.ravel(), b.ravel()]).view(np.uint32)
    return run(lines(PRODUCT.replace("BARRIER", barrier).replace(old, new)), 1, 32, first=given)


def test_a_product_of_matrices() -> None:
    found, counters = _product()
    a, b = _factors()
    expected = a.astype(np.float32) @ b.astype(np.float32) + 1
    np.testing.assert_array_equal(found.view(np.float32).reshape(16, 8), expected)
    assert counters.flops == 2 * 16 * 8 * 16


#: What is done to the product, and the kind of trap.
MISTAKES = {
    "no barrier": ({"barrier": ""}, "race"),
    "half a row further": ({"old": "[%rd14]", "new": "[%rd14+8]"}, "misaligned"),
    "a row that is not there": ({"old": "%rd16+512", "new": "%rd16+528"}, "uninitialised"),
    "beyond shared memory": ({"old": "%rd16+512", "new": "%rd16+800"}, "out of bounds"),
    "a register less": ({"old": "%r22, %r23}, {", "new": "%r22}, {"}, "syntax"),
    "an instruction that there is not": (
        {"old": "m16n8k16.row", "new": "m16n8k16.col"}, "unknown instruction",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_products_that_trap(name: str) -> None:
    change, kind = MISTAKES[name]
    with pytest.raises(Trap) as caught:
        _product(**change)
    assert caught.value.kind == kind


def test_transposed_or_not() -> None:
    expected, _ = _product()
    found, _ = _product(old=".trans", new="")
    assert (expected != found).any()
