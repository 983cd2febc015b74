"""The scenarios of bench.path on tiny sizes: they do what they claim, and every stage finds its functions."""

import json
from collections.abc import Iterator

import pytest

from bench.path.__main__ import measure
from bench.path.flush import SCENARIOS
from bench.path.parts import Effort
from bench.path.servers import Servers, servers
from bench.path.tables import tables
from bench.path.tree import working_tree

HERE = working_tree()
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
    most=100,
    window_readings=200,
    million=400,
    samples=600,
    mark_rounds=1,
)


@pytest.fixture
def opened() -> Iterator[Servers]:
    with servers() as found:
        yield found


@pytest.mark.parametrize(("workload", "readings"), [("single", 1), ("batch", 50)])
def test_ingest_stores_what_it_is_given(opened: Servers, workload: str, readings: int) -> None:
    found = HERE.run("ingest", connection=opened.connection, workload=workload, messages=4, calls=1)
    assert found["missing"] == []
    assert found["table_requests"] >= 1
    assert found["table_bytes"] > 4 * readings
    assert found["total_us"] == pytest.approx(sum(found["stages_us"].values()))


@pytest.mark.parametrize(
    ("scenario", "readings", "observations", "entries"),
    [("new", 6, 6, 12), ("changed", 6, 6, 12), ("hot", 6, 2, 4)],
)
def test_a_flush_writes_each_observation_once(
    opened: Servers, scenario: str, readings: int, observations: int, entries: int
) -> None:
    found = HERE.run(
        "flush",
        connection=opened.connection,
        fhir_url=opened.fhir_url,
        scenario=scenario,
        repeats=1,
        size=(2, 3),
    )
    assert found["missing"] == []
    counts = {name: found[name] for name in ("readings", "observations", "fhir_entries")}
    assert counts == {"readings": readings, "observations": observations, "fhir_entries": entries}


@pytest.mark.timeout(600)
def test_every_part_runs_and_is_in_the_json() -> None:
    parts = ["ingest", "stack", "flush", "million", "flat", "series", "fresh"]
    run = measure(parts, [HERE], TINY)
    assert run["broken"] == {}
    assert list(run["parts"]) == parts
    assert json.loads(json.dumps(run)) == run
    assert set(run["parts"]["flush"]) == set(SCENARIOS)
    assert set(run["parts"]["flat"]) > {"devices, at the flush", "shards", "overdue windows", "message size"}
    assert {"date", "commit", "before", "machine", "calibration", "seconds", "goals"} < run.keys()
    assert {"name", "figure", "bound", "unit", "at_least", "verdict"} == run["goals"][0].keys()
    assert "| goal" in tables(run)
