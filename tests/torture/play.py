"""One scenario, played in a process that may play others before and after it."""

import shutil
import traceback
from typing import NamedTuple

from dev.processes import ROOT
from tests.torture.scenario import Outcome, run
from tests.torture.scenarios import SCENARIOS

FOLDER = ROOT / ".local" / "torture"
MOST_FINDINGS = 10


class Result(NamedTuple):
    """`text` is for the terminal."""

    good: bool
    text: str


def play(name: str, seed: int) -> Result:
    """What a bad run leaves is kept in FOLDER."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        outcome = run(SCENARIOS[name], seed, folder)
    except Exception as error:  # noqa: BLE001 - a run that breaks off must not end those after it
        (folder / "broke-off.txt").write_text(traceback.format_exc())
        return Result(False, f"{name}  seed {seed}  broke off, see {folder}: {error!r}")
    if outcome.good:
        shutil.rmtree(folder, ignore_errors=True)
        return Result(True, outcome.line)
    return Result(False, "\n".join([outcome.line, *_findings(outcome), f"    kept in {folder}"]))


def _findings(outcome: Outcome) -> list[str]:
    found = {name: getattr(outcome.verdict, name) for name in ("lost", "doubled", "stuck", "leaked")}
    lines = []
    for name, findings in found.items():
        lines += [f"    {name}: {finding}" for finding in findings[:MOST_FINDINGS]]
        if len(findings) > MOST_FINDINGS:
            lines.append(f"    {name}: {len(findings) - MOST_FINDINGS} more")
    return lines
