"""`python -m tests.conformance [DIR] [--suite NAME ...]`: one line a suite, what differs, and the sum.

Exits 1 if a vector fails, 2 if there is nothing to run.
"""

import argparse
import sys
from pathlib import Path

from tests.conformance.vectors import VECTORS, find_suites, run

_WIDTH = 400


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    arguments.add_argument("folder", nargs="?", type=Path, default=VECTORS, help="a folder of <suite>*.jsonl files")
    arguments.add_argument("--suite", action="append", metavar="NAME", help="only this suite; may be repeated")
    chosen = arguments.parse_args()
    if not chosen.folder.is_dir():
        arguments.error(f"{chosen.folder} is not a folder")
    try:
        suites = find_suites(chosen.suite)
    except LookupError as error:
        arguments.error(str(error))

    passed = failed = 0
    for suite in suites:
        total, failures = run(suite, chosen.folder)
        print(f"{suite.name} {total - len(failures)}/{total}", flush=True)
        for failure in failures:
            print(f"  {failure.id}: {' '.join(failure.difference.split())[:_WIDTH]}")
        passed += total - len(failures)
        failed += len(failures)
    print(f"{passed} passed, {failed} failed")
    if not passed + failed:
        print(f"no vectors in {chosen.folder}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
