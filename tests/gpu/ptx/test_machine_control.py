"""Ways through kernels: branches, loops, tables, calls, barriers; and what takes no end."""

from __future__ import annotations

import numpy as np
import pytest

from . import launch as machine
from .handwritten import lines, run
from .launch import launch
from .memory import Memory
from .program import Program
from .trap import Trap

NUMBER = np.arange(128)


def test_ifs_within_ifs() -> None:
    """Each bit of the number adds another decimal."""
    found, _ = run(
        lines(
            "mov.b32 %r6, 0; and.b32 %r7, %r4, 1; setp.eq.s32 %p1, %r7, 0; and.b32 %r8, %r4, 2;"
            "setp.eq.s32 %p2, %r8, 0; @%p1 bra EVEN; @%p2 bra L01; add.s32 %r6, %r6, 11;"
            "bra.uni DONE;\nL01:\nadd.s32 %r6, %r6, 1;bra DONE;\nEVEN:\n@%p2 bra DONE;"
            "add.s32 %r6, %r6, 10;\nDONE:\nadd.s32 %r6, %r6, 100; st.global.b32 [%rd5], %r6;"
        )
    )
    np.testing.assert_array_equal(found, 100 + NUMBER % 2 + NUMBER // 2 % 2 * 10)


def test_loops_of_different_lengths_within_loops() -> None:
    """sum over i < thread % 5 of sum over j <= i of (j + 1)."""
    found, counters = run(
        lines(
            "rem.u32 %r6, %r4, 5; mov.b32 %r7, 0; mov.b32 %r8, 0;\nOUTER:\n"
            "setp.ge.u32 %p1, %r7, %r6;@%p1 bra DONE;mov.b32 %r9, 0;\nINNER:\n"
            "add.s32 %r9, %r9, 1; add.s32 %r8, %r8, %r9; setp.le.u32 %p2, %r9, %r7;"
            "@%p2 bra INNER;add.s32 %r7, %r7, 1; bra.uni OUTER;\nDONE:\nst.global.b32 [%rd5], %r8;"
        )
    )
    sums = [sum(j + 1 for i in range(n) for j in range(i + 1)) for n in range(5)]
    np.testing.assert_array_equal(found, np.array(sums)[NUMBER % 5])
    assert counters.most > counters.total / counters.threads


def test_predicates_of_two_halves() -> None:
    """The lower half compared with 64, the upper one with 5, as f16."""
    found, _ = run(
        lines(
            "cvt.rn.f16.u32 %h1, %r4; and.b32 %r6, %r4, 7; cvt.rn.f16.u32 %h2, %r6;"
            "mov.b32 %r7, {%h1, %h2}; mov.b32 %r8, 0x45005400; mov.b32 %r9, 0;"
            "setp.lt.f16x2 %p1|%p2, %r7, %r8; @%p1 add.s32 %r9, %r9, 1; @%p2 add.s32 %r9, %r9, 2;"
            "st.global.b32 [%rd5], %r9;"
        )
    )
    np.testing.assert_array_equal(found, (NUMBER < 64) + 2 * (NUMBER % 8 < 5))


#: As LLVM prints them: a function that is not inlined, and a switch.
PRINTED = """
.version 8.0
.target sm_80
.address_size 64

.func  (.param .b32 func_retval0) twice(
	.param .b32 twice_param_0,
	.param .b64 twice_param_1
)
{
	.reg .pred 	%p<2>;
	.reg .b32 	%r<5>;
	.reg .b64 	%rd<2>;

	ld.param.b32 	%r1, [twice_param_0];
	ld.param.b64 	%rd1, [twice_param_1];
	setp.gt.s64 	%p1, %rd1, 0;
	add.rn.f32 	%r2, %r1, %r1;
	neg.f32 	%r3, %r1;
	selp.f32 	%r4, %r2, %r3, %p1;
	st.param.b32 	[func_retval0], %r4;
	ret;

}
	// .globl	calls
.visible .entry calls(
	.param .u64 .ptr .global .align 1 calls_param_0,
	.param .u64 .ptr .global .align 1 calls_param_1
)
.reqntid 64, 1, 1
{
	.reg .b32 	%r<5>;
	.reg .b64 	%rd<8>;

	ld.param.b64 	%rd1, [calls_param_0];
	ld.param.b64 	%rd2, [calls_param_1];
	mov.u32 	%r1, %tid.x;
	cvt.u64.u32 	%rd3, %r1;
	mul.wide.u32 	%rd4, %r1, 4;
	add.s64 	%rd5, %rd1, %rd4;
	ld.global.b32 	%r2, [%rd5];
	add.s64 	%rd6, %rd3, -32;
	{ // callseq 0, 0
	.param .b32 	param0;
	.param .b64 	param1;
	.param .b32 	retval0;
	st.param.b64 	[param1], %rd6;
	st.param.b32 	[param0], %r2;
	call.uni (retval0), twice, (param0, param1);
	ld.param.b32 	%r3, [retval0];
	} // callseq 0
	{ // callseq 1, 0
	.param .b32 	param0;
	.param .b64 	param1;
	.param .b32 	retval0;
	st.param.b64 	[param1], %rd3;
	st.param.b32 	[param0], %r3;
	call.uni (retval0), twice, (param0, param1);
	ld.param.b32 	%r4, [retval0];
	} // callseq 1
	add.s64 	%rd7, %rd2, %rd4;
	st.global.b32 	[%rd7], %r4;
	ret;

}
	// .globl	table
.visible .entry table(
	.param .u64 .ptr .global .align 1 table_param_0,
	.param .u64 .ptr .global .align 1 table_param_1
)
.reqntid 64, 1, 1
{
	.reg .pred 	%p<2>;
	.reg .b32 	%r<7>;
	.reg .b64 	%rd<6>;

	ld.param.b64 	%rd2, [table_param_0];
	ld.param.b64 	%rd3, [table_param_1];
	mov.u32 	%r4, %tid.x;
	and.b32 	%r3, %r4, 7;
	mul.wide.u32 	%rd4, %r4, 4;
	add.s64 	%rd5, %rd2, %rd4;
	add.s64 	%rd1, %rd3, %rd4;
	ld.global.b32 	%r1, [%rd5];
	setp.gt.u32 	%p1, %r3, 5;
	@%p1 bra 	$L__BB2_10;
	div.rn.f32 	%r2, %r1, %r1;
	$L_brx_0: .branchtargets
		$L__BB2_2,
		$L__BB2_8,
		$L__BB2_3,
		$L__BB2_4,
		$L__BB2_5,
		$L__BB2_6;
	brx.idx 	%r3, $L_brx_0;
$L__BB2_2:
	add.rn.f32 	%r5, %r1, %r1;
	st.global.b32 	[%rd1], %r5;
	bra.uni 	$L__BB2_7;
$L__BB2_5:
	sub.rn.f32 	%r6, %r1, %r2;
	bra.uni 	$L__BB2_9;
$L__BB2_3:
	neg.f32 	%r6, %r1;
	bra.uni 	$L__BB2_9;
$L__BB2_4:
	ld.volatile.global.b32 	%r6, [%rd2+4];
	bra.uni 	$L__BB2_9;
$L__BB2_8:
	mul.rn.f32 	%r6, %r1, %r1;
$L__BB2_9:
	st.global.b32 	[%rd1], %r6;
$L__BB2_10:
	st.global.b32 	[%rd1+256], %r1;
$L__BB2_7:
	ret;
$L__BB2_6:
	st.global.b32 	[%rd1], %r2;
	bra.uni 	$L__BB2_7;

}
"""


def _printed(name: str, ptx: str = PRINTED) -> tuple[np.ndarray, np.ndarray]:
    """64 numbers, and the 128 results, -1 where there are none."""
    memory = Memory(np.zeros(1 << 13, np.uint8))
    first, second = memory.allocate(256), memory.allocate(512)
    x = np.arange(1, 65, dtype=np.float32) / 4
    memory.write(first, x)
    memory.write(second, np.full(128, -1, np.float32))
    params = [address.to_bytes(8, "little") for address in (first, second)]
    launch(Program(ptx), name, (1, 1, 1), (64, 1, 1), params, 0, memory)
    return x, memory.read(second, 512).view(np.float32)


def test_calls() -> None:
    x, found = _printed("calls")
    number = np.arange(64)
    once = np.where(number > 32, 2 * x, -x)
    np.testing.assert_array_equal(found[:64], np.where(number > 0, 2 * once, -once))


SELF = "call.uni (retval0), twice, (param0, param1);"

#: What of the call is changed, to what, and the kind of trap.
CALLS = {
    "a function that is not there": ("twice, (param0", "thrice, (param0", "unknown function"),
    "a parameter that is not given": ("st.param.b64 \t[param1], %rd6;", "", "uninitialised"),
    "a parameter of another size": (
        "b64 \t[param1], %rd6", "b32 \t[param1], %r2", "uninitialised",
    ),
    "a result that is not given": ("st.param.b32 \t[func_retval0], %r4;", "", "uninitialised"),
    "a function that calls itself": ("neg.f32 \t%r3, %r1;", SELF, "recursion"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_trap(name: str) -> None:
    old, new, kind = CALLS[name]
    assert old in PRINTED
    with pytest.raises(Trap) as caught:
        _printed("calls", PRINTED.replace(old, new))
    assert caught.value.kind == kind


def test_tables_of_branches() -> None:
    x, found = _printed("table")
    case = np.arange(64) % 8
    one = np.float32(1)
    values = [2 * x, x * x, -x, np.full(64, x[1]), x - one, np.full(64, one)]
    expected = np.select([case == k for k in range(6)], values, -one)
    np.testing.assert_array_equal(found[:64], expected)
    returned = (case == 0) | (case == 5)
    np.testing.assert_array_equal(found[64:], np.where(returned, -one, x))


def test_an_index_beyond_the_table() -> None:
    with pytest.raises(Trap, match="out of bounds"):
        _printed("table", PRINTED.replace("%p1, %r3, 5;", "%p1, %r3, 6;"))


SOME = "setp.lt.u32 %p1, %r1, 32;"

#: What traps, its twin that does not, and the kind of trap.
TWINS = {
    "threads have left before the barrier": (
        SOME + "@%p1 ret; bar.sync 0;", SOME + "bar.sync 0; @%p1 ret;", "divergent barrier",
    ),
    "two barriers for two halves": (
        SOME + "@%p1 bra L1; bar.sync 0; bra.uni L2;\nL1:\nbar.sync 0;\nL2:",
        SOME + "@%p1 bra L1; mov.b32 %r6, 0; bra.uni L2;\nL1:\nmov.b32 %r6, 1;\nL2:\nbar.sync 0;",
        "divergent barrier",
    ),
    "rounds of a loop that differ": (
        "shr.u32 %r6, %r1, 5; mov.b32 %r7, 0;\nL1:\nbar.sync 0; add.s32 %r7, %r7, 1;"
        "setp.le.u32 %p1, %r7, %r6; @%p1 bra L1;",
        "mov.b32 %r6, 1; mov.b32 %r7, 0;\nL1:\nbar.sync 0; add.s32 %r7, %r7, 1;"
        "setp.le.u32 %p1, %r7, %r6; @%p1 bra L1;",
        "divergent barrier",
    ),
    "a barrier for other threads than there are": (
        "bar.sync 0, 32;", "bar.sync 0, 64;", "unknown instruction",
    ),
    "a barrier under a guard": (
        SOME + "@%p1 bar.sync 0;", SOME + "barrier.sync.aligned 0;", "unknown instruction",
    ),
    "a trap": (
        "setp.eq.s32 %p1, %r4, 99;@%p1 trap;", "setp.eq.s32 %p1, %r4, 128;@%p1 trap;", "trap",
    ),
    "no end": (
        "\nL1:\nbra.uni L1;",
        "mov.b32 %r6, 0;\nL1:\nadd.s32 %r6, %r6, 1;setp.lt.u32 %p1, %r6, 150;@%p1 bra L1;",
        "endless",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_a_trap_and_its_twin(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MOST_STEPS", 200)
    bad, good, kind = TWINS[name]
    run(lines(good))
    with pytest.raises(Trap) as caught:
        run(lines(bad))
    assert caught.value.kind == kind


def test_blocks_pass_barriers_by_themselves() -> None:
    """Block b has 3 + b rounds: blocks of one batch need not agree."""
    found, _ = run(
        lines(
            "add.s32 %r6, %r2, 3; mov.b32 %r7, 0; mov.b32 %r8, %r1;\nL1:\n"
            "st.shared.b32 [%rd8], %r8; bar.sync 0; ld.shared.b32 %r8, [%rd10]; bar.sync 0;"
            "add.s32 %r8, %r8, 1; add.s32 %r7, %r7, 1; setp.lt.u32 %p1, %r7, %r6; @%p1 bra L1;"
            "st.global.b32 [%rd5], %r8;"
        )
    )
    thread = np.arange(64)
    np.testing.assert_array_equal(found, np.concatenate([(thread ^ 1) + 3, thread + 4]))


def test_more_threads_than_run_in_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Races between blocks are found although they run one after the other."""
    monkeypatch.setattr(machine, "BATCH", 64)
    found, counters = run("st.global.b32 [%rd5], %r4;")
    np.testing.assert_array_equal(found, NUMBER)
    assert counters.threads == 128
    with pytest.raises(Trap, match="race"):
        run("st.global.b32 [%rd2], %r2;", block=1)
