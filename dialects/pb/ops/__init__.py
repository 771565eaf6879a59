"""One class per op, in families. Importing a family registers its ops."""

from . import (
    contraction,
    control,
    creation,
    elementwise,
    indexing,
    reduction,
    selection,
    structure,
)

__all__ = [
    "contraction",
    "control",
    "creation",
    "elementwise",
    "indexing",
    "reduction",
    "selection",
    "structure",
]
