"""Kernels written by hand: what stands in front of their bodies, and how they are run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .counters import Counters
from .launch import launch
from .memory import Memory
from .program import Program

#: %r1 thread, %r2 block, %r3 threads, %r4 number; %rd1, %rd2 the buffers, %rd4, %rd5 this thread's
#: words in them; %rd7 shared memory, %rd8 this thread's word there, %rd10 its neighbour's.
HEAD = """
.version 8.0
.target sm_80
.address_size 64
.shared .align 16 .b8 tile[1024];
.visible .entry kernel(.param .u64 kernel_param_0, .param .u64 kernel_param_1)
{
.reg .pred %p<9>;
.reg .b16 %h<9>;
.reg .b32 %r<29>;
.reg .b64 %rd<29>;
ld.param.b64 %rd1, [kernel_param_0];
ld.param.b64 %rd2, [kernel_param_1];
mov.u32 %r1, %tid.x;
mov.u32 %r2, %ctaid.x;
mov.u32 %r3, %ntid.x;
mad.lo.s32 %r4, %r2, %r3, %r1;
mul.wide.u32 %rd3, %r4, 4;
add.s64 %rd4, %rd1, %rd3;
add.s64 %rd5, %rd2, %rd3;
mul.wide.u32 %rd6, %r1, 4;
mov.b64 %rd7, tile;
add.s64 %rd8, %rd7, %rd6;
xor.b32 %r5, %r1, 1;
mul.wide.u32 %rd9, %r5, 4;
add.s64 %rd10, %rd7, %rd9;
"""
THREADS = 64


def lines(body: str) -> str:
    return body.replace(";", ";\n")


def run(
    body: str,
    grid: int = 2,
    block: int = THREADS,
    words: int = 128,
    *,
    first: np.ndarray | None = None,
    second: np.ndarray | None = None,
    shared: int = 0,
    before: str = "",
    edit: Callable[[str], str] = str,
) -> tuple[np.ndarray, Counters]:
    """The second buffer, of `words` words, after the kernel.

    The first has 0, 1, 2, ..., the second nothing, if they are not given. `before`: variables of
    the module; `edit` changes the whole text.
    """
    memory = Memory(np.zeros(1 << 16, np.uint8))
    given = np.arange(words, dtype=np.uint32) if first is None else first
    source, target = memory.allocate(given.nbytes), memory.allocate(4 * words)
    memory.write(source, given)
    if second is not None:
        memory.write(target, second)
    program = Program(edit(HEAD.replace(".shared", before + "\n.shared", 1) + body + "\nret;\n}\n"))
    params = [address.to_bytes(8, "little") for address in (source, target)]
    counters = launch(program, "kernel", (grid, 1, 1), (block, 1, 1), params, shared, memory)
    memory.initialised[:] = 1
    return memory.read(target, 4 * words).view(np.uint32), counters
