"""Losses whose torch code asks for values: lengths of sequences, signs of variances.

``decompositions.py`` looks here, by way of compositions.py; what torch writes in Python is
exchanged by ``forbidden.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

aten = torch.ops.aten
Tensor = torch.Tensor
_INF = math.inf


def reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return losses if reduction == "none" else getattr(losses, reduction)()


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``eps`` bounds the variance from below, unseen by derivatives. A negative variance is an
    error of the call."""
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = torch.full_like(input, var)
    aten._assert_async.msg(~(var < 0).any(), "ValueError: var has negative entry/entries")
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.shape[:-1] != var.shape[:-1] or var.shape[-1] != 1:
            raise ValueError("var is of incorrect size")
    low = var < eps
    kept = torch.where(low, var, 0)
    var = torch.where(low, eps + (kept - kept.detach()), var)
    losses = 0.5 * (torch.log(var) + (input - target) ** 2 / var)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


# --- connectionist temporal classification ------------------------------------------------------

Lengths = Tensor | Sequence[int]


def _lengths(lengths: Lengths, name: str, count: int, most: int, like: Tensor) -> Tensor:
    """One for each sequence of the batch; those that are numbers are checked here."""
    if isinstance(lengths, Tensor):
        lengths = lengths.reshape(-1).to(torch.int64)
        given = lengths.shape[0]
        good = ((lengths >= 0) & (lengths <= most)).all()
        message = f"RuntimeError: Expected {name} to have value at most {most}, and no negative one"
        aten._assert_async.msg(good, message)
    else:
        given = len(lengths)
        if any(not 0 <= n <= most for n in lengths):
            raise RuntimeError(f"Expected {name} to have value at most {most}, got {list(lengths)}")
        lengths = torch.tensor([*lengths], dtype=torch.int64, device=like.device)
    if given != count:
        raise RuntimeError(f"{name} must be of size batch_size ({count}), got {given}")
    return lengths


def _log_of_sum(terms: Sequence[Tensor]) -> Tensor:
    """Of exponentials; -inf, without a derivative, where all are -inf."""
    top = terms[0]
    for term in terms[1:]:
        top = torch.maximum(top, term)
    void = top == -_INF
    top = torch.where(void, 0, top).detach()
    total = sum((term - top).exp() for term in terms)
    return torch.where(void, -_INF, torch.where(void, 1, total).log() + top)


def _labels(targets: Tensor, lengths: Tensor, given: Lengths, batch: int) -> Tensor:
    """Row n has the labels of sequence n, and then others."""
    if targets.dim() == 2:
        return targets
    total = targets.shape[0]
    most = total if isinstance(given, Tensor) else max(given, default=0)
    if not total:
        return targets.new_zeros((batch, 0))
    starts = lengths.cumsum(0) - lengths
    place = starts.unsqueeze(1) + torch.arange(most, device=targets.device)
    return targets[place.clamp(max=total - 1)]


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: int = 1,
    zero_infinity: bool = False,
) -> Tensor:
    """Graves et al., 2006: a scan over time with the logarithms of the probabilities of prefixes.

    The derivative is torch's: that of the logits whose logarithm of softmax ``log_probs`` is. So
    it also has the derivative of the sum of all probabilities, which is 1.
    """
    single = log_probs.dim() == 2
    if single:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.reshape(1, -1)
    steps, batch, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    inputs = _lengths(input_lengths, "input_lengths", batch, steps, log_probs)
    most = targets.shape[-1]
    lengths = _lengths(target_lengths, "target_lengths", batch, most, log_probs)
    labels = _labels(targets.to(torch.int64), lengths, target_lengths, batch)
    losses = -_log_probability(log_probs, labels, inputs, lengths, blank)
    if zero_infinity:
        losses = torch.where(losses == _INF, 0, losses)
    if reduction == 1:
        return (losses / lengths.clamp(min=1)).mean()
    losses = losses.sum() if reduction == 2 else losses
    return losses.squeeze(0) if single and reduction == 0 else losses


def _log_probability(
    log_probs: Tensor, labels: Tensor, inputs: Tensor, lengths: Tensor, blank: int
) -> Tensor:
    from .control import scan  # control.py needs capture.py, which needs this

    steps, batch, _ = log_probs.shape
    count = 2 * labels.shape[1] + 1  # a blank before, between and after
    states = labels.new_full((batch, count), blank)
    states[:, 1::2] = labels
    place = torch.arange(count, device=labels.device)
    inside = place < 2 * lengths.unsqueeze(1) + 1
    states = torch.where(inside, states, blank)
    emitted = log_probs.gather(2, states.expand(steps, batch, count))
    skips = torch.zeros_like(inside)
    if count > 2:
        skips[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])

    def moved(alpha: Tensor, by: int) -> Tensor:
        return torch.nn.functional.pad(alpha, (by, 0), value=-_INF)[:, :count]

    def step(alpha: Tensor, x: Any) -> tuple[Tensor, None]:
        row, time = x
        ways = [alpha, moved(alpha, 1), torch.where(skips, moved(alpha, 2), -_INF)]
        new = _log_of_sum(ways) + row
        return torch.where((time < inputs).unsqueeze(1), new, alpha), None

    start = torch.where(place == 0, 0.0, -_INF).to(log_probs.dtype).expand(batch, count)
    # Before the first step only the first two states can be entered.
    times = torch.arange(steps, device=labels.device)
    alpha, _ = scan(step, start, (emitted, times))
    last = 2 * lengths.unsqueeze(1)
    final = [alpha.gather(1, last), alpha.gather(1, (last - 1).clamp(min=0))]
    final[1] = torch.where(last > 0, final[1], -_INF)
    shares = log_probs.exp().sum(2)
    shares = torch.where(times.unsqueeze(1) < inputs, shares, 0).sum(0)
    return _log_of_sum(final).squeeze(1) - (shares - shares.detach())


def linear_cross_entropy(*args: Any, options: Any = None, **more: Any) -> Tensor:
    """``options`` say in which parts torch computes it: nothing to a compiler."""
    return torch.nn.functional.linear_cross_entropy(*args, **more)


#: By the Python function that it stands for.
FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.nn.functional.linear_cross_entropy: linear_cross_entropy,
    torch.nn.functional.gaussian_nll_loss: gaussian_nll_loss,
}

COMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.ctc_loss.IntList: ctc_loss,
    aten.ctc_loss.Tensor: ctc_loss,
}
