"""bench.path judges its goals right, says everything in its tables, and charges time to the right stage."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from bench.path import clocks
from bench.path.clocks import INHERITED, REST, Clocks
from bench.path.fhir_answers import Resources
from bench.path.goals import MOST_GROWTH, Goal, Verdict, goals, growth
from bench.path.readme import BEGIN, END, README, with_tables
from bench.path.tables import tables
from bench.path.tree import ScenarioBroke, Tree, TreeMissing, checked_out

STAGES = {"total_us": 10.0, "stages_us": {"pack": 4.0, REST: 6.0}, "missing": []}
INGEST = STAGES | {"converter_us": 50.0, "messages": 5, "table_requests": 4.0, "table_bytes": 100.0}
FLUSH = STAGES | {
    "readings": 6,
    "observations": 3,
    "table_requests": 7,
    "table_bytes": 9,
    "fhir_requests": 2,
    "fhir_entries": 6,
    "fhir_bytes": 600,
}
PARTS = {
    "ingest": {"single": {"now": INGEST}, "batch": {"now": INGEST | {"total_us": 111.0}}},
    "stack": {"now": {"seconds": 1.0}, "before": {"seconds": 4.0}},
    "flush": {"new": {"now": FLUSH, "before": FLUSH | {"total_us": 20.0, "missing": ["pack"]}}},
    "million": {"readings": 1_000_000, "microseconds": 15.5, "peak_mib": 50.0, "most_mib": 116.8},
    "flat": {"devices": {"1": 5.0, "10": 4.0, "100": 6.0}, "shards": {"1": 4.0, "4": 6.5}},
    "series": {"merge_ms": 1.0, "with_json_ms": 2.0},
    "fresh": {"now": {"import_seconds": 0.2, "first_batch_seconds": 0.1}},
    "marks": {"merge hot": {"ratio": 8.9, "mark": 9}},
}


@pytest.mark.parametrize(
    ("figure", "at_least", "verdict"),
    [
        (1.9, False, Verdict.MET),
        (2.0, False, Verdict.MET),
        (2.1, False, Verdict.MISSED),
        (1.9, True, Verdict.MISSED),
        (2.0, True, Verdict.MET),
        (2.1, True, Verdict.MET),
        (None, True, Verdict.NOT_MEASURED),
    ],
)
def test_a_goal_is_judged_by_its_bound(figure: float | None, at_least: bool, verdict: Verdict) -> None:
    assert Goal("a goal", figure, 2.0, at_least=at_least).verdict is verdict


def test_the_goals_of_a_run() -> None:
    assert {goal.name: (goal.figure, goal.verdict.value) for goal in goals(PARTS)} == {
        "ingest single, beside Microsoft's converter": (0.2, "met"),
        "ingest batch, beside Microsoft's converter": (2.22, "missed"),
        "worker on the whole stack, beside before": (0.25, "missed"),
        "flush new, beside before": (2.0, "met"),
        "flush changed, beside before": (None, "not measured"),
        "flush hot, beside before": (None, "not measured"),
        "1,000,000 readings in a window, a reading": (15.5, "missed"),
        "1,000,000 readings in a window, memory": (50.0, "met"),
        "flat over devices": (MOST_GROWTH, "met"),
        "flat over shards": (1.625, "missed"),
        "a minute merged into 86,400 samples": (1.0, "met"),
        "function_app imported": (0.2, "missed"),
        "first batch of a worker": (0.1, "met"),
        "make bench: merge hot": (8.9, "missed"),
    }


def test_without_the_commit_before_what_stands_beside_it_is_not_measured() -> None:
    alone = {"flush": {"new": {"now": FLUSH}}, "stack": {"now": {"seconds": 1.0}}}
    assert {goal.verdict for goal in goals(alone)} == {Verdict.NOT_MEASURED}


def test_growth_is_that_of_the_largest_step_beside_the_cheapest_before_it() -> None:
    assert growth([5.0, 4.0, 6.0]) == 1.5
    assert growth([5.0]) is None


@pytest.fixture
def run() -> dict[str, object]:
    return {
        "date": "2026-01-01",
        "commit": "abcdef0",
        "before": "b5d7430",
        "machine": {"cores": 2, "python": "3.13.0"},
        "calibration": 40_000.0,
        "seconds": 300.0,
        "parts": PARTS,
        "broken": {"stack": "it ended with 3"},
        "goals": [goal.to_json() for goal in goals(PARTS)],
    }


def test_the_tables_say_all_that_was_measured(run: dict[str, object]) -> None:
    text = tables(run)
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert "| pack | 4.0 | – |" in lines
    assert "| untouched converter alone | 50.0 |" in lines
    assert "| entries an Observation | 2.00 | 2.00 |" in lines
    assert "| `devices` | 1: 5.0, 10: 4.0, 100: 6.0 | 1.50 |" in lines
    assert "| `flush new, beside before` | 2.00 x | at least 1.7 x | met |" in lines
    assert "| `flush hot, beside before` | – | at least 2.4 x | not measured |" in lines
    assert "it ended with 3" in lines


def test_the_tables_go_between_the_markers_of_the_page() -> None:
    page = README.read_text(encoding="utf-8")
    assert with_tables(with_tables(page, "first"), "second") == with_tables(page, "second")
    with pytest.raises(ValueError, match="does not have the lines"):
        with_tables(f"{BEGIN} without an end", "text")
    assert with_tables(f"a{BEGIN}old{END}b", "new") == f"a{BEGIN}\n\nnew\n\n{END}b"


def test_a_commit_that_is_not_here_is_told() -> None:
    with pytest.raises(TreeMissing, match=r"could not find commit 0123456789abcdef.*--before"):
        checked_out("0123456789abcdef")


def test_a_scenario_runs_on_the_modules_of_its_tree(tmp_path: Path) -> None:
    """In a tree without `medtech` there is none, although the working tree has it."""
    with pytest.raises(ScenarioBroke, match="No module named 'medtech'"):
        Tree("empty", tmp_path).run("series", rounds=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second passes between two looks."""
    ticking = count()
    monkeypatch.setattr(clocks, "thread_time", lambda: float(next(ticking)))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("clocked_module")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


@pytest.mark.usefixtures("clock")
def test_nested_stages_do_not_overlap(module: ModuleType) -> None:
    def outer() -> None:
        module.inner()

    module.inner = lambda: None
    module.outer = outer
    found = Clocks({"outer": ("clocked_module:outer",), "inner": ("clocked_module:inner",)})
    found.install()
    module.outer()
    # Looks at 0 (outer begins), 1 (inner begins), 2 (inner ends), 3 (outer ends).
    assert found.seconds() == {"outer": 2.0, "inner": 1.0}
    assert found.with_rest(10.0) == {"outer": 2.0, "inner": 1.0, REST: 7.0}
    found.clear()
    assert found.seconds() == {"outer": 0.0, "inner": 0.0}


@pytest.mark.usefixtures("clock")
def test_what_is_made_item_by_item_is_charged_when_it_is_made(module: ModuleType) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2

    module.items = items
    found = Clocks({"items": ("clocked_module:items",)})
    found.install()
    assert list(module.items()) == [1, 2]
    assert found.seconds() == {"items": 4.0}, "the call, two items, and the end"


@pytest.mark.usefixtures("clock")
def test_work_in_a_thread_is_charged_to_the_stage_it_is_done_for(module: ModuleType) -> None:
    def in_a_thread(work: Callable[[], object]) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, work).result()

    module.work = lambda: None
    module.stage = lambda: in_a_thread(module.work)
    found = Clocks({"stage": ("clocked_module:stage",), INHERITED: ("clocked_module:work",)})
    found.install()
    module.stage()
    # In the caller's thread from 0 to 3, and in the pool's from 1 to 2: they are two processors' seconds.
    assert found.seconds() == {"stage": 4.0}


def test_a_method_of_a_class_is_a_seam_and_a_name_that_is_gone_is_told(module: ModuleType) -> None:
    class Table:
        @classmethod
        def opened(cls) -> str:
            return cls.__name__

    module.Table = Table
    found = Clocks({"open": ("clocked_module:Table.opened", "clocked_module:gone"), "gone": ("clocked_module:gone",)})
    found.install()
    assert Table.opened() == "Table"
    assert found.missing == ["gone"]


def test_the_scripted_server_keeps_versions_and_conditions() -> None:
    resources = Resources()
    url, observation = "Observation/a", {"resourceType": "Observation", "id": "a"}
    create = {"method": "PUT", "url": url, "ifNoneMatch": "*"}
    assert resources.answer({"method": "GET", "url": url}, None).status.startswith("404")
    assert resources.answer(create, observation).entry()["response"] == {
        "status": "201 Created",
        "etag": 'W/"1"',
        "lastModified": "2026-01-01T00:00:00.000Z",
        "location": "Observation/a/_history/1",
    }
    assert resources.answer(create, observation).status.startswith("412")
    update = {"method": "PUT", "url": url, "ifMatch": 'W/"1"'}
    assert resources.answer(update, observation).etag == 'W/"2"'
    assert resources.answer(update, observation).status.startswith("412")
    assert resources.answer({"method": "GET", "url": url}, None).resource["meta"]["versionId"] == "2"


def test_the_scripted_server_knows_every_device_and_its_patient() -> None:
    resources = Resources()
    found = resources.answer({"method": "GET", "url": "Device?identifier=device-1"}, None).resource
    [entry] = found["entry"]
    assert entry["resource"]["identifier"] == [{"value": "device-1"}]
    patient = entry["resource"]["patient"]["reference"]
    assert resources.answer({"method": "GET", "url": patient}, None).resource["resourceType"] == "Patient"
