"""Objects -> shared library, with the system's linker or the one in the ziglang wheel."""

from __future__ import annotations

import importlib.util
import mmap
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from ..dialects.errors import InternalError, ToolchainError
from .elf_object import dynamic_symbols

ALLOWED_UNDEFINED = {"memcpy", "memmove", "memset"}


def linker() -> list[str]:
    """The command that links: `ld`, or lld out of the ziglang wheel."""
    if system := shutil.which("ld"):
        return [system]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "ld.lld"]
    raise ToolchainError(
        "no linker found: install binutils (ld), or `pip install ziglang`",
    )


def link(
    objects: Sequence[pathlib.Path],
    library: pathlib.Path,
    name: str,
    entry: str | None = None,
    needed: AbstractSet[str] = frozenset(),
) -> None:
    """Links `objects` into `library`, which exports `name` only and needs no other library.

    `entry`: the symbol that gets the name; `needed`: symbols that the process must have besides.
    """
    script = library.with_suffix(".exports")
    script.write_text(f"{{ global: {name}; local: *; }};\n")
    command = [
        *linker(),
        "-shared",
        "-o",
        str(library),
        *map(str, objects),
        f"--version-script={script}",
        f"-soname={name}.so",
        "--hash-style=gnu",
        "--build-id=none",
        "--strip-all",
        "-znoexecstack",
        *([f"--defsym={name}={entry}"] if entry else []),
        "-znow",
        "-znoseparate-code",
        "-zmax-page-size=4096",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"the linker could not be started: {error}", command) from error
    finally:
        script.unlink(missing_ok=True)
    if done.returncode:
        raise ToolchainError("the linker failed", command, done.stderr)
    check_symbols(library, name, needed)


def check_symbols(library: pathlib.Path, name: str, needed: AbstractSet[str] = frozenset()) -> None:
    """The promises of the header: what is exported, and what is needed."""
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        defined, undefined = dynamic_symbols(data)
    if strange := undefined - ALLOWED_UNDEFINED - needed:
        raise InternalError(f"the library needs symbols that it must not: {sorted(strange)}")
    if defined != {name}:
        raise InternalError(f"the library exports {sorted(defined)} and not {name} alone")
