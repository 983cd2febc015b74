"""`python -m tests.torture [--seed N] [SCENARIO...]`: plays scenarios and prints a line for each.

A name may be the beginning of several. Exits with 1 if anything was lost, doubled or stuck, if the checker did not see
a twin, or if a run broke off; what such a run leaves is kept under `.local/torture`.
"""

import argparse
import shutil
import sys
import traceback

from dev.processes import ROOT
from tests.torture.scenario import Outcome, Scenario, run
from tests.torture.scenarios import SCENARIOS

FOLDER = ROOT / ".local" / "torture"
MOST_FINDINGS = 10


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.torture", description="Lost, doubled, stuck: none.")
    arguments.add_argument("names", nargs="*", metavar="SCENARIO", help="names or beginnings of names; default: all")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--list", action="store_true", help="print the names and end")
    chosen = arguments.parse_args()
    scenarios = [each for each in SCENARIOS.values() if not chosen.names or each.name.startswith(tuple(chosen.names))]
    if chosen.list:
        print(*(each.name for each in scenarios), sep="\n")
        return 0
    if not scenarios:
        print(f"No scenario begins with {' or '.join(chosen.names)}; --list prints all.", file=sys.stderr)
        return 1
    results = [_play(each, chosen.seed) for each in scenarios]
    failed = results.count(False)
    print(f"{len(results)} scenarios, {failed} failed")
    return 1 if failed else 0


def _play(chosen: Scenario, seed: int) -> bool:
    folder = FOLDER / chosen.name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        outcome = run(chosen, seed, folder)
    except Exception as error:  # noqa: BLE001 - a run that breaks off must not end those after it
        (folder / "broke-off.txt").write_text(traceback.format_exc())
        print(f"{chosen.name}  seed {seed}  broke off, see {folder}: {error!r}", flush=True)
        return False
    print(outcome.line, flush=True)
    if outcome.good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _explain(outcome)
        print(f"    kept in {folder}", flush=True)
    return outcome.good


def _explain(outcome: Outcome) -> None:
    found = {"lost": outcome.verdict.lost, "doubled": outcome.verdict.doubled, "stuck": outcome.verdict.stuck}
    for name, findings in found.items():
        for finding in findings[:MOST_FINDINGS]:
            print(f"    {name}: {finding}")
        if len(findings) > MOST_FINDINGS:
            print(f"    {name}: {len(findings) - MOST_FINDINGS} more")


if __name__ == "__main__":
    sys.exit(main())
