"""``--transform``: an expression of transforms in which ``f`` is the function.

``command.py`` gives it the text. Only the names below, numbers, strings, tuples, lists and dicts
are understood; nothing is evaluated as Python.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from ..dialects.errors import CaptureError
from . import api, forms

TRANSFORMS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(api, name)
        for name in ("grad", "grad_and_value", "vmap", "jacrev", "jacfwd", "hessian")
    },
    **{name: getattr(forms, name) for name in ("vjp", "jvp", "linearize", "functional")},
}


def apply(text: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The transform ``text``, in which ``f`` is the function and nothing else is known."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise CaptureError(f"--transform {text!r} is not Python: {error.msg}") from None
    result = _evaluate(tree.body, text, function)
    if not callable(result):
        raise CaptureError(f"--transform {text!r} is not a function")
    return result


def _evaluate(node: ast.expr, text: str, function: Callable[..., Any]) -> Any:
    def value(child: ast.expr) -> Any:
        return _evaluate(child, text, function)

    match node:
        case ast.Name("f"):
            return function
        case ast.Name(name) if name in TRANSFORMS:
            return TRANSFORMS[name]
        case ast.Constant(constant):
            return constant
        case ast.Tuple(elements):
            return tuple(map(value, elements))
        case ast.List(elements):
            return list(map(value, elements))
        case ast.Dict(keys, values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {value(key): value(item) for key, item in pairs if key is not None}
        case ast.UnaryOp(ast.USub(), operand):
            return -value(operand)
        case ast.Call(ast.Name(name), arguments, keywords) if name in TRANSFORMS:
            named = {k.arg: value(k.value) for k in keywords if k.arg is not None}
            return TRANSFORMS[name](*map(value, arguments), **named)
    part = ast.get_source_segment(text.strip(), node) or text
    raise CaptureError(
        f"--transform does not understand {part!r}",
        help=f"it may use f, numbers, tuples and {', '.join(TRANSFORMS)}",
    )
