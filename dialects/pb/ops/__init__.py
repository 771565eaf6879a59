"""One class per op, in families. Importing a family registers its ops."""

from . import (
    bits,
    cond,
    contraction,
    control,
    convolution,
    creation,
    custom,
    elementwise,
    functions,
    indexing,
    reduction,
    scan,
    selection,
    sorting,
    structure,
    while_loop,
)

__all__ = [
    "bits",
    "cond",
    "contraction",
    "control",
    "convolution",
    "creation",
    "custom",
    "elementwise",
    "functions",
    "indexing",
    "reduction",
    "scan",
    "selection",
    "sorting",
    "structure",
    "while_loop",
]
