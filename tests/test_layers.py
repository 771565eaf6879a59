"""The shape of the house: who imports whom, sizes of files, names that say nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("frontend", "dialects", "pipelines", "runtime", "tools")
SOURCES = sorted(
    path
    for layer in LAYERS
    for path in (ROOT / layer).rglob("*.py")
    if path.name != "_pb_ops_gen.py" and "build" not in path.parts
)
#: What each layer may import of ours.
ALLOWED = {
    "tools": {"frontend", "pipelines", "dialects", "runtime", "tools"},
    "frontend": {"frontend", "pipelines", "dialects", "runtime"},
    "pipelines": {"pipelines", "dialects", "runtime"},
    "dialects": {"dialects", "runtime.errors"},
    "runtime": {"runtime"},
}
#: Frontend and pipelines meet only where a compile is started.
MEETING_PLACES = {"compile.py", "program.py"}


def module_name(path: Path) -> list[str]:
    """The dotted name, under the package, of a source file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[:2] == ["frontend", "root"]:
        parts = parts[2:]
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """The modules that a file imports: "runtime.errors" for ours, otherwise with their names."""
    name, is_package = module_name(path), path.name == "__init__.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = name if is_package else name[:-1]
            start = base[: len(base) - node.level + 1] if node.level else []
            origin = [*start, *((node.module or "").split(".") if node.module else [])]
            if node.level and len(origin) <= 1:
                yield from ((node.lineno, ".".join([*origin, a.name])) for a in node.names)
            else:
                yield node.lineno, ".".join(origin)


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    layer = layer_of(path)
    if path.parent == ROOT / "frontend" / "root":
        return  # the public surface names everything, lazily
    for line, module in imports(path):
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        if layer == "tools" and module == "pullback":
            continue  # as a user does
        assert not module.startswith("pullback"), f"{where}: inside the package, relatively"
        ours = module.split(".")[0] in LAYERS
        if ours:
            allowed = any(
                module == other or module.startswith(f"{other}.") for other in ALLOWED[layer]
            )
            assert allowed, where
            if layer == "frontend" and module.startswith("pipelines"):
                assert path.name in MEETING_PLACES, where
        if layer == "runtime":
            assert module.split(".")[0] not in ("torch", "mlir"), where
        if layer == "pipelines":
            assert module.split(".")[0] != "torch", where


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_readable(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "split it"
    assert path.stem not in ("utils", "helpers", "common"), "a name that says nothing"
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "a docstring says where in the data flow one is"


def test_one_name_for_everything() -> None:
    """Op registration is process-global, so nothing may be imported under a second name."""
    code = """
import sys, pullback, pullback.frontend, pullback.dialects.pb, pullback.tools.opt
pullback.grad, pullback.compile, pullback.load
files = {}
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and name.startswith(("pullback", "frontend", "dialects", "pipelines", "runtime")):
        files.setdefault(file, set()).add(name)
print([sorted(names) for names in files.values() if len(names) > 1])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_runtime_needs_neither_torch_nor_mlir() -> None:
    code = "import sys, pullback.runtime.loader; print({'torch', 'mlir'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_plugin_is_not_stale() -> None:
    """In an editable install the plugin stands beside its sources, and must be newer."""
    from pullback.dialects.pb import _plugin

    sources = _plugin.PATH.parent / "ir"
    if not list(sources.glob("*.cpp")):
        pytest.skip("an installed wheel has no C++ sources")
    newest = max((*sources.glob("*.cpp"), *sources.glob("*.td"), *sources.glob("*.h")), key=age)
    assert age(_plugin.PATH) >= age(newest), f"{newest.name} is newer: ninja -C build/editable"


def age(path: Path) -> float:
    return path.stat().st_mtime
