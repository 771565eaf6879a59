"""Leaf names, and the trees written into manifests, for torch's pytrees.

``compile.py`` uses them so that an artifact is called with the same nested arguments as the
function.
"""

from __future__ import annotations

from collections import defaultdict, namedtuple
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils import _pytree as torch_pytree
from torch.utils._pytree import TreeSpec

from ..dialects.errors import CaptureError

_SEQUENCES = {tuple: "tuple", list: "list"}


def leaf_names(tree: Any, root: str) -> list[str]:
    """``params.w``, ``params[0]``: where each leaf of ``tree`` is, in the order of flattening."""
    paths, _ = torch_pytree.tree_flatten_with_path(tree)
    return [root + "".join(map(_part, path)) for path, _leaf in paths]


def _part(key: Any) -> str:
    if isinstance(key, torch_pytree.GetAttrKey):
        return f".{key.name}"
    if isinstance(key, torch_pytree.MappingKey):
        name = key.key
        return f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{name!r}]"
    return f"[{key.idx}]" if isinstance(key, torch_pytree.SequenceKey) else f"[{key}]"


def describe(spec: TreeSpec, leaves: Sequence[Any], is_tensor: Any) -> dict[str, Any]:
    """The JSON form of a structure; ``is_tensor`` tells tensor leaves from static ones."""
    return _describe(spec, iter(leaves), is_tensor)


def _describe(spec: TreeSpec, leaves: Iterator[Any], is_tensor: Any) -> dict[str, Any]:
    if spec.is_leaf():
        leaf = next(leaves)
        if leaf is None:
            return {"kind": "none"}
        return {"kind": "leaf"} if is_tensor(leaf) else {"kind": "static", "value": _json(leaf)}
    items = [_describe(child, leaves, is_tensor) for child in spec.children()]
    kind = spec.type
    if kind in _SEQUENCES:
        return {"kind": _SEQUENCES[kind], "items": items}
    if torch_pytree.is_namedtuple_class(kind) or kind is namedtuple:
        cls = spec.context
        name, fields = cls.__name__, list(cls._fields)
        return {"kind": "namedtuple", "name": name, "fields": fields, "items": items}
    if isinstance(kind, type) and issubclass(kind, dict):
        keys = spec.context[1] if kind is defaultdict else spec.context
        return {"kind": "dict", "keys": _plain_keys(keys), "items": items}
    raise CaptureError(
        f"arguments and results of an artifact cannot contain a {kind.__name__}",
        help="use tuples, lists, dicts and namedtuples of tensors",
    )


def _plain_keys(keys: Sequence[Any]) -> list[str | int]:
    for key in keys:
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            raise CaptureError(f"the key {key!r} of a dict is neither a string nor an integer")
    return list(keys)


def _json(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_json(item) for item in value]
    return repr(value)
