"""The lit tests as one test of the suite; `lit tests/lit -v` shows them one by one."""

import subprocess
import sys
from pathlib import Path


def test_lit(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", "from lit.main import main; main()"]
        + [Path(__file__).with_name("lit"), "-v", "-j2", f"-Doutput={tmp_path}"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Passed" in run.stdout
