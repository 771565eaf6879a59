"""Fragments against the drawings of the PTX ISA manual, written out as literals."""

from __future__ import annotations

import numpy as np
import pytest

from .fragments import LANES, layouts, ldmatrix, mma
from .values import UnknownInstruction

# Lanes 0, 5 and 31: (row, column) of each element, read off the manual's tables.
_LANES = [
    ("m16n8k16", 16, "A", 0, [(0, 0), (0, 1), (8, 0), (8, 1), (0, 8), (0, 9), (8, 8), (8, 9)]),
    ("m16n8k16", 16, "A", 5, [(1, 2), (1, 3), (9, 2), (9, 3), (1, 10), (1, 11), (9, 10), (9, 11)]),
    ("m16n8k16", 16, "A", 31,
     [(7, 6), (7, 7), (15, 6), (15, 7), (7, 14), (7, 15), (15, 14), (15, 15)]),
    ("m16n8k16", 16, "B", 0, [(0, 0), (1, 0), (8, 0), (9, 0)]),
    ("m16n8k16", 16, "B", 5, [(2, 1), (3, 1), (10, 1), (11, 1)]),
    ("m16n8k16", 16, "B", 31, [(6, 7), (7, 7), (14, 7), (15, 7)]),
    ("m16n8k16", 16, "C", 5, [(1, 2), (1, 3), (9, 2), (9, 3)]),
    ("m16n8k16", 16, "C", 31, [(7, 6), (7, 7), (15, 6), (15, 7)]),
    ("m16n8k8", 16, "A", 5, [(1, 2), (1, 3), (9, 2), (9, 3)]),
    ("m16n8k8", 16, "B", 5, [(2, 1), (3, 1)]),
    ("m16n8k8", 16, "C", 5, [(1, 2), (1, 3), (9, 2), (9, 3)]),
    ("m16n8k8", 32, "A", 5, [(1, 1), (9, 1), (1, 5), (9, 5)]),
    ("m16n8k8", 32, "A", 31, [(7, 3), (15, 3), (7, 7), (15, 7)]),
    ("m16n8k8", 32, "B", 5, [(1, 1), (5, 1)]),
    ("m16n8k8", 32, "C", 5, [(1, 2), (1, 3), (9, 2), (9, 3)]),
    ("m16n8k4", 32, "A", 5, [(1, 1), (9, 1)]),
    ("m16n8k4", 32, "B", 5, [(1, 1)]),
    ("m16n8k4", 32, "C", 31, [(7, 6), (7, 7), (15, 6), (15, 7)]),
    ("m8n8k4", 64, "A", 5, [(1, 1)]),
    ("m8n8k4", 64, "B", 30, [(2, 7)]),
    ("m8n8k4", 64, "C", 5, [(1, 2), (1, 3)]),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "bits", "which", "lane", "places"), _LANES)
def test_elements_of_a_lane(shape, bits, which, lane, places):
    layout = layouts(shape, bits)["ABC".index(which)]
    assert list(zip(layout.rows[lane], layout.columns[lane], strict=True)) == places


@pytest.mark.parametrize(
    "key", [("m16n8k16", 16), ("m16n8k8", 16), ("m16n8k8", 32), ("m16n8k4", 32), ("m8n8k4", 64)]
)
def test_each_element_lies_in_one_place(key):
    for layout in layouts(*key):
        places = {*zip(layout.rows.flat, layout.columns.flat, strict=True)}
        assert len(places) == layout.shape[0] * layout.shape[1] == layout.rows.size


def _mma(shape: str, of_d: str, of_a: str) -> tuple[str, ...]:
    return ("mma", "sync", "aligned", shape, "row", "col", of_d, of_a, of_a, of_d)


def test_f16_unit_elements():
    # A[9, 10] = 2 (lane 5, register 3, low half), B[10, 1] = 3 (lane 5, register 1, low half).
    a, b = np.zeros((1, LANES, 4), np.uint32), np.zeros((1, LANES, 2), np.uint32)
    c = np.zeros((1, LANES, 4), np.uint32)
    a[0, 5, 3], b[0, 5, 1] = 0x4000, 0x4200
    c[0, 4, 3] = 0x3F800000
    d = mma(_mma("m16n8k16", "f32", "f16"), a, b, c)
    # D[9, 1] = 2 * 3 + 1 is lane 4 (row 9: group 1; column 1: thread 0), register 3.
    assert d[0, 4, 3] == 0x40E00000
    d[0, 4, 3] = 0
    assert not d.any()


def test_f16_results_in_halves():
    a, b = np.zeros((1, LANES, 4), np.uint32), np.zeros((1, LANES, 2), np.uint32)
    a[0, 5, 3], b[0, 5, 1] = 0x4000, 0x4200
    d = mma(_mma("m16n8k16", "f16", "f16"), a, b, np.zeros((1, LANES, 2), np.uint32))
    assert d[0, 4, 1] == 0x46000000 and np.count_nonzero(d) == 1


def test_bf16_is_not_f16():
    a, b = np.zeros((1, LANES, 4), np.uint32), np.zeros((1, LANES, 2), np.uint32)
    a[0, 0, 0], b[0, 0, 0] = 0x40003F80, 0x40400000  # A[0, :2] = 1, 2; B[:2, 0] = 0, 3
    d = mma(_mma("m16n8k16", "f32", "bf16"), a, b, np.zeros((1, LANES, 4), np.uint32))
    assert d[0, 0, 0] == 0x40C00000 and np.count_nonzero(d) == 1


def test_tf32_cuts_operands():
    a, b = np.zeros((1, LANES, 4), np.uint32), np.zeros((1, LANES, 2), np.uint32)
    a[0, 5, 2], b[0, 5, 1] = 0x3F801FFF, 0x40000000  # A[1, 5] = 1 + 2^-10.., B[5, 1] = 2
    d = mma(_mma("m16n8k8", "f32", "tf32"), a, b, np.zeros((1, LANES, 4), np.uint32))
    assert d[0, 4, 1] == 0x40000000 and np.count_nonzero(d) == 1  # D[1, 1]


def test_f64_unit_elements():
    a, b = np.zeros((2, LANES, 1), np.uint64), np.zeros((2, LANES, 1), np.uint64)
    a[1, 6, 0], b[1, 30, 0] = 0x4000000000000000, 0x4008000000000000  # A[1, 2], B[2, 7]
    d = mma(_mma("m8n8k4", "f64", "f64"), a, b, np.zeros((2, LANES, 2), np.uint64))
    assert d[1, 7, 1] == 0x4018000000000000 and np.count_nonzero(d) == 1  # D[1, 7]


@pytest.mark.parametrize("of_a", ["f16", "tf32", "f64"])
def test_whole_products_of_small_integers(of_a):
    shape = {"f16": "m16n8k16", "tf32": "m16n8k8", "f64": "m8n8k4"}[of_a]
    bits = {"f16": 16, "tf32": 32, "f64": 64}[of_a]
    store = {"f16": np.float16, "tf32": np.float32, "f64": np.float64}[of_a]
    word, of_d = (np.uint64, "f64") if bits == 64 else (np.uint32, "f32")
    total = np.float64 if bits == 64 else np.float32
    draw = np.random.default_rng(0)
    lays = layouts(shape, bits)
    a, b, c = (draw.integers(-4, 5, (3, *lay.shape)).astype(float) for lay in lays)
    words = [
        np.ascontiguousarray(lay.scattered(x).astype(kind)).view(word)
        for lay, x, kind in zip(lays, (a, b, c), (store, store, total), strict=True)
    ]
    d = mma(_mma(shape, of_d, of_a), *words)
    assert np.array_equal(lays[2].gathered(d.view(total)), a @ b + c)


@pytest.mark.parametrize(
    "mnemonic",
    [
        _mma("m16n8k16", "f16", "bf16"),
        _mma("m16n8k32", "f32", "f16"),
        ("mma", "sync", "aligned", "m16n8k16", "col", "col", "f32", "f16", "f16", "f32"),
    ],
)
def test_unknown(mnemonic):
    with pytest.raises(UnknownInstruction, match=r"mma\.sync\.aligned\.m16n8k"):
        mma(mnemonic, *(np.zeros((1, LANES, 4), np.uint32),) * 3)


def test_ldmatrix():
    lanes, offsets = ldmatrix(4, False)
    # Lane 6 is (row 1, elements 4 and 5); matrix 2 has its addresses in lanes 16..23.
    assert lanes[6, 2].tolist() == [17, 17] and offsets[6, 2].tolist() == [8, 10]
    assert lanes[31, 3].tolist() == [31, 31] and offsets[31, 3].tolist() == [12, 14]
    lanes, offsets = ldmatrix(2, True)
    # Transposed, lane 6 has column 1 of rows 4 and 5.
    assert lanes[6, 1].tolist() == [12, 13] and offsets[6, 1].tolist() == [2, 2]
    assert ldmatrix(1, False)[0].shape == (LANES, 1, 2)
    with pytest.raises(UnknownInstruction):
        ldmatrix(3, False)
