"""Machine code for certain GPUs, where NVIDIA's assembler is installed; libraries work without."""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from ...dialects.errors import ToolchainError

#: The architectures that machine code is made for; others translate the PTX when they load it.
ARCHITECTURES = (80, 90)
_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Figures:
    """Of one kernel, a thread's registers, and bytes: of shared memory, stack and spills."""

    registers: int
    shared: int
    stack: int
    spilled: int

    def occupancy(self, architecture: int, block: int, dynamic: int = 0) -> float:
        """The share of a multiprocessor's warps that can be there at once, at most 1.

        For blocks of `block` threads with `dynamic` bytes of shared memory besides. By the rules of
        CUDA's occupancy calculator: registers are given to warps in units of 256, and warps to four
        schedulers evenly; shared memory to blocks in units of 128 bytes, 1 KB more than asked for.
        """
        most_warps, most_blocks = 64, 32
        memory = {80: 164, 90: 228}[architecture] << 10
        warps = -(-block // 32)
        by_registers = 65536 // (-(-max(self.registers, 1) * 32 // 256) * 256) // 4 * 4 // warps
        by_memory = memory // (-(-(self.shared + dynamic + 1024) // 128) * 128)
        blocks = min(most_warps // warps, by_registers, by_memory, most_blocks)
        return blocks * warps / most_warps


@dataclass(frozen=True)
class Cubin:
    architecture: int
    code: bytes
    figures: Mapping[str, Figures]


@functools.cache
def find(tool: str = "ptxas") -> str | None:
    """The path of a tool of CUDA: from the PATH, CUDA_HOME, or NVIDIA's wheels."""
    if found := shutil.which(tool):
        return found
    folders = [pathlib.Path(os.environ[v], "bin") for v in _VARIABLES if os.environ.get(v)]
    spec = importlib.util.find_spec("nvidia")
    for root in spec.submodule_search_locations or [] if spec else []:
        folders += sorted(pathlib.Path(root).glob("*/bin"))
    found = next((f / tool for f in folders if os.access(f / tool, os.X_OK)), None)
    return str(found) if found else None


_VARIABLES = ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT")


def assemble(ptx: str, architecture: int) -> Cubin:
    """ToolchainError without an assembler, or if it refuses the PTX."""
    tool = find()
    if tool is None:
        raise ToolchainError(
            "no ptxas found: install CUDA's compiler, or `pip install nvidia-cuda-nvcc`"
        )
    with tempfile.TemporaryDirectory() as scratch:
        source, code = pathlib.Path(scratch, "kernels.ptx"), pathlib.Path(scratch, "kernels.cubin")
        source.write_text(ptx)
        command = [tool, "-v", f"-arch=sm_{architecture}", str(source), "-o", str(code)]
        _, said = _run(command, "refused the PTX")
        return Cubin(architecture, code.read_bytes(), _figures(said))


def disassembly(ptx: str, architecture: int) -> str:
    """What `ptxas` makes of the PTX, as text. ToolchainError without it or a disassembler."""
    tools = {"nvdisasm": ["--print-code"], "cuobjdump": ["-sass"]}
    tool = next((tool for tool in tools if find(tool)), None)
    if tool is None:
        raise ToolchainError(
            "no disassembler found: install CUDA's nvdisasm, or `pip install nvidia-cuda-nvdisasm`"
        )
    code = assemble(ptx, architecture).code
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch, "kernels.cubin")
        file.write_bytes(code)
        return _run([find(tool) or tool, *tools[tool], str(file)], "refused the machine code")[0]


def _run(command: list[str], problem: str) -> tuple[str, str]:
    """What a tool prints to its two outputs."""
    name = pathlib.Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"{name} could not be started: {error}", command) from error
    if done.returncode:
        raise ToolchainError(f"{name} {problem}", command, done.stderr)
    return done.stdout, done.stderr


def _figures(text: str) -> dict[str, Figures]:
    found = {}
    for part in re.split(r"(?=ptxas info +: Compiling entry function)", text):
        name, used = _ENTRY.search(part), _USED.search(part)
        if name is None or used is None:
            continue
        spills, shared = _SPILLS.search(part), _SHARED.search(part)
        stack, *spilled = map(int, spills.groups()) if spills else (0, 0, 0)
        bytes_ = int(shared[1]) if shared else 0
        found[name[1]] = Figures(int(used[1]), bytes_, stack, sum(spilled))
    return found
