"""Libraries for the tests of the runtime: hand-written entries with a manifest patched in."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "runtime" / "include"
MANIFEST_BYTES = 16384
LEAF = {"kind": "leaf"}

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def entries(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The library with all entries and a manifest of spaces."""
    return compiled(tmp_path_factory.mktemp("entries"), "-DPLUS=+")


@pytest.fixture(scope="session")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same, but ``add`` subtracts."""
    return compiled(tmp_path_factory.mktemp("rebuilt"), "-DPLUS=-")


def compiled(directory: Path, *flags: str) -> bytes:
    library = directory / "entries.so"
    command = [
        "gcc",
        "-std=gnu11",
        "-O1",
        "-fno-builtin",
        "-fvisibility=hidden",
        "-Wall",
        "-Werror",
    ]
    command += ["-fPIC", "-shared", "-nostdlib", f"-I{INCLUDE}", *flags]
    command += [f'-DMANIFEST_BYTES="{MANIFEST_BYTES}"', str(HERE / "entries.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    return library.read_bytes()


def tensor(text: Any) -> Any:
    """``x: f64[2, 3]`` as an entry of the manifest; what is no text stays as it is."""
    if not isinstance(text, str):
        return text
    name, _, kind = text.partition(": ")
    dtype, _, sizes = kind.rstrip("]").partition("[")
    return {"name": name, "dtype": dtype, "shape": [int(n) for n in sizes.split(",") if n]}


def sealed(image: bytes, manifest: dict[str, Any]) -> bytes:
    """The library with this manifest and the right content hash."""
    manifest = {**manifest, "content_sha256": "0" * 64}
    text = json.dumps(manifest, sort_keys=True).encode()
    assert len(text) <= MANIFEST_BYTES
    start = image.index(b"PBMANIFEST1\0") + 20
    whole = image[:start] + text.ljust(MANIFEST_BYTES) + image[start + MANIFEST_BYTES :]
    digest = hashlib.sha256(whole).hexdigest().encode()
    place = start + text.index(b'"content_sha256": "') + 19
    return whole[:place] + digest + whole[place + 64 :]


@pytest.fixture
def make(entries: bytes, tmp_path: Path) -> Make:
    """``make(entry, inputs, outputs, **manifest)``: a fresh library. ``image`` is its code."""
    numbers = itertools.count()

    def make(
        name: str,
        inputs: str | Sequence[Any] = (),
        outputs: str | Sequence[Any] = "out: f64[]",
        *,
        image: bytes = entries,
        path: Path | None = None,
        workspace: int = 0,
        **manifest: Any,
    ) -> Path:
        ins = [tensor(t) for t in ([inputs] if isinstance(inputs, str) else inputs)]
        outs = [tensor(t) for t in ([outputs] if isinstance(outputs, str) else outputs)]
        description = {
            "abi": 1,
            "pullback": "0.1.0",
            "name": name,
            "source": f"entries.c:{name}",
            "transform": name,
            "target": {"triple": "x86_64-linux-gnu", "cpu": "any", "features": []},
            "inputs": ins,
            "outputs": outs,
            "arg_names": [t["name"] for t in ins],
            "in_tree": {"kind": "tuple", "items": [LEAF] * len(ins)},
            "out_tree": LEAF if len(outs) == 1 else {"kind": "tuple", "items": [LEAF] * len(outs)},
            "params": {"mode": "none", "bytes": 0, "sha256": "", "leaves": []},
            "workspace": {"bytes": workspace, "align": 64},
            "cost": {"flops": 0, "bytes": 0},
            "errors": [],
            "header_sha256": "",
        }
        description.update(manifest)
        path = path or tmp_path / f"{name}{next(numbers)}.so"
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(sealed(image, description))
        os.replace(temporary, path)
        return path

    return make


@pytest.fixture
def add(make: Make) -> Path:
    return make("add", ["x: f64[3]", "y: f64[3]"], "out: f64[3]")
