"""torch's layers as the operations they stand for, while a function is traced.

Without this some of them are one opaque call (recurrent layers with oneDNN, the fast path of
attention in eval mode), or keep traced tensors when the trace is over (recurrent layers under
``functional_call``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.rnn import RNNBase


@contextmanager
def taken_apart() -> Iterator[None]:
    mkldnn = torch._C._get_mkldnn_enabled()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch._C._set_mkldnn_enabled(False)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _flat_weights_restored():
            yield
    finally:
        torch._C._set_mkldnn_enabled(mkldnn)
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _flat_weights_restored() -> Iterator[None]:
    """A recurrent layer keeps a list of its weights, also of those that only stand in for them."""
    kept: dict[int, tuple[Any, dict[str, Any]]] = {}
    update = RNNBase._init_flat_weights
    names = ("_flat_weights", "_flat_weight_refs")

    def remembered(layer: Any) -> None:
        before = {name: vars(layer)[name] for name in names if name in vars(layer)}
        kept.setdefault(id(layer), (layer, before))
        update(layer)

    RNNBase._init_flat_weights = remembered  # type: ignore[method-assign]
    try:
        yield
    finally:
        RNNBase._init_flat_weights = update  # type: ignore[method-assign]
        for layer, before in kept.values():
            vars(layer).update(before)
