"""Finds one section of a shared library with plain, bounds-checked file reads.

Nothing here trusts the file: loading a damaged library with dlopen can kill the process, so it is
looked at first.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from .errors import ArtifactError

# The fields after e_ident: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize,
# phnum, shentsize, shnum, shstrndx.
_HEADER = struct.Struct("<HHIQQQIHHHHHH")
# name, type, flags, addr, offset, size, link, info, addralign, entsize
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SHARED_OBJECT, _NO_BITS = 3, 8

MACHINES = {3: "i686", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


class Section(NamedTuple):
    """Where a section lies in the file, and the machine the file is for."""

    offset: int
    size: int
    machine: str


def find_section(fd: int, name: str) -> Section:
    """The section ``name`` of the library open at ``fd``; ArtifactError if that cannot be."""
    size = os.fstat(fd).st_size
    ident = _read(fd, size, 0, 16, "the ELF header")
    if ident[:4] != b"\x7fELF":
        raise ArtifactError("not a shared library (no ELF header)")
    if ident[4:6] != b"\x02\x01":
        raise ArtifactError("not a 64-bit little-endian library")
    header = _HEADER.unpack(_read(fd, size, 16, _HEADER.size, "the ELF header"))
    kind, machine, table, entry_size, count, names_index = (
        header[0],
        header[1],
        header[5],
        header[10],
        header[11],
        header[12],
    )
    if kind != _SHARED_OBJECT:
        raise ArtifactError("an ELF file, but not a shared library")
    if table == 0 or count == 0:
        raise ArtifactError("not made by pullback (the library has no sections)")
    if entry_size != _SECTION.size or names_index >= count:
        raise ArtifactError("damaged: the section table of the library is malformed")
    raw = _read(fd, size, table, count * _SECTION.size, "the section table")
    sections = list(_SECTION.iter_unpack(raw))
    names = _read(fd, size, sections[names_index][4], sections[names_index][5], "the section names")
    wanted = name.encode() + b"\0"
    for name_offset, type_, _, _, offset, length, *_ in sections:
        if names[name_offset : name_offset + len(wanted)] == wanted and type_ != _NO_BITS:
            if offset + length > size:
                raise _truncated(size, offset + length, f"section {name}")
            return Section(offset, length, MACHINES.get(machine, f"ELF machine {machine}"))
    raise ArtifactError(f"not made by pullback (the library has no section {name})")


def _read(fd: int, file_size: int, offset: int, size: int, what: str) -> bytes:
    if offset + size > file_size:
        raise _truncated(file_size, offset + size, what)
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise _truncated(offset + len(data), offset + size, what)
    return data


def _truncated(have: int, need: int, what: str) -> ArtifactError:
    return ArtifactError(f"truncated: {what} needs {need} bytes, the file has {have}")
