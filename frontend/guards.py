"""Guards: what must still hold for a compiled function, and where its captured tensors are.

``reach.py`` makes plans, ``jit.py`` follows one at each call. A plan holds names and values, no
functions and no tensors, so that a cache does not keep them alive.
"""

from __future__ import annotations

import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Get = Callable[[Any, Any], Any]

# How a step's object is compared with what was there at capture.
TENSOR, EQUAL, SAME, ARRAY, ALIAS, FREE, VOLATILE = range(7)


@dataclass(slots=True)
class Step:
    parent: int
    get: Get
    key: Any
    kind: int
    expected: Any
    path: str


@dataclass(slots=True)
class Plan:
    """Steps from the roots: the function, then static arguments that are objects."""

    roots: int
    steps: list[Step] = field(default_factory=list)
    tensors: dict[int, int] = field(default_factory=dict)  # id at capture -> object number
    fakes: list[str] = field(default_factory=list)  # where tensors of a trace were found

    def follow(self, roots: list[Any]) -> tuple[list[Any], str | None]:
        """All objects of the plan, and the reason if one is not as it was."""
        objects = list(roots)
        for step in self.steps:
            try:
                found = step.get(objects[step.parent], step.key)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                if step.kind != VOLATILE:
                    return objects, f"{step.path} is gone"
                found = None
            kind, expected = step.kind, step.expected
            if kind == EQUAL:
                if found is not expected and not same(found, expected):
                    return objects, f"{step.path} changed from {expected!r} to {found!r}"
            elif kind == TENSOR:
                if not isinstance(found, torch.Tensor) or expected != tensor_key(found):
                    return objects, f"{step.path} is another kind of tensor"
            elif kind == SAME:
                if expected() is not found:
                    return objects, f"{step.path} is another object"
            elif kind == ARRAY:
                if not isinstance(found, ARRAYS) or expected != contents(found):
                    return objects, f"the contents of {step.path} changed"
            elif kind == ALIAS and objects[expected] is not found:
                return objects, f"{step.path} is another object"
            objects.append(found)
        return objects, None

    def forgive(self, before: Plan) -> None:
        """Drops the guards on what the function itself changed while it was captured.

        Such effects are seen once; as guards they would ask for a capture at every call.
        """
        old = {
            place: (step.kind, step.expected)
            for place, step in zip(before.places(), before.steps, strict=True)
        }
        for place, step in zip(self.places(), self.steps, strict=True):
            changed = step.kind == EQUAL and old.get(place) != (EQUAL, step.expected)
            if changed or place not in old:
                step.kind = VOLATILE

    def places(self) -> list[Any]:
        """Where each step leads, from the roots on."""
        found: list[Any] = []
        for step in self.steps:
            parent = found[step.parent - self.roots] if step.parent >= self.roots else step.parent
            found.append((parent, step.get, step.key))
        return found


def same(x: Any, y: Any) -> bool:
    """Equal for a program: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if type(x) is not type(y) or x != y:
        return False
    if isinstance(x, (float, complex)):
        return x != 0 or repr(x) == repr(y)
    if isinstance(x, (set, frozenset)):
        return sorted(map(repr, x)) == sorted(map(repr, y))
    if isinstance(x, dict):
        return list(x) == list(y) and same(list(x.values()), list(y.values()))
    if isinstance(x, (tuple, list, deque)):
        return list(map(type, x)) == list(map(type, y)) and (0 not in x or repr(x) == repr(y))
    return True


def tensor_key(tensor: torch.Tensor) -> tuple[Any, ...]:
    return (tensor.shape, tensor.dtype, tensor.device)


ARRAYS = (np.ndarray, array.array, bytearray)


def contents(found: Any) -> tuple[Any, ...]:
    """Arrays end up as constants of the program: a change of an element is a change."""
    view = np.asarray(found)
    return type(found), view.shape, view.dtype, hash(view.tobytes())
