"""What the `lower` rules of factorisations are written with; a part of `Lowering`.

Operands become batches of matrices (rank 3); the loops themselves are in triangular.py,
factorisations.py and spectral.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlir import ir
from mlir.dialects import arith

from .affine import dim
from .factorisations import lu, qr
from .loop_emission import Emission
from .loop_graph import Monoid, Node
from .memory_loops import Product, on_examples
from .scalars import width
from .spectral import eigh, svd
from .triangular import cholesky, triangular_solve

PRODUCT = Monoid("product", lambda _: 1, lambda m, x, y: m.mul(x, y))


def matrices(x: Any) -> tuple[int, int, int]:
    """The shape of x with one batch dimension."""
    *outer, rows, columns = x.shape
    return math.prod(outer), rows, columns


@dataclass(frozen=True)
class Method:
    """What is done to a matrix: `alone(*results, *sources, *scratch)` emits it for one thread.

    `copied`: for each result the source that it starts as there, or None. A target may have a way
    of its own for what has this name, with these options.
    """

    name: str
    alone: Callable[..., None]
    copied: Sequence[int | None]
    scratches: Sequence[Sequence[int]] = ()
    options: Mapping[str, bool] = field(default_factory=dict)


class LinalgLowering:
    vector_bytes: int
    reshape: Callable[..., Node]
    transpose: Callable[..., Node]
    pointwise: Callable[..., Node]
    wholes: Callable[..., list[Node]]
    full: Callable[..., Node]
    generated: Callable[..., Node]
    gather: Callable[..., Node]
    scatter_add: Callable[..., Node]
    slice: Callable[..., Node]
    moved: Callable[..., Node]
    reduce: Callable[..., Node]
    reduce_sum: Callable[..., Node]

    def product(self, x: Node) -> Product:
        return Product(self.vector_bytes * 8 // width(x.element))

    def on_matrices(
        self,
        results: Sequence[tuple[Sequence[int], ir.Type]],
        sources: Sequence[Node],
        method: Method,
    ) -> list[Node]:
        """Results of these shapes (of rank 3)."""
        flat = [self.reshape(source, matrices(source)) for source in sources]
        return self.wholes(
            [(tuple(shape), element) for shape, element in results],
            flat,
            on_examples(method.alone, method.copied, method.scratches),
        )

    def triangle(self, x: Node, upper: bool, transposed: bool = False) -> Node:
        """A triangle of (the transpose of) x, and zero elsewhere."""
        n = len(x.shape)
        last = [dim(n - 1), dim(n - 2)] if transposed else [dim(n - 2), dim(n - 1)]
        shape = list(x.shape)
        if transposed:
            shape[-2:] = reversed(shape[-2:])

        def body(emission: Emission, at: Sequence[ir.Value], value: ir.Value) -> ir.Value:
            m = emission.scalars
            inside = m.compare("ge" if upper else "le", at[-1], at[-2])
            return m.select(inside, value, m.constant(value.type, 0))

        read = x, [*map(dim, range(n - 2)), *last]
        return self.pointwise(shape, x.element, [read], body, 2, indexed=True)

    def cholesky(self, x: Node) -> Node:
        if x.size == 0:
            return x
        n = len(x.shape)
        flipped = self.transpose(x, [*range(n - 2), n - 1, n - 2])
        product = self.product(x)
        method = Method("cholesky", lambda u, _: cholesky(u, product), [0])
        [upper] = self.on_matrices([(matrices(x), x.element)], [flipped], method)
        return self.triangle(self.reshape(upper, x.shape), upper=False, transposed=True)

    def triangular_solve(self, a: Node, b: Node, upper: bool, unit: bool, transposed: bool) -> Node:
        if b.size == 0:
            return b
        product = self.product(a)

        def body(y: Any, a: Any, _: Any) -> None:
            triangular_solve(y, a, product, upper, unit, transposed)

        options = {"upper": upper, "unit": unit, "transposed": transposed}
        method = Method("triangular_solve", body, [1], options=options)
        [y] = self.on_matrices([(matrices(b), b.element)], [a, b], method)
        return self.reshape(y, b.shape)

    def lu(self, x: Node) -> list[Node]:
        *outer, rows, columns = x.shape
        k, count = min(rows, columns), math.prod(outer)
        i32, i64 = (ir.IntegerType.get_signless(bits) for bits in (32, 64))
        if x.size == 0:
            order = self.generated((*outer, rows), i64, lambda m, at: m.from_index(at[-1], i64))
            return [x, self.full((*outer, k), i32, 0), order]
        product = self.product(x)
        made = self.on_matrices(
            [(matrices(x), x.element), ((count, 1, k), i32), ((count, 1, rows), i64)],
            [x],
            Method(
                "lu",
                lambda a, pivots, order, _: lu(a, pivots, order, product),
                [0, None, None],
            ),
        )
        shapes = [x.shape, (*outer, k), (*outer, rows)]
        return [self.reshape(node, shape) for node, shape in zip(made, shapes, strict=True)]

    def lu_solve(self, lu: Node, permutation: Node, b: Node, transposed: bool) -> Node:
        if b.size == 0:
            return b
        n = len(b.shape) - 2
        if not transposed:
            y = self.gather(b, [permutation], [n], n, True)
            y = self.triangular_solve(lu, y, upper=False, unit=True, transposed=False)
            return self.triangular_solve(lu, y, upper=True, unit=False, transposed=False)
        y = self.triangular_solve(lu, b, upper=True, unit=False, transposed=True)
        y = self.triangular_solve(lu, y, upper=False, unit=True, transposed=True)
        zeros = self.full(b.shape, b.element, 0)
        return self.scatter_add(zeros, y, [permutation], [n], n, True)

    def determinant(self, lu: Node, pivots: Node, log: bool) -> Node:
        outer = pivots.shape[:-1]
        n = len(outer)
        diagonal = self.moved(lu, pivots.shape, [*map(dim, range(n)), dim(n), dim(n)])
        at = tuple(map(dim, range(n + 1)))

        def magnitude(emission: Emission, x: ir.Value) -> ir.Value:
            m = emission.scalars
            return m.log(m.maximum(x, m.neg(x)))

        def signed(e: Emission, place: Any, x: ir.Value, pivot: ir.Value) -> ir.Value:
            m = e.scalars
            row = m.add(m.from_index(place[-1], pivot.type), m.constant(pivot.type, 1))
            return m.select(m.compare("eq", row, pivot), x, m.neg(x))

        if log:
            logs = self.pointwise(pivots.shape, lu.element, [(diagonal, at)], magnitude, 20)
            return self.reduce_sum(logs, [n])
        reads = [(diagonal, at), (pivots, at)]
        factors = self.pointwise(pivots.shape, lu.element, reads, signed, 4, indexed=True)
        return self.reduce(factors, [n], PRODUCT)

    def qr(self, x: Node, complete: bool) -> list[Node]:
        *outer, rows, columns = x.shape
        k, count = min(rows, columns), math.prod(outer)
        wide = rows if complete else k
        if x.size == 0:
            q = self.full((*outer, rows, wide), x.element, 0)
            if complete and rows and count:  # the identity
                q = self.generated(
                    q.shape,
                    x.element,
                    lambda m, at: m.select(
                        arith.cmpi(arith.CmpIPredicate.eq, at[-1], at[-2]),
                        m.constant(x.element, 1),
                        m.constant(x.element, 0),
                    ),
                )
            return [q, self.full((*outer, wide, columns), x.element, 0)]
        q, r = self.on_matrices(
            [((count, rows, wide), x.element), (matrices(x), x.element)],
            [x],
            Method(
                "qr",
                lambda q, r, _, taus, sums: qr(q, r, taus, sums),
                [None, 0],
                scratches=[(1, k), (1, max(wide, columns))],
            ),
        )
        r = self.triangle(self.reshape(r, x.shape), upper=True)
        sizes = [*outer, wide, columns]
        if wide != rows:
            r = self.slice(r, sizes, [0] * len(sizes), [1] * len(sizes))
        return [self.reshape(q, (*outer, rows, wide)), r]

    def converted(self, x: Node, element: ir.Type) -> Node:
        if x.element == element:
            return x
        read = x, [*map(dim, range(len(x.shape)))]
        return self.pointwise(
            x.shape, element, [read], lambda e, value: e.scalars.convert(value, element), 1
        )

    def flipped(self, x: Node) -> Node:
        n = len(x.shape)
        return self.transpose(x, [*range(n - 2), n - 1, n - 2])

    def eigh(self, x: Node, upper: bool) -> list[Node]:
        *outer, n, _ = x.shape
        if x.size == 0:
            return [self.full((*outer, n), x.element, 0), x]
        wide = self.converted(self.flipped(x) if upper else x, ir.F64Type.get())
        count = math.prod(outer)
        values, v = self.on_matrices(
            [((count, 1, n), wide.element), (matrices(x), wide.element)],
            [wide],
            Method("eigh", eigh, [None, None], scratches=[(n, n), (1, 1)]),
        )
        vectors = self.flipped(self.reshape(v, x.shape))
        values = self.reshape(values, (*outer, n))
        return [self.converted(made, x.element) for made in (values, vectors)]

    def svd(self, x: Node) -> list[Node]:
        *outer, rows, columns = x.shape
        k, count = min(rows, columns), math.prod(outer)
        if x.size == 0:
            shapes = (*outer, rows, k), (*outer, k), (*outer, k, columns)
            return [self.full(shape, x.element, 0) for shape in shapes]
        wide = self.converted(x, ir.F64Type.get())
        tall, longest = rows > columns, max(rows, columns)
        turns, s, w = self.on_matrices(
            [
                ((count, k, k), wide.element),
                ((count, 1, k), wide.element),
                ((count, k, longest), wide.element),
            ],
            [self.flipped(wide) if tall else wide],
            Method(
                "svd",
                lambda *buffers: svd(*buffers, lead_is_w=tall),
                [None, None, None],
                scratches=[(1, 1), (1, longest)],
                options={"lead_is_w": tall},
            ),
        )
        turns = self.reshape(turns, (*outer, k, k))
        w = self.reshape(w, (*outer, k, longest))
        u, vh = (self.flipped(w), turns) if tall else (self.flipped(turns), w)
        made = u, self.reshape(s, (*outer, k)), vh
        return [self.converted(part, x.element) for part in made]
