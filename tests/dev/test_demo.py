"""The demo proves what it claims, and can fail."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from dev.demo import DEVICES, QUICK_SETTINGS, play, put_people_and_devices, why_not
from dev.processes import ROOT
from dev.stack import LocalStack
from dev.written import TYPE_SYSTEM, observations
from medtech.dotnet import ticks
from tests.fhir_server import FhirServer

LAST_LINE = re.compile(r"demo: 120 messages, (\d+) readings -> (\d+) observations, 0 dead letters")


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dev", "demo", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def test_every_reading_of_the_demo_arrives(tmp_path: Path) -> None:
    exported = tmp_path / "demo.ndjson"
    picture = tmp_path / "demo.svg"
    ended = demo("--data", str(tmp_path / "data"), "--export", str(exported), "--picture", str(picture))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    counts = LAST_LINE.fullmatch(ended.stdout.splitlines()[-1])
    assert counts is not None
    readings, observations = (int(count) for count in counts.groups())
    assert readings > 120
    assert 0 < observations < readings  # the steps of an hour share an Observation
    assert len(exported.read_text().splitlines()) == 2 * DEVICES + observations
    assert_is_a_picture_of(ended.stdout.splitlines()[-1], picture)


def assert_is_a_picture_of(last_line: str, picture: Path) -> None:
    """An image of its own: a page that shows it asks no other site for a font or a style."""
    drawn = "".join(ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")
    assert last_line in drawn
    assert "device-03" in drawn
    assert "url(http" not in picture.read_text(encoding="utf-8")


def test_a_reading_that_does_not_arrive_is_missing(tmp_path: Path) -> None:
    with LocalStack(tmp_path, settings=QUICK_SETTINGS) as stack:
        put_people_and_devices(stack.fhir_url)
        httpx.delete(f"{stack.fhir_url}/Device/device-03").raise_for_status()
        outcome = play(stack, lambda _found, _sent: None)
    assert {reading.device_id for reading in outcome.missing} == {"device-03"}
    assert len(outcome.missing) == outcome.dead_letters
    assert "device-03" not in {written.device_id for written in outcome.written}


def test_a_second_run_within_the_minutes_of_the_first_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalStack(tmp_path, settings=QUICK_SETTINGS) as stack:
        put_people_and_devices(stack.fhir_url)
        started = ticks.now()
        for moment in (started, started + 3 * ticks.TICKS_PER_SECOND // 10):
            monkeypatch.setattr(ticks, "now", lambda moment=moment: moment)
            outcome = play(stack, lambda _found, _sent: None)
            assert (outcome.missing, outcome.dead_letters) == (set(), 0)


def put(server: FhirServer, resource: dict[str, Any]) -> None:
    headers = {"content-type": "application/fhir+json"}
    address = f"{server.url}/{resource['resourceType']}/{resource['id']}"
    httpx.put(address, json=resource, headers=headers).raise_for_status()


def test_what_others_wrote_to_the_fhir_server_is_passed_over(own_fhir: FhirServer) -> None:
    put(own_fhir, {"resourceType": "Device", "id": "foreign"})
    note = {"status": "final", "code": {"text": "note"}, "valueString": "well"}
    put(own_fhir, {"resourceType": "Observation", "id": "foreign", **note})
    assert observations(own_fhir.url) == []


def test_an_observation_is_read_the_same_with_a_period_and_with_a_date_time(own_fhir: FhirServer) -> None:
    put_people_and_devices(own_fhir.url)
    moment = "2026-03-02T08:00:05.2500000Z"
    for number, effective in enumerate(
        ({"effectivePeriod": {"start": moment, "end": moment}}, {"effectiveDateTime": moment})
    ):
        pulse = {
            "identifier": [{"system": TYPE_SYSTEM, "value": f"pulse-{number}"}],
            "status": "final",
            "code": {"coding": [{"system": TYPE_SYSTEM, "code": "heartRate"}]},
            "subject": {"reference": "Patient/patient-01"},
            "device": {"reference": "Device/device-01"},
            "valueQuantity": {"value": 71},
        }
        put(own_fhir, {"resourceType": "Observation", "id": f"pulse-{number}", **pulse, **effective})
    with_period, with_date_time = observations(own_fhir.url)
    assert with_period == with_date_time._replace(id=with_period.id)
    assert (with_period.start, with_period.end, len(with_period.readings)) == (moment, moment, 1)


def test_a_mapping_of_ones_own_is_told_before_anything_is_started(tmp_path: Path) -> None:
    mapping = tmp_path / "mine.json"
    mapping.write_text('{"templateType": "CollectionContent", "template": []}')
    assert why_not({"DEVICE_MAPPING": str(mapping)}) == (
        f"{mapping} is not the start mapping: it does not take the demo's messages."
    )
    mapping.write_text("{")
    assert f"{mapping} does not load. " in str(why_not({"DEVICE_MAPPING": str(mapping)}))
    mapping.write_text("{}", encoding="utf-16")
    assert why_not({"DEVICE_MAPPING": str(mapping)}) == f"{mapping} is not text in UTF-8."


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("none.json", "DEVICE_MAPPING names a file that is not there."),
        ("mappings/fhirDestinationMapping.json", "mappings/fhirDestinationMapping.json does not load."),
    ],
)
def test_a_demo_that_cannot_be_played_ends_at_once(
    address: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE_MAPPING", address)
    ended = demo("--data", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_start_mapping_takes_the_demo() -> None:
    assert why_not({}) is None
    assert why_not({"DEVICE_MAPPING": "https://account.blob.core.windows.net/mappings/device.json"}) is None


def test_a_used_port_is_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        ended = demo("--data", str(tmp_path), "--fhir-port", str(port))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"Port {port} is in use: ")
    assert ended.stderr.count("\n") == 1
