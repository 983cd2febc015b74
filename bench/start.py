#!/usr/bin/env python3
"""What a fresh worker takes: `python -m bench.start`

A child process imports `function_app` and puts a first batch of 500 messages (workload `single`) through, as the worker
hands it over: the converter, settings, mapping, attempts, a real Azurite (which needs dev/node_modules). It prints CPU
time, the best of several children, and how many modules each step loads; where the first batch's time goes is told by
package, as `-X importtime` has it. The targets are 0.15 s for the import and 0.2 s more for the first batch.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.first_batch import Start, settings
from tests.azurite import Azurite

ROOT = Path(__file__).parents[1]
CHILDREN = 7
IMPORT_TARGET_MS, BATCH_TARGET_MS = 150, 200
PACKAGES = 12

_IMPORT_LINE = re.compile(r"import time:\s*([0-9]+) \|\s*[0-9]+ \|\s*(\S+)")


def _run(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-m", "bench.first_batch"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def _by_package(lines: str) -> Counter[str]:
    """Milliseconds by package of what is imported after `function_app`."""
    spent: Counter[str] = Counter()
    counting = False
    for self_us, name in _IMPORT_LINE.findall(lines):
        if counting and not name.startswith(("bench", "tests")):
            depth = 2 if name.startswith(("azure.", "medtech.")) else 1
            spent[".".join(name.split(".")[:depth])] += int(self_us) / 1000
        counting |= name == "function_app"
    return spent


def main() -> None:
    with tempfile.TemporaryDirectory() as location:
        server = Azurite(Path(location))
        server.start()
        try:
            environment = os.environ | settings(server.connection_string)
            starts = [Start(*json.loads(_run(environment).stdout)) for _ in range(CHILDREN)]
            traced = _run(environment, "-X", "importtime").stderr
        finally:
            server.stop()
    best = Start(*map(min, zip(*starts, strict=True)))
    for step, spent, modules, target in (
        ("import function_app", best.import_ms, best.import_modules, IMPORT_TARGET_MS),
        ("first batch", best.batch_ms, best.batch_modules, BATCH_TARGET_MS),
    ):
        verdict = "met" if spent <= target else "missed"
        print(f"{step:22}{spent:8.0f} ms CPU, {modules:4} modules  (at most {target} ms: {verdict})")
    print(f"{'a later batch':22}{best.later_ms:8.1f} ms CPU")
    packages = _by_package(traced)
    whole = sum(packages.values())
    print("imports of the first batch by package (wall time, under -X importtime):")
    for name, spent in packages.most_common(PACKAGES):
        print(f"  {name:24}{spent:8.1f} ms  {spent / whole:5.1%}")


if __name__ == "__main__":
    main()
