"""The last step: PTX, machine code and the launch plan become a host library and its header."""

from __future__ import annotations

import hashlib
import math
import pathlib
import platform
import struct
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ...dialects.errors import InternalError
from .. import artifact, elf_object, header, link
from ..elf_object import Section
from ..entry import PARAMS_SYMBOL
from . import plan, ptxas
from .plan import Kind, Launch
from .ptxas import Cubin

if TYPE_CHECKING:
    from .pipeline import Compilation

#: What cuda/plan.c keeps tables for.
MAX_KERNELS = 4096
ENTRY = "pullback_cuda_entry"
_FROM_LIBC = {"dlopen", "dlsym", "sched_yield"}
_RUNTIME = pathlib.Path(__file__).parents[2] / "runtime" / "cuda_plan.o"


def write(c: Compilation, directory: pathlib.Path) -> pathlib.Path:
    """NAME.so, NAME.h and, if asked for, NAME.params; returns NAME.so."""
    assert c.plan is not None and c.lowered is not None
    if len(c.plan.kernels) > MAX_KERNELS:
        raise InternalError(f"{len(c.plan.kernels)} kernels are more than a library can hold")
    if c.plan.globals:
        raise InternalError("a plan with globals")  # the runtime does not look them up
    wanted = c.options.cubins and c.plan.kernels and ptxas.find()
    architectures = ptxas.ARCHITECTURES if wanted else ()
    with ThreadPoolExecutor() as pool:  # each waits for a process
        cubins = list(pool.map(lambda a: ptxas.assemble(c.ptx, a), architectures))
    interface, workspace = c.interface, c.plan.workspace
    errors = artifact.run_time_errors(c.lowered.errors)
    text = header.text(interface, workspace, errors, on_gpu=True)
    description = artifact.manifest(
        interface,
        _target(c.plan, cubins),
        workspace,
        c.lowered.cost,
        errors,
        text,
        metadata.version("pullback"),
    )
    sections = [*artifact.data_sections(interface, description, PARAMS_SYMBOL)]
    if len(sections) == 1:
        sections.append(Section(".rodata.params", [b"\0"], 64, PARAMS_SYMBOL))
    sections += _sections(c, cubins)

    def library(path: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            data = pathlib.Path(scratch, "data.o")
            with open(data, "wb") as file:
                elf_object.write(file, platform.machine(), sections)
            link.link([_RUNTIME, data], path, interface.name, ENTRY, _FROM_LIBC)
        artifact.seal(path)

    return artifact.write_library(interface, directory, text, library)


def ingredients(cubins: bool) -> list[str]:
    """What libraries are made of besides the compiler's Python, for the key of the cache."""
    tool = ptxas.find() if cubins else None
    versions = [hashlib.sha256(_RUNTIME.read_bytes()).hexdigest()]
    if tool is not None:
        status = pathlib.Path(tool).stat()
        versions.append(f"{tool} {status.st_size} {status.st_mtime_ns}")
    return versions


def _sections(c: Compilation, cubins: list[Cubin]) -> list[Section]:
    assert c.plan is not None
    images = [(0, c.ptx.encode() + b"\0"), *((each.architecture, each.code) for each in cubins)]
    table, block = [len(images)], b""
    for architecture, code in images:
        block += b"\0" * (-len(block) % 64)
        table += [architecture, len(block)]
        block += code
    parts = {
        "plan": plan.encode(c.plan),
        "names": plan.names(c.plan) or b"\0",
        "images": _words(table),
        "code": block,
        "needs": _words(_needs(c)),
    }
    return [
        Section(f".rodata.{name}", [data], 64, f"pullback_cuda_{name}")
        for name, data in parts.items()
    ]


def _words(numbers: list[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}q", *numbers)


def _needs(c: Compilation) -> list[int]:
    """How many pointers there are, whether parameters are needed, bytes built in; then which."""
    interface, params = c.interface, c.interface.params
    inputs = [*interface.inputs, *(params.leaves if params.mode == "args" else ())]
    needed = params.mode in ("embed", "file") and any(leaf.bytes for leaf in params.leaves)
    built_in = params.bytes if params.mode == "embed" and needed else 0
    pointers = [int(spec.bytes > 0) for spec in (*inputs, *interface.outputs)]
    return [len(inputs), len(interface.outputs), int(needed), built_in, *pointers]


def _target(plan_: plan.Plan, cubins: list[Cubin]) -> dict[str, Any]:
    """What the manifest says of the GPU side."""
    launches = [step for step in plan.walk(plan_.steps) if isinstance(step, Launch)]
    first = {step.kernel: step for step in reversed(launches)}
    kernels = [
        {
            "name": name,
            "grid": list(first[number].grid),
            "block": list(first[number].block),
            "dynamic_shared_bytes": first[number].shared_bytes,
            "launches": sum(step.kernel == number for step in launches),
            "machine_code": {
                f"sm_{each.architecture}": _figures(each, name, first[number]) for each in cubins
            },
        }
        for number, name in enumerate(plan_.kernels)
    ]
    return {
        "kind": "cuda",
        "triple": f"{platform.machine()}-linux",
        "cpu": "",
        "features": [],
        "ptx": "sm_80",
        "cubins": [f"sm_{each.architecture}" for each in cubins],
        "kernels": kernels,
        "plan": [_described(step, plan_) for step in plan_.steps],
        "graph_capturable": plan_.capturable,
        "has_status": plan_.has_status,
    }


def _figures(cubin: Cubin, name: str, launch: Launch) -> dict[str, Any]:
    figures = cubin.figures[name]
    threads, dynamic = math.prod(launch.block), launch.shared_bytes
    return {
        "registers": figures.registers,
        "shared_bytes": figures.shared,
        "spilled_bytes": figures.spilled,
        "occupancy": round(figures.occupancy(cubin.architecture, threads, dynamic), 2),
    }


def _described(step: plan.Step, plan_: plan.Plan) -> Any:
    """A step as people and tools read it."""

    def place(argument: plan.Argument) -> str:
        name = Kind(argument.kind).name.lower()
        number = f"[{argument.index}]" if argument.kind in (Kind.IN, Kind.OUT) else ""
        variable = argument.index if argument.kind is Kind.VARIABLE else ""
        return f"{name}{number}{variable}" + (f"+{argument.offset}" if argument.offset else "")

    def parts(steps: Any) -> list[Any]:
        return [_described(inner, plan_) for inner in steps]

    match step:
        case Launch():
            return [plan_.kernels[step.kernel], *step.grid, *map(place, step.arguments)]
        case plan.For():
            return {"for": step.count, "body": parts(step.body)}
        case plan.If():
            return {
                "if": place(step.condition),
                "then": parts(step.then),
                "else": parts(step.orelse),
            }
        case plan.While():
            test, body = parts(step.test), parts(step.body)
            return {"while": place(step.condition), "test": test, "body": body}
        case plan.Zero():
            return {"zero": place(step.place), "bytes": step.bytes}
