"""What every benchmark shares: passes interleaved with `calibrate.rate`, the best of several rounds, and the ratio.

Ratio = (our rate / our calibration) / (reference rate / reference calibration): how many times the speed of the
reference connector on a core as fast as ours. Other load on the machine is noise, and noise only slows down. So
calibration and workloads take turns within one run, and the best of each counts.
"""

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench import calibrate

HERE = Path(__file__).parent
REFERENCE: dict[str, Any] = json.loads((HERE / "reference.json").read_text(encoding="utf-8"))

_ROUNDS = 15
_SLICE_SECONDS = 0.25
_SLICES = 5
"""Both measures take the best of five slices: on a shared machine a long slice is always interrupted."""


class Workload(NamedTuple):
    """`run` makes one pass and returns how many units it processed; `unit` is what reference.json counts.

    `reference_rate` is in units a second, measured where `calibrate.py` gave `reference_calibration`. `mark` is the
    ratio to reach.
    """

    name: str
    unit: str
    run: Callable[[], int]
    reference_rate: float
    reference_calibration: float
    mark: float


class Result(NamedTuple):
    workload: Workload
    rate: float
    calibration: float

    @property
    def ratio(self) -> float:
        return (self.rate / self.calibration) / (self.workload.reference_rate / self.workload.reference_calibration)


def measure(workloads: list[Workload], rounds: int = _ROUNDS) -> list[Result]:
    """The best rate of each workload, and the best calibration, of interleaved rounds on this core."""
    calibration = 0.0
    best = [0.0] * len(workloads)
    for _ in range(rounds):
        calibration = max(calibration, calibrate.rate(_SLICE_SECONDS))
        for index, workload in enumerate(workloads):
            best[index] = max(best[index], _rate(workload.run))
    return [Result(workload, rate, calibration) for workload, rate in zip(workloads, best, strict=True)]


def report(results: list[Result]) -> None:
    """Prints one line per workload."""
    print(f"{'workload':34} {'our rate':>12} {'calibration':>12} {'ratio':>7} {'mark':>6}")
    for result in results:
        workload = result.workload
        verdict = "" if result.ratio >= workload.mark else "  below its mark"
        rate = f"{result.rate:,.0f}/s"
        print(
            f"{workload.name:34} {rate:>12} {result.calibration:>12,.0f} {result.ratio:>7.2f} {workload.mark:>6}"
            f"  {workload.unit}{verdict}"
        )


def _rate(run: Callable[[], int]) -> float:
    """Units a second, the best of equal slices. Garbage of earlier workloads is collected before them."""
    gc.collect()
    best = 0.0
    for _ in range(_SLICES):
        units, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < _SLICE_SECONDS / _SLICES:
            units += run()
        best = max(best, units / spent)
    return best
