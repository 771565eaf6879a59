"""The C entry of GPU libraries: what it asks of the driver for each kind of step."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pullback.pipelines.artifact import Interface, Params, TensorSpec
from pullback.pipelines.gpu import library
from pullback.pipelines.gpu.plan import Argument, For, If, Kind, Launch, Plan, While, Zero, walk
from pullback.pipelines.gpu.ptxas import Cubin, Figures
from pullback.runtime.cuda import _Call

from .driver import CONTEXT, INVALID, NO_CONTEXT, OUT_OF_MEMORY, Driver, shared_object

#: Kernels that do nothing, by name the number of parameters; and one that writes a byte.
HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
SET = """
.visible .entry set(.param .u64 place, .param .u64 number)
{
  .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [place];
  ld.param.u64 %rd2, [number];
  cvta.to.global.u64 %rd1, %rd1;
  st.global.u8 [%rd1], %rd2;
  ret;
}
"""
WORKSPACE = 4096


def entry(name: str, count: int) -> str:
    parameters = ", ".join(f".param .u64 p{n}" for n in range(count))
    return f".visible .entry {name}({parameters})\n{{\n  ret;\n}}\n"


class Library:
    """A library of a plan written by hand, and device memory for a call."""

    def __init__(self, driver: Driver, path: Path, params: int = 0, name: str = "planned") -> None:
        self.driver = driver
        self.entry: Any = getattr(ctypes.CDLL(str(path)), name)
        self.x, self.y = driver.allocate(64), driver.allocate(64)
        self.workspace = driver.allocate(WORKSPACE)
        self.params = params

    def __call__(self, stream: int = 0, **changed: Any) -> int:
        pointers = {"x": self.x, "y": self.y, "workspace": self.workspace, "params": 0} | changed
        given_in = (ctypes.c_void_p * 1)(pointers["x"])
        given_out = (ctypes.c_void_p * 1)(pointers["y"])
        size = changed.get("size", ctypes.sizeof(_Call))
        call = _Call(size, None, None, None, pointers["params"] or None, stream)
        return self.entry(
            given_in, given_out, ctypes.c_void_p(pointers["workspace"]), ctypes.byref(call)
        )

    def asked(self) -> list[tuple[Any, ...]]:
        """(kernel, its parameters as numbers) of each launch, from the last call of this on."""
        found = [(a.name, *(struct.unpack("<q", p)[0] for p in a.parameters)) for a in
                 self.driver.asked]  # fmt: skip
        self.driver.asked.clear()
        return found


@pytest.fixture
def made(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Library]]:
    """A library that does `steps`; the calling thread has a context."""
    driver.contexts.append(CONTEXT)

    def make(
        steps: Sequence[Any],
        kernels: Sequence[tuple[str, int]] = (("k", 1),),
        params: Params | None = None,
        cubins: Sequence[int] = (),
        **more: Any,
    ) -> Library:
        spec = TensorSpec("x", "f64", (8,))
        tree = {"kind": "tuple", "items": [{"kind": "leaf"}]}
        ptx = HEAD + SET + "".join(entry(*kernel) for kernel in kernels)
        launched = {step.kernel for step in walk(steps) if isinstance(step, Launch)}
        names = [name for n, (name, _) in enumerate([*kernels, ("set", 2)]) if n in launched]
        state = SimpleNamespace(
            plan=Plan(names, steps, WORKSPACE, **more),
            ptx=ptx,
            lowered=SimpleNamespace(errors=[], cost={}),
            interface=Interface(
                "planned", [spec], [spec], params or Params(), tree, {"kind": "leaf"}, ["x"]
            ),
            options=SimpleNamespace(cubins=bool(cubins)),
        )
        figures = dict.fromkeys(names, Figures(8, 0, 0, 0))
        monkeypatch.setattr(library.ptxas, "find", lambda: "assembler")
        monkeypatch.setattr(library.ptxas, "ARCHITECTURES", cubins)
        code = "\x7fELF"
        monkeypatch.setattr(
            library.ptxas, "assemble", lambda _, sm: Cubin(sm, f"{code}{sm}".encode(), figures)
        )
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        return Library(driver, library.write(state, folder))  # type: ignore[arg-type]

    yield make
    driver.contexts.pop()


def launch(kernel: int = 0, *arguments: Argument, shared: int = 0) -> Launch:
    return Launch(kernel, (2, 3, 4), (5, 6, 7), arguments or (Argument(Kind.IN),), shared)


def test_a_launch_and_its_arguments(made: Callable[..., Library], driver: Driver) -> None:
    arguments = [
        Argument(Kind.IN, 0, 8), Argument(Kind.OUT, 0, 16), Argument(Kind.WORKSPACE, 0, 128),
        Argument(Kind.STATUS),
    ]  # fmt: skip
    f = made([launch(0, *arguments, shared=512)], [("k", 4)], has_status=True)
    assert f(stream=0x5EA) == 0
    (asked,) = driver.asked
    assert (asked.grid, asked.block) == ((2, 3, 4), (5, 6, 7))
    assert (asked.shared, asked.stream) == (512, 0x5EA)
    assert f.asked() == [("k", f.x + 8, f.y + 16, f.workspace + 128, f.workspace)]
    assert not driver.attributes


def test_more_shared_memory_is_asked_for(made: Callable[..., Library], driver: Driver) -> None:
    f = made([launch(shared=48 << 10), launch(shared=100 << 10)])
    assert f() == 0
    assert driver.attributes == {"k": 100 << 10}


def test_loops(made: Callable[..., Library]) -> None:
    variables = [Argument(Kind.VARIABLE, n) for n in range(2)]
    inner = For(1, 2, [launch(1, *variables)])
    f = made([For(0, 3, [launch(0, variables[0]), inner]), For(0, 0, [launch()])],
             [("k", 1), ("l", 2)], variables=2)  # fmt: skip
    assert f() == 0
    expected = []
    for i in range(3):
        expected += [("k", i), ("l", i, 0), ("l", i, 1)]
    assert f.asked() == expected


def put(place: int, number: Argument) -> Launch:
    return Launch(1, (1, 1, 1), (1, 1, 1), [Argument(Kind.WORKSPACE, 0, place), number])


@pytest.mark.parametrize("chosen", [0, 1])
def test_branches_read_a_byte_that_is_ready(made: Callable[..., Library], chosen: int) -> None:
    condition = Argument(Kind.WORKSPACE, 0, 64)
    branches = [launch(0, Argument(Kind.IN, 0, 8))], [launch(0, Argument(Kind.IN, 0, 16))]
    write = For(0, chosen + 1, [put(64, Argument(Kind.VARIABLE))])  # the last is what counts
    f = made([write, If(condition, *branches), launch()], variables=1)
    assert f(stream=0x5EA) == 0
    chosen_launch = ("k", f.x + (8 if chosen else 16))
    assert f.asked()[chosen + 1 :] == [chosen_launch, ("k", f.x)]


@pytest.mark.parametrize(("limit", "bodies"), [(-1, 3), (5, 3), (3, 3), (2, 2), (0, 0)])
def test_loops_with_a_condition(
    made: Callable[..., Library], driver: Driver, limit: int, bodies: int
) -> None:
    condition = Argument(Kind.WORKSPACE, 0, 64)
    test, body = [launch(0, Argument(Kind.IN))], [launch(0, Argument(Kind.OUT))]
    f = made([While(test, condition, body, limit)])
    rounds = 0

    def copied(to: int, source: int, size: int, stream: int) -> int:
        nonlocal rounds
        rounds += 1
        assert (source, size) == (f.workspace + 64, 1)
        ctypes.memset(to, int(rounds <= 3), 1)
        return 0

    driver._cuMemcpyDtoHAsync = copied  # type: ignore[method-assign]
    assert f() == 0
    expected = [("k", f.x), ("k", f.y)] * bodies + [("k", f.x)]
    assert f.asked() == expected


def test_zeros(made: Callable[..., Library], driver: Driver) -> None:
    f = made([Zero(Argument(Kind.OUT, 0, 16), 24), Zero(Argument(Kind.OUT), 0)])
    driver.memory.write(f.y, np.full(64, 7, np.uint8))
    assert f(stream=0x5EA) == 0
    driver._cuStreamSynchronize(0x5EA)
    expected = [7] * 16 + [0] * 24 + [7] * 24
    np.testing.assert_array_equal(driver.memory.read(f.y, 64), expected)


def test_the_status_begins_as_zero(made: Callable[..., Library], driver: Driver) -> None:
    f = made([], has_status=True)
    driver.memory.write(f.workspace, np.full(64, 7, np.uint8))
    assert f() == 0
    driver._cuStreamSynchronize(0)
    np.testing.assert_array_equal(driver.memory.read(f.workspace, 8), [0] * 4 + [7] * 4)


def params(mode: Any, count: int = 4) -> Params:
    spec = TensorSpec("w", "f64", (count,))
    return Params(mode, [spec, spec], [np.arange(count) + 0.5, np.arange(count) + 8.5])


def test_built_in_parameters_are_in_each_context_once(
    made: Callable[..., Library], driver: Driver
) -> None:
    f = made([launch(0, Argument(Kind.PARAMS, 0, 64))], params=params("embed"))
    assert f() == 0 and f() == 0
    first, again = (address for _, address in f.asked())
    assert first == again
    np.testing.assert_array_equal(
        driver.memory.read(first, 32).view(np.float64), np.arange(4) + 8.5
    )
    driver.contexts.append(CONTEXT + 1)
    f.workspace, f.x, f.y = (driver.allocate(WORKSPACE, 1) for _ in range(3))
    assert f() == 0
    [(_, other)] = f.asked()
    assert other != first and driver._owner(other) == CONTEXT + 1
    driver.contexts.pop()
    f.driver.calls.clear()
    own = driver.allocate(128)
    assert f(params=own) == 0
    assert f.asked() == [("k", own + 64)]
    assert not driver.calls["cuMemAlloc_v2"]


def test_parameters_of_a_file_are_needed(made: Callable[..., Library], driver: Driver) -> None:
    f = made([launch(0, Argument(Kind.PARAMS))], params=params("file"))
    assert f() == -3
    assert f(params=driver.allocate(128)) == 0
    assert f(params=driver.allocate(128) + 8) == -7


def test_wrong_calls(made: Callable[..., Library], driver: Driver) -> None:
    f = made([launch()])
    assert f(x=0) == f(y=0) == -1
    assert f(workspace=0) == f(workspace=f.workspace + 32) == -2
    assert f(size=ctypes.sizeof(_Call) - 8) == -4
    assert f(x=f.x + 8) == f(y=f.y + 8) == -7
    assert not driver.calls["cuInit"]
    assert f() == 0


def test_no_context(made: Callable[..., Library], driver: Driver) -> None:
    f = made([launch()])
    driver.contexts.pop()
    assert f() == -1000 - NO_CONTEXT
    driver.contexts.append(CONTEXT)
    assert f() == 0


@pytest.mark.parametrize(
    ("capability", "index"), [((8, 0), 0), ((9, 0), 1), ((8, 6), 2), ((12, 0), 2)]
)
def test_machine_code_of_the_architecture_or_ptx(
    made: Callable[..., Library], driver: Driver, capability: tuple[int, int], index: int
) -> None:
    f = made([launch()], cubins=[80, 90])
    driver.capability = capability
    assert f() == (0 if index == 2 else -1000 - INVALID)  # the fake has no use for machine code
    (code,) = driver.loaded
    assert [code.startswith(b"\x7fELF80"), code.startswith(b"\x7fELF90"), b".entry k" in code][
        index
    ]


EVERY = [
    "cuInit", "cuCtxGetCurrent", "cuCtxGetId", "cuCtxGetDevice", "cuDeviceGetAttribute",
    "cuLibraryLoadData", "cuLibraryGetKernel", "cuKernelSetAttribute", "cuLaunchKernel",
    "cuMemsetD8Async", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize", "cuMemAlloc_v2",
    "cuMemcpyHtoD_v2",
]  # fmt: skip


@pytest.mark.parametrize("name", EVERY)
def test_errors_of_the_driver_are_passed_on(
    made: Callable[..., Library], driver: Driver, name: str
) -> None:
    steps = [
        put(64, Argument(Kind.IN)),
        If(Argument(Kind.WORKSPACE, 0, 64), [], []),
        launch(0, Argument(Kind.PARAMS), shared=50 << 10),
        Zero(Argument(Kind.OUT), 8),
    ]
    f = made(steps, params=params("embed"))
    kept = len(driver.leaks())
    driver.fail[name] = OUT_OF_MEMORY
    for _ in range(2):
        assert f() == -1000 - OUT_OF_MEMORY
    assert driver.calls[name] >= 2
    late = name in ("cuKernelSetAttribute", "cuLaunchKernel", "cuMemsetD8Async") or "DtoH" in name
    assert len(driver.leaks()) <= kept + late  # the parameters are there, or nothing is
    assert len(driver._programs) <= 1
    driver.fail.clear()
    assert f() == 0
    assert len(driver.leaks()) == kept + 1 and len(driver._programs) == 1


def test_threads_load_once(made: Callable[..., Library], driver: Driver) -> None:
    f = made([launch(0, Argument(Kind.PARAMS))], params=params("embed"))
    together = threading.Barrier(8)
    driver.before = dict.fromkeys(("cuCtxGetDevice", "cuCtxGetId"), together.wait)
    for name in ("cuLibraryLoadData", "cuMemAlloc_v2"):  # meanwhile all see that nothing is there
        driver.before[name] = lambda: time.sleep(0.05)
    found: list[int] = []

    def work() -> None:
        driver.contexts.append(CONTEXT)
        found.extend(f() for _ in range(5))
        driver.contexts.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 40
    assert driver.calls["cuLibraryLoadData"] == driver.calls["cuMemAlloc_v2"] == 1
    assert len({address for _, address in f.asked()}) == 1


ALONE = """
import ctypes, sys
if len(sys.argv) > 2:
    ctypes.CDLL(sys.argv[2], mode=ctypes.RTLD_GLOBAL)
else:
    try:
        ctypes.CDLL("libcuda.so.1")
        sys.exit(77)
    except OSError:
        pass
f = ctypes.CDLL(sys.argv[1]).planned
x = (ctypes.c_void_p * 1)(4096)
print(f(x, x, ctypes.c_void_p(4096), None))
import numpy
from pullback.runtime import PullbackError, load
try:
    print(load(sys.argv[1])(numpy.zeros(8)))
except PullbackError as error:
    print(error)
"""


def test_without_a_driver(made: Callable[..., Library], tmp_path: Path) -> None:
    made([launch()])
    [path] = tmp_path.rglob("planned.so")
    old = tmp_path / "old.c"
    old.write_text("int cuInit(unsigned flags) { return (int)flags; }\n")
    shared_object(old, tmp_path / "libold.so")
    command = [sys.executable, "-c", ALONE, str(path)]
    aged = subprocess.run([*command, str(tmp_path / "libold.so")], stdout=-1, text=True, check=True)
    assert aged.stdout.startswith("-6\nthe NVIDIA driver is too old: it has no cu")
    none = subprocess.run(command, stdout=-1, text=True, check=False)
    if none.returncode == 77:
        pytest.skip("there is a true driver here")
    assert none.stdout.startswith(
        "-5\nthis function is for NVIDIA GPUs, and there is no driver here"
    )
    assert "help: " in none.stdout
