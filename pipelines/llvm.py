"""LLVM IR text -> machine code, in this process, through the C API of the bindings' own libLLVM."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from types import FrameType

from ..dialects.errors import InternalError

# What code generation may use, as LLVM calls it and as /proc/cpuinfo does.
_CPUINFO_NAMES = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "cx16": "cx16",
    "lzcnt": "abm",
    "movbe": "movbe",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "f16c": "f16c",
    "avx": "avx",
    "fma": "fma",
    "avx2": "avx2",
    "avxvnni": "avx_vnni",
    "gfni": "gfni",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
    "avx512f": "avx512f",
    "avx512cd": "avx512cd",
    "avx512bw": "avx512bw",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avx512vp2intersect": "avx512_vp2intersect",
    "sse4a": "sse4a",
    "neon": "asimd",
    "sve": "sve",
    "sve2": "sve2",
}

#: A function called in at most so many places is worth its copies.
_INLINED_CALLS = 4
_FUNCTION_INDEX = 0xFFFFFFFF  # of an attribute: that of the function itself


@dataclass(frozen=True)
class Target:
    """The machine that code is made for."""

    triple: str
    cpu: str
    features: str
    """LLVM's form: "+avx2,-avx512f,..."."""

    @property
    def enabled(self) -> frozenset[str]:
        return frozenset(f[1:] for f in self.features.split(",") if f.startswith("+"))

    @property
    def required(self) -> list[str]:
        """Features that a machine must have, under their names in /proc/cpuinfo."""
        return sorted(_CPUINFO_NAMES[f] for f in self.enabled if f in _CPUINFO_NAMES)

    @property
    def has_fma(self) -> bool:
        return "fma" in self.enabled or self.triple.startswith("aarch64")

    @property
    def vector_bytes(self) -> int:
        if "avx512f" in self.enabled:
            return 64
        return 32 if "avx" in self.enabled else 16


_DIAGNOSTIC_HANDLER = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)


@functools.cache
def _library() -> ctypes.CDLL:
    import mlir._mlir_libs as libs

    # The one that libMLIRPythonCAPI is linked with: a second copy would be another LLVM.
    path = (pathlib.Path(str(libs.__file__)).parent / "../../llvm/lib/libLLVM.so").resolve()
    lib = ctypes.CDLL(str(path))
    signatures: dict[str, tuple[object, list[object]]] = {
        "LLVMParseCommandLineOptions": (None, [c_int, POINTER(c_char_p), c_char_p]),
        "LLVMContextCreate": (c_void_p, []),
        "LLVMContextDispose": (None, [c_void_p]),
        "LLVMContextSetDiagnosticHandler": (None, [c_void_p, _DIAGNOSTIC_HANDLER, c_void_p]),
        "LLVMGetDiagInfoDescription": (c_void_p, [c_void_p]),
        "LLVMGetDiagInfoSeverity": (c_int, [c_void_p]),
        "LLVMCreateMemoryBufferWithMemoryRangeCopy": (c_void_p, [c_char_p, c_size_t, c_char_p]),
        "LLVMParseIRInContext": (
            c_int,
            [c_void_p, c_void_p, POINTER(c_void_p), POINTER(c_void_p)],
        ),
        "LLVMDisposeModule": (None, [c_void_p]),
        "LLVMPrintModuleToString": (c_void_p, [c_void_p]),
        "LLVMDisposeMessage": (None, [c_void_p]),
        "LLVMGetDefaultTargetTriple": (c_void_p, []),
        "LLVMGetHostCPUName": (c_void_p, []),
        "LLVMGetHostCPUFeatures": (c_void_p, []),
        "LLVMGetTargetFromTriple": (c_int, [c_char_p, POINTER(c_void_p), POINTER(c_void_p)]),
        "LLVMCreateTargetMachine": (
            c_void_p,
            [c_void_p, c_char_p, c_char_p, c_char_p, c_int, c_int, c_int],
        ),
        "LLVMDisposeTargetMachine": (None, [c_void_p]),
        "LLVMCreateTargetDataLayout": (c_void_p, [c_void_p]),
        "LLVMSetModuleDataLayout": (None, [c_void_p, c_void_p]),
        "LLVMDisposeTargetData": (None, [c_void_p]),
        "LLVMSetTarget": (None, [c_void_p, c_char_p]),
        "LLVMCreatePassBuilderOptions": (c_void_p, []),
        "LLVMDisposePassBuilderOptions": (None, [c_void_p]),
        "LLVMRunPasses": (c_void_p, [c_void_p, c_char_p, c_void_p, c_void_p]),
        "LLVMGetNamedGlobal": (c_void_p, [c_void_p, c_char_p]),
        "LLVMDeleteGlobal": (None, [c_void_p]),
        "LLVMGetNamedFunction": (c_void_p, [c_void_p, c_char_p]),
        "LLVMGetFirstUse": (c_void_p, [c_void_p]),
        "LLVMGetNextUse": (c_void_p, [c_void_p]),
        "LLVMGetEnumAttributeKindForName": (c_uint, [c_char_p, c_size_t]),
        "LLVMCreateEnumAttribute": (c_void_p, [c_void_p, c_uint, c_uint64]),
        "LLVMAddAttributeAtIndex": (None, [c_void_p, c_uint, c_void_p]),
        "LLVMRemoveEnumAttributeAtIndex": (None, [c_void_p, c_uint, c_uint]),
        "LLVMGetErrorMessage": (c_void_p, [c_void_p]),
        "LLVMDisposeErrorMessage": (None, [c_void_p]),
        "LLVMTargetMachineEmitToMemoryBuffer": (
            c_int,
            [c_void_p, c_void_p, c_int, POINTER(c_void_p), POINTER(c_void_p)],
        ),
        "LLVMGetBufferStart": (c_void_p, [c_void_p]),
        "LLVMGetBufferSize": (c_size_t, [c_void_p]),
        "LLVMDisposeMemoryBuffer": (None, [c_void_p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    # Loops of up to 8 steps are still unrolled whole. More makes code several times larger, up to
    # seconds slower to compile (the panels of matmul.py), and was never measured to be faster.
    words = (c_char_p * 2)(b"pullback", b"-unroll-full-max-count=8")
    lib.LLVMParseCommandLineOptions(len(words), words, b"")
    for target in ("X86", "AArch64"):
        for part in ("TargetInfo", "Target", "TargetMC", "AsmPrinter", "AsmParser"):
            getattr(lib, f"LLVMInitialize{target}{part}")()
    return lib


def _take(pointer: int | None, dispose: str = "LLVMDisposeMessage") -> str:
    """The text of a message that LLVM allocated, which is freed."""
    if not pointer:
        return ""
    text = ctypes.string_at(pointer).decode(errors="replace")
    getattr(_library(), dispose)(pointer)
    return text


@functools.cache
def host() -> Target:
    lib = _library()
    return Target(
        _take(lib.LLVMGetDefaultTargetTriple()),
        _take(lib.LLVMGetHostCPUName()),
        _take(lib.LLVMGetHostCPUFeatures()),
    )


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C comes after the block: in a callback from LLVM it would be printed and lost."""
    usual = signal.getsignal(signal.SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if seen:
            usual(*seen[0])


class Code:
    """One LLVM module in its own context, freed on exit.

    The steps are methods, so that `show` can stop after each.
    """

    _ASSEMBLY, _OBJECT = 0, 1
    _LEVEL_AGGRESSIVE, _RELOCATION_PIC, _CODE_MODEL_DEFAULT = 3, 2, 0

    def __init__(self, text: str | bytes, target: Target, inlinable: Sequence[str] = ()) -> None:
        """Of LLVM IR or of bitcode.

        `inlinable`: functions that may be inlined once loops are vectorised.
        """
        self._text = text.encode() if isinstance(text, str) else text
        self._inlinable = inlinable
        self._target = target
        self._errors: list[str] = []
        self._cleanup: list[Callable[[], None]] = []

    def __enter__(self) -> Code:
        lib = self._lib = _library()
        context = self._context = lib.LLVMContextCreate()
        self._cleanup.append(lambda: lib.LLVMContextDispose(context))
        # Without a handler of ours LLVM prints an error and ends the process.
        self._handler = _DIAGNOSTIC_HANDLER(self._diagnose)
        lib.LLVMContextSetDiagnosticHandler(context, self._handler, None)
        try:
            self._parse(context)
            self._make_machine()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._cleanup:
            self._cleanup.pop()()

    def _diagnose(self, info: int, _: int) -> None:
        if self._lib.LLVMGetDiagInfoSeverity(info) == 0:
            self._errors.append(_take(self._lib.LLVMGetDiagInfoDescription(info)))

    def _check(self, failed: object, message: str, step: str) -> None:
        if failed or self._errors:
            detail = "; ".join([*([message] if message else []), *self._errors])
            raise InternalError(f"LLVM could not {step}: {detail}")

    @_interrupts_wait()
    def _parse(self, context: int) -> None:
        lib, module, message = self._lib, c_void_p(), c_void_p()
        buffer = lib.LLVMCreateMemoryBufferWithMemoryRangeCopy(
            self._text, len(self._text), b"pullback"
        )
        # The parser owns the buffer from here on.
        failed = lib.LLVMParseIRInContext(context, buffer, byref(module), byref(message))
        self._check(failed, _take(message.value), "read the translated module")
        self._module = module.value
        self._cleanup.append(lambda: lib.LLVMDisposeModule(module))

    def _make_machine(self) -> None:
        lib, target, message = self._lib, c_void_p(), c_void_p()
        triple = self._target.triple.encode()
        failed = lib.LLVMGetTargetFromTriple(triple, byref(target), byref(message))
        self._check(failed, _take(message.value), f"find the target {self._target.triple}")
        machine = lib.LLVMCreateTargetMachine(
            target,
            triple,
            self._target.cpu.encode(),
            self._target.features.encode(),
            self._LEVEL_AGGRESSIVE,
            self._RELOCATION_PIC,
            self._CODE_MODEL_DEFAULT,
        )
        self._check(not machine, "", f"make code for {self._target.cpu}")
        self._machine = machine
        self._cleanup.append(lambda: lib.LLVMDisposeTargetMachine(machine))
        layout = lib.LLVMCreateTargetDataLayout(machine)
        lib.LLVMSetModuleDataLayout(self._module, layout)
        lib.LLVMDisposeTargetData(layout)
        lib.LLVMSetTarget(self._module, triple)

    @_interrupts_wait()
    def optimize(self) -> None:
        self._run_passes("default<O3>")
        # Functions that were kept for the vectoriser go, if it did not want them.
        kept = self._lib.LLVMGetNamedGlobal(self._module, b"llvm.compiler.used")
        if kept:
            self._lib.LLVMDeleteGlobal(kept)
            if self._mark_inlined():
                # Not to come to rest at once is an error of the process, unless it is allowed.
                combine = "instcombine<no-verify-fixpoint>"
                self._run_passes(f"always-inline,function(early-cse<memssa>,{combine},simplifycfg)")
            self._run_passes("globaldce")

    def _run_passes(self, passes: str) -> None:
        lib = self._lib
        options = lib.LLVMCreatePassBuilderOptions()
        error = lib.LLVMRunPasses(self._module, passes.encode(), self._machine, options)
        lib.LLVMDisposePassBuilderOptions(options)
        message = ""
        if error:
            message = _take(lib.LLVMGetErrorMessage(error), "LLVMDisposeErrorMessage")
        self._check(error, message, "optimise the module")

    def _mark_inlined(self) -> bool:
        """Functions called in few places are to be inlined; True if there are any."""
        lib, found = self._lib, False
        never, always = (
            lib.LLVMGetEnumAttributeKindForName(name, len(name))
            for name in (b"noinline", b"alwaysinline")
        )
        for name in self._inlinable:
            function = lib.LLVMGetNamedFunction(self._module, name.encode())
            if function and 0 < self._uses(function) <= _INLINED_CALLS:
                attribute = lib.LLVMCreateEnumAttribute(self._context, always, 0)
                lib.LLVMRemoveEnumAttributeAtIndex(function, _FUNCTION_INDEX, never)
                lib.LLVMAddAttributeAtIndex(function, _FUNCTION_INDEX, attribute)
                found = True
        return found

    def _uses(self, value: int) -> int:
        count, use = 0, self._lib.LLVMGetFirstUse(value)
        while use:
            count, use = count + 1, self._lib.LLVMGetNextUse(use)
        return count

    def text(self) -> str:
        return _take(self._lib.LLVMPrintModuleToString(self._module))

    @_interrupts_wait()
    def _emit(self, kind: int) -> bytes:
        lib, buffer, message = self._lib, c_void_p(), c_void_p()
        failed = lib.LLVMTargetMachineEmitToMemoryBuffer(
            self._machine, self._module, kind, byref(message), byref(buffer)
        )
        self._check(failed, _take(message.value), "generate code")
        size = lib.LLVMGetBufferSize(buffer)
        code = ctypes.string_at(lib.LLVMGetBufferStart(buffer), size)
        lib.LLVMDisposeMemoryBuffer(buffer)
        return code

    def object_file(self) -> bytes:
        return self._emit(self._OBJECT)

    def assembly(self) -> str:
        return self._emit(self._ASSEMBLY).decode()
