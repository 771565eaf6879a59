"""The C header of an artifact: valid C89 and C++, and needs no other file of ours."""

from __future__ import annotations

from collections.abc import Sequence

from .artifact import ABI, Interface, RunTimeError, TensorSpec

_C_TYPES = {
    "bf16": "unsigned short",
    "f16": "unsigned short",
    "f32": "float",
    "f64": "double",
    "i32": "int",
    "i64": "pullback_int64",
    "bool": "unsigned char",
}
_CALL = """\
#ifndef PULLBACK_CALL_DEFINED
#define PULLBACK_CALL_DEFINED
#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
__extension__ typedef long long pullback_int64; /* C89 has no name for it */
#else
typedef long long pullback_int64;
#endif
typedef struct pullback_call {
  size_t size; /* sizeof(pullback_call): lets the struct grow */
  void (*parallel_for)(void *pool, void (*body)(void *context, size_t index), void *context,
                       size_t count);
  void *pool;
  const pullback_int64 *dims; /* values of symbolic dimensions; NULL: static */
  const void *params;         /* parameter block; NULL: built in */
  void *stream;               /* device stream */
} pullback_call;
#ifdef __cplusplus
}
#endif
#endif
"""

_ON_GPU = [
    " * For NVIDIA GPUs: all buffers, the workspace and call->params are device memory of the",
    " * calling thread's current context, buffers at multiples of 16 bytes. Work is put into",
    " * call->stream (NULL: the default stream) and goes on after the return. The first call in a",
    " * process loads the kernels (and built-in parameters): make it before capturing a graph.",
    " * The driver is opened then; before glibc 2.34, link the program with -ldl.",
]
_GPU_STATUS = [
    " *   -5: there is no libcuda.so.1",
    " *   -6: the driver is older than CUDA 12",
    " *   -7: a buffer is not at a multiple of 16 bytes",
    " *   -1000 - n: the driver's error n (CUresult); -1201: the thread has no current context",
    " * What goes wrong with the data is found on the device: once the stream has been waited for,",
    " * the first int of the workspace is 0, or (only where such lines follow)",
]


def text(
    interface: Interface, workspace: int, errors: Sequence[RunTimeError], on_gpu: bool = False
) -> str:
    name, macro = interface.name, interface.name.upper()
    params = interface.params
    inputs = [*interface.inputs, *(params.leaves if params.mode == "args" else ())]
    title = interface.transform or interface.source or name
    lines = [
        f"/* {_comment(name)}: {_comment(title)}",
        " *",
        " * Made by pullback. Buffers are dense, row-major, aligned to their elements; outputs",
        " * overlap nothing; buffers without elements may be NULL. A bool is one byte, 0 or 1;",
        " * an f16 or bf16 is given by its bits, an unsigned short.",
        *(_ON_GPU if on_gpu else ()),
        " */",
        f"#ifndef PULLBACK_{macro}_H",
        f"#define PULLBACK_{macro}_H",
        "",
        "#include <stddef.h>",
        "",
        _CALL.rstrip(),
        "",
        f"#define {macro}_ABI {ABI}",
        f"#define {macro}_INPUTS {len(inputs)}",
        f"#define {macro}_OUTPUTS {len(interface.outputs)}",
        f"/* The workspace: this many bytes, at a multiple of 64{_optional(workspace)}. */",
        f"#define {macro}_WORKSPACE_BYTES {workspace}",
    ]
    lines += _tensors("in", inputs) + _tensors("out", interface.outputs)
    if params.mode in ("embed", "file") and params.leaves:
        source = {
            "embed": "built in; call->params, if not NULL, replaces them",
            "file": f"call->params points to the bytes of {name}.params, at a multiple of 64",
        }[params.mode]
        lines += ["", f"/* Parameters ({params.bytes} bytes): {source}."]
        for leaf, offset in zip(params.leaves, params.offsets(), strict=True):
            lines.append(f" *   byte {offset}: {_tensor(leaf)}")
        lines.append(" */")
    lines += [
        "",
        "/* Returns 0, or",
        " *   -1: in, out or one of their buffers is NULL",
        " *   -2: workspace is NULL or not aligned to 64 bytes",
        " *   -3: call->params is needed and missing",
        " *   -4: call->size is too small",
    ]
    if on_gpu:
        lines += _GPU_STATUS
    for error in errors:
        lines.append(f" *   {error.status}: {_comment(error.message)} ({_comment(error.where)})")
    default = "the default stream" if on_gpu else "serial"
    lines += [
        " * After a positive status the outputs hold numbers without meaning.",
        f" * call may be NULL: {default}, built-in parameters. Calls may run at the same",
        " * time, each with its own outputs and workspace.",
        " */",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        f"int {name}(const void *const *in, void *const *out, void *workspace,",
        f"{' ' * (5 + len(name))}const pullback_call *call);",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _optional(workspace: int) -> str:
    return "" if workspace else "; none, so it may be NULL"


def _tensors(array: str, specs: Sequence[TensorSpec]) -> list[str]:
    if not specs:
        return []
    lines = ["", f"/* {array}[]:"]
    lines += [f" *   {number}: {_tensor(spec)}" for number, spec in enumerate(specs)]
    return [*lines, " */"]


def _tensor(spec: TensorSpec) -> str:
    dims = "".join(f"[{n}]" for n in spec.shape)
    return f"{_C_TYPES[spec.dtype]}{dims} {_comment(spec.name)}"


def _comment(text_: str) -> str:
    """Text that cannot end a C comment, on one line, in ASCII."""
    line = " ".join(text_.split()).replace("*/", "* /").replace("/*", "/ *")
    return line.encode("ascii", "backslashreplace").decode().replace("??/", "? ?/")
