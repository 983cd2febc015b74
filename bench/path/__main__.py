"""What the whole path costs, stage by stage, beside an earlier commit; and whether it reached its goals.

    python -m bench.path [PART ...] [--before COMMIT] [--json FILE]
    python -m bench.path --readme                     the last run's tables into bench/README.md

Parts: ingest, stack, flush, million, flat, series, fresh, marks; without any, all of them. Tables go to the console,
and the same as JSON to a file. The exit code is 0 whatever the goals say, and 1 if a part broke.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import calibrate
from bench.path.goals import goals
from bench.path.parts import PARTS, Effort
from bench.path.readme import README, with_tables
from bench.path.tables import tables
from bench.path.tree import BEFORE, HERE, ScenarioBroke, Tree, TreeMissing, checked_out, working_tree

JSON = HERE / ".local" / "bench-path.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.path")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--before", metavar="COMMIT", default=BEFORE, help="the commit to stand beside")
    parser.add_argument("--json", type=Path, default=JSON, help="where the figures go")
    parser.add_argument("--readme", action="store_true", help="only write the last run's tables into bench/README.md")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if chosen.readme:
        README.write_text(
            with_tables(
                README.read_text(encoding="utf-8"), tables(json.loads(chosen.json.read_text(encoding="utf-8")))
            ),
            encoding="utf-8",
        )
        return 0
    run = measure(chosen.parts or list(PARTS), _trees(chosen.before), Effort())
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    print(tables(run))
    print(f"\n{chosen.json}")
    return 1 if run["broken"] else 0


def measure(parts: Sequence[str], trees: Sequence[Tree], effort: Effort) -> dict[str, Any]:
    """The JSON of a run of these parts; what breaks is in it, and the others go on."""
    started = time.monotonic()
    measured: dict[str, Any] = {}
    broken: dict[str, str] = {}
    for part in parts:
        print(f"{part} …", file=sys.stderr, flush=True)
        try:
            measured[part] = PARTS[part](trees, effort)
        except ScenarioBroke as error:
            broken[part] = str(error)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "before": next((tree.root.name for tree in trees if tree.name == "before"), None),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "calibration": max(calibrate.rate(0.25) for _ in range(3)),
        "seconds": time.monotonic() - started,
        "parts": measured,
        "broken": broken,
        "goals": [goal.to_json() for goal in goals(measured)],
    }


def _trees(commit: str) -> list[Tree]:
    try:
        return [checked_out(commit), working_tree()]
    except TreeMissing as missing:
        print(f"Nothing stands beside this tree: {missing}", file=sys.stderr)
        return [working_tree()]


def _commit() -> str:
    """Of the working tree, with + if it has changes; "unknown" where git does not say."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        described = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
