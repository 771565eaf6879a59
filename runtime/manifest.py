"""Reads the manifest out of a library and checks the library against it, before dlopen.

The manifest is section ``.pullback``: a magic string, a length, JSON. ``content_sha256`` in it is
the hash of the whole file with the 64 digits of that field taken as zeros.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from . import elf
from .errors import ArtifactError

ABI = 1
MAGIC = b"PBMANIFEST1\0"
SECTION = ".pullback"
_CHUNK = 1 << 20
_MAX_BYTES = 1 << 28
# Quotes inside JSON strings are escaped, so this is a key; the first one is the top level's,
# because keys are sorted and no other object comes before it.
_DIGITS = re.compile(rb'"content_sha256":\s*"([0-9a-f]{64})"')


class Manifest(dict[str, Any]):
    """The manifest's JSON object, and what reading it showed about the file."""

    digits_offset: int
    machine: str


def read(path: str | os.PathLike[str]) -> Manifest:
    """The manifest of the library at ``path``, which may be for another machine."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return read_open(fd)
    except ArtifactError as error:
        raise named(error, path) from None
    finally:
        os.close(fd)


def named(error: ArtifactError, path: str | os.PathLike[str]) -> ArtifactError:
    """The error with the file's name in front."""
    return ArtifactError(f"{os.fspath(path)}: {error.message}", notes=error.notes, help=error.help)


def read_open(fd: int) -> Manifest:
    section = elf.find_section(fd, SECTION)
    head = len(MAGIC) + 8
    raw = os.pread(fd, head, section.offset)
    length = int.from_bytes(raw[len(MAGIC) :], "little")
    if section.size < head or raw[: len(MAGIC)] != MAGIC:
        raise ArtifactError("damaged: the manifest does not begin as one")
    if length > section.size - head or length > _MAX_BYTES:
        raise ArtifactError("damaged: the manifest is longer than its section")
    text = os.pread(fd, length, section.offset + head)
    try:
        manifest = Manifest(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise ArtifactError("damaged: the manifest is not valid JSON") from None
    if manifest.get("abi") != ABI:
        raise ArtifactError(
            f"made for ABI {manifest.get('abi')!r} (by pullback {manifest.get('pullback')!r}); "
            f"this runtime has ABI {ABI}",
            help="compile it again, or install the version of pullback that made it",
        )
    digits = _DIGITS.search(text)
    if digits is None or manifest.get("content_sha256") != digits[1].decode():
        raise ArtifactError("damaged: the manifest has no content hash")
    manifest.digits_offset = section.offset + head + digits.start(1)
    manifest.machine = section.machine
    return manifest


def check(fd: int, manifest: Manifest, header: Path) -> None:
    """Refuses a library that is damaged, for another machine, or beside a foreign header."""
    here = os.uname().machine
    if manifest.machine != here:
        raise ArtifactError(f"made for {manifest.machine}; this machine is {here}")
    if content_sha256(fd, manifest.digits_offset) != manifest["content_sha256"]:
        raise ArtifactError(
            "damaged: its content does not match the hash in its manifest",
            notes=["stripping or patching a library also changes its content"],
            help="copy it again, or compile it again",
        )
    try:
        target, wanted_header = manifest["target"], manifest["header_sha256"]
        missing = [name for name in target["features"] if name not in cpu_features()]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"its manifest is malformed ({error!r})") from None
    if missing:
        raise ArtifactError(
            f"made for the CPU {target.get('cpu')!r}; this one lacks {', '.join(missing)}",
            help="compile it for this machine, or for an older CPU",
        )
    try:
        found = hashlib.sha256(header.read_bytes()).hexdigest()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArtifactError(f"{header} cannot be read: {error.strerror}") from None
    if found != wanted_header:
        raise ArtifactError(
            f"{header.name} beside it is not the header it was built with",
            help="copy the library and its header together, or compile again",
        )


def content_sha256(fd: int, digits_offset: int) -> str:
    """The hash of the whole file, with the 64 digits at ``digits_offset`` taken as zeros."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    position = 0
    while count := os.preadv(fd, [buffer], position):
        start = max(digits_offset - position, 0)
        stop = min(digits_offset + 64 - position, count)
        if start < stop:
            buffer[start:stop] = b"0" * (stop - start)
        digest.update(buffer[:count])
        position += count
    return digest.hexdigest()


@cache
def cpu_features() -> frozenset[str]:
    """The feature names of /proc/cpuinfo, those of the first core: the file is slow to make."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("flags", "Features"):
                    return frozenset(value.split())
    except OSError:
        pass
    return frozenset()
