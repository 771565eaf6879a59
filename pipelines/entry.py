"""The C entry of the library, in the LLVM dialect: checks its arguments and calls @main.

int NAME(const void *const *in, void *const *out, void *workspace, const pullback_call *call)
"""

from __future__ import annotations

from dataclasses import dataclass

from mlir import ir

from .builders import symbol

NULL_POINTER, BAD_WORKSPACE, NO_PARAMETERS, SMALL_CALL = -1, -2, -3, -4
#: sizeof(pullback_call) and the offset of its member params, where pointers have 8 bytes.
CALL_SIZE, PARAMS_OFFSET = 48, 32
PARAMS_SYMBOL = "pullback_params"


@dataclass(frozen=True)
class Argument:
    """Where an argument of @main comes from: a place in `in` or `out`, a byte of the parameters.

    Buffers without elements are not passed: their pointers may be NULL.
    """

    array: str
    position: int


def text(
    name: str,
    inputs: list[Argument],
    outputs: list[Argument],
    workspace: int,
    has_status: bool,
    embedded: bool,
    shares_loops: bool,
) -> str:
    """The module that holds the entry (and declares what it calls)."""
    lines: list[str] = []
    failures: dict[int, str] = {}
    counter = 0

    def fresh() -> str:
        nonlocal counter
        counter += 1
        return f"%v{counter}"

    def fail_if(condition: str, status: int) -> None:
        label = failures.setdefault(status, f"^failed{-status}")
        follow = f"^next{fresh()[2:]}"
        lines.append(f"llvm.cond_br {condition}, {label}, {follow}")
        lines.append(f"{follow}:")

    def emit(operation: str) -> str:
        result = fresh()
        lines.append(f"{result} = {operation}")
        return result

    def fail_if_null(pointer: str, status: int = NULL_POINTER) -> None:
        fail_if(emit(f'llvm.icmp "eq" {pointer}, %null : !llvm.ptr'), status)

    def offset(base: str, byte_count: int) -> str:
        return emit(f"llvm.getelementptr {base}[{byte_count}] : (!llvm.ptr) -> !llvm.ptr, i8")

    def pointers(base: str, arguments: list[Argument]) -> list[str]:
        if arguments:
            fail_if_null(base)
        loaded = []
        for argument in arguments:
            place = offset(base, 8 * argument.position)
            pointer = emit(f"llvm.load {place} : !llvm.ptr -> !llvm.ptr")
            fail_if_null(pointer)
            loaded.append(pointer)
        return loaded

    parameters = [argument for argument in inputs if argument.array == "params"]
    arrays = {
        "in": pointers("%in", [argument for argument in inputs if argument.array == "in"]),
        "out": pointers("%out", outputs),
        "params": [],
    }
    if workspace:
        address = emit("llvm.ptrtoint %workspace : !llvm.ptr to i64")
        low = emit(f"llvm.and {address}, %mask : i64")
        fail_if(emit(f'llvm.icmp "ne" {low}, %zero : i64'), BAD_WORKSPACE)
        fail_if_null("%workspace", BAD_WORKSPACE)
    has_parameters = bool(parameters)
    block = _call_block(lines, fresh, emit, offset, fail_if, embedded, has_parameters)
    if has_parameters:
        if not embedded:
            fail_if_null(block, NO_PARAMETERS)
        arrays["params"] = [offset(block, argument.position) for argument in parameters]
    taken = {key: iter(values) for key, values in arrays.items()}
    passed = [next(taken[argument.array]) for argument in (*inputs, *outputs)]
    if has_status:
        passed.append("%status")
    if workspace:
        passed.append("%workspace")
    if shares_loops:
        passed.append("%call")
    types = ", ".join(["!llvm.ptr"] * len(passed))
    lines.append(f"llvm.call @main({', '.join(passed)}) : ({types}) -> ()")
    if has_status:
        lines.append(f"llvm.return {emit('llvm.load %status : !llvm.ptr -> i32')} : i32")
    else:
        lines.append("llvm.return %success : i32")
    for status, label in failures.items():
        lines.append(f"{label}:")
        lines.append(f"%error{-status} = llvm.mlir.constant({status} : i32) : i32")
        lines.append(f"llvm.return %error{-status} : i32")
    return _module(name, lines, len(passed), embedded and has_parameters)


def _call_block(lines, fresh, emit, offset, fail_if, embedded, has_parameters) -> str:
    """Checks `call` and finds the parameters: the caller's, else the built-in ones."""
    number = fresh()[2:]
    given = emit('llvm.icmp "ne" %call, %null : !llvm.ptr')
    default = "%null"
    if embedded and has_parameters:
        default = emit(f"llvm.mlir.addressof @{PARAMS_SYMBOL} : !llvm.ptr")
    joined = f"^joined{number}"
    lines.append(f"llvm.cond_br {given}, ^given{number}, {joined}({default} : !llvm.ptr)")
    lines.append(f"^given{number}:")
    size = emit("llvm.load %call : !llvm.ptr -> i64")
    fail_if(emit(f'llvm.icmp "ult" {size}, %call_size : i64'), SMALL_CALL)
    chosen = default
    if has_parameters:
        own = emit(f"llvm.load {offset('%call', PARAMS_OFFSET)} : !llvm.ptr -> !llvm.ptr")
        absent = emit(f'llvm.icmp "eq" {own}, %null : !llvm.ptr')
        chosen = emit(f"llvm.select {absent}, {default}, {own} : i1, !llvm.ptr")
    lines.append(f"llvm.br {joined}({chosen} : !llvm.ptr)")
    lines.append(f"{joined}(%params: !llvm.ptr):")
    return "%params"


def _module(name: str, lines: list[str], arity: int, embedded: bool) -> str:
    body = "\n    ".join(lines)
    types = ", ".join(["!llvm.ptr"] * arity)
    parameters = ""
    if embedded:
        parameters = (
            f"llvm.mlir.global external hidden constant @{PARAMS_SYMBOL}() "
            "{addr_space = 0 : i32} : !llvm.array<1 x i8>"
        )
    return f"""
  {parameters}
  llvm.func @main({types})
  llvm.func @{name}(%in: !llvm.ptr, %out: !llvm.ptr, %workspace: !llvm.ptr, %call: !llvm.ptr)
      -> i32 {{
    %null = llvm.mlir.zero : !llvm.ptr
    %zero = llvm.mlir.constant(0 : i64) : i64
    %mask = llvm.mlir.constant(63 : i64) : i64
    %call_size = llvm.mlir.constant({CALL_SIZE} : i64) : i64
    %one = llvm.mlir.constant(1 : i64) : i64
    %success = llvm.mlir.constant(0 : i32) : i32
    %status = llvm.alloca %one x i32 : (i64) -> !llvm.ptr
    llvm.store %success, %status : i32, !llvm.ptr
    {body}
  }}
"""


def add(module: ir.Module, text_: str) -> None:
    """Adds functions in the LLVM dialect to the module, which has those that they only declare."""
    with module.context:
        present = {symbol(op): op for op in module.body.operations}
        parsed = ir.Module.parse(text_)
        for op in list(parsed.body.operations):
            if op.regions and not op.regions[0].blocks and symbol(op) in present:
                continue
            if symbol(op) in present:
                present[symbol(op)].operation.erase()
            op.operation.detach_from_parent()
            module.body.append(op)
