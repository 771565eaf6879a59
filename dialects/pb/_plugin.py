"""Loads the C++ part of the dialect into this process, once.

Afterwards every `ir.Context()` has pb, and the bindings find our op classes by the name of the
dialect. The same library serves `mlir-opt --load-dialect-plugin`.
"""

from __future__ import annotations

import ctypes
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

MLIR_VERSION = "22.1.8.4"
PATH = Path(__file__).with_name("libpb_plugin.so")


def _check_version() -> None:
    try:
        found = version("xtc-mlir-python-bindings")
    except PackageNotFoundError as error:
        raise ImportError(
            f"pullback compiles with xtc-mlir-python-bindings=={MLIR_VERSION}, which is not "
            "installed (artifacts run without it, through pullback.runtime)"
        ) from error
    if found != MLIR_VERSION:
        raise ImportError(
            f"pullback's dialect was built for xtc-mlir-python-bindings=={MLIR_VERSION}; "
            f"{found} is installed"
        )


def load() -> None:
    _check_version()
    from mlir import _mlir_libs
    from mlir._mlir_libs import _mlir

    libraries = Path(_mlir_libs.__file__).parent
    ctypes.CDLL(str(libraries / "libMLIRPythonCAPI.so"), ctypes.RTLD_GLOBAL)
    plugin = ctypes.CDLL(str(PATH))
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = _mlir_libs.get_dialect_registry()._CAPIPtr
    plugin.pb_register.argtypes = [ctypes.c_void_p]
    plugin.pb_register.restype = None
    plugin.pb_register(pointer(capsule, b"mlir.ir.DialectRegistry._CAPIPtr"))
    _mlir.globals.append_dialect_search_prefix("pullback.dialects")


load()
