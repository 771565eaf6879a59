"""The aten calls that pullback knows, one rule each: aten call -> pb ops.

``importer.py`` runs these; ``decompositions.py`` asks which calls are known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import (
    activation,
    bessel,
    bits,
    contraction,
    convolution,
    creation,
    cumulative,
    elementwise,
    factored,
    functions,
    indexing,
    linalg,
    lookup,
    loss,
    normalization,
    pooling,
    reduction,
    resampling,
    rounding,
    sampling,
    scatter,
    shape,
    sorting,
    spectral,
)

RULES: dict[Any, Callable[..., Any]] = {
    **activation.RULES,
    **bessel.RULES,
    **bits.RULES,
    **contraction.RULES,
    **convolution.RULES,
    **creation.RULES,
    **cumulative.RULES,
    **elementwise.RULES,
    **factored.RULES,
    **functions.RULES,
    **indexing.RULES,
    **linalg.RULES,
    **loss.RULES,
    **lookup.RULES,
    **normalization.RULES,
    **pooling.RULES,
    **reduction.RULES,
    **resampling.RULES,
    **rounding.RULES,
    **sampling.RULES,
    **scatter.RULES,
    **shape.RULES,
    **sorting.RULES,
    **spectral.RULES,
}

_RANDOM = "draw these numbers outside and pass them in as an argument"
_COMPLEX = (
    "its results are complex numbers, which are not supported; "
    "torch.linalg.eigh and eigvalsh of a symmetric matrix are real"
)
_HELP = {
    "poisson": _RANDOM,
    "binomial": _RANDOM,
    "_standard_gamma": _RANDOM,
    "_sample_dirichlet": _RANDOM,
    "linalg_eig": _COMPLEX,
    "linalg_eigvals": _COMPLEX,
}


def _name(target: Any) -> str:
    return target._schema.name.removeprefix("aten::").rstrip("_")


def has_help(target: Any) -> bool:
    """There is more to say than that a call has no rule."""
    return _name(target) in _HELP


def help_for(target: Any) -> str:
    """The way out for a call without a rule."""
    return _HELP.get(_name(target), "not supported yet; express it with supported operations")
