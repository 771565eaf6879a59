"""Views and in-place writes, resolved while ``capture.py`` records: the graphs are functional.

A tensor is a cell or a view into one (``state.py``). A write gives the cell a new value; through
a view it goes backwards along the links (``views.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from . import forbidden
from .graph import StopGradient, Value
from .location import Location
from .samplers import COMPOSITIONS
from .state import Cell, Frame, View, Write, leaves_of, same_view
from .views import IN_PLACE_VIEWS, VIEWS, Link

aten = torch.ops.aten

if TYPE_CHECKING:
    from .capture import Recorder

    _Base = Recorder
else:
    _Base = object


class Writes(_Base):
    """The part of the recorder that knows which tensors share elements."""

    writing: Any = None  # the in-place call being recorded, for errors
    reads_memory: Location | None = None  # of an as_strided

    def view(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self.run_fake(func, args, kwargs)
        base, outs = args[0], leaves_of(result)
        self.read(base)
        parent = self.states[id(base)]
        try:
            links = VIEWS[func](base, outs, *args[1:], **kwargs)
        except NotImplementedError as error:
            raise self.error(str(error), help="copy the tensor with .contiguous() first") from None
        if func is aten.as_strided.default:
            # What is read depends on how the caller's tensors lie: results lie like operands.
            self.reads_memory = self.location()
        for out, (target, extra) in zip(outs, links, strict=True):
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
        self.writing = func
        if (composition := COMPOSITIONS.get(func)) is not None:
            with self:
                result = composition(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if outs := [a.name for a in func._schema.arguments if a.is_out]:
            return self.write_outs(func, args, kwargs, outs)
        if func in IN_PLACE_VIEWS:
            return self.become_view(func, args, kwargs)
        target, functional = args[0] if args else None, forbidden.functional_form(func)
        if functional is None or not isinstance(target, torch.Tensor):
            raise self.error(*forbidden.no_functional_form(func))
        if func is aten.copy_.default and same_view(*(self.states.get(id(t)) for t in args[:2])):
            return target  # x[1:] += y ends with x[1:] = x[1:]
        self.literals.pop(id(target), None)
        self.large_literals.pop(id(target), None)
        old_shape = target.shape
        self.run_fake(func, args, kwargs)  # torch's own checks
        if target.shape != old_shape:
            raise self.error(*forbidden.no_functional_form(func))
        self.assign(target, self.dispatch(functional, args, kwargs))
        return target

    def write_outs(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str]
    ) -> Any:
        """``torch.add(x, y, out=z)``: the call without ``out``, and writes of its results."""
        functional = forbidden.form_without_out(func)
        if functional is None:
            raise self.error(*forbidden.no_functional_form(func))
        outs = [kwargs[name] for name in names]
        given = {key: value for key, value in kwargs.items() if key not in names}
        results = leaves_of(self.dispatch(functional, args, given))
        for out, result in zip(outs, results, strict=True):
            if not torch.can_cast(result.dtype, out.dtype):
                raise RuntimeError(
                    f"result type {result.dtype} can't be cast to the desired output type "
                    f"{out.dtype}"
                )
            if out.shape == result.shape:
                self.assign(out, result)
            elif out.numel() == 0 and self.is_fresh(self.states[id(out)]):
                self.run_fake(aten.resize_.default, (out, list(result.shape)), {})
                self.define(out, self.read(result.to(out.dtype)))
            else:
                raise self.error(*forbidden.out_of_another_shape(out.shape, result.shape))
        return outs[0] if len(outs) == 1 else tuple(outs)

    def is_fresh(self, state: Cell | View) -> bool:
        return isinstance(state, Cell) and state.origin is None and state.frame is self.frame

    def become_view(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """``x.t_()``, ``x.unsqueeze_(0)``: the tensor is from now on a view of what it was."""
        target = args[0]
        self.read(target)
        before, state = self.fake(target.shape, target.dtype), self.states[id(target)]
        self.run_fake(func, args, kwargs)
        ((view, extra),) = VIEWS[IN_PLACE_VIEWS[func]](before, [target], *args[1:], **kwargs)
        link = Link(view, extra, self.location(), torch.is_grad_enabled())
        root = state.base if isinstance(state, View) else state
        self.states[id(target)] = View(root, state, link)
        return target

    def assign(self, target: torch.Tensor, result: torch.Tensor, unseen: bool = False) -> None:
        """Writes ``result``, converted and repeated as ``copy_`` does."""
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
        self.write(self.state_of(target), value, unseen)

    def state_of(self, tensor: torch.Tensor) -> Cell | View:
        known = tensor if id(tensor) in self.states else self.stand_in(tensor)
        return self.states[id(known)]

    def write(self, state: Cell | View, value: Value, unseen: bool = False) -> None:
        """Gives a tensor a new value; ``unseen``: no derivative knows of the write."""
        unseen |= not torch.is_grad_enabled() and self.frame.grad_enabled
        if isinstance(state, View):
            parent = self.local(self.value_of(state.parent))
            if state.link.target is aten.detach.default and not self.is_fresh(state.base):
                self.write(state.parent, value, unseen=True)
                return
            undo = state.link.scatter(parent.shape)
            if undo is None:
                raise self.error(*forbidden.WRITE_THROUGH)
            target, reads_base, extra = undo
            inputs = (parent, value) if reads_base else (value,)
            like = Value(parent.shape, parent.dtype)
            (value,) = self.emit(target, (*inputs, *extra), {}, [like])
            self.write(state.parent, value, unseen)
            return
        if self.is_fresh(state):
            if unseen and value.is_float and state.value.varies:
                raise self.error(*forbidden.WRITE_UNDER_NO_GRAD)
        else:
            self.check_outside(state, value)
            self.frame.written.setdefault(state, state.value)
            state.seen |= not unseen
        state.value, state.version = value, state.version + 1

    # --- tensors from outside the frame -----------------------------------------------------------

    def check_outside(self, cell: Cell, value: Value) -> None:
        """May this frame write to an input of it, or to a tensor of an outer frame?"""
        frame, own = self.frame, cell.frame is self.frame
        if frame.writes in ("grad", "jvp") and not own:
            raise self.error(*forbidden.write_to_captured(self.writing))
        if frame.writes == "grad":
            raise self.error(*forbidden.WRITE_TO_LEAF)
        if frame.writes != "kept":
            raise self.error(*forbidden.write_to(cell.origin or "a tensor of an outer function"))
        if not own and frame.batched and self.depends(value, frame.batched):
            raise self.error(*forbidden.WRITE_BATCHED)

    def depends(self, value: Value, sources: list[Value]) -> bool:
        found = set(sources)
        for node in self.frame.nodes:
            if any(given in found for given in node.inputs()):
                found.update(node.outputs)
        return value in found

    def taken_back(
        self, frame: Frame, inputs: list[Cell | View]
    ) -> tuple[list[Write], list[Value]]:
        """The frame's writes to tensors from outside it, which get their old values back."""
        written, values = [], []
        for cell, before in frame.written.items():
            values.append(self.local(cell.value))
            number = inputs.index(cell) if cell in inputs else None
            written.append(Write(cell, number, not cell.seen))
            if number is None:
                cell.value, cell.version = before, cell.version + 1
        return written, values
