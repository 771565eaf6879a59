"""Single kernels against numpy, torch and JAX, with the floor each must reach. One thread.

    python -m tests.bench.kernels [--only NAME ...]

Contenders take turns in one process; a ratio is the median of the rounds' ratios, above 1 if
pullback is faster. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .suite import ROUND_SECONDS, ROUNDS, error_against, leaves, seconds_of, show_time, use_threads


class Kernel(NamedTuple):
    name: str
    #: In torch; the others say what they compare with.
    torch: Callable[..., Any]
    inputs: tuple[Any, ...]
    rival: str
    floor: float
    numpy: Callable[..., Any] | None = None
    jax: Callable[..., Any] | None = None
    tolerance: float = 1e-4


def kernels() -> list[Kernel]:
    import jax
    import numpy as np
    import torch
    from jax import numpy as jnp
    from torch.nn import functional as F

    from .programs import normal

    jax.config.update("jax_enable_x64", True)
    f64 = np.float64
    found = []

    def product(name: str, x: Any, y: Any, rival: str, floor: float) -> None:
        found.append(
            Kernel(name, torch.matmul, (x, y), rival, floor, np.matmul, jax.jit(jnp.matmul))
        )

    square, other = normal(512, 512), normal(512, 512, seed=1)
    product("matmul f32 512", square, other, "numpy", 0.8)
    product("matmul f64 512", square.astype(f64), other.astype(f64), "numpy", 0.8)
    product("matmul f32 127", normal(127, 127), normal(127, 127, seed=1), "numpy", 0.5)
    product("matmul f32 100x10x784", normal(100, 784), normal(784, 10), "numpy", 0.5)
    for name, left, right in (
        ("x^T y", lambda x, y: x.T @ y, (512, 512)),
        ("x y^T", lambda x, y: x @ y.T, (512, 512)),
        ("x^T y^T", lambda x, y: x.T @ y.T, (512, 512)),
    ):
        found.append(
            Kernel(
                f"matmul f32 512 {name}",
                left,
                (square, normal(*right, seed=1)),
                "numpy",
                0.5,
                left,
                jax.jit(left),
            )
        )
    cubes = normal(256, 32, 32), normal(256, 32, 32, seed=1)
    found.append(
        Kernel("bmm f32 256x32^3", torch.bmm, cubes, "torch", 0.8, np.matmul, jax.jit(jnp.matmul))
    )
    image, weight = normal(16, 64, 32, 32), normal(64, 64, 3, 3, scale=0.05)
    gradient = normal(16, 64, 32, 32, seed=1)

    def forward(x: Any, w: Any) -> Any:
        return F.conv2d(x, w, padding=1)

    def backward(wrt: int) -> Callable[..., Any]:
        def call(x: torch.Tensor, w: torch.Tensor, ct: torch.Tensor) -> torch.Tensor:
            mask = [wrt == 0, wrt == 1, False]
            out = torch.ops.aten.convolution_backward(
                ct, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, mask
            )
            return out[wrt]

        return call

    found.append(Kernel("conv 3x3 64 channels", forward, (image, weight), "torch", 0.5))
    for wrt, name in enumerate(("input", "weight")):
        found.append(
            Kernel(
                f"conv 3x3, gradient of {name}",
                backward(wrt),
                (image, weight, gradient),
                "torch",
                0.5,
            )
        )
    million, w, b = normal(1 << 20), normal(1 << 20, seed=1), normal(1 << 20, seed=2)

    def tanh_chain(x: Any, w: Any, b: Any) -> Any:
        return torch.tanh(x * w + b) * torch.sigmoid(x)

    def exp_chain(x: Any) -> Any:
        return torch.exp(-x * x) * torch.exp(x) + x

    found.append(
        Kernel(
            "tanh chain, 1M",
            tanh_chain,
            (million, w, b),
            "torch.compile",
            1.0,
            jax=jax.jit(lambda x, w, b: jnp.tanh(x * w + b) * jax.nn.sigmoid(x)),
        )
    )
    found.append(
        Kernel(
            "exp chain, 1M",
            exp_chain,
            (million,),
            "torch.compile",
            1.0,
            jax=jax.jit(lambda x: jnp.exp(-x * x) * jnp.exp(x) + x),
        )
    )
    rows, ct = normal(1024, 1024), normal(1024, 1024, seed=1)
    found.append(
        Kernel(
            "softmax rows 1024^2",
            lambda x: torch.softmax(x, 1),
            (rows,),
            "torch",
            0.8,
            jax=jax.jit(lambda x: jax.nn.softmax(x, 1)),
        )
    )

    def softmax_vjp(x: Any, ct: Any) -> Any:
        y = torch.softmax(x, 1)
        return y * (ct - (y * ct).sum(1, keepdim=True))

    def jax_vjp(x: Any, ct: Any) -> Any:
        return jax.vjp(lambda x: jax.nn.softmax(x, 1), x)[1](ct)[0]

    found.append(
        Kernel("softmax vjp 1024^2", softmax_vjp, (rows, ct), "torch", 0.8, jax=jax.jit(jax_vjp))
    )
    return found


def ours(kernel: Kernel) -> Callable[..., Any]:
    """What pullback compiles: the same function, or the vjp of it that the kernel is."""
    import pullback
    import torch
    from torch.nn import functional as F

    if kernel.name.startswith("conv 3x3, gradient"):
        wrt = 0 if kernel.name.endswith("input") else 1

        def gradient(x: Any, w: Any, ct: Any) -> Any:
            def of(operand: Any) -> Any:
                pair = [x, w]
                pair[wrt] = operand
                return F.conv2d(pair[0], pair[1], padding=1)

            return pullback.vjp(of, (x, w)[wrt])[1](ct)[0]

        return pullback.jit(gradient)
    if kernel.name.startswith("softmax vjp"):
        return pullback.jit(lambda x, ct: pullback.vjp(lambda x: torch.softmax(x, 1), x)[1](ct)[0])
    return pullback.jit(kernel.torch)


def contenders(kernel: Kernel) -> dict[str, Callable[[], Any]]:
    import torch

    tensors = [torch.from_numpy(x) for x in kernel.inputs]
    compiled = ours(kernel)
    calls: dict[str, Callable[[], Any]] = {
        "pullback": lambda: compiled(*tensors),
        "torch": lambda: kernel.torch(*tensors),
    }
    if kernel.rival == "torch.compile":
        inductor = torch.compile(kernel.torch, fullgraph=True)
        calls["torch.compile"] = lambda: inductor(*tensors)
    if kernel.numpy is not None:
        calls["numpy"] = lambda: kernel.numpy(*kernel.inputs)  # type: ignore[misc]
    if kernel.jax is not None:
        import jax

        arrays = [jax.numpy.asarray(x) for x in kernel.inputs]
        calls["jax"] = lambda: jax.block_until_ready(kernel.jax(*arrays))  # type: ignore[misc]
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="parts of kernel names")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    use_threads(1)
    from rich.console import Console
    from rich.table import Column, Table

    names = ("torch", "torch.compile", "numpy", "jax")
    right = [Column(n, justify="right") for n in ("pullback", *names, "floor", "")]
    table = Table("kernel", *right)
    missed = False
    for kernel in kernels():
        if options.only and not any(part in kernel.name for part in options.only):
            continue
        try:
            times = race(kernel, options.rounds)
        except Exception as error:
            table.add_row(kernel.name, f"{type(error).__name__}: {error}".splitlines()[0][:60])
            missed = True
            continue
        ratios = {
            name: statistics.median(
                t / o for t, o in zip(times[name], times["pullback"], strict=True)
            )
            for name in times
            if name != "pullback"
        }
        late = ratios[kernel.rival] < kernel.floor
        missed |= late
        table.add_row(
            kernel.name,
            show_time(statistics.median(times["pullback"])),
            *(f"{ratios[name]:.2f}" if name in ratios else "" for name in names),
            f"{kernel.floor} of {kernel.rival}",
            "[red]below[/red]" if late else "",
        )
    Console(width=130).print(table)
    sys.exit(missed)


def race(kernel: Kernel, rounds: int) -> dict[str, list[float]]:
    calls = contenders(kernel)
    truth = leaves(calls["torch"]())
    for name, call in calls.items():
        error = error_against([t.astype("float64") for t in truth], call())
        if not error <= kernel.tolerance:
            raise ArithmeticError(f"{name} differs from torch by {error:.1e}")
    repeats = {n: max(1, math.ceil(ROUND_SECONDS / 2 / seconds_of(c, 1))) for n, c in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds_of(call, repeats[name]))
    return times


if __name__ == "__main__":
    main()
