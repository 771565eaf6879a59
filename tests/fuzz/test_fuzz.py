"""A short run of the fuzzer, and that it would find a defect."""

from __future__ import annotations

from typing import Any

import pullback
import pytest
import torch

from . import judge as judging
from .judge import compare, judge, shrink
from .programs import Level, Maker, Program

SEEDS = range(24)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", SEEDS)
def test_random_program(seed: int) -> None:
    program, outcome, _ = judge(Maker(seed).program(longest=10))
    assert not outcome.bad, f"{outcome.text}\n{program.show()}"
    if outcome.verdict in ("torch", "noise"):
        pytest.skip(f"torch cannot say: {outcome.text}")


def test_differences_are_seen() -> None:
    one = torch.ones(3, dtype=torch.float64)
    wrong = one.clone()
    wrong[1] += 1e-6

    def still() -> list[torch.Tensor]:
        return [torch.zeros(3, dtype=torch.float64)]

    assert not compare([one], [one], still, 1e-9)
    assert "result 0" in compare([wrong], [one], still, 1e-9)
    assert "shape" in compare([one[:2]], [one], still, 1e-9)
    assert compare([wrong], [one], lambda: [one], 1e-9) == "noise"
    assert "structure" in compare((one,), [one], still, 1e-9)


def test_failures_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vmap that is wrong is found in a long program, and little else is left of it."""

    class Wrong:
        def __getattr__(self, name: str) -> Any:
            return getattr(pullback, name)

        @staticmethod
        def vmap(f: Any, **options: Any) -> Any:
            made = pullback.vmap(f, **options)
            return lambda *args: [out * 1.001 for out in made(*args)]

    lines = tuple((f"v{n}", f"v{n} = torch.sin({'v' if n > 3 else 'a'}{n - 1})") for n in (1, 2))
    lines += (("v3", "v3 = a0 * v1"), ("v4", "v4 = v3 + 1"), ("v5", "v5 = v4 * 2"))
    arguments = (torch.ones(2), torch.ones(2), torch.ones(2, dtype=torch.int64))
    dims = (0, 0, 0)
    levels = (Level(f"h{{n}} = api.vmap({{h}}, in_dims={dims})", dims),)
    program = Program(0, lines, arguments, levels)
    monkeypatch.setattr(judging, "pullback", Wrong())
    _, outcome, _ = judge(program)
    assert outcome.verdict == "wrong"
    small, outcome = shrink(program, outcome)
    assert outcome.verdict == "wrong" and not small.lines and small.levels == levels
    assert "api.vmap" in small.show()
