"""What is known about an artifact, and how it is written: the manifest, the header, the files.

Files appear under their names complete or not at all: each is written beside its place and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..dialects.diagnostics import user_location
from ..dialects.errors import CompileError
from .elf_object import Section, sections
from .error_status import ErrorSite

ABI = 1
MAGIC = b"PBMANIFEST1\0"
_NO_HASH = "0" * 64
ITEM_SIZES = {"f16": 2, "bf16": 2, "f32": 4, "f64": 8, "i32": 4, "i64": 8, "bool": 1}
PARAMS_ALIGNMENT = 64


@dataclass(frozen=True)
class TensorSpec:
    """A dense row-major tensor at the interface."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        size = ITEM_SIZES[self.dtype]
        for n in self.shape:
            size *= n
        return size

    def json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Params:
    """The tensors that the function closes over, and where they live.

    "args": further inputs; "embed": in the library; "file": NAME.params beside it.
    `data` has the elements of each leaf, C-contiguous (anything with the buffer protocol).
    """

    mode: Literal["none", "args", "embed", "file"] = "none"
    leaves: Sequence[TensorSpec] = ()
    data: Sequence[Any] = ()

    def offsets(self) -> list[int]:
        offsets, end = [], 0
        for leaf in self.leaves:
            offsets.append(end)
            end = -(-(end + leaf.bytes) // PARAMS_ALIGNMENT) * PARAMS_ALIGNMENT
        return offsets

    def buffers(self) -> list[memoryview]:
        """The block, as its parts: each starts at the next multiple of 64."""
        return [_bytes(data) for data in self.data]

    @property
    def bytes(self) -> int:
        if not self.leaves:
            return 0
        return self.offsets()[-1] + self.leaves[-1].bytes


def _bytes(data: Any) -> memoryview:
    array = np.ascontiguousarray(data)
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


_LEAF = {"kind": "leaf"}


@dataclass(frozen=True)
class Interface:
    """The artifact as its caller sees it."""

    name: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    params: Params = field(default_factory=Params)
    in_tree: dict[str, Any] = field(default_factory=dict)
    out_tree: dict[str, Any] = field(default_factory=dict)
    arg_names: Sequence[str] = ()
    source: str = ""
    transform: str = ""


@dataclass(frozen=True)
class RunTimeError:
    """A data error that the entry can return."""

    status: int
    kind: str
    message: str
    where: str

    def json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "kind": self.kind,
            "message": self.message,
            "where": self.where,
        }


def run_time_errors(sites: Sequence[ErrorSite]) -> list[RunTimeError]:
    """Each check of the function, with the status that the entry returns for it."""
    found = []
    for number, site in enumerate(sites, 1):
        where = user_location(site.location)
        place = f"{pathlib.Path(where[0]).name}:{where[1]}" if where else "?"
        found.append(RunTimeError(number, site.kind, site.message, place))
    return found


def manifest(
    interface: Interface,
    target: dict[str, Any],
    workspace: int,
    cost: dict[str, int],
    errors: Sequence[RunTimeError],
    header: str,
    version: str,
) -> bytes:
    """The content of section .pullback, its own hash still open."""
    params = interface.params
    leaves = [
        leaf.json() | {"offset": offset}
        for leaf, offset in zip(params.leaves, params.offsets(), strict=True)
    ]
    inputs = [*interface.inputs, *(params.leaves if params.mode == "args" else ())]
    description = {
        "abi": ABI,
        "pullback": version,
        "name": interface.name,
        "source": interface.source,
        "transform": interface.transform,
        "target": target,
        "inputs": [spec.json() for spec in inputs],
        "outputs": [spec.json() for spec in interface.outputs],
        "in_tree": interface.in_tree,
        "out_tree": interface.out_tree,
        "arg_names": list(interface.arg_names),
        "params": {
            "mode": params.mode,
            "bytes": params.bytes,
            "sha256": params_hash(params),
            "leaves": leaves,
        },
        "workspace": {"bytes": workspace, "align": 64},
        "cost": cost,
        "errors": [error.json() for error in errors],
        "header_sha256": hashlib.sha256(header.encode()).hexdigest(),
        "content_sha256": _NO_HASH,
    }
    text = json.dumps(description, sort_keys=True).encode()
    return MAGIC + len(text).to_bytes(8, "little") + text


def params_hash(params: Params) -> str:
    """The hash of the block; of nothing where the caller passes the parameters."""
    if params.mode == "args":
        return ""
    digest, end = hashlib.sha256(), 0
    for offset, data in zip(params.offsets(), params.buffers(), strict=False):
        digest.update(b"\0" * (offset - end))
        digest.update(data)
        end = offset + len(data)
    return digest.hexdigest()


def data_sections(interface: Interface, description: bytes, symbol: str) -> list[Section]:
    sections = [Section(".pullback", [description], 8)]
    if interface.params.mode == "embed" and interface.params.leaves:
        block = interface.params.buffers()
        sections.append(Section(".rodata.params", block, PARAMS_ALIGNMENT, symbol))
    return sections


def seal(library: pathlib.Path) -> None:
    """Puts the hash of the whole file into its manifest."""
    with open(library, "r+b") as file:
        data = bytearray(os.fstat(file.fileno()).st_size)
        file.readinto(data)
        start = sections(data)[".pullback"].offset
        file.seek(data.index(b'"' + _NO_HASH.encode() + b'"', start) + 1)
        file.write(hashlib.sha256(data).hexdigest().encode())


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file to write, which takes the place of `path` at the end if all went well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise CompileError(f"cannot write {path}: {error.strerror}") from error
    temporary = pathlib.Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise CompileError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_all(files: Sequence[tuple[pathlib.Path, Callable[[pathlib.Path], None]]]) -> None:
    """Writes several files, and puts them into place only when all are written."""
    with contextlib.ExitStack() as stack:
        for path, write in reversed(files):
            write(stack.enter_context(replacing(path)))


def write_params(params: Params, path: pathlib.Path) -> None:
    with open(path, "wb") as file:
        for offset, data in zip(params.offsets(), params.buffers(), strict=True):
            file.write(b"\0" * (offset - file.tell()))
            file.write(data)


def write_library(
    interface: Interface,
    directory: pathlib.Path,
    header: str,
    library: Callable[[pathlib.Path], None],
) -> pathlib.Path:
    """NAME.so by `library`, NAME.h and, if they live in a file, NAME.params; returns NAME.so."""
    name = interface.name
    files = [
        (directory / f"{name}.h", lambda path: path.write_text(header)),
        (directory / f"{name}.so", library),
    ]
    if interface.params.mode == "file":
        params = directory / f"{name}.params"
        files.insert(0, (params, lambda path: write_params(interface.params, path)))
    write_all(files)
    return directory / f"{name}.so"
