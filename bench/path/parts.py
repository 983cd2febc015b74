"""The parts of a run: each starts its scenarios, tree by tree in turns, and keeps the best of several rounds."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from bench import large_windows
from bench.path import stack
from bench.path.flush import SCENARIOS
from bench.path.servers import servers
from bench.path.tree import ScenarioBroke, Tree, working_tree

Result = dict[str, Any]


class Effort(NamedTuple):
    """How much is done. `size` of a flush's windows and `most` steps of a row are for tests: None is the usual."""

    rounds: int = 2
    calls: int = 12
    single_messages: int = 500
    batch_messages: int = 500
    stack_messages: int = 20_000
    repeats: int = 3
    size: tuple[int, int] | None = None
    fresh_rounds: int = 3
    flat_rounds: int = 3
    most: int | None = None
    window_readings: int = 40_000
    million: int = 1_000_000
    samples: int = 86_400
    mark_rounds: int = 15


def ingest(trees: Sequence[Tree], effort: Effort) -> Result:
    def once(workload: str, messages: int, tree: Tree) -> Result:
        with servers() as opened:
            return tree.run(
                "ingest", connection=opened.connection, workload=workload, messages=messages, calls=effort.calls
            )

    found: Result = {}
    for workload, messages in (("single", effort.single_messages), ("batch", effort.batch_messages)):
        rounds = _in_turns(trees, effort.rounds, partial(once, workload, messages))
        found[workload] = {name: _best(each, "total_us") for name, each in rounds.items()}
        for name, each in rounds.items():
            # The yardstick is the same in every tree, and other load only slows it down.
            found[workload][name]["converter_us"] = min(result["converter_us"] for result in each)
    return found


def worker(trees: Sequence[Tree], effort: Effort) -> Result:
    return {tree.name: {"seconds": stack.worker_seconds(tree, effort.stack_messages)} for tree in trees}


def flush(trees: Sequence[Tree], effort: Effort) -> Result:
    def once(scenario: str, tree: Tree) -> Result:
        with servers() as opened:
            return tree.run(
                "flush",
                connection=opened.connection,
                fhir_url=opened.fhir_url,
                scenario=scenario,
                repeats=effort.repeats,
                size=effort.size,
            )

    found: Result = {}
    for scenario in SCENARIOS:
        rounds = _in_turns(trees, effort.rounds, partial(once, scenario))
        found[scenario] = {name: _best(each, "total_us") for name, each in rounds.items()}
    return found


def million(_: Sequence[Tree], effort: Effort) -> Result:
    case = large_windows.Case("one window", effort.million, max(1, effort.million // 10), "series", shards=1)
    measured = _complete(case)
    return {
        "readings": case.readings,
        "microseconds": measured.microseconds,
        "peak_mib": measured.peak_mib,
        "most_mib": large_windows.most_mib(case),
    }


def flat(_: Sequence[Tree], effort: Effort) -> Result:
    rows: Result = working_tree().run("flat", rounds=effort.flat_rounds, most=effort.most)["rows"]
    for row, cases in _window_rows(effort.window_readings).items():
        small = {label: case for label, case in cases.items() if effort.most is None or int(label) <= effort.most}
        # In turns, for the same reason as the steps of the rows above.
        rounds = [
            {label: _complete(case).microseconds for label, case in small.items()} for _ in range(effort.flat_rounds)
        ]
        rows[row] = {label: min(each[label] for each in rounds) for label in small}
    return rows


def series(_: Sequence[Tree], effort: Effort) -> Result:
    return working_tree().run("series", rounds=10, samples=effort.samples)


def fresh(trees: Sequence[Tree], effort: Effort) -> Result:
    def once(tree: Tree) -> Result:
        with servers() as opened:
            return tree.run("fresh", connection=opened.connection)

    rounds = _in_turns(trees, effort.fresh_rounds, once)
    return {
        name: {figure: min(result[figure] for result in each) for figure in each[0]} for name, each in rounds.items()
    }


def marks(_: Sequence[Tree], effort: Effort) -> Result:
    return working_tree().run("marks", rounds=effort.mark_rounds)


PARTS: dict[str, Callable[[Sequence[Tree], Effort], Result]] = {
    "ingest": ingest,
    "stack": worker,
    "flush": flush,
    "million": million,
    "flat": flat,
    "series": series,
    "fresh": fresh,
    "marks": marks,
}


def _window_rows(readings: int) -> dict[str, dict[str, large_windows.Case]]:
    """More and more devices and shards, with the same readings in as many rows; and windows of a tenth of them each."""
    return {
        "devices, at the flush": {
            str(devices): large_windows.Case("devices", readings, devices, "single") for devices in (100, 1_000, 10_000)
        },
        "shards": {
            str(shards): large_windows.Case("shards", readings, 1_000, "single", shards=shards, batch=125 * shards)
            for shards in (1, 4, 16)
        },
        "overdue windows": {
            str(windows): large_windows.Case(
                "windows", readings // 10 * windows, 1_000, "single", windows=windows, batch=readings // 40
            )
            for windows in (1, 4, 16)
        },
    }


def _complete(case: large_windows.Case) -> large_windows.Measured:
    measured = large_windows.measure(case)
    if not measured.complete(case):
        raise ScenarioBroke(f"{case.name}: {measured.settled} of {case.readings} readings were settled")
    return measured


def _in_turns(trees: Sequence[Tree], rounds: int, once: Callable[[Tree], Result]) -> dict[str, list[Result]]:
    """The results by tree. Who begins a round is drawn, so that a machine that warms up favours none."""
    found: dict[str, list[Result]] = {tree.name: [] for tree in trees}
    chance = random.Random(1)
    for _ in range(rounds):
        for tree in chance.sample(trees, len(trees)):
            found[tree.name].append(once(tree))
    return found


def _best(results: Sequence[Result], name: str) -> Result:
    return min(results, key=lambda result: float(result[name]))
