"""Programs run by the reference interpreter where a test is about capture and import only."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pytest
import torch
from pullback.dialects.pb import interpret
from pullback.dialects.pb.transforms import expand
from pullback.frontend import jit as jit_module
from pullback.frontend.program import Compiled


class Interpreted:
    """Stands in for the runtime's function."""

    def __init__(self, module):
        with module.context:
            expand.run(module)
        assert module.operation.verify()
        self.module = module

    def call_leaves(self, leaves):
        arrays = [
            leaf.detach().numpy() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves
        ]
        return [np.array(out) for out in interpret.evaluate(self.module, "main", arrays)]


@pytest.fixture
def interpreted(monkeypatch):
    function = cached_property(lambda self: Interpreted(self._module()))
    function.__set_name__(Compiled, "function")
    monkeypatch.setattr(Compiled, "function", function)
    jit_module._cache.clear()
    yield
    jit_module._cache.clear()


@pytest.fixture(autouse=True)
def torch_state_is_kept():
    """No test, whatever it raises, may leave torch changed."""
    torch.manual_seed(0)
    yield
    assert torch.is_grad_enabled()
    assert torch._C._len_torch_dispatch_stack() == 0
    assert torch._C._len_torch_function_stack() == 0
    excluded = torch._C._dispatch_tls_local_exclude_set()
    assert not excluded.has(torch._C.DispatchKey.AutogradCPU)
