"""One class per op, in families. Importing a family registers its ops."""

from . import (
    cond,
    contraction,
    control,
    creation,
    elementwise,
    indexing,
    reduction,
    scan,
    selection,
    sorting,
    structure,
)

__all__ = [
    "cond",
    "contraction",
    "control",
    "creation",
    "elementwise",
    "indexing",
    "reduction",
    "scan",
    "selection",
    "sorting",
    "structure",
]
