"""The pb dialect in Python: op classes with their rules, the builder, types.

Importing this module loads the C++ plugin; every `ir.Context()` made afterwards knows pb.
"""

from . import _plugin, ops
from .builder import Builder
from .opdef import OPS, ZERO, Batched, Op

__all__ = ["OPS", "ZERO", "Batched", "Builder", "Op", "ops"]

assert _plugin.PATH.exists()
