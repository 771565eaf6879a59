"""How the loop graph of a function is built and emitted for a GPU: what differs from the CPU.

Reductions start in registers, so nothing is filled before them. Products of matrices and
convolutions are sums of products like any other until tiles take them over.
"""

from __future__ import annotations

from typing import Any

from mlir import ir
from mlir.dialects import linalg

from ..buffers import in_memory
from ..fusion import Step
from ..loop_emission import Emission
from ..loop_graph import Node, Reduction
from ..lowering import Lowering
from ..memory_loops import Product
from .nests import STARTS


class GpuEmission(Emission):
    """Marks the reductions of a nest with what they start from."""

    def _start(self, node: Node, destination: ir.Value) -> ir.Value:
        return destination

    def _mark(self, generic: linalg.GenericOp, step: Step, *_: Any) -> None:
        starts: list[ir.Attribute] = []
        for node in step.members:
            if not isinstance(node, Reduction):
                starts.append(ir.UnitAttr.get())
                continue
            number, type_ = node.monoid.start(node.element), in_memory(node.element)
            if isinstance(type_, ir.FloatType):
                starts.append(ir.FloatAttr.get(type_, float(number)))
            else:
                starts.append(ir.IntegerAttr.get(type_, int(number)))
        generic.operation.attributes[STARTS] = ir.ArrayAttr.get(starts)


class GpuLowering(Lowering):
    """The graph of one function for a GPU."""

    WIDTH = 4  # no vectors
    emission = GpuEmission
    large_product = None

    def product(self, x: Node) -> Product:
        return Product(1)
