"""Statuses, workspace, parallel_for, threads, fork, leaks."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pullback.runtime import ArgumentError, ArtifactError, load

from .conftest import Make

ERRORS = [
    {"status": 1, "kind": "IndexError", "message": "index out of range", "where": "f.py:12"},
    {"status": 2, "kind": "ValueError", "message": "bad value", "where": "f.py:13"},
    {"status": 3, "kind": "KeyboardInterrupt", "message": "no", "where": "f.py:1"},
    {"status": 4, "kind": "LinAlgError", "message": "singular", "where": "f.py:14"},
]


def test_statuses(make: Make) -> None:
    f = load(make("status", "s: i64[]", errors=ERRORS))
    f(0)
    for status, kind, match in [
        (1, IndexError, r"^index out of range \(f\.py:12\)$"),
        (2, ValueError, r"^bad value \(f\.py:13\)$"),
        (3, RuntimeError, "no"),
        (4, RuntimeError, "singular"),
        (5, ArtifactError, "unknown status 5"),
        (-1, ArgumentError, "status -1"),
    ]:
        for value in (status, np.array(status)):
            with pytest.raises(kind, match=match):
                f(value)
    f(0)


def test_many_buffers(make: Make) -> None:
    names = [f"x{i}" for i in range(20)]
    f = load(make("sum20", [f"{n}: f64[]" for n in names], [f"o{n}: f64[]" for n in names]))
    out = f(*map(np.array, np.arange(20.0)))
    np.testing.assert_array_equal(np.array(out), np.cumsum(np.arange(20)))
    np.testing.assert_array_equal(np.array(f(*range(20))), np.cumsum(np.arange(20)))


def test_misuse_of_the_base_class() -> None:
    from pullback.runtime._native import Kernel

    empty = Kernel.__new__(Kernel)
    for call in (empty, lambda: empty.call_leaves([]), lambda: empty.call_plain([])):
        with pytest.raises(RuntimeError, match="no library"):
            call()
    with pytest.raises(OSError, match="no-such"):
        Kernel("/no-such.so", "f", (), (), 0, None, True, 1)


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(i: int) -> None:
        barrier.wait()
        results[i] = work(i)

    previous = threading.stack_size(256 * 1024)
    try:
        threads = [threading.Thread(target=run, args=[i]) for i in range(count)]
    finally:
        threading.stack_size(previous)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_each_call_has_its_own_workspace(make: Make) -> None:
    f = load(make("scratch", "x: f64[]", workspace=4096))

    def work(i: int) -> bool:
        return all(f(np.array(float(i)))[()] == i for _ in range(200))

    assert in_threads(8, work) == [True] * 8


def test_parallel_for(make: Make) -> None:
    for entry in ("parallel", "parallel_nested"):
        f = load(make(entry, "x: f64[64]", ["out: f64[64]", "threads: i64[64]"]))
        x = np.arange(64.0)
        for _ in range(50):
            np.testing.assert_array_equal(f(x)[0], x * x)

        def work(i: int, f: Any = f) -> bool:
            mine = np.arange(64.0) + i
            return all((f(mine)[0] == mine * mine).all() for _ in range(20))

        assert in_threads(8, work) == [True] * 8


def count_threads(f: Callable[[Any], Any], wanted: int) -> int:
    """How many threads compute; on a busy machine the last one may take long to show up."""
    found: set[int] = set()
    end = time.monotonic() + 10
    for _ in range(30):
        found |= set(f(np.arange(64.0))[1].tolist())
    while len(found) < wanted and time.monotonic() < end:
        found |= set(f(np.arange(64.0))[1].tolist())
    return len(found)


@pytest.mark.parametrize("threads", [1, 3])
def test_number_of_threads(make: Make, threads: int) -> None:
    path = make("parallel", "x: f64[64]", ["out: f64[64]", "threads: i64[64]"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_count_threads, [str(path), threads]) == threads


def _count_threads(path: str, wanted: int) -> int:
    os.environ["PULLBACK_NUM_THREADS"] = str(wanted)
    return count_threads(load(path), wanted)


def test_fork(make: Make) -> None:
    f = load(make("parallel", "x: f64[64]", ["out: f64[64]", "threads: i64[64]"]))
    x = np.arange(64.0)
    expected = f(x)[0].tolist()
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            f(x)

    # Forks while other threads are inside the pool: the child must not wait for them.
    others = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        for _ in range(5):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                os.environ["PULLBACK_NUM_THREADS"] = "3"
                good = f(x)[0].tolist() == expected and count_threads(f, 3) == 3
                os.write(write, b"good" if good else b"bad")
                os._exit(0)
            os.close(write)
            with os.fdopen(read, "rb") as result:
                assert result.read() == b"good"
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        for thread in others:
            thread.join()


def test_in_a_spawned_process(add: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_add_ones, [str(add)]) == [2, 2, 2]


def _add_ones(path: str) -> list[float]:
    return load(path)(np.ones(3), np.ones(3)).tolist()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def torch_values() -> Any:
    torch = pytest.importorskip("torch")
    return torch.ones(20000, dtype=torch.float64)


@pytest.mark.parametrize("what", ["numpy", "torch", "slow", "wrong", "status", "load"])
def test_leaks(make: Make, what: str) -> None:
    big = load(make("nothing", "x: f64[20000]", "out: f64[20000]", workspace=1 << 20))
    failing = load(make("status", "s: i64[]", "out: f64[20000]", errors=ERRORS))
    path = make("nothing", "x: f64[20000]", "out: f64[20000]", workspace=1 << 20)
    x = torch_values() if what == "torch" else np.ones(20000)
    one = np.array(1)

    def step() -> None:
        if what == "wrong":
            with pytest.raises(TypeError):
                big(x, x)
            with pytest.raises(TypeError):
                big.call_plain([one])
        elif what == "status":
            with pytest.raises(IndexError):
                failing(one)
        elif what == "load":
            load(path)(x)[:] = 1
        else:
            big(x[::-1] if what == "slow" else x)[:] = 1

    gc.collect()
    counts = []
    for _ in range(3):
        for _ in range(200):
            step()
        gc.collect()
        counts.append(
            (
                resident_bytes(),
                sys.getallocatedblocks(),
                sys.getrefcount(big),
                len(os.listdir("/proc/self/fd")),
            )
        )
    _, (before, blocks, *counted), (after, blocks_after, *counted_after) = counts
    # A result leaked in each call would be 32 MB, a Python object 200 blocks.
    assert after - before < 4 << 20
    assert blocks_after - blocks < 100
    assert counted_after == counted
