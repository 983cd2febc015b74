"""`python -m tests.torture [--seed N] [--jobs N] [SCENARIO...]`: plays scenarios and prints a line for each.

A name may be the beginning of several. Exits with 1 if anything was lost, doubled, stuck or leaked, if the checker did
not see a twin, or if a run broke off; what such a run leaves is kept under `.local/torture`. Each of `--jobs` processes
plays one at a time; most of a run is waiting. Scenarios that measure something are best played alone, with `--jobs 1`.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.torture.play import play
from tests.torture.scenarios import SCENARIOS


def main() -> int:
    arguments = argparse.ArgumentParser(
        prog="python -m tests.torture", description="Lost, doubled, stuck, leaked: none."
    )
    arguments.add_argument("names", nargs="*", metavar="SCENARIO", help="names or beginnings of names; default: all")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many are played at once")
    arguments.add_argument("--list", action="store_true", help="print the names and end")
    chosen = arguments.parse_args()
    names = [name for name in SCENARIOS if not chosen.names or name.startswith(tuple(chosen.names))]
    if chosen.list:
        print(*names, sep="\n")
        return 0
    if not names:
        print(f"No scenario begins with {' or '.join(chosen.names)}; --list prints all.", file=sys.stderr)
        return 1
    started = time.monotonic()
    failed = 0
    # The long ones first, so that none of them is left to be waited for at the end.
    names.sort(key=lambda name: not SCENARIOS[name].long)
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn")) as pool:
        for each in as_completed([pool.submit(play, name, chosen.seed) for name in names]):
            result = each.result()
            failed += not result.good
            print(result.text, flush=True)
    print(f"{len(names)} scenarios, {failed} failed  ({time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
