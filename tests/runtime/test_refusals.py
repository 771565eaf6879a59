"""A library that is damaged, foreign or for another machine is refused before it is loaded."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from pullback.runtime import ArtifactError, load, loader
from pullback.runtime.manifest import read

from .conftest import MANIFEST_BYTES, Make


def refuse(path: Path, match: str) -> None:
    """Refused without asking the dynamic loader, which could kill the process."""
    opened = AssertionError("a bad library was loaded")
    with mock.patch.object(loader.Kernel, "__init__", side_effect=opened):
        _refuse(path, match)


def _refuse(path: Path, match: str) -> None:
    with pytest.raises(ArtifactError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_truncated(add: Path, tmp_path: Path) -> None:
    whole = add.read_bytes()
    cut = tmp_path / "cut.so"
    for size in [0, 1, 15, 16, 63, 64, 200, *range(512, len(whole), 997), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        refuse(cut, "truncated|damaged")


def test_every_flipped_byte(add: Path, tmp_path: Path) -> None:
    whole = add.read_bytes()
    bad = tmp_path / "bad.so"
    start = whole.index(b"PBMANIFEST1\0")
    # Everywhere: the ELF header and tables, code, the manifest and its digits, the end.
    interesting = [*range(0, 64, 3), start, start + 12, start + 15, start + 19]
    digits = whole.index(b'"content_sha256": "') + 19
    for place in [*interesting, *range(64, len(whole), 499), digits, digits + 63, len(whole) - 1]:
        changed = bytearray(whole)
        changed[place] ^= 0x41
        bad.write_bytes(changed)
        refuse(bad, r"bad\.so")


def test_every_field_of_the_section_table(add: Path, tmp_path: Path) -> None:
    whole = add.read_bytes()
    bad = tmp_path / "bad.so"
    table = int.from_bytes(whole[40:48], "little")
    count = int.from_bytes(whole[60:62], "little")
    fields = [(40, 8), (58, 2), (60, 2), (62, 2)]  # of the ELF header: where the table is
    for entry in range(table, table + 64 * count, 64):
        fields += [(entry, 4), (entry + 4, 4), (entry + 24, 8), (entry + 32, 8)]
    for place, size in fields:
        for value in (0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, len(whole) - 1):
            changed = bytearray(whole)
            changed[place : place + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
            if changed != whole:
                bad.write_bytes(changed)
                refuse(bad, r"bad\.so")


def test_appended_bytes(add: Path) -> None:
    add.write_bytes(add.read_bytes() + b"\0")
    refuse(add, "damaged: its content does not match")


def test_manifest_length_beyond_section(add: Path) -> None:
    whole = bytearray(add.read_bytes())
    start = whole.index(b"PBMANIFEST1\0") + 12
    whole[start : start + 8] = (MANIFEST_BYTES + 1).to_bytes(8, "little")
    add.write_bytes(whole)
    refuse(add, "longer than its section")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "truncated"),
        (b"import torch\n" * 10, "not a shared library"),
        (b"\x7fELF" + b"\x01\x01" + bytes(100), "64-bit"),
        (b"\x7fELF" + bytes(range(256)) * 40, "64-bit"),
        (b"\x7fELF\x02\x01" + b"\xff" * 4096, "not a shared library"),
        (b"\x7fELF\x02\x01" + bytes(10) + b"\x03\x00" + b"\xff" * 4096, "damaged|truncated"),
        (b"\x7fELF\x02\x01" + bytes(10) + b"\x03\x00" + bytes(4096), "no sections"),
    ],
)
def test_not_a_library(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "odd.so"
    path.write_bytes(content)
    refuse(path, match)


def test_foreign_library(tmp_path: Path) -> None:
    import _ctypes

    path = Path(shutil.copy(_ctypes.__file__, tmp_path / "foreign.so"))
    refuse(path, "not made by pullback")


def test_directory_and_fifo(tmp_path: Path) -> None:
    refuse(tmp_path, "not a regular file")
    os.mkfifo(tmp_path / "fifo.so")
    refuse(tmp_path / "fifo.so", "not a regular file")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.so")


def test_other_abi(make: Make) -> None:
    refuse(make("one", abi=2, pullback="7.0"), "made for ABI 2 .by pullback '7.0'.*has ABI 1")


def test_missing_cpu_features(make: Make) -> None:
    target = {"triple": "", "cpu": "future", "features": ["sse2", "avx9000"]}
    refuse(make("one", target=target), "the CPU 'future'; this one lacks avx9000")


def test_other_machine(make: Make, entries: bytes) -> None:
    foreign = bytearray(entries)
    foreign[18:20] = (183 if os.uname().machine != "aarch64" else 62).to_bytes(2, "little")
    path = make("one", image=bytes(foreign))
    refuse(path, "made for .*; this machine is")
    assert read(path)["name"] == "one"  # but it can be inspected here


def test_header_beside(make: Make) -> None:
    header = "int one(void);\n"
    path = make("one", header_sha256=hashlib.sha256(header.encode()).hexdigest())
    assert load(path)() == 1
    path.with_suffix(".h").write_text(header)
    assert load(path)() == 1
    path.with_suffix(".h").write_text(header + " ")
    refuse(path, r"one0\.h beside it is not the header")


@pytest.mark.parametrize(
    "broken",
    [
        {"inputs": [{"name": "x", "dtype": "f8", "shape": []}]},
        {"outputs": [{"name": "x", "dtype": "f64", "shape": [-1]}]},
        {"outputs": [{"name": "x", "dtype": "f64", "shape": [2**40, 2**40]}]},
        {"outputs": [{"name": "x", "dtype": "f64"}]},
        {"in_tree": {"kind": "tuple", "items": [{"kind": "leaf"}]}, "arg_names": ["x"]},
        {"out_tree": {"kind": "tuple", "items": []}},
        {"arg_names": ["x"]},
        {"workspace": {}},
        {"workspace": {"bytes": -1}},
        {"params": None},
        {"target": None},
    ],
)
def test_malformed_manifest(make: Make, broken: dict[str, Any]) -> None:
    _refuse(make("one", **broken), "malformed")


def test_missing_entry(make: Make) -> None:
    _refuse(make("no_such_entry"), "the system cannot load it")


def test_good_library_after_all(add: Path) -> None:
    np.testing.assert_array_equal(load(add)(np.ones(3), np.ones(3)), [2, 2, 2])
