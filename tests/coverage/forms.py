"""The seven functions of a case, by pullback and by torch.

pullback's are traced into one module. torch's come from eager autograd and from loops, so that the
gaps of torch.func are not ours: a jvp without a forward formula is the vjp of the vjp, and a vmap
is a loop. Where torch has two ways, their results may differ at special points; both are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pullback
import torch

from .cases import Case, direction, other

Tensors = list[torch.Tensor]
FORMS = ("forward", "jvp", "vjp", "vmap", "vmap of vjp", "jvp of vjp", "vjp of vjp")
PLAIN = ("forward", "vmap")  # those without a derivative
ORDER = {form: 2 if form in FORMS[5:] else 1 for form in FORMS}


class Arguments:
    """Everything the seven functions are called with."""

    def __init__(self, case: Case, outs: Sequence[torch.Tensor]) -> None:
        self.primals, self.others = case.primals, case.others
        moving = [outs[i] for i in case.moving]
        self.tangents = [direction(p, 10 + i) for i, p in enumerate(case.primals)]
        self.cotangents = [direction(o, 20 + i) for i, o in enumerate(moving)]
        self.cotangents2 = [direction(o, 30 + i) for i, o in enumerate(moving)]
        self.wanted = [direction(p, 40 + i) for i, p in enumerate(case.primals)]
        self.dims = [case.in_dim if p.dim() else 0 for p in case.primals]
        self.batched = [
            torch.stack([p, other(case, p)], dim)
            for p, dim in zip(case.primals, self.dims, strict=True)
        ]
        self.other_dims = [0 if case.batch_others else None for _ in case.others]
        self.batched_others = [torch.stack([o, o]) if case.batch_others else o for o in case.others]
        self.batched_cotangents = [
            torch.stack(pair) for pair in zip(self.cotangents, self.cotangents2, strict=True)
        ]

    def tree(self) -> dict[str, Tensors]:
        return {k: v for k, v in self.__dict__.items() if not k.endswith("dims")}


def forms_of(case: Case) -> list[str]:
    """The functions that this case has."""
    batched = bool(case.primals or (case.batch_others and case.others))
    names = FORMS if case.moving and not case.random else PLAIN
    return [form for form in names if batched or "vmap" not in form]


def ours(case: Case, names: Sequence[str], dims: Arguments) -> Callable[..., dict[str, Any]]:
    """The named forms as one function of ``Arguments.tree()``, for ``pullback.jit``."""
    f, moving, count = case.function, case.moving, len(case.primals)
    randomness = "different" if case.random or case.draws else "error"
    in_dims, other_dims = tuple(dims.dims), tuple(dims.other_dims)
    batched_ct = tuple(0 for _ in moving)

    def run(
        primals: Tensors,
        others: Tensors,
        tangents: Tensors,
        cotangents: Tensors,
        cotangents2: Tensors,
        wanted: Tensors,
        batched: Tensors,
        batched_others: Tensors,
        batched_cotangents: Tensors,
    ) -> dict[str, Any]:
        def smooth(*xs: torch.Tensor) -> Any:
            outs = f(*xs, *others)
            return tuple(outs[i] for i in moving)

        def pull(*xs: torch.Tensor) -> Any:
            return pullback.vjp(smooth, *xs[:count])[1](xs[count:])

        def pull_batched(*xs: torch.Tensor) -> Any:
            def one(*ps: torch.Tensor) -> Any:
                outs = f(*ps, *xs[count : count + len(others)])
                return tuple(outs[i] for i in moving)

            return pullback.vjp(one, *xs[:count])[1](xs[count + len(others) :])

        both = (*primals, *cotangents)
        makers: dict[str, Callable[[], Any]] = {
            "forward": lambda: f(*primals, *others),
            "jvp": lambda: pullback.jvp(smooth, tuple(primals), tuple(tangents))[1],
            "vjp": lambda: pull(*both),
            "vmap": lambda: pullback.vmap(f, (*in_dims, *other_dims), randomness=randomness)(
                *batched, *batched_others
            ),
            "vmap of vjp": lambda: pullback.vmap(
                pull_batched, (*in_dims, *other_dims, *batched_ct), randomness=randomness
            )(*batched, *batched_others, *batched_cotangents),
            "jvp of vjp": lambda: pullback.jvp(pull, both, (*tangents, *cotangents2))[1],
            "vjp of vjp": lambda: pullback.vjp(pull, *both)[1](tuple(wanted)),
        }
        return {name: makers[name]() for name in names}

    return run


# --- torch ------------------------------------------------------------------------------------


def theirs(case: Case, form: str, given: Arguments) -> Iterator[Tensors]:
    """torch's results for a form, by each way there is; an exception where there is none."""
    primals, others = given.primals, given.others
    if form == "forward":
        yield list(case.function(*primals, *others))
    elif form == "vjp":
        yield _pull(case, primals, others, given.cotangents)[0]
    elif form == "vmap":
        yield _stacked([list(case.function(*p, *o)) for p, o, _ in _examples(given)])
    elif form == "vmap of vjp":
        yield _stacked([_pull(case, p, o, ct)[0] for p, o, ct in _examples(given)])
    else:
        ways = {
            "jvp": (_jvp_forward, _jvp_double),
            "jvp of vjp": (_hvp_symmetric, _hvp_forward),
            "vjp of vjp": (_vjp_of_vjp,),
        }[form]
        yield from _each(ways, case, given)


def _each(ways: Sequence[Any], case: Case, given: Arguments) -> Iterator[Tensors]:
    failure: Exception | None = None
    found = False
    for way in ways:
        try:
            result = way(case, given)
        except (RuntimeError, NotImplementedError, ValueError, IndexError) as error:
            failure = error
            continue
        found = True
        yield result
    if not found:
        assert failure is not None
        raise failure


def _examples(given: Arguments) -> Iterator[tuple[Tensors, Tensors, Tensors]]:
    for k in range(2):
        yield (
            # Copies: as_strided must not see the other example.
            [p.select(d, k).clone() for p, d in zip(given.batched, given.dims, strict=True)],
            [
                o if d is None else o[k]
                for o, d in zip(given.batched_others, given.other_dims, strict=True)
            ],
            [ct[k] for ct in given.batched_cotangents],
        )


def _stacked(examples: list[Tensors]) -> Tensors:
    return [torch.stack(parts) for parts in zip(*examples, strict=True)]


def _leaves(tensors: Tensors) -> Tensors:
    return [t.detach().clone().requires_grad_() for t in tensors]


def _grad(outs: Tensors, wrt: Tensors, cts: Tensors, create: bool = False) -> Tensors:
    used = [(o, ct) for o, ct in zip(outs, cts, strict=True) if o.requires_grad]
    if not used:
        return [torch.zeros_like(w) for w in wrt]
    found = torch.autograd.grad(
        [o for o, _ in used], wrt, [ct for _, ct in used], create_graph=create, allow_unused=True
    )
    return [torch.zeros_like(w) if g is None else g for w, g in zip(wrt, found, strict=True)]


def _pull(
    case: Case, primals: Tensors, others: Tensors, cts: Tensors, create: bool = False
) -> tuple[Tensors, Tensors, Tensors]:
    xs = _leaves(primals)
    outs = case.function(*xs, *others)
    cts = _leaves(cts) if create else cts
    return _grad([outs[i] for i in case.moving], xs, cts, create), xs, cts


def _jvp_forward(case: Case, given: Arguments) -> Tensors:
    def smooth(*xs: torch.Tensor) -> Any:
        outs = case.function(*xs, *given.others)
        return [outs[i] for i in case.moving]

    return torch.func.jvp(smooth, tuple(given.primals), tuple(given.tangents))[1]


def _jvp_double(case: Case, given: Arguments) -> Tensors:
    grads, _, cts = _pull(case, given.primals, given.others, given.cotangents, create=True)
    return _grad(grads, cts, given.tangents)


def jvp_rows(case: Case, given: Arguments) -> Tensors:
    """The jvp that torch's vjp is the transpose of, row by row."""
    xs = _leaves(given.primals)
    outs = [case.function(*xs, *given.others)[i] for i in case.moving]
    results = []
    for out in outs:
        rows = []
        for one in torch.eye(out.numel(), dtype=out.dtype):
            found = torch.autograd.grad(
                out, xs, one.reshape(out.shape), retain_graph=True, allow_unused=True
            )
            pairs = zip(found, given.tangents, strict=True)
            rows.append(sum((g * t).sum() for g, t in pairs if g is not None))
        results.append(
            torch.tensor([float(r) for r in rows], dtype=torch.float64)
            .to(out.dtype)
            .reshape(out.shape)
        )
    return results


def _hvp_symmetric(case: Case, given: Arguments) -> Tensors:
    """The Hessian of <cotangents, f> is symmetric: its jvp is its vjp."""
    grads, xs, _ = _pull(case, given.primals, given.others, given.cotangents, create=True)
    curved = _grad(grads, xs, given.tangents)
    moved = _pull(case, given.primals, given.others, given.cotangents2)[0]
    return [a + b for a, b in zip(curved, moved, strict=True)]


def _hvp_forward(case: Case, given: Arguments) -> Tensors:
    count = len(given.primals)

    def pull(*xs: torch.Tensor) -> Any:
        def smooth(*ps: torch.Tensor) -> Any:
            outs = case.function(*ps, *given.others)
            return tuple(outs[i] for i in case.moving)

        return torch.func.vjp(smooth, *xs[:count])[1](xs[count:])

    both = (*given.primals, *given.cotangents)
    return list(torch.func.jvp(pull, both, (*given.tangents, *given.cotangents2))[1])


def _vjp_of_vjp(case: Case, given: Arguments) -> Tensors:
    grads, xs, cts = _pull(case, given.primals, given.others, given.cotangents, create=True)
    return _grad(grads, [*xs, *cts], given.wanted)
