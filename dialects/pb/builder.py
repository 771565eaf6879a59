"""Builds pb ops. One method per op, in the terms of the rules that use it.

A symbolic ZERO goes through linear ops without leaving a trace: `mul(ZERO, y)` is ZERO,
`add(ZERO, y)` is y. Where a real value is needed, `zeros_like` makes one.
"""

from __future__ import annotations

from .build.contraction import Contraction
from .build.control import Control
from .build.convolution import Convolution
from .build.elementwise import Elementwise
from .build.functional import Functional
from .build.functions import Functions
from .build.indexing import Indexing
from .build.linalg import Linalg
from .build.random import Random
from .build.structure import Structure


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
