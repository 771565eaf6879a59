"""Builds pb ops. One method per op, in the terms of the rules that use it.

A symbolic ZERO goes through linear ops without leaving a trace: `mul(ZERO, y)` is ZERO,
`add(ZERO, y)` is y. Where a real value is needed, `zeros_like` makes one.
"""

from __future__ import annotations

from .builders.contraction import Contraction
from .builders.control import Control
from .builders.convolution import Convolution
from .builders.elementwise import Elementwise
from .builders.functional import Functional
from .builders.functions import Functions
from .builders.indexing import Indexing
from .builders.linalg import Linalg
from .builders.random import Random
from .builders.structure import Structure


class Builder(
    Linalg,
    Random,
    Elementwise,
    Functions,
    Structure,
    Indexing,
    Contraction,
    Functional,
    Control,
    Convolution,
):
    """Appends ops at `ip`, each with the location `location` (the user's line)."""
