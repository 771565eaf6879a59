"""The lit tests as one test of the suite; `lit tests/lit -v` shows them one by one."""

import subprocess
import sys
from pathlib import Path


def test_lit(tmp_path):
    lit = [sys.executable, "-c", "from lit.main import main; main()"]
    options = ["-v", "-j2", f"-Doutput={tmp_path}"]
    run = subprocess.run(
        [*lit, *options, Path(__file__).with_name("lit")], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Passed" in run.stdout
