"""What a scenario sets about a worker's machine is so."""

import os
import subprocess
import sys
import time

from tests.torture.site import MACHINE


def told(program: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(MACHINE), **settings}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=MACHINE, capture_output=True, text=True, check=False
    )


def test_a_clock_is_ahead() -> None:
    ahead_seconds = float(told("import time; print(time.time())", CLOCK_AHEAD_SECONDS="6000").stdout) - time.time()
    assert 5000 < ahead_seconds < 7000


def test_memory_ends() -> None:
    program = "bytearray(300 * 1024 * 1024)"
    assert told(program).returncode == 0
    if sys.platform == "linux":
        assert "MemoryError" in told(program, MEMORY_LIMIT_MB="200").stderr
