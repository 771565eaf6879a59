"""Arguments of every kind: right answers, no needless copies, errors that name them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pullback.runtime import ArgumentError, Function, load

from .conftest import Make

VALUES = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def copy6(make: Make) -> Function:
    return load(make("copy6", "x: f64[2, 3]", ["out: f64[2, 3]", "address: i64[]"]))


def misaligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    buffer = np.empty(array.nbytes + 1, np.uint8)
    result = buffer[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array = array.copy()
    array.flags.writeable = False
    return array


IN_PLACE = {
    "contiguous": VALUES,
    "row slice": np.concatenate([VALUES, VALUES])[2:],
    "read-only": read_only(VALUES),
    "subclass": VALUES.view(type("Sub", (np.ndarray,), {})),
    "mask without masked": np.ma.array(VALUES),
}
COPIED = {
    "fortran": np.asfortranarray(VALUES),
    "transposed": VALUES.T.copy().T,
    "strided": np.repeat(VALUES, 2, axis=1)[:, ::2],
    "reversed": VALUES[::-1, ::-1].copy()[::-1, ::-1],
    "misaligned": misaligned(VALUES),
    "byte-swapped": VALUES.astype(">f8"),
    "byte-swapped, strided": np.repeat(VALUES.astype(">f8"), 2, axis=0)[::2],
}


@pytest.mark.parametrize("kind", [*IN_PLACE, *COPIED])
def test_layouts(copy6: Function, kind: str) -> None:
    value = {**IN_PLACE, **COPIED}[kind]
    before = np.array(value)
    out, address = copy6(value)
    assert type(out) is np.ndarray and out.dtype == np.float64
    np.testing.assert_array_equal(out, VALUES)
    assert (int(address) == value.ctypes.data) == (kind in IN_PLACE)
    np.testing.assert_array_equal(value, before)


def test_broadcast_argument(copy6: Function) -> None:
    value = np.broadcast_to(np.array([1.0, 2.0, 3.0]), (2, 3))
    np.testing.assert_array_equal(copy6(value)[0], value)
    np.testing.assert_array_equal(copy6(np.broadcast_to(7.0, (2, 3)))[0], np.full((2, 3), 7.0))


def test_size_one_dimensions_need_no_copy(make: Make) -> None:
    f = load(make("copy6", "x: f64[6, 1]", ["out: f64[6, 1]", "address: i64[]"]))
    value = np.arange(6.0).reshape(1, 6).T
    assert int(f(value)[1]) == value.ctypes.data


def test_dtypes_and_scalars(make: Make) -> None:
    kinds = ["f32", "f64", "i32", "i64", "bool"]
    f = load(make("scalars", [f"{k}: {k}[]" for k in kinds], [f"o{k}: {k}[]" for k in kinds[::-1]]))
    typed = [np.float32(1.5), np.float64(2.5), np.int32(-3), np.int64(-4), np.bool_(True)]
    for args in (
        [np.array(value) for value in typed],
        typed,
        [1.5, 2.5, -3, -4, True],
        [np.array(1.5, ">f4"), 2.5, np.array(-3, np.intc), np.array(-4, np.longlong), True],
    ):
        out = f(*args)
        assert [o.dtype.name for o in out] == ["bool", "int64", "int32", "float64", "float32"]
        assert [o.item() for o in out] == [True, -4, -3, 2.5, 1.5]
        assert all(type(o) is np.ndarray and o.shape == () for o in out)
    assert f(1, 2, -3, -4, False)[4] == 1
    assert f(*typed[:4], np.array(7, np.uint8).view(np.bool_))[0].view(np.uint8) == 1
    for i, wrong in [(0, "a"), (0, True), (1, 1j), (2, 1.0), (2, True), (3, 1.5), (4, 1)]:
        args = [1.5, 2.5, -3, -4, True]
        args[i] = wrong  # pyright: ignore[reportArgumentType, reportCallIssue]
        with pytest.raises(
            TypeError, match=rf"argument '{kinds[i]}' .*expected {kinds[i]}\[\], got"
        ):
            f(*args)
    with pytest.raises(ValueError, match="argument 'i32' is too large for i32"):
        f(1.5, 2.5, 2**31, 4, True)


def test_zero_size(make: Make) -> None:
    f = load(make("nothing", ["x: f64[0, 3]", "y: i64[3, 0, 2]"], ["a: f64[0]", "b: bool[2, 0]"]))
    for x, y in [
        (np.empty((0, 3)), np.empty((3, 0, 2), np.int64)),
        (np.empty((3, 0)).T, np.empty((2, 0, 3), np.int64).T),
        (np.empty((0, 3), ">f8"), np.empty((3, 0, 2), np.int64)),
    ]:
        a, b = f(x, y)
        assert (a.shape, a.dtype, b.shape, b.dtype) == ((0,), np.float64, (2, 0), np.bool_)
    with pytest.raises(ValueError, match=r"'x' has the wrong shape: expected f64\[0, 3\]"):
        f(np.empty((3, 0)), np.empty((3, 0, 2), np.int64))


def test_results_are_fresh(copy6: Function) -> None:
    x = VALUES.copy()
    first, second = copy6(x)[0], copy6(x)[0]
    assert not np.shares_memory(first, x) and not np.shares_memory(first, second)
    assert first.flags.writeable and first.flags.owndata
    first[...] = 0
    np.testing.assert_array_equal(second, VALUES)


@pytest.mark.parametrize(
    ("value", "kind", "match"),
    [
        (
            np.zeros((3, 2)),
            ValueError,
            r"'x' has the wrong shape: expected f64\[2, 3\], got f64\[3, 2\]",
        ),
        (np.zeros(6), ValueError, r"expected f64\[2, 3\], got f64\[6\]"),
        (np.array(1.0), ValueError, r"expected f64\[2, 3\], got f64\[\]"),
        (
            np.zeros((2, 3), np.float32),
            TypeError,
            r"wrong dtype: expected f64\[2, 3\], got f32\[2, 3\]",
        ),
        (np.zeros((2, 3), np.int64), TypeError, r"got i64\[2, 3\]"),
        (np.zeros((2, 3), np.uint64), TypeError, r"got uint64\[2, 3\]"),
        (np.zeros((2, 3), np.complex128), TypeError, r"got complex128\[2, 3\]"),
        (np.zeros((2, 3), "M8[s]"), TypeError, r"got datetime64\[s\]"),
        (np.zeros((2, 3), object), TypeError, "got object"),
        (np.zeros((2, 3), [("a", "f8")]), TypeError, "wrong dtype"),
        (np.ma.array(VALUES, mask=VALUES > 2), ValueError, "'x' has masked elements"),
        (1.0, TypeError, "got the Python float 1.0"),
        ([[1.0, 2.0, 3.0]] * 2, TypeError, "'x' is no array: expected .*, got list"),
        (None, TypeError, "got NoneType"),
        (memoryview(b"123456"), TypeError, "got memoryview"),
    ],
)
def test_wrong_arguments(copy6: Function, value: Any, kind: type[Exception], match: str) -> None:
    for call in (lambda: copy6(value), lambda: copy6(x=value), lambda: copy6.call_leaves([value])):
        with pytest.raises(ArgumentError, match=match) as caught:
            call()
        assert isinstance(caught.value, kind)


def test_calling_conventions(make: Make) -> None:
    f = load(make("add", ["x: f64[3]", "y: f64[3]"], "out: f64[3]"))
    x, y = np.array([1.0, 2.0, 3.0]), np.ones(3)
    for out in (
        f(x, y),
        f(x, y=y),
        f(y=y, x=x),
        f.call_leaves([x, y])[0],
        f.call_leaves((x, y))[0],
    ):
        np.testing.assert_array_equal(out, [2, 3, 4])
    for call, match in [
        (lambda: f(x), "misses 'y'; its arguments are x, y"),
        (lambda: f(), "misses 'x'"),
        (lambda: f(x, y, x), r"takes 2 arguments \(x, y\), got 3"),
        (lambda: f(x, y, x=x), "got 'x' twice"),
        (lambda: f(x, y, z=x), "has no argument 'z'; its arguments are x, y"),
        (lambda: f.call_leaves([x]), "has 2 inputs, got 1 leaves"),
    ]:
        with pytest.raises(TypeError, match=match):
            call()


class Exporter:
    """An array of some other library."""

    def __init__(self, array: np.ndarray[Any, Any], device: int = 1) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


def test_dlpack(copy6: Function) -> None:
    value = VALUES.copy()
    out, address = copy6(Exporter(value))
    np.testing.assert_array_equal(out, VALUES)
    assert type(out) is np.ndarray and int(address) == value.ctypes.data
    np.testing.assert_array_equal(copy6(Exporter(np.asfortranarray(VALUES)))[0], VALUES)
    with pytest.raises(TypeError, match="DLPack device type 2"):
        copy6(Exporter(value, device=2))
    with pytest.raises(TypeError, match=r"expected f64\[2, 3\], got i32\[2, 3\]"):
        copy6(Exporter(np.zeros((2, 3), np.int32)))
    with pytest.raises(TypeError, match="cannot be read"):
        copy6(Exporter(VALUES.astype(object)))
