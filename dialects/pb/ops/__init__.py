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
    "structure",
]
