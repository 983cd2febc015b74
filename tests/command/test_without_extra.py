"""`python -m medtech` where the extra `cli` is not installed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_command_line_says_what_to_install() -> None:
    code = "import runpy, sys; sys.modules['typer'] = None; runpy.run_module('medtech', run_name='__main__')"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "needs typer" in answer.stderr
    assert "pip install '.[cli]'" in answer.stderr
    assert "Traceback" not in answer.stderr
