"""Static evidence of how fast GPU kernels can be, from machines without a GPU. Never a measurement.

`python -m tests.bench.gpu_static [NAME ...]` prints for each kernel of some programs: what `ptxas`
says (registers, spills, shared memory, occupancy), what the interpreter counts (bytes, sectors a
request beside the ideal, floating-point operations, turns at banks of shared memory), and for each
program the time that the datasheets' rates imply for its bytes and operations, beside that of the
least bytes that it could move. Where a disassembler is installed, it counts the instructions that
the generator meant to be there.
"""

from __future__ import annotations

import collections
import re
import subprocess
import sys
import tempfile
from typing import Any

import pullback
import torch
from pullback.pipelines.gpu import ptxas
from pullback.pipelines.gpu.plan import Launch, walk
from rich.console import Console
from rich.table import Table

from ..gpu.device import device
from .gpu import PROGRAMS, Program

#: GB/s, and Tflop/s by NVIDIA's datasheets; of halves by tensor cores.
RATES = {
    "A100": (1555, {torch.float16: 312.0, torch.float32: 19.5, torch.float64: 9.7}),
    "H100": (3350, {torch.float16: 989.0, torch.float32: 67.0, torch.float64: 34.0}),
}
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "elementwise chain": ((1 << 20,), (1 << 20,)),
    "sum": ((1024, 1024),),
    "sum of columns": ((1024, 1024),),
    "transpose": ((1024, 1024),),
    "softmax": ((1024, 1024),),
    "softmax vjp": ((1024, 1024), (1024, 1024)),
    "layer norm vjp": ((1024, 1024), (1024,), (1024,), (1024, 1024)),
    "matmul 512": ((256, 256), (256, 256)),
    "matmul 2048 f16": ((512, 512), (512, 512)),
    "convolution layer f16": ((4, 32, 16, 16), (64, 32, 3, 3), (64,)),
    "network training step": (
        (64, 196), (64, 10), (196, 128), (128,), (128, 128), (128,), (128, 10), (10,),
    ),
    "attention gradient": ((2, 128, 64),) * 3,
    "Lennard-Jones Hessian": ((16, 3),),
    "conv-net per-sample gradients": (
        (4, 3, 16, 16), (4, 10), (8, 3, 3, 3), (16, 8, 3, 3), (16, 10),
    ),
    "cumulative sum": ((1024, 1024),),
}  # fmt: skip
#: What the disassembly is searched for.
INSTRUCTIONS = {
    "128-bit": r"\bLDG\.E\.128|\bSTG\.E\.128",
    "async": r"\bLDGSTS",
    "tensor": r"\b[HDI]MMA",
}


def main() -> None:
    console = Console(width=170)
    wanted = sys.argv[1:]
    for program in PROGRAMS:
        if program.name in SHAPES and (not wanted or program.name in wanted):
            small = Program(program.name, program.make, SHAPES[program.name], program.dtype)
            show(small, console)


def show(program: Program, console: Console) -> None:
    arguments = program.arguments("cpu")
    found = device(program.make(pullback), *arguments)
    found([x.numpy() for x in arguments])
    cubins = [ptxas.assemble(found.compilation.ptx, a) for a in (80, 90)] if ptxas.find() else []
    plan = found.plan
    blocks = {plan.kernels[s.kernel]: s for s in walk(plan.steps) if isinstance(s, Launch)}
    sass = [instructions(cubin) for cubin in cubins[:1]]
    columns = ["kernel", "grid x block", "registers", "spills", "occupancy", "MB", "sectors"]
    table = Table(*columns, "Mflop", "bank turns", *INSTRUCTIONS, title=program.name)
    moved = flops = 0
    for name, counters in found.counters:
        step = blocks[name]
        figures = [cubin.figures[name] for cubin in cubins]
        occupancy = [
            f"{f.occupancy(c.architecture, step.block[0]):.0%}"
            for f, c in zip(figures, cubins, strict=True)
        ]
        read, written = counters.unique_bytes()
        moved, flops = moved + read + written, flops + counters.flops
        turns = counters.shared_cycles / counters.shared_requests if counters.shared_requests else 0
        cells: list[Any] = [
            name,
            f"{step.grid[0]} x {step.block[0]}",
            "/".join(str(f.registers) for f in figures),
            "/".join(str(f.spilled) for f in figures),
            "/".join(occupancy),
            f"{(read + written) / 1e6:.2f}",
            f"{counters.sectors / max(counters.ideal_sectors, 1):.2f}",
            f"{counters.flops / 1e6:.2f}",
            f"{turns:.2f}",
            *(str(sass[0][name][kind]) if sass and sass[0] else "?" for kind in INSTRUCTIONS),
        ]
        table.add_row(*cells)
    console.print(table)
    assert found.compilation.lowered is not None
    least = found.compilation.lowered.cost["bytes"]
    for card, (bandwidth, rates) in RATES.items():
        implied = max(moved / bandwidth / 1e3, flops / rates[program.dtype] / 1e6)
        console.print(
            f"{card}: {implied:.2f} us implied by {moved / 1e6:.2f} MB, {flops / 1e6:.1f} Mflop; "
            f"{least / bandwidth / 1e3:.2f} us by the least bytes ({least / 1e6:.2f} MB)"
        )
    console.print()


def instructions(cubin: ptxas.Cubin) -> dict[str, collections.Counter[str]]:
    """By kernel, how often the instructions of interest are in the machine code."""
    tool = ptxas.find("nvdisasm")
    if tool is None:
        return {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin.code)
        file.flush()
        text = subprocess.run([tool, file.name], capture_output=True, text=True, check=True).stdout
    found: dict[str, collections.Counter[str]] = {}
    for part in re.split(r"(?=^\.text\.)", text, flags=re.MULTILINE):
        name = re.match(r"\.text\.(\w+)", part)
        if name is not None:
            counts = {kind: len(re.findall(p, part)) for kind, p in INSTRUCTIONS.items()}
            found[name[1]] = collections.Counter(counts)
    return found


if __name__ == "__main__":
    main()
