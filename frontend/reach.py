"""What a function can reach besides its arguments: closures, globals, modules, defaults.

``jit.py`` walks a function once after capture and gets a plan (``guards.py``): how to find each
captured tensor again, and which plain values must be the same for the compiled code to be valid.
"""

from __future__ import annotations

import enum
import functools
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from ..dialects.errors import CaptureError
from .guards import (
    ALIAS,
    ARRAY,
    ARRAYS,
    EQUAL,
    FREE,
    SAME,
    TENSOR,
    Get,
    Plan,
    Step,
    contents,
    tensor_key,
)
from .imported import callable_of, is_exported

ITEMS = 50_000
LONG = 64  # collections of plain values longer than this are compared as a whole
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, enum.Enum)
_LIBRARIES = ("torch", "numpy", "math", "builtins", "functools", "pullback")


def _cell(function: Any, index: int) -> Any:
    return function.__closure__[index].cell_contents


def _global(function: Any, name: str) -> Any:
    return function.__globals__[name]


def _hooks(module: Any, _: Any) -> tuple[int, ...]:
    return len(module._forward_hooks), len(module._forward_pre_hooks)


def _attributes(obj: Any, _: Any) -> int:
    """A new attribute may hide one of the class."""
    return len(obj.__dict__)


def _size(container: Any, _: Any) -> int:
    return len(container)


def _keys(container: Any, _: Any) -> tuple[Any, ...]:
    return tuple(container)


def _item(container: Any, key: Any) -> Any:
    return container[key]


def _code(function: Any, _: Any) -> CodeType:
    return function.__code__


def _parameter(module: Any, name: str) -> Any:
    return module._parameters[name]


def _buffer(module: Any, name: str) -> Any:
    return module._buffers[name]


def _submodule(module: Any, name: str) -> Any:
    return module._modules[name]


def _submodule_names(module: Any, _: Any) -> tuple[str, ...]:
    return tuple(module._modules)


def _attribute(obj: Any, name: str) -> Any:
    return obj.__dict__[name]


def _method(obj: Any, name: str) -> Any:
    return getattr(type(obj), name)


def _slot(obj: Any, name: str) -> Any:
    return getattr(obj, name)


def _default(function: Any, index: int) -> Any:
    return function.__defaults__[index]


def _keyword_default(function: Any, name: str) -> Any:
    return function.__kwdefaults__[name]


def _imported(program: Any, _: Any) -> Any:
    return callable_of(program, "import")


def _type(obj: Any, _: Any) -> type:
    return type(obj)


def plan(roots: list[Any], names: list[str]) -> Plan:
    """Walks everything that the roots reach."""
    result = Plan(len(roots))
    numbers: dict[int, int] = {}
    alive: list[Any] = []  # ids in ``numbers`` stay valid while walking
    todo: deque[tuple[int, Any, str, frozenset[str]]] = deque()
    visited: set[tuple[int, frozenset[str]]] = set()  # classes and modules, with names used of them
    count = len(roots)
    for number, (root, name) in enumerate(zip(roots, names, strict=True)):
        numbers[id(root)] = number
        todo.append((number, root, name, frozenset()))
        if number:  # an argument: it must be what it was; the function is found by its key
            kind, expected = _expectation(root)
            if kind is not None and kind != FREE:
                result.steps.append(Step(number, _itself, None, kind, expected, name))
                count += 1
    while todo:
        parent, obj, path, used = todo.popleft()
        if count > ITEMS:
            raise CaptureError(
                f"the function reaches more than {ITEMS} values, the last in {path}",
                help="keep large collections out of the objects and globals that it uses, or pass "
                "what it needs as an argument",
            )
        for get, key, child, part, names_used in _children(obj, used):
            where = _join(path, part)
            kind, expected = _expectation(child)
            if kind is None:
                result.fakes.append(where)
                continue
            number, count = count, count + 1
            by_name = isinstance(child, ModuleType) and kind == FREE
            by_name |= isinstance(child, type) and not _of_library(child.__module__)
            if by_name:
                names_used = names_used or used
                known = (id(child), names_used) in visited
                visited.add((id(child), names_used))
                if not known:
                    todo.append((number, child, where, names_used))
                kind = SAME if kind == FREE else kind
                expected = weakref.ref(child) if kind == SAME else expected
                alive.append(child)
            if kind in (TENSOR, FREE) and id(child) in numbers:
                result.steps.append(Step(parent, get, key, ALIAS, numbers[id(child)], where))
                continue
            result.steps.append(Step(parent, get, key, kind, expected, where))
            if kind == TENSOR:
                result.tensors[id(child)] = number
            if kind in (TENSOR, FREE):
                numbers[id(child)] = number
                alive.append(child)
            if kind == FREE:
                todo.append((number, child, where, names_used or used))
    return result


def _join(path: str, part: str) -> str:
    if not part:
        return path
    return part.removeprefix(".") if not path else path + part


def _expectation(obj: Any) -> tuple[int | None, Any]:
    if isinstance(obj, FakeTensor):
        return None, None  # left behind by the trace itself
    if isinstance(obj, torch.Tensor):
        return TENSOR, tensor_key(obj)
    if isinstance(obj, (*_PLAIN, type, CodeType)):
        return EQUAL, obj
    if isinstance(obj, (set, frozenset)):
        if any(isinstance(item, FakeTensor) for item in obj):
            return None, None
        return EQUAL, type(obj)(obj)
    if isinstance(obj, ARRAYS):
        return ARRAY, contents(obj)
    if isinstance(obj, tuple) and all(isinstance(item, (*_PLAIN, type)) for item in obj):
        return EQUAL, obj
    if isinstance(obj, (list, deque, dict)) and len(obj) > LONG:
        values = obj.values() if isinstance(obj, dict) else obj
        if all(isinstance(item, _PLAIN) for item in values):
            return EQUAL, obj.copy()
    if _walkable(obj):
        return FREE, None
    try:
        return SAME, weakref.ref(obj)
    except TypeError:
        return SAME, functools.partial(_itself, obj, None)


def _itself(obj: Any, _: Any) -> Any:
    return obj


@functools.lru_cache(maxsize=4096)
def _of_library(name: str | None) -> bool:
    """Installed code: its functions do as they did."""
    root = (name or "").partition(".")[0]
    if root in _LIBRARIES or root in sys.stdlib_module_names:
        return True
    if root == "__main__":  # whoever was started, what it defines is the user's
        return False
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file


def _walkable(obj: Any) -> bool:
    if isinstance(obj, (FunctionType, ModuleType)):
        name = obj.__name__ if isinstance(obj, ModuleType) else obj.__module__
        return not _of_library(name)
    if isinstance(obj, (functools.partial, MethodType, torch.nn.Module, list, tuple, dict, deque)):
        return True
    if isinstance(obj, property) or _wraps(obj) or is_exported(obj):
        return True
    return not _of_library(type(obj).__module__)


def _wraps(obj: Any) -> bool:
    return hasattr(obj, "func") and hasattr(obj, "options")  # api.Transformed and jit.Jit


_STATIC = {
    name: getattr(torch.autograd.Function, name)
    for name in ("forward", "setup_context", "backward", "vjp", "jvp")
}
Child = tuple[Get, Any, Any, str, frozenset[str]]
_NONE: frozenset[str] = frozenset()


def _children(obj: Any, used: frozenset[str]) -> Iterator[Child]:
    if isinstance(obj, FunctionType):
        yield from _of_function(obj)
    elif isinstance(obj, functools.partial):
        yield _slot, "func", obj.func, "", _NONE
        yield _slot, "args", obj.args, "", _NONE
        yield _slot, "keywords", obj.keywords, "", _NONE
    elif isinstance(obj, MethodType):
        yield _slot, "__func__", obj.__func__, "", _NONE
        yield _slot, "__self__", obj.__self__, "self", _NONE
    elif isinstance(obj, torch.nn.Module):
        yield from _of_module(obj)
    elif isinstance(obj, (list, tuple, deque)):
        yield _size, None, len(obj), " (length)", _NONE
        for index, item in enumerate(obj):
            yield _item, index, item, f"[{index}]", _NONE
    elif isinstance(obj, dict):
        yield _keys, None, tuple(obj), " (keys)", _NONE
        for key, item in obj.items():
            yield _item, key, item, f"[{key!r}]", _NONE
    elif isinstance(obj, ModuleType):
        for name in sorted(used & obj.__dict__.keys()):
            yield _attribute, name, obj.__dict__[name], f".{name}", used
    elif _wraps(obj):
        yield _slot, "options", obj.options, " (options)", _NONE
        yield _slot, "func", obj.func, "", _NONE
    elif is_exported(obj):
        yield _imported, None, _imported(obj, None), "", _NONE
    elif isinstance(obj, property):
        yield _slot, "fget", obj.fget, "", _NONE
    elif isinstance(obj, type):
        names = used & obj.__dict__.keys()
        if issubclass(obj, torch.autograd.Function):  # apply() calls them
            names |= {name for name in _STATIC if getattr(obj, name) is not _STATIC[name]}
        for name in sorted(names):
            yield _slot, name, getattr(obj, name, None), f".{name}", used
    else:
        yield from _of_object(obj, object)


def _of_function(function: FunctionType) -> Iterator[Child]:
    used = frozenset(_names(function.__code__))
    yield _code, None, function.__code__, " (code)", _NONE
    for index, name in enumerate(function.__code__.co_freevars):
        try:
            yield _cell, index, _cell(function, index), f".{name}", used
        except ValueError:
            continue  # an empty cell: not yet assigned
    for name in sorted(used & function.__globals__.keys()):
        yield _global, name, function.__globals__[name], f".{name}", used
    for index, value in enumerate(function.__defaults__ or ()):
        yield _default, index, value, f" (default {index})", used
    for name in sorted(used & vars(function).keys()):
        yield _attribute, name, vars(function)[name], f".{name}", used
    for name, value in (function.__kwdefaults__ or {}).items():
        yield _keyword_default, name, value, f".{name}", used


@functools.lru_cache(maxsize=1024)
def _names(code: CodeType) -> tuple[str, ...]:
    """The global and attribute names in a function's code, nested functions included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(_names(constant))
    return tuple(sorted(names))


_INTERNAL = frozenset(torch.nn.Module().__dict__) - {"training"}


def _of_module(module: torch.nn.Module) -> Iterator[Child]:
    yield _type, None, type(module), " (type)", _NONE
    yield _submodule_names, None, tuple(module._modules), " (submodules)", _NONE
    yield _hooks, None, _hooks(module, None), " (hooks)", _NONE
    for name in ("_forward_hooks", "_forward_pre_hooks"):
        if hooks := getattr(module, name):
            yield _attribute, name, hooks, f".{name}", _NONE
    for get, entries in (
        (_parameter, module._parameters),
        (_buffer, module._buffers),
        (_submodule, module._modules),
    ):
        for name, child in entries.items():
            yield get, name, child, f".{name}", _NONE
    yield from _of_object(module, torch.nn.Module)


def _of_object(obj: Any, stop: type) -> Iterator[Child]:
    """Attributes, and the methods of the classes below ``stop``."""
    yield _type, None, type(obj), " (type)", _NONE
    if hasattr(obj, "__dict__"):
        yield _attributes, None, len(obj.__dict__), " (attributes)", _NONE
    for name, child in getattr(obj, "__dict__", {}).items():
        if stop is object or name not in _INTERNAL:
            yield _attribute, name, child, f".{name}", _NONE
    seen: set[str] = set()
    for cls in type(obj).__mro__:
        if cls is stop or _of_library(cls.__module__):
            break
        for name, child in cls.__dict__.items():
            if name in seen or (name.startswith("__") and not isinstance(child, FunctionType)):
                continue
            seen.add(name)
            if isinstance(child, MemberDescriptorType):  # of __slots__
                if hasattr(obj, name):
                    yield _slot, name, getattr(obj, name), f".{name}", _NONE
            else:
                yield _method, name, getattr(type(obj), name), f".{name}", _NONE


def function_key(function: Any) -> Any:
    """Equal for functions that may share a compile: the code and how it is wrapped."""
    if isinstance(function, FunctionType):
        return function.__code__
    if isinstance(function, functools.partial):
        return ("partial", function_key(function.func))
    if isinstance(function, MethodType):
        return ("method", function_key(function.__func__))
    if _wraps(function):
        return (function.kind, repr(function.options), function_key(function.func))
    if hasattr(function, "__dict__"):
        return ("object", type(function))
    return function
