"""What cannot be captured, and what to do instead.

``capture.py`` consults this for operations that need a tensor's data, for writes that would be
lost, and for Python functions of torch that leave no operation behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._C._functorch import peek_interpreter_stack
from torch.overrides import TorchFunctionMode

from . import compositions, subscript

if TYPE_CHECKING:
    from .capture import Recorder

aten = torch.ops.aten

DATA_DEPENDENT_VALUE = (
    "data-dependent control flow: the value of a tensor decides what this line does, but while "
    "tracing tensors have no values",
    "for a choice between results use torch.where(condition, a, b), to make a tensor of tensors "
    "torch.stack; a number that is the same at every call can be a Python number",
)
DATA_DEPENDENT_SHAPE = (
    "dynamic shape: the shape of this result depends on the values of a tensor",
    "keep the shape fixed: torch.where(mask, x, 0) instead of x[mask]",
)
WRITE_THROUGH = (
    "a write through this view cannot be followed (expand, detach and .data views)",
    "write to a clone() of it, or to the tensor itself",
)
_MAKE_A_COPY = "work on a copy, x = x.clone()"
WRITE_TO_LEAF = (
    "a leaf Variable that requires grad is being used in an in-place operation: an argument of a "
    "function whose derivative is taken",
    _MAKE_A_COPY,
)
WRITE_BATCHED = (
    "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor "
    "`other` in extra_args that has more elements than `self`: `other` is vmapped over, but `self` "
    "is a tensor from outside the function that is not",
    "make it inside the function, or pass it as an argument that is mapped over",
)
WRITE_SHARED = (
    "a tensor is written to that the mapped function also reaches by another way",
    _MAKE_A_COPY,
)
WRITE_UNDER_NO_GRAD = (
    "an in-place write under torch.no_grad() to a value that depends on the function's inputs",
    "use an operation that returns a new tensor, and detach() to stop derivatives",
)

OPERATIONS: dict[Any, tuple[str, str]] = {
    aten._local_scalar_dense.default: DATA_DEPENDENT_VALUE,
    aten.is_nonzero.default: DATA_DEPENDENT_VALUE,
    aten.equal.default: DATA_DEPENDENT_VALUE,
    aten.nonzero.default: DATA_DEPENDENT_SHAPE,
    aten.masked_select.default: DATA_DEPENDENT_SHAPE,
    aten._unique2.default: DATA_DEPENDENT_SHAPE,
    aten.unique_dim.default: DATA_DEPENDENT_SHAPE,
    aten.unique_consecutive.default: DATA_DEPENDENT_SHAPE,
}


def write_to(origin: str) -> tuple[str, str]:
    return f"this in-place operation writes to {origin}, which is not possible here", (
        f"{_MAKE_A_COPY}, and return it"
    )


def write_to_captured(func: Any) -> tuple[str, str]:
    return (
        "during a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call "
        f"in-place operation ({func}) that would mutate a captured Tensor",
        "pass the tensor as an argument, or work on a copy of it",
    )


def out_of_another_shape(out: Any, result: Any) -> tuple[str, str]:
    return (
        f"out= has the shape {list(out)}, but the result {list(result)}",
        "give a tensor of the shape of the result, or a new empty one",
    )


_OPERATORS: dict[str, str] = {
    "__iand__": "bitwise_and_",
    "__ior__": "bitwise_or_",
    "__ixor__": "bitwise_xor_",
}


def functional_form(func: Any) -> Any:
    """``aten.add_.Tensor`` -> ``aten.add.Tensor``; None where there is no such form."""
    namespace, _, full = str(func._schema.name).partition("::")
    name = _OPERATORS.get(full, full)
    if namespace != "aten" or not name.endswith("_") or name.endswith("__"):
        return None
    packet = getattr(torch.ops.aten, name[:-1], None)
    if packet is None:
        return None
    for overload in (func._overloadname, f"Tensor_{func._overloadname}"):  # pow_.Scalar
        form = getattr(packet, overload, None)
        if form is not None and not form._schema.is_mutable and _types(form) == _types(func):
            return form
    return None


def form_without_out(func: Any) -> Any:
    """``aten.add.out`` -> ``aten.add.Tensor``."""
    packet = func._overloadpacket
    kept = [(a.name, str(a.type)) for a in func._schema.arguments if not a.is_out]
    for overload in packet.overloads():
        form = getattr(packet, overload)
        schema = form._schema
        if not schema.is_mutable and [(a.name, str(a.type)) for a in schema.arguments] == kept:
            return form
    return None


def _types(func: Any) -> list[str]:
    return [str(argument.type) for argument in func._schema.arguments]


def no_functional_form(func: Any) -> tuple[str, str]:
    if "out" in func._overloadname or func._schema.name.endswith("out"):
        return (
            f"{func} writes to the tensor given as out=",
            "use the returned tensor instead of out=",
        )
    return (
        f"{func} changes a tensor in a way that cannot be followed",
        "use an operation that returns a new tensor",
    )


_NO_MEMORY = (
    "tensors have no memory while tracing",
    "stay with torch operations inside the function",
)
_OF_TENSORS = (
    "torch.tensor() takes the values of the tensors it is given, but while tracing tensors have "
    "no values",
    "use torch.stack or torch.cat",
)
_REPLACED = (
    "a tensor's memory is replaced here",
    "make a new tensor, or write to the old one with copy_()",
)
_NO_TAPE = (
    "torch.autograd is not available inside a compiled function",
    "use pullback.grad, vjp or jvp here",
)
_FUNCTORCH = (
    "a transform of torch.func inside a compiled function",
    "use the one of pullback with the same name",
)
_FUNCTIONS: dict[Any, tuple[str, str]] = {
    torch.Tensor.numpy: _NO_MEMORY,
    torch.Tensor.__array__: _NO_MEMORY,
    torch.Tensor.data_ptr: _NO_MEMORY,
    torch.Tensor.__dlpack__: _NO_MEMORY,
    torch.Tensor.tolist: DATA_DEPENDENT_VALUE,
    torch.Tensor.__format__: DATA_DEPENDENT_VALUE,
    torch.Tensor.data.__set__: _REPLACED,  # pyright: ignore[reportAttributeAccessIssue]
    torch.Tensor.backward: _NO_TAPE,
    torch.Tensor.requires_grad_: _NO_TAPE,
    torch.autograd.grad: _NO_TAPE,
    torch.autograd.backward: _NO_TAPE,
}


_SUBSCRIPTS: dict[Any, Any] = {
    torch.Tensor.__getitem__: subscript.get,
    torch.Tensor.__setitem__: subscript.put,
}


_MAKERS = (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor)


def _holds_tensors(data: Any) -> bool:
    """Tensors inside a list, at any depth."""
    return any(
        _holds_tensors(item) or any(isinstance(part, torch.Tensor) for part in item)
        for item in data
        if isinstance(item, (list, tuple))
    )


class Functions(TorchFunctionMode):
    """Catches what does not reach the dispatcher, or asks it for numbers."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if peek_interpreter_stack() is not None:
            raise self.recorder.error(*_FUNCTORCH)
        reason = _FUNCTIONS.get(func)
        if reason is not None:
            raise self.recorder.error(*reason)
        if func in compositions.FUNCTIONS:
            return compositions.FUNCTIONS[func](*args, **(kwargs or {}))
        if func in _MAKERS and _holds_tensors(args[:1]):
            raise self.recorder.error(*_OF_TENSORS)
        if func in _SUBSCRIPTS and subscript.has_number_tensors(args[1], self.known):
            return _SUBSCRIPTS[func](*args)
        if func is torch.Tensor.__setitem__ and subscript.is_mask(args[1]):
            return subscript.put(*args)
        return func(*args, **(kwargs or {}))

    def known(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self.recorder.literals
