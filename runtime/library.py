"""The files of an artifact as they are used: a library to dlopen, a parameter block in memory."""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
from pathlib import Path
from typing import Any

from .errors import ArtifactError

_COPY_LIMIT = 16 << 20
_loads = itertools.count(1)


def private_copy(fd: int, always: bool = False) -> int:
    """A descriptor of a library that nobody can change any more; it may be ``fd`` itself.

    A library that is overwritten in place while it is loaded takes the process down. Small ones are
    therefore copied into memory; large ones (with weights inside) are not, unless they must be.
    """
    size = os.fstat(fd).st_size
    if size > _COPY_LIMIT and not always:
        return fd
    try:
        copy = os.memfd_create("pullback", os.MFD_CLOEXEC)
    except OSError:
        return fd
    try:
        done = 0
        while done < size and (count := os.sendfile(copy, fd, done, size - done)):
            done += count
    except BaseException:
        os.close(copy)
        raise
    return copy


def unique_name(fd: int) -> str:
    """A path of the open file ``fd`` that this process has never given to dlopen before.

    glibc takes a library for loaded already if its path is spelled as that of a loaded one,
    whatever the file is now. Each load therefore spells another number into the slashes.
    """
    spelling = "".join("./" if bit == "1" else "/" for bit in f"{next(_loads):b}")
    return f"/proc/self/fd/{spelling}{fd}"


def map_params(path: Path, size: int, sha256: str, verify: bool) -> Any:
    """The parameter block in the file at ``path``: pages are read when the function reads them."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read: {error.strerror}",
            help="the parameters stay beside the library, under the same name",
        ) from None
    try:
        found = os.fstat(fd).st_size
        if found != size:
            raise ArtifactError(f"{path} has {found} bytes, the library needs {size}")
        if size == 0:
            return b""
        block = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)
    if verify and hashlib.sha256(block).hexdigest() != sha256:
        block.close()
        raise ArtifactError(
            f"{path} is damaged, or belongs to another library: its hash differs",
            help="copy the library and its parameters together, or compile again",
        )
    return block
