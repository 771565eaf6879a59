"""Calls on plain tensors of torch on one GPU: most calls, and at most a few microseconds' work.

Tensors that need care (strided, misaligned, wanting a gradient, inside a transform, wrong) are left
to ``device_arrays``, which takes or refuses each with its reason.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .arrays import DTYPES, TensorSpec

_ALIGNMENT = 16


class TorchCalls:
    """Arguments and results of one function, as torch has them."""

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], workspace: int
    ) -> None:
        self._specs = tuple(inputs), tuple(outputs)
        self._workspace = workspace
        self._torch: Any = None

    def read(self, leaves: Sequence[Any]) -> tuple[int, list[int]] | None:
        """The GPU and the addresses, if all are plain tensors there that fit; or None."""
        torch = sys.modules.get("torch")
        if torch is None or not leaves or len(leaves) != len(self._specs[0]):
            return None
        if torch is not self._torch:
            self._learn(torch)
        kind, strided = self._kind, self._strided
        device, addresses = None, []
        try:
            for (dtype, shape, empty), leaf in zip(self._inputs, leaves, strict=True):
                if (
                    type(leaf) is not kind
                    or not leaf.is_cuda
                    or leaf.dtype is not dtype
                    or leaf.shape != shape
                    or leaf.requires_grad
                    or leaf.layout is not strided
                    or not leaf.is_contiguous()
                    or leaf.is_neg()
                ):
                    return None
                address, place = leaf.data_ptr(), leaf.get_device()
                if address % _ALIGNMENT or not (address or empty):
                    return None
                if device is None:
                    device = place
                elif device != place:
                    return None
                addresses.append(address)
        except RuntimeError:  # inside a transform of torch.func a tensor has no address
            return None
        return None if device is None else (device, addresses)

    def results(self, device: int) -> tuple[list[Any], Any]:
        """Fresh tensors for the results, and one for the workspace, or None: it has none."""
        torch = sys.modules["torch"]
        if torch is not self._torch:
            self._learn(torch)
        place = self._places.get(device)
        if place is None:
            place = self._places[device] = torch.device("cuda", device)
        empty = torch.empty
        made = [empty(shape, dtype=dtype, device=place) for dtype, shape, _ in self._outputs]
        if not self._workspace:
            return made, None
        return made, empty(self._workspace, dtype=torch.uint8, device=place)

    def stream(self, device: int) -> int:
        """The stream on which torch puts its work now."""
        return self._stream(device)

    def _learn(self, torch: Any) -> None:
        self._kind, self._strided = torch.Tensor, torch.strided
        self._inputs, self._outputs = (
            [(getattr(torch, DTYPES[s.dtype]), s.shape, 0 in s.shape) for s in specs]
            for specs in self._specs
        )
        self._places: dict[int, Any] = {}
        # What torch's own compiler asks; the public way makes an object of it each time.
        raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)
        self._stream = raw or (lambda device: torch.cuda.current_stream(device).cuda_stream)
        self._torch = torch
