"""Takes torch's own derivatives away: what still works under these contexts is pullback's."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves

# The doors into autograd's engine, into forward mode and into the level stack of functorch.
_DOORS = (
    torch.autograd.backward,
    torch.autograd.grad,
    torch.autograd.graph._engine_run_backward,
    torch.autograd.forward_ad.enter_dual_level,
    torch.autograd.forward_ad.make_dual,
    torch._functorch.eager_transforms.grad_increment_nesting,
    torch._functorch.eager_transforms.jvp_increment_nesting,
    torch._functorch.vmap.vmap_increment_nesting,
    torch._C._functorch._grad_increment_nesting,
    torch._C._functorch._jvp_increment_nesting,
    torch._C._functorch._vmap_increment_nesting,
    torch._C._functorch._func_increment_nesting,
    torch._C._functorch._add_batch_dim,
    torch._C._functorch._wrap_for_grad,
)


class EngineUsedError(BaseException):
    """Not an Exception, so that nothing on the way handles it."""


@contextlib.contextmanager
def no_engines() -> Iterator[None]:
    """torch.autograd and torch.func raise when they are used."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise EngineUsedError

    closed = {id(door) for door in _DOORS}
    with contextlib.ExitStack() as stack:
        # Every module that imported a door by name loses it.
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] != "torch" and "functorch" not in name:
                continue
            for key, value in list(vars(module).items()):
                if id(value) in closed:
                    stack.enter_context(mock.patch.object(module, key, refuse))
        yield


class KernelUsedError(BaseException):
    """See EngineUsedError."""


@contextlib.contextmanager
def no_kernels() -> Iterator[None]:
    """Real CPU kernels raise. Used again inside, it changes nothing."""
    if any(isinstance(mode, _NoKernels) for mode in _get_current_dispatch_mode_stack()):
        yield
    else:
        with _NoKernels():
            yield


class _NoKernels(TorchDispatchMode):
    """Refuses every torch op on real CPU tensors, but for views, which compute nothing."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        for leaf in tree_leaves((args, kwargs, result)):
            real = isinstance(leaf, torch.Tensor) and not isinstance(leaf, FakeTensor)
            if real and leaf.device.type != "meta":
                raise KernelUsedError(str(func))
        return result
