"""Views and in-place writes, resolved while ``capture.py`` records: the graphs are functional.

A tensor is a cell or a view into one (``state.py``). A write gives the cell a new value; through
a view it goes backwards along the links (``views.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from . import forbidden
from .graph import StopGradient, Value
from .state import Cell, View, leaves_of, same_view
from .views import VIEWS, Link

aten = torch.ops.aten

if TYPE_CHECKING:
    from .capture import Recorder

    _Base = Recorder
else:
    _Base = object


class Writes(_Base):
    """The part of the recorder that knows which tensors share elements."""

    def view(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self.run_fake(func, args, kwargs)
        base, outs = args[0], leaves_of(result)
        self.read(base)
        parent = self.states[id(base)]
        for out, (target, extra) in zip(
            outs, VIEWS[func](base, outs, *args[1:], **kwargs), strict=True
        ):
            if out is base:
                continue
            link = Link(target, extra, self.location(), torch.is_grad_enabled())
            root = parent.base if isinstance(parent, View) else parent
            state = View(root, parent, link)
            self.states[id(out)] = state
            self.kept.append(out)
            self.value_of(state)
        return result

    def alias(self, tensor: torch.Tensor) -> torch.Tensor:
        """Another tensor object with the same state."""
        other = self.run_fake(aten.detach.default, (tensor,), {})
        self.states[id(other)] = self.states[id(tensor)]
        self.kept.append(other)
        return other

    def apply_link(self, link: Link, parent: Value) -> Value:
        if link.target is aten.detach.default:
            target, like = StopGradient(), parent
        else:
            target = link.target
            like = self.run_fake(target, (self.fake(parent.shape, parent.dtype), *link.args), {})
        args = (parent, *link.args)
        return self.emit(target, args, {}, [like], link.location, link.grad_enabled)[0]

    def write_in_place(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target, functional = args[0] if args else None, forbidden.functional_form(func)
        if functional is None or not isinstance(target, torch.Tensor):
            raise self.error(*forbidden.no_functional_form(func))
        if func is aten.copy_.default and same_view(*(self.states.get(id(t)) for t in args[:2])):
            return target  # x[1:] += y ends with x[1:] = x[1:]
        self.literals.pop(id(target), None)
        old_shape = target.shape
        self.run_fake(func, args, kwargs)  # torch's own checks
        if target.shape != old_shape:
            raise self.error(*forbidden.no_functional_form(func))
        result = self.dispatch(functional, args, kwargs)
        value = self.read(result)
        if value.dtype != target.dtype:
            like = self.fake(value.shape, target.dtype)
            cast = {"dtype": target.dtype}
            (value,) = self.emit(aten._to_copy.default, (value,), cast, [like])
        if value.shape != tuple(target.shape):
            like = self.fake(target.shape, target.dtype)
            shape = list(target.shape)
            (value,) = self.emit(aten.expand.default, (value, shape), {}, [like])
        self.read(target)
        self.write(self.states[id(target)], value)
        return target

    def write(self, state: Cell | View, value: Value) -> None:
        if isinstance(state, View):
            parent = self.local(self.value_of(state.parent))
            undo = state.link.scatter(parent.shape)
            if undo is None:
                raise self.error(*forbidden.WRITE_THROUGH)
            target, reads_base, extra = undo
            inputs = (parent, value) if reads_base else (value,)
            like = Value(parent.shape, parent.dtype)
            (value,) = self.emit(target, (*inputs, *extra), {}, [like])
            self.write(state.parent, value)
            return
        if state.origin is not None or state.frame is not self.frame:
            raise self.error(*forbidden.write_to(state.origin or "a tensor of an outer function"))
        unseen = not torch.is_grad_enabled() and self.frame.grad_enabled
        if unseen and value.is_float and state.value.varies:
            raise self.error(*forbidden.WRITE_UNDER_NO_GRAD)
        state.value, state.version = value, state.version + 1
