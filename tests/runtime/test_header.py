"""pullback.h is C89 and C++17, and stands beside a generated header with the same struct."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import INCLUDE

PROGRAM = """
#ifdef STRUCT_FIRST
#define PULLBACK_CALL_DEFINED
#include <stddef.h>
typedef struct pullback_call { size_t size; } pullback_call;
#endif
#include "pullback.h"
#include "pullback.h"
int main(void) {
  pullback_call call = {sizeof(pullback_call)};
  return call.size + PULLBACK_OK == 0;
}
"""
STRICT = ["-pedantic", "-Wall", "-Werror", "-fsyntax-only", f"-I{INCLUDE}"]


@pytest.mark.parametrize("first", [[], ["-DSTRUCT_FIRST"]])
@pytest.mark.parametrize(("compiler", "standard"), [("gcc", "c89"), ("g++", "c++17")])
def test_standards(compiler: str, standard: str, first: list[str], tmp_path: Path) -> None:
    source = tmp_path / ("a.c" if compiler == "gcc" else "a.cpp")
    source.write_text(PROGRAM)
    subprocess.run([compiler, f"-std={standard}", *STRICT, *first, str(source)], check=True)
