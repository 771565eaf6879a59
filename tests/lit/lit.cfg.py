# ruff: noqa: F821  (lit supplies `config` and `lit_config`)
"""How lit runs the .mlir tests: all tools are those of the running Python's environment."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import lit.formats


def folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        lit_config.fatal(f"the package {package} is not installed")
    return Path(spec.submodule_search_locations[0])


config.name = "pullback"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.test_source_root = str(Path(__file__).parent)
config.test_exec_root = str(Path(lit_config.params.get("output", "build/lit")).absolute())
config.maxIndividualTestTime = 60
if "PYTHONPATH" in os.environ:  # a checkout that is not installed
    config.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]

config.substitutions += [
    (r"\bpullback-opt\b", f"{sys.executable} -m pullback.tools.opt"),
    (r"\bpullback\b(?=\s)(?!-)", f"{sys.executable} -m pullback.tools.cli"),
    (
        r"\bmlir-opt\b",
        f"{folder('mlir') / 'bin/mlir-opt'} "
        f"--load-dialect-plugin={folder('pullback') / 'dialects/pb/libpb_plugin.so'}",
    ),
    *(
        (rf"\b{tool}\b", str(folder("llvm") / "bin" / tool))
        for tool in ("FileCheck", "not", "split-file")
    ),
]
