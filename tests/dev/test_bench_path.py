"""The parts of bench.path on tiny sizes: they do what they claim, and every stage finds its functions."""

import json
from typing import Any

import pytest

from bench.path.__main__ import measure
from bench.path.parts import PARTS, Effort
from bench.path.tables import tables
from bench.path.tree import working_tree

TINY = Effort(
    rounds=1,
    calls=1,
    single_messages=4,
    batch_messages=2,
    stack_messages=40,
    repeats=1,
    size=(2, 3),
    fresh_rounds=1,
    flat_rounds=1,
    most=4,
    window_readings=200,
    million=400,
    samples=600,
)
WITHOUT_MARKS = [part for part in PARTS if part != "marks"]
"""`make bench` has no tiny size; its workloads are tested by themselves."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    return measure(WITHOUT_MARKS, [working_tree()], TINY)


def test_every_part_runs_and_is_in_the_json_and_the_tables(run: dict[str, Any]) -> None:
    assert run["broken"] == {}
    assert list(run["parts"]) == WITHOUT_MARKS
    assert json.loads(json.dumps(run)) == run
    assert run.keys() == {
        *("date", "commit", "before", "machine", "calibration", "seconds", "parts", "broken", "goals"),
    }
    assert run["goals"][0].keys() == {"name", "figure", "bound", "unit", "at_least", "verdict"}
    assert "flat over shards" in tables(run)


@pytest.mark.parametrize(("workload", "messages", "readings"), [("single", 4, 1), ("batch", 2, 50)])
def test_ingest_stores_what_it_is_given(run: dict[str, Any], workload: str, messages: int, readings: int) -> None:
    found = run["parts"]["ingest"][workload]["now"]
    assert found["missing"] == []
    assert found["messages"] == messages
    assert found["table_requests"] >= 1
    assert found["table_bytes"] > messages * readings
    assert found["total_us"] == pytest.approx(sum(found["stages_us"].values()))


@pytest.mark.parametrize(("scenario", "observations"), [("new", 6), ("changed", 6), ("hot", 2)])
def test_a_flush_reads_and_writes_each_observation_once(run: dict[str, Any], scenario: str, observations: int) -> None:
    found = run["parts"]["flush"][scenario]["now"]
    assert found["missing"] == []
    counts = {name: found[name] for name in ("readings", "observations", "fhir_entries")}
    assert counts == {"readings": 6, "observations": observations, "fhir_entries": 2 * observations}
    assert found["table_requests"] > 0


def test_rows_of_more_and_more_have_their_steps(run: dict[str, Any]) -> None:
    found = run["parts"]["flat"]
    assert list(found["shards"]) == list(found["overdue windows"]) == ["1", "4"]
    assert list(found["message size"]) == ["4 KiB"]
    assert sum(row.startswith("templates, ") for row in found) == 7
