"""What ops have in common, stated once: elementwise, linear and bilinear ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mlir import ir

from . import _pb_ops_gen as gen
from .opdef import ZERO, Batched, Op, Tangent
from .types import shape, size, with_shape

if TYPE_CHECKING:
    from .builder import Builder


def at_dim(b: Builder, operand: Batched, dim: int, size: int) -> ir.Value:
    """The operand with its examples along dimension `dim`, repeated if it is shared by all."""
    if operand.dim is not None:
        return b.move_dim(operand.value, operand.dim, dim)
    dims = list(shape(operand.value))
    dims.insert(dim, size)
    return b.broadcast(operand.value, dims, [d for d in range(len(dims)) if d != dim])


def splat(value: ir.Value) -> float | None:
    """The number that a constant repeats, or None."""
    if not isinstance(value, ir.OpResult) or value.owner.name != "pb.constant":
        return None
    attr = value.owner.attributes["value"]
    if not isinstance(attr, ir.DenseElementsAttr) or not attr.is_splat:
        return None
    return cast(Any, attr.get_splat_value()).value


def defining(value: ir.Value, kind: type | tuple[type, ...]) -> Any:
    """The op of class `kind` that makes `value`, or None."""
    if not isinstance(value, ir.OpResult):
        return None
    op = value.owner.opview
    return op if isinstance(op, kind) else None


def negated(b: Builder, value: ir.Value) -> ir.Value | None:
    """What `value` is the negative of, if dropping the sign makes the program smaller."""
    if (op := defining(value, gen.NegOp)) is not None:
        return op.x
    product = defining(value, gen.MulOp)
    if product is None or len(list(value.uses)) > 1:
        return None
    for x, y in ((product.x, product.y), (product.y, product.x)):
        spread = defining(x, gen.BroadcastOp)
        op = spread and defining(spread.x, gen.NegOp)
        if spread and op:
            return b.mul(b.broadcast(op.x, shape(x), list(spread.dims)), y)
    return None


class Elementwise(Op):
    """Works element by element: batching and broadcasting commute with it."""

    elementwise = True
    #: flops for each element, for the cost estimate.
    cost: ClassVar[int] = 1

    def batch(self, b: Builder, size: int, *operands: Batched) -> Batched:
        dim = next(operand.dim for operand in operands if operand.dim is not None)
        values = [at_dim(b, operand, dim, size) for operand in operands]
        return Batched(self.rebuild(b, values), dim)

    def rebuild(self, b: Builder, values: Sequence[ir.Value]) -> ir.Value:
        """The op on operands of another shape."""
        result = with_shape(self.results[0].type, shape(values[0]))
        return ir.Operation.create(
            self.operation.name,
            results=[result],
            operands=list(values),
            attributes=dict(self.operation.attributes.items()),
            loc=b.location,
            ip=b.ip,
        ).results[0]

    def simplify(self, b: Builder) -> ir.Value | None:
        return self.hoist_broadcast(b)

    def hoist_broadcast(self, b: Builder) -> ir.Value | None:
        """op(broadcast x, broadcast y) = broadcast op(x, y): the work of the smaller shape."""
        broadcasts = [defining(value, gen.BroadcastOp) for value in self.operands]
        outer = next((op for op in broadcasts if op is not None), None)
        if outer is None:
            return None
        dims = list(outer.dims)
        inner = []
        for value, op in zip(self.operands, broadcasts, strict=True):
            if op is not None:
                if list(op.dims) != dims or shape(op.x) != shape(outer.x):
                    return None
                inner.append(op.x)
            else:
                number = splat(value)
                if number is None:
                    return None
                inner.append(b.constant(number, with_shape(value, shape(outer.x))))
        return b.broadcast(self.rebuild(b, inner), shape(self.results[0]), dims)

    def flops(self) -> int:
        return self.cost * size(shape(self.results[0]))

    def lower(self, loops: Any, *operands: Any) -> Any:
        return loops.elementwise(self, *operands)


class Linear(Op):
    """Linear in the operands `linear_in` together: the derivative is the op itself."""

    linear_in: ClassVar[tuple[int, ...] | None] = None  # None: in all of them

    def jvp(self, b: Builder, *tangents: Tangent) -> Tangent | Sequence[Tangent]:
        values = list(self.operands)
        linear = range(len(values)) if self.linear_in is None else self.linear_in
        if all(tangents[i] is ZERO for i in linear):
            return ZERO
        for i in linear:
            tangent = tangents[i]
            values[i] = b.zeros_like(values[i]) if tangent is ZERO else tangent
        return b.clone(self, values).results[0]


class Bilinear(Op):
    """Linear in each of its two operands: the product rule."""

    def jvp(self, b: Builder, *tangents: Tangent) -> Tangent:
        x, y = self.operands
        x_dot, y_dot = tangents
        left = ZERO if x_dot is ZERO else b.clone(self, [x_dot, y]).results[0]
        right = ZERO if y_dot is ZERO else b.clone(self, [x, y_dot]).results[0]
        return b.add(left, right)
