"""Whether a form's result is torch's, judged by what the sample allows.

The truth is torch in f64. A result may differ from it by a small multiple of the rounding of its
dtype, relative to the scale of the result; where the sample is badly conditioned, by as much as
torch's own result in the dtype does, or as a perturbation of the inputs by one rounding would. A
perturbation that jumps, because it crosses a tie, excuses nothing: it does not grow with its size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from .cases import DTYPES, Case, direction
from .forms import ORDER, PLAIN, Arguments, Tensors, jvp_rows, theirs
from .known import known

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-10}
FLOOR = {torch.float32: 1e-6, torch.float64: 1e-10}  # of samples whose inputs are near one
DRAWS = 2
NAMES = {dtype: name for name, dtype in DTYPES.items()}
ROWS = 300  # of a Jacobian
TORCH = (RuntimeError, NotImplementedError, ValueError, IndexError, TypeError)
FURTHER = 1024.0  # of a second, larger perturbation
#: torch's own kernels are this inexact.
INEXACT = {"nn.functional.hardsigmoid": 1e-7}  # 1/6 in f32 for 0-dim tensors


def check(case: Case, form: str, given: Arguments, found: Any) -> str | None:
    """What is wrong with ``found``, or None."""
    references = list(theirs(case, form, given))
    found = [t for t in found if isinstance(t, torch.Tensor)]
    for reference in references[:1]:
        if len(found) != len(reference):
            return f"{len(found)} results instead of {len(reference)}"
        for index, (f, r) in enumerate(zip(found, reference, strict=True)):
            if (f.shape, f.dtype) != (r.shape, r.dtype):
                return (
                    f"result {index}: {f.dtype} {list(f.shape)} instead of "
                    f"{r.dtype} {list(r.shape)}"
                )
    if case.random:
        return None
    dtype = NAMES.get(case.primals[0].dtype, "") if case.primals else ""
    difference = known(case.name, case.point, form, dtype)
    if difference is not None and not difference.indices:
        return None
    more = _Lazy(lambda: list(_others(case, form, given, references)))
    return next(
        (
            f"result {index}: {text}"
            for index, f in enumerate(found)
            if (difference is None or f.is_floating_point())
            and (text := _judge(case, form, given, f, index, references, more)) is not None
        ),
        None,
    )


class _Lazy:
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make, self.made = make, None

    def __call__(self) -> Any:
        if self.made is None:
            self.made = self.make()
        return self.made


def _others(
    case: Case, form: str, given: Arguments, references: list[Tensors]
) -> Iterator[tuple[str, Tensors]]:
    """Costlier references, asked for when the first ones do not agree with a result."""
    floats = [t.dtype for t in case.primals if t.is_floating_point()]
    eps = torch.finfo(floats[0] if floats else torch.float64).eps
    wide = case.cast(torch.float64)
    inputs = _arguments(wide, references)
    for reference in _attempt(wide, form, inputs(wide)):
        yield "truth", reference
    if form == "jvp" and sum(t.numel() for t in references[0]) <= ROWS:
        with contextlib.suppress(*TORCH):
            yield "truth", jvp_rows(case, given)
    for kind, step in ("perturbed", eps), ("further", FURTHER * eps):
        for draw in range(DRAWS):
            moved = Case(**wide.__dict__)
            moved.primals = [p * (1 + step * direction(p, 100 + draw)) for p in wide.primals]
            for reference in list(_attempt(moved, form, inputs(moved)))[:1]:
                yield kind, reference


def _arguments(case: Case, references: list[Tensors]) -> Callable[[Case], Arguments]:
    outs = case.function(*case.arguments)
    return lambda at: Arguments(at, outs)


def _attempt(case: Case, form: str, given: Arguments) -> Iterator[Tensors]:
    try:
        yield from theirs(case, form, given)
    except TORCH:
        return


def _judge(
    case: Case,
    form: str,
    given: Arguments,
    found: torch.Tensor,
    index: int,
    references: list[Tensors],
    more: _Lazy,
) -> str | None:
    candidates = [reference[index] for reference in references]
    if not found.is_floating_point():
        if any(torch.equal(found, c) for c in candidates):
            return None
        if any(kind == "truth" and torch.equal(found, r[index]) for kind, r in more()):
            return None
        return f"{_shown(found)} instead of {_shown(candidates[0])}"
    order = ORDER[form]
    good = _near(case, found, candidates, order)
    if good.all():
        return None
    extra = more()
    fitting = [(kind, r[index]) for kind, r in extra if r[index].shape == found.shape]
    wide = [r for kind, r in fitting if kind == "truth"]
    good |= _near(case, found, wide, order)
    if order == 2:  # torch's NaN where it multiplies zero by infinity, as at the norm of zeros
        good |= torch.stack([c.isnan() for c in candidates]).any(0)
    if case.special and form not in PLAIN:
        good |= _undefined(case, form, given, found, candidates[0])
    if good.all():
        return None
    perturbed = [r for kind, r in fitting if kind == "perturbed"]
    further = [r for kind, r in fitting if kind == "further"]
    if wide and len(perturbed) == len(further) == DRAWS:
        truth = wide[0]
        noise = _spread(perturbed, truth)
        smooth = noise <= _spread(further, truth) * (16 / FURTHER)
        # Between numbers of 1e30 a second derivative is made of cancellations and chance ties.
        smooth |= torch.tensor(order == 2 and case.point in ("1e30", "all"))
        noise = noise.where(smooth, 0.0).maximum((candidates[0].double() - truth).abs())
        limit = 16 * order * noise + FLOOR.get(found.dtype, 0.0)
        good |= (found.double() - truth).abs() <= limit
    if good.all():
        return None
    bad = ~good
    worst = (found.double() - candidates[0].double()).abs()[bad].nan_to_num(float("inf")).max()
    return (
        f"{int(bad.sum())} of {found.numel()} differ, by up to {worst:.3g}: "
        f"{_shown(found[bad])} instead of {_shown(candidates[0][bad])}"
    )


def _undefined(
    case: Case, form: str, given: Arguments, found: torch.Tensor, expected: torch.Tensor
) -> torch.Tensor:
    """Where a derivative says nothing, because f itself is not finite."""
    whole = next(theirs(case, "vmap" if "vmap" in form else "forward", given))
    outs = [out for i, out in enumerate(whole) if i in case.moving]
    same = all(out.shape == found.shape for out in outs)
    lost = torch.stack([out.isnan().all() for out in outs]).all()
    if same:
        lost = lost | torch.stack([out.isnan() for out in outs]).any(0)
    if case.elementwise and same:
        infinite = torch.stack([~out.isfinite() for out in outs]).any(0)
    else:
        infinite = torch.tensor(any(not out.isfinite().all() for out in outs))
        if ORDER[form] == 2:
            lost = lost | infinite
    # Where torch multiplies zero by infinity, a derivative may be finite here.
    good = lost | (infinite & ~expected.isfinite() & ~found.isfinite())
    return good | (expected.isnan() & (infinite | (ORDER[form] == 2)))


def _spread(moved: Tensors, truth: torch.Tensor) -> torch.Tensor:
    return torch.stack([(m - truth).abs().nan_to_num(0.0) for m in moved]).amax(0)


def _scale(reference: torch.Tensor) -> torch.Tensor:
    finite = reference[reference.isfinite()]
    return finite.abs().max().double() if finite.numel() else torch.tensor(0.0).double()


def _near(case: Case, found: torch.Tensor, candidates: Tensors, order: int) -> torch.Tensor:
    good = torch.zeros(found.shape, dtype=torch.bool)
    limit = order * max(TOLERANCE.get(found.dtype, 1e-2), INEXACT.get(case.name, 0.0))
    for c in candidates:
        wide = c.double()
        scale = _scale(wide)
        size = wide.abs()
        if case.elementwise and case.special:
            allowed = limit * (size + scale.clamp(max=1.0))
        else:
            allowed = limit * torch.full_like(size, scale.item()).maximum(size)
        difference = (found.double() - wide).abs()
        same = (found == c) | (found.isnan() & c.isnan())
        if c.dtype != found.dtype:  # beyond the range of the dtype, f64 is no truth
            same |= found == c.to(found.dtype)
        good |= same | ((difference <= allowed) & found.isfinite() & c.isfinite())
    return good


def _shown(values: torch.Tensor) -> str:
    numbers = [f"{v:.6g}" for v in values.reshape(-1)[:4].double().tolist()]
    return f"[{', '.join(numbers)}{', ...' if values.numel() > 4 else ''}]"
