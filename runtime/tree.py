"""Argument and result structures: the TREE objects of a manifest, and Python values like them.

A TREE is ``{"kind": "leaf"}``, ``{"kind": "none"}``, ``{"kind": "static", "value": ...}``,
``{"kind": "tuple" or "list", "items": [...]}``, ``{"kind": "dict", "keys": [...], "items": [...]}``
or ``{"kind": "namedtuple", "name": ..., "fields": [...], "items": [...]}``.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Iterator
from functools import cache
from typing import Any

from .errors import ArgumentTypeError, ArgumentValueError

Tree = dict[str, Any]
LEAF: Tree = {"kind": "leaf"}


def count_leaves(tree: Tree) -> int:
    """How many tensors a value of this structure holds."""
    if tree["kind"] == "leaf":
        return 1
    return sum(count_leaves(item) for item in tree.get("items", ()))


def flatten(tree: Tree, value: Any, path: str, leaves: list[Any]) -> None:
    """Appends the leaves of ``value`` to ``leaves``; an ArgumentError where it is built otherwise.

    ``path`` names the value as the caller would write it: ``params['w'][0]``.
    """
    kind = tree["kind"]
    if kind == "leaf":
        leaves.append(value)
    elif kind == "none":
        if value is not None:
            raise _mismatch(path, "None", value)
    elif kind == "static":
        _check_static(tree["value"], value, path)
    elif kind == "dict":
        keys = tree["keys"]
        if not isinstance(value, dict) or set(value) != set(keys):
            raise _mismatch(path, f"a dict with the keys {keys}", value)
        for key, item in zip(keys, tree["items"], strict=True):
            flatten(item, value[key], f"{path}[{key!r}]", leaves)
    else:
        items = tree["items"]
        if not _is_sequence(tree, value) or len(value) != len(items):
            raise _mismatch(path, _describe_sequence(tree), value)
        for i, item in enumerate(items):
            name = f"{path}.{tree['fields'][i]}" if kind == "namedtuple" else f"{path}[{i}]"
            flatten(item, value[i], name, leaves)


def unflatten(tree: Tree, leaves: Iterator[Any]) -> Any:
    """The value of this structure, with its leaves taken from ``leaves`` in order."""
    kind = tree["kind"]
    if kind == "leaf":
        return next(leaves)
    if kind == "none":
        return None
    if kind == "static":
        return tree["value"]
    items = [unflatten(item, leaves) for item in tree["items"]]
    if kind == "list":
        return items
    if kind == "tuple":
        return tuple(items)
    if kind == "dict":
        return dict(zip(tree["keys"], items, strict=True))
    return _namedtuple_type(tree["name"], tuple(tree["fields"]))(*items)


def _is_sequence(tree: Tree, value: Any) -> bool:
    if tree["kind"] == "list":
        return isinstance(value, list)
    if tree["kind"] == "namedtuple":
        return getattr(value, "_fields", None) == tuple(tree["fields"])
    return isinstance(value, tuple) and not hasattr(value, "_fields")


def _describe_sequence(tree: Tree) -> str:
    if tree["kind"] == "namedtuple":
        return f"a {tree['name']} with the fields {tree['fields']}"
    return f"a {tree['kind']} of {len(tree['items'])}"


def _check_static(expected: Any, value: Any, path: str) -> None:
    # As JSON, because there 1, 1.0 and True are different, and a tuple is a list.
    try:
        same = json.dumps(value, sort_keys=True) == json.dumps(expected, sort_keys=True)
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ArgumentValueError(
            f"argument '{path}' was fixed when the function was compiled: "
            f"expected {expected!r}, got {value!r}",
            help="compile again with the other value, or leave the argument out",
        )


def _mismatch(path: str, expected: str, value: Any) -> ArgumentTypeError:
    if isinstance(value, dict):
        got = f"a dict with the keys {list(value)}"
    elif isinstance(value, (tuple, list)):
        got = f"a {type(value).__name__} of {len(value)}"
    else:
        got = "None" if value is None else f"a {type(value).__name__}"
    return ArgumentTypeError(
        f"argument '{path}' has the wrong structure: expected {expected}, got {got}"
    )


@cache
def _namedtuple_type(name: str, fields: tuple[str, ...]) -> type[Any]:
    # The user's class is not known where an artifact runs; one of the same shape stands in.
    return namedtuple(name, fields)  # pyright: ignore[reportUntypedNamedTuple]
