"""Whole programs against torch: those of ``programs.py``, training by backward(), a large model."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pullback
import pytest
import torch
from torch import nn

from .compare import assert_same
from .network_programs import NETWORK_PROGRAMS
from .programs import PROGRAMS
from .whirlwind import normal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, dtype: torch.dtype) -> None:
    program, order = PROGRAMS[name]
    assert_same(program(pullback, dtype), program(torch.func, dtype), order)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of torch.func
@pytest.mark.parametrize("name", NETWORK_PROGRAMS)
def test_network_program(name: str) -> None:
    program, order = NETWORK_PROGRAMS[name]
    assert_same(program(pullback, torch.float64), program(torch.func, torch.float64), order)


def test_no_grad_ends_reverse_mode_only() -> None:
    by_reverse, by_forward, _ = PROGRAMS["no_grad"][0](pullback, torch.float64)
    assert by_reverse.item() == 48
    assert by_forward.item() == 96


# --- training ---------------------------------------------------------------------------------


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 16, dtype=torch.float64)
        self.second = nn.Linear(16, 3, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    return normal(torch.float64, 20, 4), torch.arange(20) % 3


def trained(
    model: nn.Module,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    make: Callable[..., torch.optim.Optimizer],
) -> list[torch.Tensor]:
    """The losses of eight steps, then the parameters."""
    optimizer = make(model.parameters(), lr=0.1)
    x, labels = data()
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        value = loss(x, labels)
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    return [*losses, *(p.detach() for p in model.parameters())]


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_training_with_a_captured_module(make: Callable[..., torch.optim.Optimizer]) -> None:
    torch.manual_seed(0)
    model = Classifier()
    reference = copy.deepcopy(model)

    def loss_of(model: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        return lambda x, labels: nn.functional.cross_entropy(model(x), labels)

    expected = trained(reference, loss_of(reference), make)
    assert_same(trained(model, pullback.jit(loss_of(model)), make), expected)
    assert expected[7] < expected[0]


def test_training_with_parameters_as_arguments() -> None:
    torch.manual_seed(0)
    model = Classifier()
    reference = copy.deepcopy(model)

    def loss(params: dict[str, torch.Tensor], x: torch.Tensor, labels: torch.Tensor):
        hidden = torch.relu(x @ params["first.weight"].T + params["first.bias"])
        logits = hidden @ params["second.weight"].T + params["second.bias"]
        return nn.functional.cross_entropy(logits, labels)

    compiled = pullback.jit(loss)
    expected = trained(
        reference, lambda *at: loss(dict(reference.named_parameters()), *at), torch.optim.SGD
    )
    actual = trained(
        model, lambda *at: compiled(dict(model.named_parameters()), *at), torch.optim.SGD
    )
    assert_same(actual, expected)


def test_a_jitted_function_in_the_middle_of_torchs_graph() -> None:
    """Gradients flow into it and out of it, twice, and into every argument that requires them."""

    def both(f: Callable[..., torch.Tensor]) -> list[torch.Tensor]:
        w = normal(torch.float64, 3, 4).requires_grad_()
        x = normal(torch.float64, 4, seed=1).requires_grad_()
        out = (f(w, x.exp()) ** 2).sum()
        first = torch.autograd.grad(out, (w, x), create_graph=True)
        second = torch.autograd.grad(sum((g * g).sum() for g in first), (w, x))
        return [out.detach(), *(g.detach() for g in first), *second]

    def f(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(w @ x)

    assert_same(both(pullback.jit(f)), both(f), order=2)


def test_results_are_in_the_graph_exactly_when_torchs_are() -> None:
    def f(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * 2, x > 0

    jitted = pullback.jit(f)
    x = normal(torch.float64, 3)
    assert not jitted(x)[0].requires_grad
    leaf = x.clone().requires_grad_()
    product, positive = jitted(leaf)
    assert product.requires_grad
    assert not positive.requires_grad
    with torch.no_grad():
        assert not jitted(leaf)[0].requires_grad
    assert pullback.grad(lambda x: (x * x).sum())(leaf).requires_grad
    detached = pullback.jit(lambda x: x.detach() * 2)
    assert_same(detached(leaf), leaf.detach() * 2)


def test_updates_between_calls_are_seen() -> None:
    model = nn.Linear(3, 2, dtype=torch.float64)
    forward = pullback.jit(lambda x: model(x))
    x = normal(torch.float64, 3)
    forward(x)
    with torch.no_grad():
        model.weight.mul_(2)
    assert_same(forward(x), model(x))
    model.load_state_dict({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
    assert_same(forward(x), model(x))
    model.bias = nn.Parameter(torch.ones(2, dtype=torch.float64))
    assert_same(forward(x), model(x))


# --- a large model ----------------------------------------------------------------------------


def test_a_model_of_100_mb_costs_little_more_than_its_bytes(tmp_path: Path) -> None:
    """Weights go from the tensors into the library without a form of their own in between."""
    script = Path(__file__).with_name("large_model.py")

    def measured(width: int) -> dict[str, float]:
        command = [sys.executable, str(script), str(width), str(tmp_path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    small, large = measured(25), measured(2500)
    assert large["library_mb"] > 100
    assert large["error"] < 1e-5
    assert large["seconds"] < small["seconds"] + 15  # about one where the disk is fast
    assert large["own_mb"] < small["own_mb"] + 250
    assert large["linker_mb"] < small["linker_mb"] + 500
