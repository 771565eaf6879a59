"""Behind ``pullback run``: a library, its inputs in one .npz file, its outputs in another.

Imports neither torch nor MLIR.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from .errors import ArgumentTypeError, ArgumentValueError
from .loader import Function, load


def run(library: str | os.PathLike[str], inputs: Path, outputs: Path) -> Function:
    """Calls the function with the arrays of ``inputs`` by name and writes the results by name.

    ``outputs`` appears complete or not at all.
    """
    function = load(library)
    arrays = _read(Path(inputs), [spec.name for spec in function.inputs])
    results = function.call_leaves(arrays)
    named = {spec.name: array for spec, array in zip(function.outputs, results, strict=True)}
    _write(Path(outputs), named)
    return function


def _read(path: Path, names: list[str]) -> list[Any]:
    import numpy as np

    try:
        # Not numpy.load: it also takes other formats, and leaves damaged files open.
        with zipfile.ZipFile(path) as archive:
            members = {entry.removesuffix(".npy"): entry for entry in archive.namelist()}
            found = list(members)
            missing = [name for name in names if name not in found]
            unknown = [name for name in found if name not in names]
            if missing or unknown:
                raise ArgumentTypeError(
                    f"{path}: wrong names of arrays: expected {', '.join(names) or 'none'}, "
                    f"got {', '.join(found) or 'none'}",
                    notes=[f"missing: {', '.join(missing)}"] if missing else [],
                )
            arrays = []
            for name in names:
                with archive.open(members[name]) as member:
                    arrays.append(np.lib.format.read_array(member, allow_pickle=False))
            return arrays
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArgumentValueError(f"{path}: not a readable .npz file ({error})") from None


def _write(path: Path, arrays: dict[str, Any]) -> None:
    import numpy as np

    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:  # it names the temporary file, not the user's
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        # numpy.savez would take outputs named "file" or "args" for arguments of its own.
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
