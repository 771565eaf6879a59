"""A pair of rules that undo each other is an error, not a hang."""

from __future__ import annotations

import pytest
from mlir import ir
from pullback.dialects.errors import InternalError
from pullback.dialects.pb import OPS
from pullback.dialects.pb.transforms import simplify


def test_rules_that_undo_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPS["pb.add"], "simplify", lambda self, b: b.add(self.y, self.x))
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.parse(
            "func.func @f(%x: tensor<f32>, %y: tensor<f32>) -> tensor<f32> {\n"
            '  %z = pb.add %x, %y : tensor<f32> loc("user.py":7:1)\n'
            "  func.return %z : tensor<f32>\n}"
        )
        with pytest.raises(InternalError, match="does not come to an end"):
            simplify.run(module)
