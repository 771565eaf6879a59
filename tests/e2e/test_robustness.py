"""The process stays usable: interrupts, forks, threads, huge shapes, many and long compiles."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pullback
import pytest
import torch

X = torch.linspace(-1, 1, 8, dtype=torch.float64)


def energy(x: torch.Tensor) -> torch.Tensor:
    return (torch.sin(x) * x**5).sum().exp()


def test_an_interrupt_leaves_everything_usable() -> None:
    expected = torch.func.hessian(energy)(X)
    main = threading.get_ident()
    for step, delay in enumerate((0.01, 0.05, 0.1, 0.2, 0.4)):

        def scaled(x: torch.Tensor, by: int = step) -> torch.Tensor:
            return energy(x) * (by + 1)

        compiled = pullback.jit(pullback.hessian(scaled))
        timer = threading.Timer(delay, signal.pthread_kill, (main, signal.SIGINT))
        try:
            timer.start()
            compiled(X)
            timer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            pass
        assert torch._C._len_torch_dispatch_stack() == 0
        assert torch._C._len_torch_function_stack() == 0
        torch.testing.assert_close(compiled(X), expected * (step + 1))


def test_a_child_process_may_compile() -> None:
    code = """
        import os, sys, torch, pullback
        x = torch.ones(3)
        doubled = pullback.jit(lambda x: x * 2)
        doubled(x)
        child = os.fork()
        if child == 0:
            ok = doubled(x).sum() == 6 and pullback.jit(lambda x: x * 5)(x).sum() == 15
            os._exit(0 if ok else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0


def test_threads_that_come_first_together() -> None:
    def loss(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (w * x * 1.25).exp().sum()

    compiled = pullback.jit(loss)
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            w = X.clone().requires_grad_()
            barrier.wait(60)
            compiled(w, X * number).backward()
            expected = torch.func.grad(loss)(X, X * number)
            torch.testing.assert_close(w.grad, expected)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_errors_of_the_user_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for wrong in (
        lambda x: x @ torch.ones(4, dtype=torch.float64),
        lambda x: x.reshape(7),
        lambda x: x.undefined,
        lambda x: torch.cat([x, torch.ones(2, 2)]),
        lambda x: x[9],
    ):
        with pytest.raises((RuntimeError, AttributeError, IndexError)):
            pullback.grad(pullback.vmap(wrong))(X[None])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert type(torch.ones(1)) is torch.Tensor


HUGE = {
    "a value of 2**40 elements": lambda x: (x.expand(2**20, 2**20) * 2).cumsum(0).sum(),
    "a result of 2**40 elements": lambda x: x.expand(2**20, 2**20) * 2,
    "more bytes than addresses": pullback.vmap(
        lambda x: x.expand(2**30, 2**30).cos().cumsum(0), in_dims=None, out_dims=0
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_shapes_raise(name: str) -> None:
    with pytest.raises((MemoryError, pullback.PullbackError, ValueError)):
        pullback.jit(HUGE[name])(torch.ones(1))


def test_overflowing_sizes_raise() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        return x.expand(2**31, 2**31).sum()

    with pytest.raises(pullback.CompileError, match="more elements than memory"):
        pullback.jit(pullback.vmap(f))(torch.ones(2**10))


def test_long_functions() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        for _ in range(300):
            x = (x * 1.001).sin()
        return x.sum()

    torch.testing.assert_close(pullback.jit(f)(X), f(X))
    torch.testing.assert_close(pullback.grad(f)(X), torch.func.grad(f)(X))


def test_names_and_places(tmp_path: Path) -> None:
    folder = tmp_path / "ünïcode folder"
    made = pullback.compile(lambda x: x * 2, X, name="two", out=folder)
    assert made.path.parent == folder
    torch.testing.assert_close(pullback.load(made.path)(X), X * 2)
    for name in ("memcpy", "int", "a-b", "../x", "ƒ", "x\0"):
        with pytest.raises(pullback.CaptureError):
            pullback.compile(lambda x: x * 2, X, name=name, out=folder)


def test_odd_keys_cannot_leave_the_header_comment(tmp_path: Path) -> None:
    for key in ("*/ int x; /*", "\\", "%s%n", "??/", "x y"):
        made = pullback.compile(lambda a, key=key: a[key] * 2, {key: X}, name="odd", out=tmp_path)
        header = made.path.with_suffix(".h")
        command = ["gcc", "-std=c89", "-pedantic", "-Wall", "-Werror", "-fsyntax-only", "-x", "c"]
        done = subprocess.run([*command, str(header)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_compile_leaves_a_usable_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = """
        import torch, pullback
        x = torch.ones(3)
        pullback.jit(lambda x: x * 2)(x)
        print("ready", flush=True)
        print(pullback.hessian(lambda x: (x.sin() * x**9).sum())(x).sum().item())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.15)
        process.kill()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = torch.func.hessian(lambda x: (x.sin() * x**9).sum())(torch.ones(3)).sum().item()
    assert float(done.stdout.split()[-1]) == pytest.approx(expected, rel=1e-5)
