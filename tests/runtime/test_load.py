"""Loading: rebuilt libraries, parameters, structures, import hygiene."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pullback.runtime import ArgumentError, ArtifactError, load

from .conftest import LEAF, Make

X, Y = np.array([1.0, 2.0, 3.0]), np.ones(3)
SIGNATURE = (["x: f64[3]", "y: f64[3]"], "out: f64[3]")


@pytest.mark.parametrize("verify", [True, False])
def test_rebuilt_library(make: Make, rebuilt: bytes, tmp_path: Path, verify: bool) -> None:
    path = tmp_path / "f.so"
    make("add", *SIGNATURE, path=path)
    old = load(path, verify=verify)
    same = load(path, verify=verify)
    make("add", *SIGNATURE, path=path, image=rebuilt)
    new = load(path, verify=verify)
    for f, expected in [(old, [2, 3, 4]), (same, [2, 3, 4]), (new, [0, 1, 2])]:
        np.testing.assert_array_equal(f(X, Y), expected)
    del old, same
    make("add", *SIGNATURE, path=path)
    np.testing.assert_array_equal(load(path, verify=verify)(X, Y), [2, 3, 4])
    np.testing.assert_array_equal(new(X, Y), [0, 1, 2])


def test_library_overwritten_in_place(make: Make, rebuilt: bytes, tmp_path: Path) -> None:
    path = tmp_path / "f.so"
    make("add", *SIGNATURE, path=path)
    other = make("add", *SIGNATURE, image=rebuilt)
    old = load(path)
    path.write_bytes(b"")  # as cp does before it writes: a mapped page would now be a SIGBUS
    np.testing.assert_array_equal(old(X, Y), [2, 3, 4])
    path.write_bytes(other.read_bytes())
    np.testing.assert_array_equal(load(path)(X, Y), [0, 1, 2])
    np.testing.assert_array_equal(old(X, Y), [2, 3, 4])


def test_large_library_overwritten_in_place(
    make: Make, rebuilt: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pullback.runtime import library

    monkeypatch.setattr(library, "_COPY_LIMIT", 1000)
    path = tmp_path / "f.so"
    make("add", *SIGNATURE, path=path)
    inode = path.stat().st_ino
    first, again = load(path), load(path)
    assert str(path) in Path("/proc/self/maps").read_text()  # not copied
    np.testing.assert_array_equal(again(X, Y), [2, 3, 4])
    with path.open("r+b") as file:
        file.write(make("add", *SIGNATURE, image=rebuilt).read_bytes())
    assert path.stat().st_ino == inode
    copies = Path("/proc/self/maps").read_text().count("memfd:pullback")
    copied = load(path)
    assert Path("/proc/self/maps").read_text().count("memfd:pullback") > copies
    np.testing.assert_array_equal(copied(X, Y), [0, 1, 2])
    del first, again
    assert str(path) not in Path("/proc/self/maps").read_text()  # closed with its functions


def test_read_only_directory(add: Path) -> None:
    add.parent.chmod(0o555)
    try:
        np.testing.assert_array_equal(load(add)(X, Y), [2, 3, 4])
    finally:
        add.parent.chmod(0o755)


def test_relative_and_symbolic_paths(add: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(add.parent)
    Path("link.so").symlink_to(add.name)
    for path in ("link.so", Path(add.name), os.fsencode(add.name).decode(), f"./{add.name}"):
        np.testing.assert_array_equal(load(path)(X, Y), [2, 3, 4])


def test_description(add: Path) -> None:
    f = load(add)
    assert repr(f) == "<pullback function add (x: f64[3], y: f64[3]) -> (f64[3])>"
    assert [(s.name, s.dtype, s.shape) for s in f.inputs] == [
        ("x", "f64", (3,)),
        ("y", "f64", (3,)),
    ]
    assert [str(s) for s in f.outputs] == ["f64[3]"]
    assert f.name == "add" and f.path == add and f.manifest["source"] == "entries.c:add"


def params(mode: str, block: bytes) -> dict[str, Any]:
    leaves = [{"name": "p", "dtype": "f64", "shape": [3], "offset": 0}]
    digest = hashlib.sha256(block).hexdigest()
    return {"mode": mode, "bytes": len(block), "sha256": digest, "leaves": leaves}


def test_parameter_file(make: Make) -> None:
    block = np.array([10.0, 20.0, 30.0]).tobytes()
    path = make("scale", "x: f64[3]", "out: f64[3]", params=params("file", block))
    file = path.with_suffix(".params")
    with pytest.raises(ArtifactError, match=r"scale0\.params cannot be read"):
        load(path)
    for wrong, match in [(block[:-1], "has 23 bytes, the library needs 24"), (block[::-1], "hash")]:
        file.write_bytes(wrong)
        with pytest.raises(ArtifactError, match=match):
            load(path)
    file.write_bytes(block)
    f = load(path)
    shutil.move(file, file.with_suffix(".away"))
    np.testing.assert_array_equal(f(X), [10, 40, 90])


def test_parameters_as_arguments(make: Make) -> None:
    block = bytes(24)
    signature = (["x: f64[3]", "model.p: f64[3]"], "out: f64[3]")
    tree = {"kind": "tuple", "items": [LEAF]}
    description = params("args", block)
    description["leaves"][0]["name"] = "model.p"
    f = load(make("add", *signature, params=description, in_tree=tree, arg_names=["x"]))
    for out in (f(X, Y), f(X, **{"model.p": Y}), f(x=X, **{"model.p": Y}), f(X[::-1][::-1], Y)):
        np.testing.assert_array_equal(out, [2, 3, 4])
    with pytest.raises(TypeError, match=r"misses the parameter 'model.p' \(f64\[3\]\)"):
        f(X)
    with pytest.raises(TypeError, match=r"takes 2 arguments \(x, model.p\), got 3"):
        f(X, Y, Y)


def test_structures(make: Make) -> None:
    point = {"kind": "namedtuple", "name": "Point", "fields": ["a", "b"], "items": [LEAF, LEAF]}
    f = load(
        make(
            "scalars",
            ["p.w: f32[]", "p.b: f64[]", "i: i32[]", "j: i64[]", "k: bool[]"],
            ["a: bool[]", "b: i64[]", "c: i32[]", "d: f64[]", "e: f32[]"],
            in_tree={
                "kind": "tuple",
                "items": [
                    {"kind": "dict", "keys": ["w", "b"], "items": [LEAF, LEAF]},
                    {"kind": "list", "items": [LEAF, LEAF]},
                    LEAF,
                    {"kind": "static", "value": 3},
                ],
            },
            arg_names=["p", "ij", "k", "n"],
            out_tree={
                "kind": "dict",
                "keys": ["one", 2],
                "items": [
                    point,
                    {
                        "kind": "tuple",
                        "items": [LEAF, {"kind": "none"}, {"kind": "list", "items": [LEAF, LEAF]}],
                    },
                ],
            },
        )
    )
    out = f({"b": 2.5, "w": 1.5}, [1, 2], True)
    assert list(out) == ["one", 2]
    assert type(out["one"]).__name__ == "Point" and out["one"].a == True and out["one"].b == 2  # noqa: E712
    assert out[2][0] == 1 and out[2][1] is None and out[2][2] == [2.5, 1.5]
    assert (
        f({"b": 2.5, "w": 1.5}, [1, 2], True, 3).keys()
        == f(p={"b": 1.0, "w": 1.0}, ij=[1, 2], k=True, n=3).keys()
    )
    for args, kind, match in [
        (
            ({"w": 1.5}, [1, 2], True),
            TypeError,
            r"'p' .*: expected a dict with the keys \['w', 'b'\], got a dict with the keys \['w'\]",
        ),
        (
            ({"w": 1.5, "b": 1.0}, (1, 2), True),
            TypeError,
            "'ij' .*: expected a list of 2, got a tuple of 2",
        ),
        (({"w": 1.5, "b": 1.0}, [1, 2], True, 4), ValueError, "'n' was fixed .*expected 3, got 4"),
        (
            ({"w": X, "b": 1.0}, [1, 2], True),
            ArgumentError,
            r"'p\.w' .*expected f32\[\], got f64\[3\]",
        ),
    ]:
        with pytest.raises(kind, match=match):
            f(*args)


def test_static_arguments_stay_on_the_fast_path(make: Make) -> None:
    tree = {
        "kind": "tuple",
        "items": [LEAF, LEAF, {"kind": "static", "value": [1, "a", 0.5]}, {"kind": "none"}],
    }
    f = load(make("add", *SIGNATURE, in_tree=tree, arg_names=["x", "y", "mode", "nothing"]))
    for out in (
        f(X, Y),
        f(X, Y, (1, "a", 0.5)),
        f(X, Y, [1, "a", 0.5], None),
        f(X, Y, nothing=None),
    ):
        np.testing.assert_array_equal(out, [2, 3, 4])
    with pytest.raises(
        TypeError, match="'nothing' has the wrong structure: expected None, got a int"
    ):
        f(X, Y, nothing=1)
    for wrong in [(True, "a", 0.5), (1.0, "a", 0.5), (1, "b", 0.5), 1, None, X, object()]:
        with pytest.raises(ValueError, match=r"'mode' was fixed .* expected .1, 'a', 0\.5., got"):
            f(X, Y, wrong)


def test_structure_is_checked_where_the_count_fits(make: Make) -> None:
    tree = {"kind": "tuple", "items": [LEAF, {"kind": "dict", "keys": ["w"], "items": [LEAF]}]}
    f = load(make("add", *SIGNATURE, in_tree=tree, arg_names=["x", "p"]))
    np.testing.assert_array_equal(f(X, {"w": Y}), [2, 3, 4])
    with pytest.raises(TypeError, match=r"'p' has the wrong structure: .*, got a ndarray"):
        f(X, Y)


HYGIENE = """
import sys
import pullback.runtime
assert "numpy" not in sys.modules and "hashlib" not in sys.modules, "import is not lazy"
from pullback.runtime import load
f = load(sys.argv[1])
import numpy
assert (f(numpy.ones(3), numpy.ones(3)[::-1]) == 2).all()
loaded = {name.partition(".")[0] for name in sys.modules} & {"torch", "mlir"}
assert not loaded, loaded
"""


def test_import_hygiene(add: Path) -> None:
    subprocess.run([sys.executable, "-c", HYGIENE, str(add)], check=True)
