"""ELF files: writes the object that holds the manifest and the parameters, reads libraries.

The parameters go from their arrays into the file as they are: time is that of copying them.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

Bytes = bytes | bytearray | memoryview | mmap.mmap
_MACHINES = {"x86_64": 62, "aarch64": 183}
_HEADER, _SECTION, _SYMBOL = "<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IBBHQQ"
_PROGBITS, _SYMTAB, _STRTAB, _DYNSYM = 1, 2, 3, 11
_ALLOC = 2
_GLOBAL_OBJECT, _HIDDEN = (1 << 4) | 1, 2


@dataclass(frozen=True)
class Section:
    """Read-only data: buffers one after the other, each at a multiple of `align`."""

    name: str
    buffers: Sequence[bytes | memoryview]
    align: int
    symbol: str | None = None

    def size(self) -> int:
        end = 0
        for buffer in self.buffers:
            end = _aligned(end, self.align) + len(buffer)
        return end


def _aligned(offset: int, align: int) -> int:
    return -(-offset // align) * align


def _strings(names: Sequence[str | None]) -> tuple[bytes, list[int]]:
    table, places = b"\0", []
    for name in names:
        places.append(len(table))
        table += (name or "").encode() + b"\0"
    return table, places


def write(stream: BinaryIO, architecture: str, sections: Sequence[Section]) -> None:
    """Writes the object for "x86_64" or "aarch64"."""
    symbols = [(number, s) for number, s in enumerate(sections, 1) if s.symbol]
    own = [".symtab", ".strtab", ".note.GNU-stack"]
    strings, places_of = _strings(
        [*(s.name for s in sections), *own, *(s.symbol for _, s in symbols)]
    )
    count = len(sections)
    table = struct.pack(_SYMBOL, 0, 0, 0, 0, 0, 0)
    for (number, section), place in zip(symbols, places_of[count + len(own) :], strict=True):
        table += struct.pack(_SYMBOL, place, _GLOBAL_OBJECT, _HIDDEN, number, 0, section.size())
    offset = struct.calcsize(_HEADER)
    headers = [struct.pack(_SECTION, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    places = []
    for section, name in zip(sections, places_of, strict=False):
        offset = _aligned(offset, section.align)
        places.append(offset)
        headers.append(
            struct.pack(
                _SECTION, name, _PROGBITS, _ALLOC, 0, offset, section.size(), 0, 0, section.align, 0
            )
        )
        offset += section.size()
    table_place = _aligned(offset, 8)
    strings_place = table_place + len(table)
    symtab, strtab, note = places_of[count : count + len(own)]
    headers += [
        struct.pack(
            _SECTION,
            symtab,
            _SYMTAB,
            0,
            0,
            table_place,
            len(table),
            count + 2,
            1,
            8,
            struct.calcsize(_SYMBOL),
        ),
        struct.pack(_SECTION, strtab, _STRTAB, 0, 0, strings_place, len(strings), 0, 0, 1, 0),
        struct.pack(_SECTION, note, _PROGBITS, 0, 0, strings_place, 0, 0, 0, 1, 0),
    ]
    headers_place = _aligned(strings_place + len(strings), 8)
    identification = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    stream.write(
        struct.pack(
            _HEADER,
            identification,
            1,
            _MACHINES[architecture],
            1,
            0,
            0,
            headers_place,
            0,
            64,
            0,
            0,
            64,
            len(headers),
            count + 2,
        )
    )
    for section, place in zip(sections, places, strict=True):
        _pad(stream, place)
        for buffer in section.buffers:
            _pad(stream, place + _aligned(stream.tell() - place, section.align))
            stream.write(buffer)
    _pad(stream, table_place)
    stream.write(table)
    stream.write(strings)
    _pad(stream, headers_place)
    stream.write(b"".join(headers))


def _pad(stream: BinaryIO, offset: int) -> None:
    stream.write(b"\0" * (offset - stream.tell()))


class Found(NamedTuple):
    """A section of a file."""

    kind: int
    flags: int
    offset: int
    size: int
    linked: int


def sections(data: Bytes) -> dict[str, Found]:
    """The sections of a 64-bit little-endian ELF file, by name."""
    [start] = struct.unpack_from("<Q", data, 40)
    size, count, names_number = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from(_SECTION, data, start + i * size) for i in range(count)]
    names = headers[names_number][4]
    return {
        _text(data, names + name): Found(kind, flags, offset, length, linked)
        for name, kind, flags, _, offset, length, linked, *_ in headers
    }


def dynamic_symbols(data: Bytes) -> tuple[set[str], set[str]]:
    """Names of the dynamic symbols that are defined, and of those that are not."""
    found = sections(data)
    defined: set[str] = set()
    undefined: set[str] = set()
    for section in found.values():
        if section.kind != _DYNSYM:
            continue
        names = list(found.values())[section.linked].offset
        for place in range(section.offset + 24, section.offset + section.size, 24):
            name, _, _, where = struct.unpack_from("<IBBH", data, place)
            (defined if where else undefined).add(_text(data, names + name))
    return defined, undefined


def _text(data: Bytes, start: int) -> str:
    end = start
    while data[end]:
        end += 1
    return bytes(data[start:end]).decode()
