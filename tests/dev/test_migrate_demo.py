"""The move is shown, and a reading that is lost or doubled fails it."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev import migrate_demo
from dev.demo import put_people_and_devices
from dev.migrate_demo import GROUPED, Traffic, judge
from dev.stack import LocalStack
from dev.written import TYPE_SYSTEM, Written, observations
from medtech.command.traffic import Reading
from medtech.dotnet import ticks
from tests.dev.waiting import wait_until
from tests.end_to_end.ward import QUIET
from tests.fhir_server import FhirServer

LAST_LINE = re.compile(r"migrate-demo: compared (\d+), different 0, absent 0; switched; lost 0, doubled 0")
HOUR = 443_000 * ticks.TICKS_PER_HOUR


def reading(type_name: str, minute: float, value: int, device: str = "device-01") -> Reading:
    moment = HOUR + int(minute * ticks.TICKS_PER_MINUTE)
    return Reading(device, type_name, moment, ((type_name, Decimal(value)),))


def written(*readings: Reading, version: int = 1) -> Written:
    first = readings[0]
    return Written("id", version, "", first.device_id, first.type, "", "", "", frozenset(readings))


PULSES = [reading("heartRate", 1, 70), reading("heartRate", 2, 71)]
STEPS = [reading("steps", 1, 10), reading("steps", 2, 20)]
TEMPERATURES = [reading(GROUPED, 1, 36), reading(GROUPED, 2, 37)]
LATEST = TEMPERATURES[1]._replace(time=HOUR)
SENT = [*PULSES, *STEPS, *TEMPERATURES]


def stored(*, steps_version: int = 2, latest_version: int = 2) -> list[Written]:
    return [
        *(written(pulse) for pulse in PULSES),
        written(*STEPS, version=steps_version),
        written(LATEST, version=latest_version),
    ]


def test_what_is_stored_once_is_neither_lost_nor_doubled() -> None:
    assert judge(SENT, stored(), 1) == ([], [])


@pytest.mark.parametrize("absent", range(3))
def test_what_no_observation_holds_is_lost(absent: int) -> None:
    there = stored()
    lost, doubled = judge(SENT, [each for each in there if each is not there[[0, 2, 3][absent]]], 1)
    assert (len(lost), doubled) == ([1, 2, 1][absent], [])


def test_a_series_without_one_of_its_readings_has_lost_it() -> None:
    lost, _ = judge(SENT, [*stored()[:2], written(STEPS[0]), stored()[3]], 1)
    assert len(lost) == 1


def test_an_hours_value_that_is_not_the_latest_is_lost() -> None:
    older = TEMPERATURES[0]._replace(time=HOUR)
    lost, doubled = judge(SENT, [*stored()[:3], written(older)], 1)
    assert (len(lost), len(doubled)) == (1, 1)


def test_a_reading_in_two_observations_is_doubled() -> None:
    _, [doubled] = judge(SENT, [*stored(), written(PULSES[0])], 1)
    assert "2 times" in doubled


def test_a_reading_in_a_slot_of_no_reading_is_doubled() -> None:
    another = reading("steps", 3, 20)
    _, [doubled] = judge(SENT, [*stored()[:2], written(*STEPS, another, version=2), stored()[3]], 1)
    assert "not sent" in doubled


@pytest.mark.parametrize(("steps_version", "latest_version", "passes"), [(3, 2, 1), (2, 3, 1), (2, 5, 2)])
def test_a_version_that_no_reading_explains_is_doubled(steps_version: int, latest_version: int, passes: int) -> None:
    _, [doubled] = judge(SENT, stored(steps_version=steps_version, latest_version=latest_version), passes)
    assert "versions" in doubled


def test_a_single_reading_that_was_written_twice_is_doubled() -> None:
    _, [doubled] = judge(SENT, [written(PULSES[0], version=2), *stored()[1:]], 1)
    assert "1 are explained" in doubled


def test_versions_are_those_of_the_server(own_fhir: FhirServer) -> None:
    put_people_and_devices(own_fhir.url)
    moment = ticks.format_iso(PULSES[0].time)
    pulse: dict[str, Any] = {
        "resourceType": "Observation",
        "id": "pulse",
        "identifier": [{"system": TYPE_SYSTEM, "value": "pulse"}],
        "status": "final",
        "code": {"coding": [{"system": TYPE_SYSTEM, "code": "heartRate"}]},
        "subject": {"reference": "Patient/patient-01"},
        "device": {"reference": "Device/device-01"},
        "effectiveDateTime": moment,
        "valueQuantity": {"value": 70},
    }
    for status in ("final", "amended"):
        headers = {"content-type": "application/fhir+json"}
        address = f"{own_fhir.url}/Observation/pulse"
        httpx.put(address, json=pulse | {"status": status}, headers=headers).raise_for_status()
    assert judge(PULSES[:1], observations(own_fhir.url), 1) == (
        [],
        ["Observation/pulse has 2 versions, where 1 are explained"],
    )


def test_the_traffic_knows_where_in_the_hub_each_message_is(tmp_path: Path) -> None:
    with LocalStack(tmp_path, settings=QUIET) as stack, Traffic(stack.hub_url) as traffic:
        wait_until(lambda: len(traffic.sent) >= 20)
        traffic.stop()
        stack.wait_until_read()
        state = stack.hub_state()
        last = {name: partition["lastSequenceNumber"] for name, partition in state.items()}
    sent = traffic.sent
    assert sorted((each.partition, each.sequence_number) for each in sent) == [
        (name, number) for name, most in sorted(last.items()) for number in range(most + 1)
    ]
    times = [reading.time for each in sent for reading in each.readings]
    assert max(times) < ticks.now()


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    """As on a machine that has no time for a process."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(900)
def test_what_a_switch_without_rewinding_loses_is_found_and_rewinding_brings_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The move without its trials of other settings, which `make migrate-demo` has too; at first the old service is
    later than the grace."""
    lines: list[str] = []
    with migrate_demo.MigrateDemo(tmp_path, lines.append) as demo:
        with stopped(demo._old.worker_pid):
            wait_until(lambda: any(counted.absent for counted in demo._counts().values()))
        demo.compare("2.")
        assert any("again with 18 s" in line for line in lines)
        demo.stop_old_service()
        with monkeypatch.context() as careless, pytest.raises(migrate_demo.MigrationFailed, match="are not stored"):
            careless.setattr(demo, "_rewind", lambda _: 0)
            careless.setattr(migrate_demo, "PATIENCE_SECONDS", 10.0)
            demo.write_instead()
        demo.write_instead()
        demo.go_back()
        assert demo.end()
    counts = LAST_LINE.fullmatch(lines[-1])
    assert counts is not None
    assert int(counts[1]) > 0
