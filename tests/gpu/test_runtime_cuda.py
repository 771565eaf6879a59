"""Calls of GPU functions: streams, threads, devices, statuses, memory, and drivers that fail."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pullback.runtime import execute
from pullback.runtime.driver import CudaError
from pullback.runtime.errors import ArgumentError, ArgumentTypeError, ArgumentValueError

from .arrays import ByDlpack, ByInterface, torch_with_gpus
from .driver import CONTEXT, OUT_OF_MEMORY, Driver

Built = Callable[..., Any]
X = torch.arange(6, dtype=torch.float64) / 4
INDEX = torch.tensor([0, 5, 2])
BAD = np.array([0, 6, 2])


def pick(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return x[index] * 2


EXPECTED = pick(X, INDEX).numpy()


@pytest.fixture
def picked(built: Built) -> Any:
    return built(pick, X, INDEX)


def on_device(driver: Driver, *arrays: Any, **options: Any) -> list[ByInterface]:
    return [ByInterface(driver, np.asarray(array), **options) for array in arrays]


def test_every_error_of_calls_in_flight_is_raised(picked: Any, driver: Driver) -> None:
    good, bad = on_device(driver, X, INDEX), on_device(driver, X, BAD)
    lost = picked(*bad)
    last = picked(*good)  # enqueued before the first has run: its status is another
    np.testing.assert_array_equal(last.numpy(), EXPECTED)
    with pytest.raises(IndexError) as caught:
        picked(*good)
    assert lost.shape == last.shape
    assert "earlier call" in caught.value.__notes__[0]
    picked(*good)
    picked.synchronize()
    picked(*bad)
    with pytest.raises(IndexError):
        picked.synchronize()
    picked.synchronize()


def test_statuses_are_kept_apart_by_any_number_of_calls(picked: Any, driver: Driver) -> None:
    good, bad = on_device(driver, X, INDEX), on_device(driver, X, BAD)
    results = [picked(*(bad if number == 100 else good)) for number in range(300)]
    with pytest.raises(IndexError):
        picked.synchronize()
    assert driver.calls["cuMemHostAlloc"] == 2
    results += [picked(*good) for number in range(300)]
    picked.synchronize()
    assert driver.calls["cuMemHostAlloc"] == 2
    np.testing.assert_array_equal(results[-1].numpy(), EXPECTED)


def test_threads_get_their_own_errors(picked: Any) -> None:
    x, index, wrong = X.numpy(), INDEX.numpy(), BAD
    found: list[list[Any]] = [[], []]

    def work(number: int) -> None:
        for _ in range(20):
            try:
                found[number].append(picked(x, wrong if number else index).tolist())
            except IndexError:
                found[number].append("error")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[EXPECTED.tolist()] * 20, ["error"] * 20]


def test_calls_on_several_streams_share_memory_in_order(picked: Any, driver: Driver) -> None:
    arguments = [on_device(driver, X + n, INDEX, stream=0x500 + n) for n in range(3)]
    results = [picked(*each) for each in arguments]
    assert [result.stream for result in results] == [0x500, 0x501, 0x502]
    assert not driver.launches
    for n in (2, 0, 1):  # the last one makes those before it happen first
        np.testing.assert_array_equal(results[n].numpy(), EXPECTED + 2 * n)
        assert len(driver.launches) == len(driver.asked)


def test_results_are_arguments(built: Built, driver: Driver) -> None:
    double = built(lambda x: x * 2, X)
    [x] = on_device(driver, X, stream=0x500)
    result = double(double(double(x)))
    assert result.stream == 0x500
    np.testing.assert_array_equal(result.numpy(), X.numpy() * 8)
    assert not driver.calls["cuMemcpyHtoDAsync_v2"]


def test_arguments_of_other_streams_are_waited_for(built: Built, driver: Driver) -> None:
    add = built(lambda x, y: x + y, X, X)
    [x], [y] = on_device(driver, X, stream=0x500), on_device(driver, X * 0, stream=0x600)
    driver.contexts.append(CONTEXT)
    data = driver.allocate(48)
    driver.memory.write(data, X.numpy())
    driver._cuMemcpyDtoDAsync(y.address, data, 48, 0x600)
    driver.contexts.pop()
    result = add(x, y)
    driver.streams[0x500].run()
    np.testing.assert_array_equal(result.numpy(), 2 * X.numpy())


def test_dlpack(picked: Any, driver: Driver) -> None:
    x, index = ByDlpack(driver, X.numpy()), ByDlpack(driver, INDEX.numpy(), strides=(1,))
    np.testing.assert_array_equal(picked(x, index).numpy(), EXPECTED)
    assert x.streams == [1]
    mixed = picked(x, ByInterface(driver, INDEX.numpy(), stream=0x500))
    assert x.streams == [1, 0x500]
    np.testing.assert_array_equal(mixed.numpy(), EXPECTED)
    with pytest.raises(ArgumentValueError, match="not contiguous"):
        picked(ByDlpack(driver, X.numpy(), strides=(2,)), index)
    with pytest.raises(ArgumentTypeError, match="got i64"):
        picked(index, index)


def test_device_arguments_that_do_not_fit(picked: Any, driver: Driver) -> None:
    x, index = on_device(driver, X, INDEX)
    [strided] = on_device(driver, X, strides=(16,))
    with pytest.raises(ArgumentValueError, match="not contiguous"):
        picked(strided, index)
    with pytest.raises(ArgumentValueError, match="mask"):
        picked(*on_device(driver, X, mask=index), index)
    with pytest.raises(ArgumentTypeError, match="wrong dtype"):
        picked(*on_device(driver, X.to(torch.complex64)), index)
    with pytest.raises(ArgumentTypeError, match="'index' is on the host"):
        picked(x, INDEX)
    [elsewhere] = on_device(driver, X, data=(0x1234560, False))
    with pytest.raises(ArgumentError, match="not in the memory of a GPU"):
        picked(elsewhere, index)
    with pytest.raises(ArgumentError, match="several GPUs"):
        picked(x, *on_device(driver, INDEX, device=1))
    assert not driver.launches


def test_each_device_has_its_own_memory(built: Built, driver: Driver) -> None:
    weight = torch.linspace(0, 1, 6, dtype=torch.float64)
    for mode in ("embed", "file"):
        function = built(lambda x, i: (x * weight)[i], X, INDEX, params=mode)
        for device in (1, 0, 1):
            result = function(*on_device(driver, X, INDEX, device=device))
            assert result.context == CONTEXT + device
            np.testing.assert_array_equal(result.numpy(), (X * weight)[INDEX])


def test_scalars_of_the_host_among_arrays_of_the_device(built: Built, driver: Driver) -> None:
    scale = built(lambda x, s: x * s, X, torch.tensor(0.0, dtype=torch.float64))
    [x] = on_device(driver, X)
    for number in (3.0, 3, np.float64(3), np.array(3.0), torch.tensor(3.0, dtype=torch.float64)):
        np.testing.assert_array_equal(scale(x, number).numpy(), X.numpy() * 3)
    with pytest.raises(ArgumentTypeError, match="does not fit"):
        scale(x, True)


def test_what_is_kept_is_given_back(built: Built, driver: Driver) -> None:
    weight = torch.ones(6, dtype=torch.float64)
    function = built(lambda x, i: (x * weight)[i].sum(), X, INDEX, params="file")
    arguments = on_device(driver, X, INDEX, offset=8)
    kept = len(driver.leaks())
    for _ in range(3):
        function(*arguments)
        function(X, INDEX)
    assert len(driver.leaks()) > kept
    function.release()
    assert len(driver.leaks()) == kept
    assert function(X, INDEX) == X[INDEX].sum()
    function(*arguments)  # its status is written when nobody holds the function any more
    del function
    gc.collect()
    assert len(driver.leaks()) == kept
    assert driver.trap is None


def test_a_call_that_fails_leaves_nothing_behind(picked: Any, driver: Driver) -> None:
    good = on_device(driver, X, INDEX, offset=8)
    picked(*good)
    picked(X, INDEX)
    picked.synchronize()
    kept = len(driver.leaks())
    host = ["cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"]
    both = ["cuCtxPushCurrent_v2", "cuStreamWaitEvent", "cuEventRecord", "cuLaunchKernel",
            "cuMemsetD8Async", "cuCtxGetDevice"]  # fmt: skip
    device = ["cuMemAlloc_v2", "cuMemcpyDtoDAsync_v2", "cuStreamIsCapturing"]
    for names, arguments in ((host + both, (X, INDEX)), (device + both, good)):
        for name in names:
            driver.fail[name] = OUT_OF_MEMORY
            before = driver.calls[name]
            with pytest.raises(CudaError, match="OUT_OF_MEMORY"):
                picked(*arguments)
            assert driver.calls[name] > before, name
            driver.fail.clear()
            assert len(driver.leaks()) == kept, name
    np.testing.assert_array_equal(picked(*good).numpy(), EXPECTED)
    picked.synchronize()


FIRST = ["cuInit", "cuDeviceGetCount", "cuDevicePrimaryCtxRetain", "cuCtxGetCurrent",
         "cuMemAlloc_v2", "cuMemHostAlloc", "cuEventCreate", "cuDeviceGetAttribute",
         "cuLibraryLoadData", "cuLibraryGetKernel"]  # fmt: skip


@pytest.mark.parametrize("name", FIRST)
def test_a_first_call_that_fails_can_be_made_again(
    built: Built, driver: Driver, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pullback.runtime import driver as opened

    picked = built(pick, X, INDEX)
    arguments = on_device(driver, X, INDEX)
    kept = len(driver.leaks())
    opened.library.cache_clear()
    driver.fail[name] = OUT_OF_MEMORY
    with pytest.raises(CudaError, match="OUT_OF_MEMORY"):
        picked(*arguments)
    driver.fail.clear()
    np.testing.assert_array_equal(picked(*arguments).numpy(), EXPECTED)
    del picked
    gc.collect()
    assert len(driver.leaks()) == kept


def test_a_kernel_that_goes_wrong(picked: Any, driver: Driver) -> None:
    x, index = on_device(driver, X, INDEX)
    result = picked(x, index)
    driver.memory.free(x.address)
    with pytest.raises(CudaError, match="ILLEGAL_ADDRESS"):
        result.numpy()
    assert "use after free" in str(driver.trap)


def test_without_elements(built: Built, driver: Driver) -> None:
    empty = torch.zeros(0, 3, dtype=torch.float64)
    function = built(lambda x: (x * 2, x.sum()), empty)
    for arguments in ([empty.numpy()], on_device(driver, empty, data=(0, False))):
        rows, total = (np.asarray(getattr(r, "numpy", lambda r=r: r)()) for r in
                       function(*arguments))  # fmt: skip
        assert rows.shape == (0, 3) and total == 0


def test_run_of_the_command_line(picked: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=X.numpy(), index=INDEX.numpy())
    execute.run(picked.path, tmp_path / "in.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as archive:
        np.testing.assert_array_equal(archive["out"], EXPECTED)


def test_tensors_of_torch(picked: Any, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = torch_with_gpus(driver, monkeypatch)
    fake.stream = 0x700
    x, index = (fake.tensor(t.numpy()) for t in (X, INDEX))
    result = picked(x, index)
    assert type(result) is fake.Tensor and result.device.index == 0
    assert driver.asked[-1].stream == 0x700
    assert not driver.calls["cuMemAlloc_v2"]  # all memory is torch's
    np.testing.assert_array_equal(result.numpy(), EXPECTED)
    moved = fake.Tensor(x.shape, "float64", 0, x.address)
    moved.dense = False
    np.testing.assert_array_equal(picked(moved, index).numpy(), EXPECTED)
    assert fake.clones == 1
    second = [fake.tensor(t.numpy(), 1) for t in (X, INDEX)]
    np.testing.assert_array_equal(picked(*second).numpy(), EXPECTED)
    with pytest.raises(ArgumentError, match="several GPUs"):
        picked(x, second[1])
    with pytest.raises(ArgumentValueError, match="wrong shape"):
        picked(fake.tensor(np.zeros(5)), index)
    shifted = fake.Tensor(x.shape, "float64", 0, driver.allocate(64) + 8)
    driver.memory.write(shifted.address, X.numpy())
    np.testing.assert_array_equal(picked(shifted, index).numpy(), EXPECTED)
    wrapped = fake.tensor(X.numpy())
    wrapped.data_ptr = lambda: torch.vmap(torch.Tensor.data_ptr)(X)  # raises
    with pytest.raises(ArgumentTypeError, match="without memory"):
        picked(wrapped, index)
    picked(x, fake.tensor(BAD))
    with pytest.raises(IndexError):
        picked.synchronize()


def test_graphs(picked: Any, built: Built, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture is like a stream that runs when it is replayed: nothing may wait for it."""
    [x], [index] = on_device(driver, X), on_device(driver, INDEX)
    picked(x, index)
    picked.synchronize()
    driver.capturing.add(0)
    with pytest.raises(CudaError, match="only calls on tensors of torch"):
        picked(x, index)
    fake = torch_with_gpus(driver, monkeypatch)
    fake.stream = 0x700
    driver.capturing = {0x700}
    good, bad = fake.tensor(INDEX.numpy()), fake.tensor(BAD)
    numbers = fake.tensor(X.numpy())
    result = picked(numbers, good)
    driver.capturing.clear()
    graph = driver.streams.pop(0x700)
    picked.synchronize()  # nothing of it has happened, and nothing is wrong
    graph.run()
    np.testing.assert_array_equal(result.numpy(), EXPECTED)
    driver.memory.write(good.address, driver.memory.read(bad.address, bad.bytes))
    graph.done = 0
    graph.run()
    with pytest.raises(IndexError):
        picked.synchronize()
    picked.synchronize()


def test_what_cannot_be_captured(
    built: Built, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pullback

    large = torch.zeros(100_000)
    function = built(lambda x: pullback.cond(x.sum() > 0, torch.sin, torch.cos, x), large)
    fake = torch_with_gpus(driver, monkeypatch)
    fake.stream = 0x700
    driver.capturing.add(0x700)
    with pytest.raises(CudaError, match="depends on values"):
        function(fake.tensor(large.numpy()))
    assert not driver.asked
