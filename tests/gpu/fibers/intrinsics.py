"""What only a GPU has, as calls of fibers.c.

Each intrinsic becomes a function of the same type, that stores its arguments in slots of 8 bytes
and hands them to one of the C functions: `void NAME(void *result, const uint64_t *args, int, int)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_Call = tuple[str, int, int]

_AXES, _REGISTERS = "xyz", ("tid", "ntid", "ctaid", "nctaid")
_SHUFFLES = ("idx", "up", "down", "bfly")
#: Products of matrices, as fibers.c numbers them.
_PRODUCTS = {
    "m16n8k16.row.col.f32.f32": 0,
    "m16n8k16.row.col.bf16": 1,
    "m16n8k8.row.col.tf32": 2,
}

#: The whole name after "llvm.nvvm.", and the C function with its two numbers.
_TABLE: list[tuple[str, Callable[[re.Match[str]], _Call]]] = [
    (
        rf"read\.ptx\.sreg\.({'|'.join(_REGISTERS)})\.([xyz])",
        lambda m: ("fibers_register", _REGISTERS.index(m[1]), _AXES.index(m[2])),
    ),
    (r"barrier0|barrier\.cta\.sync\.aligned\.all", lambda _: ("fibers_barrier", 0, 0)),
    (
        rf"shfl\.sync\.({'|'.join(_SHUFFLES)})\.(?:i32|f32)",
        lambda m: ("fibers_shuffle", _SHUFFLES.index(m[1]), 0),
    ),
    (r"vote\.ballot\.sync", lambda _: ("fibers_ballot", 0, 0)),
    (
        r"cp\.async\.c[ag]\.shared\.global\.(4|8|16)(\.s)?",
        lambda m: ("fibers_copy", int(m[1]), int(m[2] is not None)),
    ),
    (r"cp\.async\.commit\.group", lambda _: ("fibers_commit", 0, 0)),
    (r"cp\.async\.wait\.group", lambda _: ("fibers_wait", 0, 0)),
    (r"cp\.async\.wait\.all", lambda _: ("fibers_wait", 1, 0)),
    (
        r"ldmatrix\.sync\.aligned\.m8n8\.x([124])(\.trans)?\.b16(?:\.p\d)?",
        lambda m: ("fibers_ldmatrix", int(m[1]), int(m[2] is not None)),
    ),
    (
        rf"mma\.({'|'.join(map(re.escape, _PRODUCTS))})",
        lambda m: ("fibers_mma", _PRODUCTS[m[1]], 0),
    ),
    (r"f2tf32\.rna", lambda _: ("fibers_tf32", 0, 0)),
]

_DECLARATION = re.compile(
    r"^declare .*?(\{[^}]*\}|<[^>]*>|\w+) @llvm\.nvvm\.([\w.]+)\((.*)\).*\n", re.MULTILINE
)
TYPE = re.compile(r"<[^>]*>|\w+")


def replaced(text: str) -> str:
    """LLVM IR in which no intrinsic of a GPU is left. ValueError: one that is not known here."""
    shims = [_shim(*found.groups()) for found in _DECLARATION.finditer(text)]
    text = _DECLARATION.sub("", text).replace("@llvm.nvvm.", "@nvvm.")
    used = sorted({shim[0] for shim in shims})
    declared = [f"declare void @{name}(ptr, ptr, i32, i32)\n" for name in used]
    return "\n".join([text, *declared, *(shim[1] for shim in shims)])


def _shim(result: str, name: str, parameters: str) -> tuple[str, str]:
    function, first, second = _meaning(name)
    types = [found[0] for found in map(TYPE.match, parameters_of(parameters)) if found]
    taken = ", ".join(f"{type_} %a{i}" for i, type_ in enumerate(types))
    lines = [
        f"define internal {result} @nvvm.{name}({taken}) noinline {{",
        f"  %args = alloca [{max(len(types), 1)} x i64], align 16",
        f"  %result = alloca {'i64' if result == 'void' else result}, align 16",
    ]
    for i, type_ in enumerate(types):
        lines.append(f"  %p{i} = getelementptr i64, ptr %args, i64 {i}")
        lines.append(f"  store {type_} %a{i}, ptr %p{i}, align 8")
    lines.append(f"  call void @{function}(ptr %result, ptr %args, i32 {first}, i32 {second})")
    if result == "void":
        lines.append("  ret void\n}\n")
    else:
        lines.append(f"  %value = load {result}, ptr %result, align 16")
        lines.append(f"  ret {result} %value\n}}\n")
    return function, "\n".join(lines)


def _meaning(name: str) -> _Call:
    for pattern, call in _TABLE:
        if found := re.fullmatch(pattern, name):
            return call(found)
    raise ValueError(f"llvm.nvvm.{name} is not known to the fibers")


def parameters_of(parameters: str) -> Iterator[str]:
    """A list of parameters, cut at commas outside brackets."""
    depth, start = 0, 0
    for i, c in enumerate(parameters):
        depth += (c in "<({[") - (c in ">)}]")
        if c == "," and depth == 0:
            yield parameters[start:i].strip()
            start = i + 1
    if parameters.strip():
        yield parameters[start:].strip()
