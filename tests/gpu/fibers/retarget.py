"""The bitcode that LLVM's PTX backend gets -> LLVM IR for x86.

All memory is one address space there. What a block shares lies in a section for each kernel, so
that fibers.c can fill it before each block; what calls a kernel is a record of its entry, and of
where that section begins and ends.
"""

from __future__ import annotations

import re
from typing import Any

from mlir import ir
from mlir.dialects import gpu
from pullback.pipelines import llvm
from pullback.pipelines.stages import run_passes

from .intrinsics import parameters_of, replaced

_KERNEL = re.compile(r"^define ptx_kernel void @([\w.$]+)\((.*)\)(.*)\{$", re.MULTILINE)
_SHARED = re.compile(
    r"^@([\w.$]+) = (?:private|internal) (?:unnamed_addr )?addrspace\(3\) global (.*) "
    r"(?:undef|poison), align (\d+)$",
    re.MULTILINE,
)


def bitcode(module: ir.Module) -> bytes:
    """Of a module after stage `nvvm`, optimised as for PTX; the module stays as it is."""
    with module.context:
        own = ir.Module.parse(str(module))
        run_passes(own, "gpu-module-to-binary{format=llvm}")
        [binary] = [op for op in own.body.operations if op.operation.name == "gpu.binary"]
        [found] = ir.ArrayAttr(binary.attributes["objects"])
        bindings: Any = gpu
        return bindings.ObjectAttr(found).object


def readable(code: bytes) -> str:
    """Bitcode as text, with the layout of data in this process."""
    with llvm.Code(code, llvm.host()) as module:
        return module.text()


def retargeted(text: str) -> str:
    """LLVM IR of kernels for a GPU -> for this process; ValueError: what is not known here."""
    users = _users(text)
    text = _SHARED.sub(
        lambda m: (
            f'@{m[1]} = internal global {m[2]} zeroinitializer, section "shared_{users[m[1]]}", '
            f"align {m[3]}"
        ),
        text,
    )
    text = text.replace("addrspacecast", "bitcast")
    text = re.sub(r" addrspace\(\d+\)", "", text)
    text = re.sub(r"(@llvm\.mem\w+)((?:\.p\d)+)", lambda m: m[1] + re.sub(r"\d", "0", m[2]), text)
    records = [_record(found[1], found[2], set(users.values())) for found in _KERNEL.finditer(text)]
    text = _KERNEL.sub(r"define internal void @\1(\2)\3{", text)
    return "\n".join([replaced(text), *records])


def _users(text: str) -> dict[str, str]:
    """Shared memory -> its kernel."""
    names = [found[1] for found in _SHARED.finditer(text)]
    users: dict[str, str] = {}
    for kernel, body in re.findall(
        r"^define .*@([\w.$]+)\(.*\{\n((?:.*\n)*?)\}$", text, re.MULTILINE
    ):
        for name in set(re.findall(r"@([\w.$]+)", body)) & set(names):
            if users.setdefault(name, kernel) != kernel:
                raise ValueError(f"two kernels have {name}")
    return {name: users.get(name, "nobody") for name in names}


def _record(name: str, parameters: str, sharing: set[str]) -> str:
    types = [parameter.split()[0] for parameter in parameters_of(parameters)]
    loads = [
        line
        for i, type_ in enumerate(types)
        for line in (
            f"  %p{i} = getelementptr i64, ptr %args, i64 {i}",
            f"  %a{i} = load {type_}, ptr %p{i}, align 8",
        )
    ]
    passed = ", ".join(f"{type_} %a{i}" for i, type_ in enumerate(types))
    ends = ["null", "null"]
    lines = []
    if name in sharing:
        ends = [f"@__start_shared_{name}", f"@__stop_shared_{name}"]
        lines += [f"{end} = external hidden global i8" for end in ends]
    record = ", ".join(f"ptr {part}" for part in (f"@enter.{name}", *ends))
    return "\n".join(
        [
            *lines,
            f"define internal void @enter.{name}(ptr %args) {{",
            *loads,
            f"  call void @{name}({passed})",
            "  ret void\n}",
            f"@kernel.{name} = constant {{ ptr, ptr, ptr }} {{ {record} }}\n",
        ]
    )
