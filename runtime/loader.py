"""``load``: from the path of a library to a callable."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from . import library, tree
from ._native import Kernel
from .arrays import is_torch, plain, to_torch
from .errors import ArgumentTypeError, ArtifactError
from .manifest import Manifest, check, named, read_open
from .signature import Signature

# What the extension returns itself; everything else goes through the result's TREE.
_ONE, _TUPLE, _TREE = 0, 1, 2

# By device and inode, the function whose library is mapped from that very file.
_mapped: WeakValueDictionary[tuple[int, int], Function] = WeakValueDictionary()


def load(path: str | os.PathLike[str], *, verify: bool = True) -> Function:
    """The compiled function in the library at ``path``; a ``cuda.Function`` if it is for GPUs.

    The library is checked first: ArtifactError if it is damaged, foreign, or not for this machine.
    A library that was rebuilt at the same path is loaded anew. ``verify=False`` is for a caller
    that has just made the file and owns it: no hash, no private copy.
    """
    path = Path(path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    image = fd
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError("not a regular file")
        inode = (status.st_dev, status.st_ino)
        description = read_open(fd)
        if verify:
            old = _mapped.get(inode)
            overwritten = old is not None and old.manifest != description
            image = library.private_copy(fd, always=overwritten)
            check(image, description, path.with_suffix(".h"))
        function = _kind(description)(path, description, image, verify)
        if image == fd:
            _mapped[inode] = function
        return function
    except ArtifactError as error:
        raise named(error, path) from error.__cause__
    finally:
        if image != fd:
            os.close(image)
        os.close(fd)


def _kind(description: Manifest) -> Any:
    if description["target"].get("kind") != "cuda":
        return Function
    from . import cuda

    return cuda.Function


class Function(Signature, Kernel):
    """A compiled function: call it with arrays of numpy, torch, or any library that has DLPack.

    Tensors of torch give tensors of torch, everything else gives numpy arrays. Contiguous arguments
    are read where they are; results are always fresh memory. A tensor that requires grad is refused
    unless under torch.no_grad(): a library has no derivative of its own. It may be called from
    several threads.
    """

    def __init__(self, path: Path, description: Manifest, image: int, verify: bool) -> None:
        self.manifest = description
        self.path = path
        try:
            self._read_manifest()
            params = self._params(verify)
            symbols = [(spec.dtype, spec.shape) for spec in (*self.inputs, *self.outputs)]
            super().__init__(
                library.unique_name(image),
                self.name,
                tuple(symbols[: len(self.inputs)]),
                tuple(symbols[len(self.inputs) :]),
                description["workspace"]["bytes"],
                params,
                self._flat_inputs(),
                self._result_kind(),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"its manifest is malformed ({error!r})") from error
        except OSError as error:
            raise ArtifactError(f"the system cannot load it: {error}") from error

    def _params(self, verify: bool) -> Any:
        params = self.manifest["params"]
        if params["mode"] != "file":
            return None
        file = self.path.with_suffix(".params")
        return library.map_params(file, params["bytes"], params["sha256"], verify)

    def _result_kind(self) -> int:
        if self._out_tree == tree.LEAF:
            return _ONE
        items = self._out_tree.get("items", ())
        flat = self._out_tree["kind"] == "tuple" and all(item == tree.LEAF for item in items)
        return _TUPLE if flat else _TREE

    def _call_slowly(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        return self.result_of(self.call_leaves(self.leaves_of(args, kwargs)))

    def _leaves_slowly(self, leaves: tuple[Any, ...]) -> list[Any]:
        if len(leaves) != len(self.inputs):
            raise ArgumentTypeError(
                f"{self.name} has {len(self.inputs)} inputs, got {len(leaves)} leaves"
            )
        arrays = [plain(spec, leaf) for spec, leaf in zip(self.inputs, leaves, strict=True)]
        from_torch = any(map(is_torch, leaves))
        if from_torch and any(spec.dtype == "bf16" for spec in (*self.inputs, *self.outputs)):
            return self.call_plain([to_torch(array) for array in arrays])
        results = self.call_plain(arrays)
        return [to_torch(result) for result in results] if from_torch else results
