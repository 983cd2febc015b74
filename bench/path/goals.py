"""What the whole path is to reach, and whether a run reached it."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, NamedTuple

MOST_GROWTH = 1.5
"""What counts as flat: between the cheapest step of a row and its largest, a cache that no longer holds it all and the
noise of a shared machine make this much of a difference."""

Parts = dict[str, Any]
"""What was measured, by part: the JSON of `bench.path.parts`. A part that was not measured is absent."""


class Verdict(StrEnum):
    MET = "met"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


class Goal(NamedTuple):
    """`figure` is None where it was not measured. It is to be `bound` at most, or at least."""

    name: str
    figure: float | None
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.figure is None:
            return Verdict.NOT_MEASURED
        good = self.figure >= self.bound if self.at_least else self.figure <= self.bound
        return Verdict.MET if good else Verdict.MISSED

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "verdict": self.verdict.value}


def goals(parts: Parts) -> list[Goal]:
    """Every goal, in the order of the tables."""
    return [
        *_ingest(parts),
        Goal("worker on the whole stack, beside before", _ratio(parts, "stack", "seconds"), 0.20, "x"),
        *_flush(parts),
        *_windows(parts),
        *_flat(parts),
        Goal("a minute merged into 86,400 samples", _figure(parts, "series", "merge_ms"), 1.0, "ms"),
        Goal("function_app imported", _figure(parts, "fresh", "now", "import_seconds"), 0.15, "s"),
        Goal("first batch of a worker", _figure(parts, "fresh", "now", "first_batch_seconds"), 0.20, "s"),
        *(
            Goal(f"make bench: {name}", mark["ratio"], mark["mark"], "x", at_least=True)
            for name, mark in parts.get("marks", {}).items()
        ),
    ]


def _ingest(parts: Parts) -> Iterator[Goal]:
    for workload, bound in (("single", 0.20), ("batch", 2.2)):
        total = _figure(parts, "ingest", workload, "now", "total_us")
        converter = _figure(parts, "ingest", workload, "now", "converter_us")
        yield Goal(f"ingest {workload}, beside Microsoft's converter", _divided(total, converter), bound, "x")


def _flush(parts: Parts) -> Iterator[Goal]:
    for scenario, bound in (("new", 1.7), ("changed", 2.0), ("hot", 2.4)):
        now = _figure(parts, "flush", scenario, "now", "total_us")
        before = _figure(parts, "flush", scenario, "before", "total_us")
        yield Goal(f"flush {scenario}, beside before", _divided(before, now), bound, "x", at_least=True)


def _windows(parts: Parts) -> Iterator[Goal]:
    yield Goal("1,000,000 readings in a window, a reading", _figure(parts, "million", "microseconds"), 15, "us")
    most = _figure(parts, "million", "most_mib")
    yield Goal("1,000,000 readings in a window, memory", _figure(parts, "million", "peak_mib"), most or 0.0, "MiB")


def _flat(parts: Parts) -> Iterator[Goal]:
    for row, steps in parts.get("flat", {}).items():
        yield Goal(f"flat over {row}", growth(list(steps.values())), MOST_GROWTH, "x")


def growth(costs: list[float]) -> float | None:
    """How many times a reading of the largest step costs what one of the cheapest step before it does."""
    return costs[-1] / min(costs[:-1]) if len(costs) > 1 else None


def _ratio(parts: Parts, part: str, name: str) -> float | None:
    return _divided(_figure(parts, part, "now", name), _figure(parts, part, "before", name))


def _divided(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _figure(parts: Parts, *names: str) -> float | None:
    found: Any = parts
    for name in names:
        if name not in found:
            return None
        found = found[name]
    return float(found)
