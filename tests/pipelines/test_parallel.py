"""Loops handed to the caller's parallel_for: the same bits, in any order, on any threads."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from .conftest import arguments_for, function, tensor

VECTOR = tensor((1 << 18,), "f32")
MATRIX, ROWS = tensor((300, 1030), "f64"), tensor((300,), "f64")
X, Y, Z = tensor((130, 300), "f32"), tensor((300, 70), "f32"), tensor((130, 70), "f32")
PROGRAMS = {
    "elementwise": function(f"  %r = pb.tanh %x : {VECTOR}", {"%x": VECTOR}, {"%r": VECTOR}),
    "rows": function(
        f"  %r = pb.reduce_sum %x dims = [1] : {MATRIX}", {"%x": MATRIX}, {"%r": ROWS}
    ),
    "contraction": function(
        f"  %r = pb.dot_general %x, %y batch = [] x [] contract = [1] x [0] : {X}, {Y}",
        {"%x": X, "%y": Y},
        {"%r": Z},
    ),
}

BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
PARALLEL_FOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, BODY, ctypes.c_void_p, ctypes.c_size_t)


class Call(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("parallel_for", PARALLEL_FOR),
        ("pool", ctypes.c_void_p),
        ("dims", ctypes.c_void_p),
        ("params", ctypes.c_void_p),
        ("stream", ctypes.c_void_p),
    )


class Entry:
    """A library called from ctypes, with arguments that stay alive."""

    def __init__(self, path: Path, text: str) -> None:
        self.library = ctypes.CDLL(str(path))
        self.arguments = arguments_for(text)
        header = path.with_suffix(".h").read_text()
        [size] = re.findall(r"WORKSPACE_BYTES (\d+)", header)
        [dims] = re.findall(r"out\[\]:\n \*   0: \w+((?:\[\d+\])+)", header)
        shape = [int(n) for n in re.findall(r"\d+", dims)]
        self.memory = np.zeros(int(size) + 64, np.uint8)
        self.result = np.zeros(shape, self.arguments[0].dtype)

    def __call__(self, call: Call | None) -> np.ndarray:
        self.result[...] = 0
        address = self.memory.ctypes.data
        given = (ctypes.c_void_p * len(self.arguments))(*(a.ctypes.data for a in self.arguments))
        results = (ctypes.c_void_p * 1)(self.result.ctypes.data)
        workspace = ctypes.c_void_p(address + -address % 64)
        pointer = None if call is None else ctypes.byref(call)
        assert self.library.f(given, results, workspace, pointer) == 0
        return self.result.copy()


def call_with(parallel_for: Callable[..., None]) -> Call:
    return Call(ctypes.sizeof(Call), PARALLEL_FOR(parallel_for), None, None, None, None)


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_bits(build: Callable[..., Path], name: str) -> None:
    entry = Entry(build(PROGRAMS[name]), PROGRAMS[name])
    counts: list[int] = []

    def backwards(pool: int, body: Callable[..., None], context: int, count: int) -> None:
        counts.append(count)
        for index in reversed(range(count)):
            body(context, index)

    def threaded(pool: int, body: Callable[..., None], context: int, count: int) -> None:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda index: body(context, index), range(count)))

    serial = entry(None)
    for parallel_for in (backwards, threaded):
        np.testing.assert_array_equal(entry(call_with(parallel_for)), serial)
    assert counts and min(counts) > 1
    # A call without parallel_for is serial.
    empty = Call(ctypes.sizeof(Call), PARALLEL_FOR(), None, None, None, None)
    np.testing.assert_array_equal(entry(empty), serial)


def test_small_loops_stay_serial(build: Callable[..., Path]) -> None:
    small = PROGRAMS["elementwise"].replace(str(1 << 18), "64")
    entry = Entry(build(small), small)

    def refuse(*_: object) -> None:
        raise AssertionError("handed out")

    entry(call_with(refuse))
