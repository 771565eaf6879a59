"""Runs the user's function on fake tensors and records its aten calls as graphs.

One recorder serves a whole trace. Inner transform calls push a frame, so that their calls land in
a graph of their own; a tensor of an outer frame used there becomes a further input of that graph
(closure conversion). Views and in-place writes are resolved while recording: the graphs are
functional. The input is a Python function, the output a ``Graph`` for ``importer.py``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch._dynamo.config  # FakeTensorMode would load it, for a second, in the first call
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..dialects.errors import CaptureError
from . import decompositions, forbidden, masks
from .graph import Constant, Custom, Graph, Node, Target, Value, values_in
from .location import Location, here, of_function
from .state import (
    Cell,
    Draws,
    Frame,
    Hidden,
    Subgraph,
    View,
    graph_name,
    leaves_of,
    map_tensors,
    read_memory,
)
from .views import VIEWS
from .writes import Writes

aten = torch.ops.aten
DETACHES = (aten.detach.default, aten.detach_.default)
LITERALS = (aten.lift_fresh.default, aten.lift.default)
LITERAL_BYTES = 1024  # larger literals are parameters, not IR constants
_active = threading.local()
_fake_log = logging.getLogger(fake_tensor.__name__)


def current() -> Recorder | None:
    """The recorder of this thread's trace, if one is running."""
    return getattr(_active, "recorder", None)


class Recorder(Writes, TorchDispatchMode):  # pyright: ignore[reportGeneralTypeIssues]
    """The dispatch mode of one trace."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch would import and wrap with dynamo, which costs seconds

    def __init__(self, origin: Location) -> None:
        super().__init__()
        self.origin = origin  # of calls that no line of the user's makes
        self.fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.main = self.frame = Frame(None, "kept")
        self.states: dict[int, Cell | View] = {}
        self.kept: list[torch.Tensor] = []  # keeps the ids of ``states`` valid
        self.hidden: dict[int, Hidden] = {}
        self.literals: dict[int, np.ndarray] = {}
        self.large_literals: dict[int, torch.Tensor] = {}
        self.just_made: torch.Tensor | None = None
        self.paused = False
        self.bases = 0
        self.draws = 0
        self.customs: dict[Any, tuple[Custom | None, list[Value]]] = {}  # being captured
        self.custom_results: dict[Any, Any] = {}  # the structure of their results

    # --- calls from torch ---------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused or func.namespace == "prim":
            return func(*args, **kwargs)
        just_made, self.just_made = self.just_made, None
        if func in LITERALS:
            if isinstance(args[0], FakeTensor):
                return args[0]
            self.just_made = self.literal(args[0])
            return self.just_made
        if just_made is not None and func in DETACHES and args[0] is just_made:
            # torch.zeros() and torch.tensor() detach what they made before they return it.
            return just_made if func is aten.detach_.default else self.alias(just_made)
        result = self.dispatch(func, self.fakes(args), self.fakes(kwargs))
        if isinstance(result, torch.Tensor) and not self.value_of(self.states[id(result)]).varies:
            self.just_made = result
        return result

    def fakes(self, tree: Any) -> Any:
        """Argument trees with real tensors replaced by the fakes that stand for them."""
        return map_tensors(tree, lambda t: t if isinstance(t, FakeTensor) else self.stand_in(t))

    def dispatch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is aten._local_scalar_dense.default and id(args[0]) in self.literals:
            return self.literals[id(args[0])].item()
        func, args = masks.resolved(self, func, args)
        if func is aten.nonzero.default and (found := masks.nonzero(self, args[0])) is not None:
            return found
        if (reason := forbidden.OPERATIONS.get(func)) is not None:
            raise self.error(*reason)
        if func in VIEWS:
            return self.view(func, args, kwargs)
        if func._schema.is_mutable:
            return self.write_in_place(func, args, kwargs)
        decomposition = decompositions.find(func)
        if decomposition is not None:
            with self:
                result = decomposition(*args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.record(func, args, kwargs)

    def record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = self.run_fake(func, args, kwargs)
        tensors = [t for t in leaves_of(result) if isinstance(t, torch.Tensor)]
        values = self.emit(func, self.values(args), self.values(kwargs), tensors)
        for tensor, value in zip(tensors, values, strict=True):
            value.varies &= func not in decompositions.OF_SHAPE
            self.define(tensor, value)
        return result

    def run_fake(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before, self.paused = self.paused, True
        try:
            return func(*args, **kwargs)
        except fake_tensor.DataDependentOutputException as error:
            raise self.error(*forbidden.DATA_DEPENDENT_VALUE) from error
        except fake_tensor.DynamicOutputShapeException as error:
            raise self.error(*forbidden.DATA_DEPENDENT_SHAPE) from error
        except fake_tensor.UnsupportedOperatorException as error:
            raise self.error(f"{func} cannot be traced: it has no shape rule") from error
        finally:
            self.paused = before

    # --- values -------------------------------------------------------------------------------

    def fake(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A new fake tensor, not yet known to the recorder."""
        before, self.paused = self.paused, True
        try:
            with self.fake_mode:
                return torch.empty(tuple(shape), dtype=dtype, device="cpu")
        finally:
            self.paused = before

    def define(self, tensor: torch.Tensor, value: Value, origin: str | None = None) -> None:
        self.states[id(tensor)] = Cell(self.frame, value, origin)
        self.kept.append(tensor)

    def new_input(self, shape: Sequence[int], dtype: torch.dtype, origin: str) -> torch.Tensor:
        """A fake tensor that stands for an argument of the present frame."""
        tensor = self.fake(shape, dtype)
        self.define(tensor, self.frame.own(Value(tuple(shape), dtype)), origin)
        return tensor

    def values(self, tree: Any) -> Any:
        return map_tensors(tree, self.read)

    def read(self, tensor: torch.Tensor) -> Value:
        """The present value of a tensor, as a value of the present frame."""
        if not isinstance(tensor, FakeTensor):
            tensor = self.stand_in(tensor)
        state = self.states.get(id(tensor))
        if state is None:
            raise self.error(
                "a tensor of another trace is used here",
                help="do not keep tensors from a traced call; return them instead",
            )
        return self.local(self.value_of(state))

    def value_of(self, state: Cell | View) -> Value:
        if isinstance(state, Cell):
            if not state.frame.open:
                raise self.error(
                    "a tensor made inside a transformed function is used outside of it",
                    help="return it from the function, with has_aux=True if need be",
                )
            return state.value
        fresh = state.version == state.base.version
        if state.value is None or not fresh or state.frame is None or not state.frame.open:
            link = state.link
            parent = self.local(self.value_of(state.parent))
            state.value = self.apply_link(link, parent)
            state.version, state.frame = state.base.version, self.frame
        assert state.value is not None
        return state.value

    def local(self, value: Value, frame: Frame | None = None) -> Value:
        """``value`` in the present frame: values of outer frames become further inputs."""
        frame = frame or self.frame
        if value in frame.owned:
            return value
        if frame.parent is None:
            raise self.error("a tensor of another trace is used here")
        outer = self.local(value, frame.parent)
        if outer not in frame.captured:
            frame.captured[outer] = frame.own(Value(value.shape, value.dtype, value.varies))
        return frame.captured[outer]

    def emit(
        self,
        target: Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        results: Sequence[Any],
        location: Location | None = None,
        grad_enabled: bool | None = None,
    ) -> tuple[Value, ...]:
        """Appends a node to the present frame; ``results`` only give shapes and dtypes."""
        varies = any(value.varies for value in values_in((args, kwargs)))
        outputs = tuple(Value(tuple(r.shape), r.dtype, varies) for r in results)
        grad_enabled = torch.is_grad_enabled() if grad_enabled is None else grad_enabled
        location = location or self.location()
        self.frame.nodes.append(Node(target, args, kwargs, outputs, location, grad_enabled))
        self.frame.owned.update(outputs)
        return outputs

    def location(self) -> Location:
        found = here(Recorder.trace.__code__)
        return found if found.line else self.origin

    def error(self, message: str, help: str | None = None) -> CaptureError:
        location = self.location()
        return CaptureError(message, location.place, location.notes(), help)

    # --- real tensors -------------------------------------------------------------------------

    def stand_in(self, real: torch.Tensor, literal: bool = False) -> torch.Tensor:
        known = self.hidden.get(id(real))
        if known is None:
            if real.layout is not torch.strided or real.device.type not in ("cpu", "cuda"):
                raise self.error(f"a {real.layout} tensor on {real.device} cannot be captured")
            fake = self.fake(real.shape, real.dtype)
            value = self.main.own(Value(tuple(real.shape), real.dtype))
            known = self.hidden[id(real)] = Hidden(real, fake, value, literal, self.location())
            self.states[id(fake)] = Cell(self.main, value, "a tensor from outside the function")
            self.kept += [real, fake]
        return known.fake

    def literal(self, real: torch.Tensor) -> torch.Tensor:
        """``torch.tensor(...)`` in the body: a constant, read without running a kernel."""
        if real.device.type != "cpu":
            raise self.error(
                f"torch.tensor makes a constant on {real.device}",
                help="leave the device out: where the function runs, its constants are",
            )
        if real.numel() * real.element_size() > LITERAL_BYTES:
            fake = self.fake(real.shape, real.dtype)
            # a cell of its own: what is written to the literal stays in this call
            self.define(fake, self.local(self.value_of(self.states[id(self.stand_in(real, True))])))
            self.large_literals[id(fake)] = real
            return fake
        return self.constant(read_memory(real), real.dtype)

    def constant(self, data: np.ndarray, dtype: torch.dtype | None = None) -> torch.Tensor:
        fake = self.fake(data.shape, dtype or getattr(torch, str(data.dtype)))
        (value,) = self.emit(Constant(data), (), {}, [fake])
        self.define(fake, value)
        self.literals[id(fake)] = data
        return fake

    def known_data(self, tensor: torch.Tensor) -> np.ndarray | None:
        """The elements of a literal, large ones included."""
        if (real := self.large_literals.pop(id(tensor), None)) is not None:
            self.literals[id(tensor)] = read_memory(real)
        return self.literals.get(id(tensor))

    # --- functions ----------------------------------------------------------------------------

    def trace(self, run: Callable[[], Any]) -> Any:
        """Runs ``run`` with this recorder listening; torch's state is as before afterwards."""
        if current() is not None:
            raise self.error("a trace cannot start inside another one")
        grad_mode, cached = torch.is_grad_enabled(), torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # it would hand out our fakes after the trace
        silent, _fake_log.disabled = _fake_log.disabled, True  # user errors are raised anyway
        below_autograd = torch._C._AutoDispatchBelowAutograd()
        _active.recorder = self
        try:
            with forbidden.Functions(self), self.fake_mode, self:
                return run()
        finally:
            del below_autograd
            _fake_log.disabled = silent
            _active.recorder = None
            torch.set_autocast_cache_enabled(cached)
            torch.set_grad_enabled(grad_mode)

    def subgraph(
        self,
        function: object,
        inputs: Sequence[Value],
        body: Callable[[list[torch.Tensor]], tuple[Any, list[torch.Tensor]]],
        grad_enabled: bool | None = None,
        writes: str = "refused",
        batched: int = 0,
        draws: Draws | None = None,
    ) -> Subgraph:
        """Records ``body`` on new inputs; it returns its raw result and the output tensors.

        ``writes``: see ``Frame``. If they are kept, the new values are the last outputs. The first
        ``batched`` inputs differ between the examples of a batch. ``draws``: see there.
        """
        outer, grad_mode = self.frame, torch.is_grad_enabled()
        if grad_enabled is not None:
            torch.set_grad_enabled(grad_enabled)
        location = of_function(function)
        location = location if location.line else self.location()
        self.frame = frame = Frame(outer, writes, draws)
        try:
            tensors = [self.new_input(v.shape, v.dtype, "an argument") for v in inputs]
            own = [self.read(tensor) for tensor in tensors]
            frame.batched = own[:batched]
            result, outs = body(tensors)
            outputs = [self.read(tensor) for tensor in outs]
            written, values = self.taken_back(frame, [self.states[id(t)] for t in tensors])
            outputs += values
        finally:
            self.frame, frame.open = outer, False
            torch.set_grad_enabled(grad_mode)
        graph = Graph(
            graph_name(function),
            own + list(frame.captured.values()),
            frame.nodes,
            outputs,
            location,
            frame.grad_enabled,
        )
        return Subgraph(graph, list(frame.captured), result, written)

    def apply(
        self, target: Target, args: Sequence[Value], results: Sequence[Value]
    ) -> list[torch.Tensor]:
        """Records a transform call; ``results`` give shapes and dtypes."""
        values = self.emit(target, tuple(self.local(value) for value in args), {}, results)
        return [self.tensor_of(value) for value in values]

    def tensor_of(self, value: Value) -> torch.Tensor:
        tensor = self.fake(value.shape, value.dtype)
        self.define(tensor, value)
        return tensor
