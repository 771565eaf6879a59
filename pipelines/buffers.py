"""Types of what loop_emission.py keeps in tensors and memory, and the same data in other shapes."""

from __future__ import annotations

from collections.abc import Sequence

from mlir import ir
from mlir.dialects import memref, tensor

from ..dialects.pb.types import shape as shape_of
from .affine import Shape, reshape_groups
from .half import is_half


def in_memory(element: ir.Type) -> ir.Type:
    """Truth values are bytes, and half floats their 16 bits: LLVM knows too little of these."""
    if isinstance(element, ir.IntegerType) and element.width == 1:
        return ir.IntegerType.get_signless(8)
    if is_half(element):
        return ir.IntegerType.get_signless(16)
    return element


def tensor_of(shape: Sequence[int], element: ir.Type) -> ir.RankedTensorType:
    return ir.RankedTensorType.get(list(shape), in_memory(element))


def reshaped(value: ir.Value, shape: Shape) -> ir.Value:
    """The same elements (of a tensor, or of a dense memref) under another shape; never a copy."""
    source = shape_of(value)
    if source == shape:
        return value
    dialect = tensor if isinstance(value.type, ir.RankedTensorType) else memref
    groups = _paired_groups(source, shape)
    middle = [product(source, left) for left, _ in groups]
    if len(middle) != len(source):
        type_ = _with_shape(value.type, middle)
        value = dialect.collapse_shape(type_, value, [left for left, _ in groups])
    if len(middle) != len(shape):
        type_ = _with_shape(value.type, shape)
        right = [right for _, right in groups]
        value = dialect.expand_shape(type_, value, right, [], list(shape))
    return value


def _paired_groups(source: Shape, target: Shape) -> list[tuple[list[int], list[int]]]:
    """Reshape groups with neither side empty, as collapse and expand want them."""
    if not source or not target:
        return []
    groups: list[tuple[list[int], list[int]]] = []
    for left, right in reshape_groups(source, target):
        if groups and not (left and right):
            groups[-1] = groups[-1][0] + left, groups[-1][1] + right
        else:
            groups.append((left, right))
    return groups


def product(shape: Shape, dims: Sequence[int]) -> int:
    result = 1
    for d in dims:
        result *= shape[d]
    return result


def _with_shape(type_: ir.Type, shape: Sequence[int]) -> ir.Type:
    if isinstance(type_, ir.RankedTensorType):
        return ir.RankedTensorType.get(list(shape), type_.element_type)
    assert isinstance(type_, ir.MemRefType)
    dense = ir.AffineMapAttr.get(ir.AffineMap.get_identity(type_.rank))
    if type_.layout != dense:
        return strided(shape, type_.element_type)
    return ir.MemRefType.get(list(shape), type_.element_type)


def strided(shape: Sequence[int], element: ir.Type) -> ir.MemRefType:
    """Dense memory that starts anywhere in a buffer."""
    strides = [product(tuple(shape), range(d + 1, len(shape))) for d in range(len(shape))]
    layout = ir.StridedLayoutAttr.get(ir.ShapedType.get_dynamic_stride_or_offset(), strides)
    return ir.MemRefType.get(list(shape), element, layout=layout)
