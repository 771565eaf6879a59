"""Sums of products by tensor cores: each of 8 warps has a part of the tile (mma.sync).

f16 and bf16 are multiplied exactly and added in f32. f32 is, where that was asked for, rounded to
tf32 first: its range, with 10 bits of mantissa. Fragments lie in the lanes of a warp as the PTX ISA
says (sections on mma.m16n8k16 and mma.m16n8k8): lane L holds pairs of row L / 4 and column L % 4.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlir import ir
from mlir.dialects import arith, llvm, memref, nvvm

from ..builders import index_constant
from ..scalars import constant
from . import asynchronous
from .launch import BLOCK, WARP, Threads, divided
from .products import Product
from .slices import Layout, Slice, Values

#: Rows of shared memory that 8 lanes read at once begin in different banks.
_LAYOUTS = {
    "f16": Layout(depth=32, pad=16, terms_pad=16),
    "bf16": Layout(depth=32, pad=16, terms_pad=16),
    "tf32": Layout(depth=16, pad=32, terms_pad=16),
}
#: Rows, and columns, of one instruction's result.
_ROWS, _COLUMNS = 16, 8
_WARPS = BLOCK // WARP


class TensorCores:
    """A block's part of the work on a tile; `left` and `right` are its slices in shared memory."""

    smallest = 32

    def __init__(self, product: Product, rows: int, columns: int) -> None:
        assert product.cores is not None
        self.kind = kind = product.cores.kind
        self.step = 8 if kind == "tf32" else 16
        self.layout = _LAYOUTS[kind]
        self.left, self.right = (
            Slice(product, factor, own, length, self.layout)
            for factor, own, length in (
                (product.cores.left, product.rows, rows),
                (product.cores.right, product.columns, columns),
            )
        )
        warps_down = 4 if rows > columns else 2
        self.warps_across = _WARPS // warps_down
        #: How many results of one instruction a warp has below, and beside each other.
        self.counts = rows // warps_down // _ROWS, columns // self.warps_across // _COLUMNS

    def begin(self, t: Threads) -> Values:
        """The sums at the start; allocates what the block shares."""
        for side in (self.left, self.right):
            side.allocate(t)
        warp, self.lane = divided(t.thread_id, WARP, BLOCK)
        down, across = divided(warp, self.warps_across, _WARPS)
        rows, columns = self.counts
        self.first_row = arith.muli(down, index_constant(rows * _ROWS))
        self.first_column = arith.muli(across, index_constant(columns * _COLUMNS))
        return [constant(ir.F32Type.get(), 0)] * (4 * rows * columns)

    def multiply(self, half: ir.Value, sums: Values) -> Values:
        """The sums, with the products of this half of the slices."""
        fragments = self._rounded if self.kind == "tf32" else self._loaded
        rows, columns = self.counts
        for k in range(0, self.layout.depth, self.step):
            left = fragments(self.left, half, k, self.first_row, rows * _ROWS, 4)
            right = fragments(self.right, half, k, self.first_column, columns * _COLUMNS, 2)
            following: Values = []
            for i, a in enumerate(left):
                for j, b in enumerate(right):
                    at = 4 * (i * columns + j)
                    following += self._instruction(a, b, sums[at : at + 4])
            sums = following
        return sums

    def places(self, sums: Values) -> Iterator[tuple[ir.Value, ir.Value, ir.Value]]:
        """Row and column in the tile of each sum."""
        group, pair = divided(self.lane, 4, WARP)
        row = arith.addi(self.first_row, group)
        column = arith.addi(self.first_column, arith.muli(pair, index_constant(2)))
        for i in range(self.counts[0]):
            for j in range(self.counts[1]):
                for n in range(4):
                    down, beside = i * _ROWS + 8 * (n // 2), j * _COLUMNS + n % 2
                    value = sums[4 * (i * self.counts[1] + j) + n]
                    yield _plus(row, down), _plus(column, beside), value

    def _loaded(
        self, side: Slice, half: ir.Value, k: int, first: ir.Value, length: int, words: int
    ) -> list[Values]:
        """The fragments of 16-bit elements, by ldmatrix: each lane gives it a row of 8 x 8."""
        # Of a left fragment the second matrix is below the first; of right ones, 8 terms on.
        count = 2 if length == _COLUMNS else 4
        lane = self.lane if count == 4 else divided(self.lane, 16, WARP)[1]
        matrix, line = divided(lane, 8, WARP)
        second, first_bit = divided(matrix, 2, 4)
        down, on = (first_bit, second) if words == 4 else (second, first_bit)
        down, on = (arith.muli(n, index_constant(8)) for n in (down, on))
        if side.terms_inner:
            down = arith.addi(down, line)
        else:
            on = arith.addi(on, line)
        term = _plus(on, k)
        layout = "row" if side.terms_inner else "col"
        fragments: list[Values] = []
        for at in range(0, length, min(length, 16)):
            row = _plus(arith.addi(first, down), at)
            pointer = asynchronous.pointer(
                side.memory, side.at(half, term, row), asynchronous.SHARED
            )
            found = _ldmatrix(pointer, count, layout)
            fragments += [found[n : n + words] for n in range(0, count, words)]
        return fragments

    def _rounded(
        self, side: Slice, half: ir.Value, k: int, first: ir.Value, length: int, words: int
    ) -> list[Values]:
        """The fragments of f32, rounded to tf32."""
        group, pair = divided(self.lane, 4, WARP)
        height = _ROWS if words == 4 else _COLUMNS
        fragments = []
        for at in range(0, length, height):
            fragment = []
            for n in range(words):
                down, on = (8 * (n % 2), 4 * (n // 2)) if words == 4 else (0, 4 * n)
                row = _plus(arith.addi(first, group), at + down)
                value = memref.load(side.memory, side.at(half, _plus(pair, k + on), row))
                rounding = ir.Attribute.parse("#nvvm.fp_rnd_mode<rna>")
                fragment.append(
                    nvvm.convert_float_to_tf32(ir.IntegerType.get_signless(32), value, rnd=rounding)
                )
            fragments.append(fragment)
        return fragments

    def _instruction(self, a: Values, b: Values, c: Values) -> Values:
        if self.kind == "f16":
            pair = ir.VectorType.get([2], ir.F16Type.get())
            a, b = ([llvm.bitcast(pair, word) for word in words] for words in (a, b))
        f32 = ir.F32Type.get()
        result = ir.Type.parse("!llvm.struct<(f32, f32, f32, f32)>")
        kind = ir.Attribute.parse(f"#nvvm.mma_type<{self.kind}>")
        shape = ir.Attribute.parse(f"#nvvm.shape<m = {_ROWS}, n = {_COLUMNS}, k = {self.step}>")
        row, col = (ir.Attribute.parse(f"#nvvm.mma_layout<{name}>") for name in ("row", "col"))
        found = nvvm.MmaOp(
            result, shape, row, col, a, b, c, multiplicandAPtxType=kind, multiplicandBPtxType=kind
        )
        return [llvm.extractvalue(f32, found.result, [n]) for n in range(4)]


def _plus(x: ir.Value, amount: int) -> ir.Value:
    return arith.addi(x, index_constant(amount)) if amount else x


def _ldmatrix(pointer: ir.Value, count: int, layout: str) -> Values:
    """This lane's words of `count` matrices of 8 x 8 elements of 16 bits."""
    i32 = ir.IntegerType.get_signless(32)
    result = ir.Type.parse(f"!llvm.struct<({', '.join(['i32'] * count)})>")
    found = nvvm.LdMatrixOp(
        result,
        pointer,
        count,
        ir.Attribute.parse(f"#nvvm.mma_layout<{layout}>"),
        ir.Attribute.parse("#nvvm.ld_st_matrix_shape<m = 8, n = 8>"),
        ir.Attribute.parse("#nvvm.ld_st_matrix_elt_type<b16>"),
    ).res
    return [llvm.extractvalue(i32, found, [n]) for n in range(count)]
