"""Programs on a true GPU: pullback's libraries beside torch, torch.compile and jax.

`python -m tests.bench.gpu build DIR` compiles the libraries, on any machine. `python
tests/bench/gpu.py run DIR` measures them, on one with a GPU: it needs torch with CUDA and
pullback's runtime, and takes jax where it is installed. Times are medians of interleaved rounds,
by CUDA events around repeated calls, in microseconds a call, and of the same calls captured into
graphs and replayed; "memory" is the time that moving each input and output once would take at the
measured bandwidth of a copy.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

Function = Callable[..., Any]


@dataclass(frozen=True)
class Program:
    """`make(api)`: the function by torch.func's names in `api`; arguments by shape."""

    name: str
    make: Callable[[Any], Function]
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype = torch.float32

    def arguments(self, device: str) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        made = [torch.randn(shape, generator=generator) for shape in self.shapes]
        return [x.to(device, self.dtype) for x in made]


def plain(function: Function) -> Callable[[Any], Function]:
    return lambda api: function


def chain(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x * y + 1) * torch.exp(-x * x)


def weighted_softmax(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return (torch.softmax(x, -1) * w).sum()


def normed(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    return (torch.nn.functional.layer_norm(x, x.shape[-1:], w, b) * c).sum()


def network(x, y, w1, b1, w2, b2, w3, b3) -> torch.Tensor:
    h = torch.tanh(x @ w1 + b1)
    h = torch.tanh(h @ w2 + b2)
    return ((h @ w3 + b3 - y) ** 2).mean()


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return (torch.softmax(scores, -1) @ v).square().sum()


def lennard_jones(x: torch.Tensor) -> torch.Tensor:
    r2 = (x[:, None] - x[None]).square().sum(-1) + torch.eye(
        x.shape[0], dtype=x.dtype, device=x.device
    )
    i6 = 1 / r2**3
    return (2 * (i6 * i6 - i6)).sum()


def mixture(x, means, logs, weights) -> torch.Tensor:
    z = (x[:, None] - means) * torch.exp(-logs)
    parts = torch.log_softmax(weights, 0) - 0.5 * z.square().sum(-1) - logs.sum(-1)
    return torch.logsumexp(parts, 1).mean()


def convolved(x, y, w1, w2, v) -> torch.Tensor:
    h = torch.relu(torch.nn.functional.conv2d(x[None], w1, padding=1))
    h = torch.relu(torch.nn.functional.conv2d(h, w2, stride=2, padding=1))
    return ((h.mean((2, 3))[0] @ v - y) ** 2).sum()


def image_layer(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.relu(torch.nn.functional.conv2d(x, w, b, padding=1))


def positive(x: torch.Tensor) -> torch.Tensor:
    return x @ x.transpose(-1, -2) / x.shape[-1] + torch.eye(
        x.shape[-1], dtype=x.dtype, device=x.device
    )


N = 4096
PROGRAMS = [
    Program("elementwise chain", plain(chain), ((N * N,), (N * N,))),
    Program(
        "its gradient",
        lambda api: api.grad(lambda x, y: chain(x, y).sum(), (0, 1)),
        ((N * N,),) * 2,
    ),
    Program("sum", plain(lambda x: x.sum()), ((N, N),)),
    Program("sum of columns", plain(lambda x: x.sum(0)), ((N, N),)),
    Program("transpose", plain(lambda x: x.T + 1), ((N, N),)),
    Program("softmax", plain(lambda x: torch.softmax(x, -1)), ((N, N),)),
    Program("softmax vjp", lambda api: api.grad(weighted_softmax), ((N, N), (N, N))),
    Program(
        "layer norm vjp", lambda api: api.grad(normed, (0, 1, 2)), ((N, N), (N,), (N,), (N, N))
    ),
    Program("matmul 2048", plain(torch.matmul), ((2048, 2048), (2048, 2048))),
    Program("matmul 512", plain(torch.matmul), ((512, 512), (512, 512))),
    Program("matmul 2048 f16", plain(torch.matmul), ((2048, 2048), (2048, 2048)), torch.float16),
    Program(
        "convolution layer f16",
        plain(image_layer),
        ((32, 64, 56, 56), (64, 64, 3, 3), (64,)),
        torch.float16,
    ),
    Program("bmm 64x128", plain(torch.matmul), ((64, 128, 128), (64, 128, 128))),
    Program(
        "network training step",
        lambda api: api.grad_and_value(network, tuple(range(2, 8))),
        ((256, 784), (256, 10), (784, 512), (512,), (512, 512), (512,), (512, 10), (10,)),
    ),
    Program("attention gradient", lambda api: api.grad(attention, (0, 1, 2)), ((8, 256, 64),) * 3),
    Program(
        "Lennard-Jones Hessian", lambda api: api.hessian(lennard_jones), ((32, 3),), torch.float64
    ),
    Program(
        "mixture gradient",
        lambda api: api.grad(mixture, (1, 2, 3)),
        ((8192, 8), (16, 8), (16, 8), (16,)),
    ),
    Program(
        "conv-net per-sample gradients",
        lambda api: api.vmap(api.grad(convolved, (2, 3, 4)), in_dims=(0, 0, None, None, None)),
        ((16, 3, 32, 32), (16, 10), (16, 3, 3, 3), (32, 16, 3, 3), (32, 10)),
    ),
    Program(
        "scatter add",
        plain(lambda x, y: x.index_add(0, (y * 100).long() % 1000, y)),
        ((1000,), (100000,)),
    ),
    Program("sort", plain(lambda x: torch.sort(x)[0]), ((1 << 17,),)),
    Program("sort a million", plain(lambda x: torch.sort(x)[0]), ((1 << 20,),)),
    Program("cumulative sum", plain(lambda x: torch.cumsum(x, 1)), ((1024, 1024),)),
    Program("cumulative sum of a million", plain(lambda x: torch.cumsum(x, 0)), ((1 << 20,),)),
    Program(
        "cholesky 1024",
        plain(lambda x: torch.linalg.cholesky(positive(x))),
        ((1024, 1024),),
        torch.float64,
    ),
    Program("solve 1024", plain(torch.linalg.solve), ((1024, 1024), (1024, 8)), torch.float64),
    Program("qr 256x64", plain(lambda x: torch.linalg.qr(x)[1].abs()), ((256, 64),), torch.float64),
    Program(
        "eigh 64x32x32",
        plain(lambda x: torch.linalg.eigh(positive(x))[0]),
        ((64, 32, 32),),
        torch.float64,
    ),
    Program("svd 128", plain(torch.linalg.svdvals), ((128, 128),), torch.float64),
    Program(
        "log-determinant gradient",
        lambda api: api.grad(lambda x: torch.logdet(positive(x)).sum()),
        ((64, 16, 16),),
        torch.float64,
    ),
]


def symbol(program: Program) -> str:
    return "bench_" + "".join(c if c.isalnum() else "_" for c in program.name)


def build(folder: Path, only: list[str]) -> None:
    import pullback
    from pullback.frontend import compile as frontend
    from pullback.pipelines.gpu import pipeline, ptxas

    ptxas.ARCHITECTURES = (90,)
    for program in PROGRAMS:
        if only and not any(word in program.name for word in only):
            continue
        function, arguments = program.make(pullback), program.arguments("cpu")
        lowered = frontend.lower(function, tuple(arguments), {}, name=symbol(program))
        module = lowered.module()
        with module.context:
            path = pipeline.build(module, lowered.interface, folder)
        print(f"{program.name}: {path.stat().st_size / 1024:.0f} KB", flush=True)


def run(folder: Path, rounds: int, compiled: bool) -> None:
    import torch.func
    from pullback.runtime import load

    bandwidth = _bandwidth()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; copies {bandwidth:.0f} GB/s")
    head = ["", "pullback", "torch.func", "torch.compile", "p. replayed", "t. replayed"]
    head += ["memory", "kernels", "error"]
    print("".join(f"{word:>14}" if n else f"{word:<32}" for n, word in enumerate(head)))
    for program in PROGRAMS:
        path = folder / f"{symbol(program)}.so"
        if not path.exists():
            continue
        arguments = program.arguments("cuda")
        ours = load(path)
        eager = program.make(torch.func)
        rivals = {"pullback": partial(ours, *arguments), "torch.func": partial(eager, *arguments)}
        if compiled:
            rivals["torch.compile"] = partial(torch.compile(eager), *arguments)
        try:
            error = _error(ours(*arguments), eager(*arguments))
            for name, call in (("p. replayed", "pullback"), ("t. replayed", "torch.func")):
                if replay := captured(rivals[call]):
                    rivals[name] = replay
            times = measure(rivals, rounds)
        except Exception as problem:
            print(f"{program.name:<32} {type(problem).__name__}: {str(problem)[:150]}", flush=True)
            continue
        moved = ours.manifest["cost"]["bytes"] / bandwidth / 1e3
        kernels = sum(k["launches"] for k in ours.manifest["target"]["kernels"])
        cells = [f"{times[name]:.1f}" if name in times else "-" for name in head[1:6]]
        cells += [f"{moved:.1f}", str(kernels), f"{error:.1e}"]
        print(f"{program.name:<32}" + "".join(f"{cell:>14}" for cell in cells), flush=True)


def captured(call: Function) -> Function | None:
    """The kernels of a call, from a graph: without what the host does for each."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            call()
    except RuntimeError:
        return None
    return graph.replay


def measure(rivals: dict[str, Function], rounds: int) -> dict[str, float]:
    """Microseconds a call: medians over rounds, one rival after the other in each."""
    counts: dict[str, int] = {}
    for name, call in rivals.items():
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        once = _time(call, 3)
        counts[name] = max(1, min(200, int(5000 / max(once, 1))))
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, call in rivals.items():
            found[name].append(_time(call, counts[name]))
    return {name: statistics.median(times) for name, times in found.items()}


def _time(call: Function, count: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1000 / count


def _bandwidth() -> float:
    """GB/s of a large copy on the device, bytes read and written."""
    x = torch.empty(1 << 28, device="cuda")
    y = torch.empty_like(x)
    micros = measure({"copy": lambda: y.copy_(x)}, 3)["copy"]
    return 2 * x.nbytes / micros / 1e3


def _error(found: Any, wanted: Any) -> float:
    """The largest difference, relative to the largest element."""
    flat = [torch.utils._pytree.tree_flatten(value)[0] for value in (found, wanted)]
    worst = 0.0
    for got, want in zip(*flat, strict=True):
        got, want = torch.as_tensor(got, device="cuda").double(), want.double()
        scale = want.abs().max().clamp_min(1e-30)
        worst = max(worst, ((got - want).abs().max() / scale).item())
    return worst


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["build", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("only", nargs="*", help="words of the names of programs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    options = parser.parse_args()
    if options.command == "build":
        build(options.folder, options.only)
    else:
        run(options.folder, options.rounds, options.compile)
